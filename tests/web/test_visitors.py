import asyncio
import json

import pytest

from auss.web.visitors import COOKIE, LARGEST_CALL, OwnFilesOnly, Visitors, named_paths


@pytest.fixture
def visitors(tmp_path):
    return Visitors(tmp_path)


class Server:
    """The middleware before an application that answers every request with `answer`."""

    def __init__(self, visitors, answer=b"[]"):
        self.visitors, self.answer = visitors, answer
        self.seen: list[tuple[str, bytes]] = []
        self.headers: dict[bytes, bytes] = {}

    async def app(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.seen.append((scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": self.answer[:3], "more_body": True})
        await send({"type": "http.response.body", "body": self.answer[3:]})

    def ask(self, path, cookie=None, body=b"", scheme="http"):
        """Returns the status and the body of the answer."""
        sent, half = [], len(body) // 2
        parts = iter([(body[:half], True), (body[half:], False)])

        async def receive():
            part, more = next(parts)
            return {"type": "http.request", "body": part, "more_body": more}

        async def send(message):
            sent.append(message)

        headers = [(b"cookie", f"other=1; {COOKIE}={cookie}".encode())] if cookie else []
        scope = {"type": "http", "path": path, "scheme": scheme, "headers": headers}
        asyncio.run(OwnFilesOnly(self.app, self.visitors)(scope, receive, send))
        self.headers = dict(sent[0]["headers"])
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_a_cookie_names_a_visitor_and_cannot_be_made_up(visitors, tmp_path):
    cookie = visitors.new_cookie()
    visitor = visitors.visitor(cookie)
    assert visitor and visitors.visitor(visitors.new_cookie()) != visitor
    for wrong in (None, "", ".", visitor, f"{visitor}.", f"{'0' * 32}.{cookie.partition('.')[2]}", "é.é"):
        assert visitors.visitor(wrong) is None
    assert Visitors(tmp_path).visitor(cookie) is None  # another server has another key


def test_a_visitor_owns_uploads_and_results_and_nothing_else(visitors, tmp_path):
    upload, result = tmp_path / "digest" / "video.mp4", visitors.folder("anna") / "job" / "marked.mp4"
    visitors.add_upload("anna", str(upload))
    for path in (upload, result):
        assert visitors.owns("anna", path) and not visitors.owns("bert", path)
    for path in ("/etc/passwd", f"{visitors.folder('anna')}/../bert/x", str(upload.parent), "video.mp4", ""):
        assert not visitors.owns("anna", path)


def test_a_link_in_the_own_folder_opens_no_other_file(visitors):
    folder = visitors.folder("anna")
    folder.mkdir(parents=True)
    (folder / "link").symlink_to("/etc/passwd")
    assert not visitors.owns("anna", folder / "link")


def test_the_same_file_belongs_to_all_who_uploaded_it(visitors, tmp_path):
    for visitor in ("anna", "bert"):
        visitors.add_upload(visitor, str(tmp_path / "video.mp4"))
    assert [visitors.owns(who, tmp_path / "video.mp4") for who in ("anna", "bert", "carl")] == [True, True, False]


def test_the_page_gives_a_cookie_once_and_forbids_other_servers(visitors):
    server = Server(visitors)
    assert server.ask("/") == (200, b"[]")
    cookie = server.headers[b"set-cookie"].decode()
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert b"default-src 'self'" in server.headers[b"content-security-policy"]
    server.ask("/", cookie.partition("=")[2].partition(";")[0])
    assert b"set-cookie" not in server.headers
    server.ask("/", scheme="https")
    assert b"SameSite=None; Secure; Partitioned" in server.headers[b"set-cookie"]


def test_without_a_cookie_there_is_only_the_page(visitors):
    server = Server(visitors)
    for path in ("/", "/config", "/assets/index.js", "/gradio_api/info"):
        assert server.ask(path)[0] == 200
    for path in ("/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/queue/data"):
        status, body = server.ask(path, "made-up.cookie")
        assert status == 403 and "cookie" in json.loads(body)["detail"]


def test_other_routes_of_gradio_are_closed(visitors):
    server, cookie = Server(visitors), visitors.new_cookie()
    routes = ["proxy=http://a.b/c", "stream/x/y", "file/etc/passwd", "process_recording", "component_server", "runs"]
    paths = [f"/gradio_api/{route}" for route in routes] + ["/monitoring", "/login", "//gradio_api/upload", "/x"]
    assert [server.ask(path, cookie)[0] for path in paths] == [404] * len(paths)
    assert server.seen == []


def test_files_go_to_their_owner_only(visitors, tmp_path):
    mine, yours = visitors.new_cookie(), visitors.new_cookie()
    uploaded = str(tmp_path / "digest" / "video.mp4")
    server = Server(visitors, json.dumps([uploaded]).encode())
    assert server.ask("/gradio_api/upload", mine)[0] == 200
    assert server.ask(f"/gradio_api/file={uploaded}", mine)[0] == 200
    assert server.ask(f"/gradio_api/file={uploaded}", yours)[0] == 403
    for path in ("/etc/passwd", f"{uploaded}/../../../../etc/passwd", "http://a.b/c.mp4", "https://a.b", ""):
        assert server.ask(f"/gradio_api/file={path}", mine)[0] == 403


def test_calls_may_name_own_files_only(visitors, tmp_path):
    cookie = visitors.new_cookie()
    own = str(tmp_path / "video.mp4")
    visitors.add_upload(visitors.visitor(cookie), own)
    server = Server(visitors)
    body = json.dumps({"data": [{"path": own, "meta": {}}, "5"], "session_hash": "x"}).encode()
    assert server.ask("/gradio_api/queue/join", cookie, body)[0] == 200
    assert server.seen == [("/gradio_api/queue/join", body)]
    for foreign in ("/etc/passwd", "http://a.b/c.mp4", own + "x", None, 5):
        for place in ({"path": foreign}, [[{"video": {"path": foreign}}]], {"path": own, "more": {"path": foreign}}):
            body = json.dumps({"data": [place]}).encode()
            assert server.ask("/gradio_api/queue/join", cookie, body)[0] == 403
            assert server.ask("/gradio_api/run/segment", cookie, body)[0] == 403
    assert server.ask("/gradio_api/queue/join", cookie, b"{")[0] == 400
    assert server.ask("/gradio_api/queue/join", cookie, b" " * (2 * LARGEST_CALL + 2))[0] == 413
    assert len(server.seen) == 1


def test_every_path_in_a_call_is_found():
    assert sorted(named_paths([{"path": "a", "x": [{"path": "b"}]}, {"y": {"z": {"path": "c"}}}, "d"])) == [
        "a",
        "b",
        "c",
    ]
    assert list(named_paths(5)) == []
