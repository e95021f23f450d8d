"""The page as its server answers, without a browser. `test_browser.py` looks at it."""

import io
import json
import threading
import zipfile

import pytest

pytest.importorskip("gradio", reason="the extra 'web' is not installed")

from auss.web import page as page_module
from auss.web.page import EVERY_FRAME, rate_choices
from auss.web.settings import Limits, PageSettings

from ..small_videos import write_video
from .pages import PageClient, tiny_page

STATUS, MARKED, VIDEO, MASKS, TIMES, NUMBER, MASK, LINE, SECONDS = 0, 1, 3, 4, 5, 6, 7, 8, 9


@pytest.fixture(scope="module")
def address(make_config):
    with tiny_page(make_config, PageSettings(limits=Limits(seconds=5.0, bytes=1_000_000))) as found:
        yield found


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "my video.mp4", seconds=1.5)


@pytest.fixture
def visitor(address):
    return PageClient(address)


def segment(visitor, path, rate="2", threshold=0.2):
    return visitor.call("segment", visitor.upload(path), rate, threshold, "tiny")


def test_a_visitor_gets_video_masks_and_times(visitor, video):
    found = segment(visitor, video)
    assert found[STATUS].startswith("**Done:** 1.5 s.")
    assert visitor.file(found[MARKED]["path"]).headers["content-type"] == "video/mp4"
    listed = visitor.file(found[TIMES]["path"]).json()
    assert [one["time"] for one in listed["masks"]] == [0.0, 0.5, 1.0] and listed["model"] == "tiny"
    with zipfile.ZipFile(io.BytesIO(visitor.file(found[MASKS]["path"]).content)) as packed:
        assert set(packed.namelist()) == {"my video_times.json", *(one["file"] for one in listed["masks"])}
        masks = [packed.read(one["file"]) for one in listed["masks"]]
    for number in (1, 2, 3):
        shown, line, seconds = visitor.call("show_mask", number)
        assert visitor.file(shown["path"]).content == masks[number - 1]
        assert line.startswith(f"Mask {number} of 3") and seconds == (number - 1) / 2


def test_what_belongs_to_others_is_refused(visitor, address, video):
    found = segment(visitor, video)
    other = PageClient(address)
    upload = visitor.upload(video)
    for path in (found[MARKED]["path"], found[MASKS]["path"], found[MASK]["path"], upload["path"]):
        assert visitor.file(path).status_code == 200
        assert other.file(path).status_code == 403
    for path in ("/etc/passwd", __file__, "http://127.0.0.1:1/", f"{found[TIMES]['path']}/../../../../etc/passwd"):
        assert visitor.file(path).status_code in (403, 404)
    foreign = {**upload, "path": found[MARKED]["path"]}
    assert other.join("segment", foreign, "2", 0.2, "tiny").status_code == 403
    assert other.join("segment", {**upload, "path": "/etc/passwd"}, "2", 0.2, "tiny").status_code == 403
    other.session = visitor.session  # the name of the open page alone gives nothing
    assert other.call("show_mask", 1) == [None, "", None]


def test_a_new_start_deletes_the_earlier_results(visitor, video):
    first = segment(visitor, video)[MARKED]["path"]
    visitor.call("begin")
    assert visitor.file(first).status_code == 403


@pytest.mark.parametrize(
    ("content", "words"), [(b"just text " * 99, "no media file"), (b"", "empty"), (bytes(900_000), "cannot be opened")]
)
def test_a_file_that_is_no_video_gets_a_sentence_without_the_servers_paths(visitor, tmp_path, content, words):
    path = tmp_path / "text.mp4"
    path.write_bytes(content)
    upload = visitor.upload(path)
    status = visitor.call("segment", upload, "2", 0.5, "tiny")[STATUS]
    assert status.startswith("**This video cannot be segmented.**") and words in status
    assert upload["path"].rpartition("/")[0] not in status


def test_videos_over_the_limits_are_refused_in_words(visitor, tmp_path):
    status = segment(visitor, write_video(tmp_path / "long.mp4", seconds=5.5))[STATUS]
    assert "5.5 s" in status and "at most 5 s" in status
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(1_100_000))
    with large.open("rb") as content:
        answer = visitor.http.post("/gradio_api/upload", files={"files": (large.name, content)})
    assert answer.status_code == 413 and "maximum allowed size" in answer.text  # the page adds which file it is


def test_without_a_video_the_page_asks_for_one(visitor):
    assert "no video yet" in visitor.call("segment", None, "2", 0.5, "tiny")[STATUS]


@pytest.fixture
def slow_frames(monkeypatch):
    """Makes the work stop at its first frame until the test lets it go on. Gives the two events."""
    reached, go_on = threading.Event(), threading.Event()
    work = page_module.segment_upload

    def slow_upload(video, job, model, options, limits, on_progress, *names):
        def slow_progress(done, seconds):
            on_progress(done, seconds)
            reached.set()
            assert go_on.wait(30)

        return work(video, job, model, options, limits, slow_progress, *names)

    monkeypatch.setattr(page_module, "segment_upload", slow_upload)
    yield reached, go_on
    go_on.set()


def test_progress_moves_and_a_cancelled_video_stops(visitor, video, slow_frames):
    reached, go_on = slow_frames
    visitor.call("begin")
    visitor.join("segment", visitor.upload(video), EVERY_FRAME, 0.5, "tiny")
    messages = visitor.messages()
    (shown,) = next(one for one in messages if one["msg"] == "progress")["progress_data"]
    assert (shown["progress"], shown["desc"]) == (0.0, "Segmenting: 0.0 of 1.5 s")
    assert reached.wait(30)
    other = PageClient(str(visitor.http.base_url))
    other.call("stop")  # another visitor stops nothing
    stopper = PageClient(str(visitor.http.base_url))
    stopper.http.cookies, stopper.session = visitor.http.cookies, visitor.session
    assert stopper.join("stop").status_code == 200
    go_on.set()
    done = [one for one in messages if one["msg"] == "process_completed"]
    words = [one["output"]["data"][STATUS] for one in done]
    assert words and set(words) == {"Cancelled. Nothing was kept."}


def test_two_visitors_wait_for_each_other_in_a_queue(visitor, address, video, slow_frames):
    reached, go_on = slow_frames
    other = PageClient(address)
    visitor.join("segment", visitor.upload(video), "2", 0.2, "tiny")
    assert reached.wait(30)
    other.join("segment", other.upload(video), "1", 0.2, "tiny")
    messages = other.messages()
    waiting = next(one for one in messages if one["msg"] == "estimation")
    assert waiting["rank"] == 0 and waiting["queue_size"] == 1
    go_on.set()
    for who, said, count in ((visitor, visitor.messages(), 3), (other, messages, 2)):
        (done,) = (one for one in said if one["msg"] == "process_completed")
        listed = json.loads(who.file(done["output"]["data"][TIMES]["path"]).content)
        assert len(listed["masks"]) == count


def test_a_fault_of_ours_is_logged_and_said_without_details(visitor, video, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(page_module, "segment_upload", broken)
    status = segment(visitor, video)[STATUS]
    assert "fault of auss" in status and "secret" not in status and "secret" in caplog.text


def test_rates_have_the_given_one_among_them():
    assert rate_choices(None) == ["1", "2", "5", "10", EVERY_FRAME]
    assert rate_choices(2.5) == ["1", "2", "2.5", "5", "10", EVERY_FRAME]


def test_the_page_says_what_the_shipped_model_knows(monkeypatch):
    monkeypatch.setattr("auss.hub.shipped_model.known_categories", lambda: ["grand_piano", "dog"])
    assert "2 things and little else: grand piano, dog." in page_module.shipped_note()


def test_nothing_of_gradio_is_open_that_the_page_does_not_need(visitor):
    config = visitor.http.get("/config").json()
    assert not config.get("analytics_enabled") and not config.get("footer_links")
    page = visitor.http.get("/")
    assert "fonts.googleapis" not in page.text and "default-src 'self'" in page.headers["content-security-policy"]
    assert visitor.http.get("/monitoring").status_code == 404
    assert visitor.http.get("/gradio_api/theme.css").text.count("url(http") == 0
