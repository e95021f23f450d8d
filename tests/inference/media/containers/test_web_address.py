"""Some redirects are followed. Redirects that reach into a private network are refused."""

import http.server
import threading

import pytest

from auss.inference.media.containers import web_address
from auss.inference.media.containers.decoding import open_media, picture_stream
from auss.inference.media.containers.web_address import address_behind, is_public, may_follow


class Redirects(http.server.SimpleHTTPRequestHandler):
    """Answers /to/PLACE with a redirect to PLACE, and records the requests."""

    log_message = staticmethod(lambda *_: None)

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """Two servers of the same folder on this machine, each with the list of its requests."""
    monkeypatch.chdir(tmp_path)
    started = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirects) for _ in range(2)]
    for server in started:
        server.asked = []
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield started
    for server in started:
        server.shutdown()
        server.server_close()


def test_a_redirect_on_the_same_server_is_followed(servers, make_video):
    make_video("clip.mp4", seconds=0.5)
    server, _ = servers
    url = f"{server.url}/to//to//clip.mp4"
    assert address_behind(url, 5) == f"{server.url}/clip.mp4"
    with open_media(url) as container:
        assert picture_stream(container).width == 64
    with open_media(f"{server.url}/clip.mp4") as container:
        assert picture_stream(container).width == 64


@pytest.mark.parametrize(
    "target", ["other server", "file:///etc/passwd", "http://169.254.169.254/latest", "rtsp://a/b"]
)
def test_a_redirect_into_the_network_is_not(servers, make_video, target):
    make_video("clip.mp4", seconds=0.5)
    server, other = servers
    target = f"{other.url}/clip.mp4" if target == "other server" else target
    with pytest.raises(ValueError, match="redirects to .*, which is not followed"):
        open_media(f"{server.url}/to/{target}")
    assert other.asked == []


def test_a_circle_ends(servers):
    server, _ = servers
    with pytest.raises(ValueError, match="redirects more than 8 times"):
        address_behind(f"{server.url}/to/{server.url}/to/x" + "/to/x" * 20, 5)


def test_nobody_answers():
    assert address_behind("http://127.0.0.1:1/clip.mp4", 1) == "http://127.0.0.1:1/clip.mp4"


def test_which_hosts_are_public(monkeypatch):
    assert is_public("93.184.216.34", 80) and not is_public("nowhere.invalid", 80)
    for inside in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "::1", "fe80::1", "100.64.0.1"):
        assert not is_public(inside, 80), inside
    monkeypatch.setattr(web_address, "is_public", lambda host, _: host == "cdn.example")
    assert may_follow("http://a.example/x", "https://a.example/x")
    assert may_follow("http://a.example/x", "http://cdn.example:8000/x")
    for other in ("http://a.example:8080/x", "http://b.example/x", "ftp://cdn.example/x", "file:///x", "http:///x"):
        assert not may_follow("http://a.example/x", other), other
