"""The page in headless Chromium: what a visitor sees and does.

A browser is needed, for example Debian's package `chromium`, or `playwright install chromium`.
"""

import io
import json
import os
import shutil
import time
import zipfile
from pathlib import Path

import pytest

from auss.web.settings import MEGABYTE, Limits, PageSettings

from ..small_videos import write_video
from .pages import tiny_page

pytest.importorskip("gradio", reason="the extra 'web' is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A camera and a microphone that Chromium makes up, and permission to use them.
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PLAYS = "() => document.querySelector('#marked video').currentTime > 0.3"
TOGETHER = (
    "() => { const [marked, original] = ['#marked', '#original'].map(one => document.querySelector(one + ' video'));"
    " return marked.paused && original.paused && Math.abs(marked.currentTime - original.currentTime) < 0.02; }"
)
PATIENCE = 240_000  # ms; a busy machine is slow


def found_browser(chromium) -> str | None:
    """The path of a browser on this machine."""
    own = chromium.executable_path
    return next((path for path in (os.environ.get("CHROMIUM"), own, *map(shutil.which, NAMES)) if is_file(path)), None)


def is_file(path: str | None) -> bool:
    return path is not None and Path(path).is_file()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as found:
        path = found_browser(found.chromium)
        if path is None:
            pytest.skip(f"no browser is here: install Debian's chromium, or one of {', '.join(NAMES)}")
        arguments = [*FAKE_CAMERA, "--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = found.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(make_config):
    with tiny_page(make_config, PageSettings(threshold=0.2, limits=Limits(seconds=20.0, bytes=2 * MEGABYTE))) as found:
        yield found


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "street.mp4", seconds=3.0, size=(120, 160))


@pytest.fixture
def open_page(browser, address):
    """`open_page()` opens the page as a new visitor. At the end no page may have asked another server."""
    contexts, outside = [], []

    def opened():
        context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera", "microphone"])
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda asked: outside.append(asked.url))
        page.goto(address)
        page.wait_for_selector("#segment")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [url for url in outside if not url.startswith((address, "blob:", "data:"))] == []


def choose(page, path):
    page.set_input_files("#original input[type=file]", path)
    page.wait_for_selector("#original button[aria-label='Clear']")
    # Results of an earlier video go when there is a new one.
    page.wait_for_function("() => document.querySelector('#status').innerText.startsWith('Choose a video')")


def wait_for_status(page, words):
    """Returns the status line when the work has ended, and checks that the words are in it."""
    ended = "() => /Done|Cancelled|cannot/.test(document.querySelector('#status').innerText)"
    page.wait_for_function(ended)
    status = page.inner_text("#status")
    assert words in status
    return status


def segment(page, path):
    choose(page, path)
    page.click("#segment")
    wait_for_status(page, "Done:")
    page.wait_for_selector("#marked video")


def downloaded(page, name):
    with page.expect_download() as waiting:
        page.click(f"#get-{name}")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_a_visitor_watches_the_result_and_takes_it_home(open_page, video):
    page = open_page()
    segment(page, video)
    page.evaluate("document.querySelector('#marked video').play()")
    page.wait_for_function(PLAYS)
    assert not page.evaluate("document.querySelector('#marked video').muted")
    assert page.evaluate("document.querySelector('#original video').muted")
    page.evaluate("document.querySelector('#marked video').pause()")
    page.wait_for_function(TOGETHER)
    page.fill("#number input[type=number]", "5")
    page.press("#number input[type=number]", "Enter")
    page.wait_for_function("() => document.querySelector('#facts').innerText.startsWith('Mask 5 of 15, at 0.80 s')")
    page.wait_for_function("() => Math.abs(document.querySelector('#original video').currentTime - 0.8) < 0.05")
    page.wait_for_function("() => document.querySelector('#mask img').naturalWidth === 160")
    name, content = downloaded(page, "video")
    assert name == "street_marked.mp4" and content[4:8] == b"ftyp"
    name, content = downloaded(page, "masks")
    assert name == "street_masks.zip" and len(zipfile.ZipFile(io.BytesIO(content)).namelist()) == 16
    name, content = downloaded(page, "times")
    assert name == "street_times.json" and len(json.loads(content)["masks"]) == 15


def test_a_text_with_the_name_of_a_video_gets_a_clear_sentence(open_page, tmp_path, video):
    page = open_page()
    path = tmp_path / "text.mp4"
    path.write_text("just text " * 99)
    choose(page, path)
    page.click("#segment")
    assert "text.mp4 cannot be opened" in wait_for_status(page, "This video cannot be segmented.")
    page.click("#original button[aria-label='Clear']")
    segment(page, video)  # the page goes on


def test_files_over_the_limit_are_refused_before_they_travel(open_page, tmp_path):
    page = open_page()
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(3_000_000))
    page.set_input_files("#original input[type=file]", path)
    page.get_by_text("exceed the maximum allowed size of 2.0 M").first.wait_for()
    assert "At most 20 seconds and 2 MB." in page.inner_text("body")


def test_a_video_is_cancelled_while_its_progress_moves(open_page, tmp_path):
    page = open_page()
    choose(page, write_video(tmp_path / "long.mp4", seconds=19.0, fps=25, size=(240, 320)))
    page.get_by_label("every frame").check()
    page.click("#segment")
    page.wait_for_function(
        "() => Number(document.querySelector('#marked [role=progressbar]')?.getAttribute('aria-valuenow')) > 2"
    )
    page.click("#cancel")
    wait_for_status(page, "Cancelled")
    assert page.locator("#marked video").count() == 0 and page.is_disabled("#cancel") and page.is_enabled("#segment")


def test_two_visitors_share_the_model_but_no_files(open_page, video, tmp_path):
    first, second = open_page(), open_page()
    other = write_video(tmp_path / "other.mp4", seconds=2.0)
    choose(first, video)
    choose(second, other)
    first.click("#segment")
    second.click("#segment")
    for page in (first, second):
        wait_for_status(page, "Done:")
    assert "2.0 s" in second.inner_text("#status") and "3.0 s" in first.inner_text("#status")
    source = first.get_attribute("#marked video", "src")
    ask = "async url => (await fetch(url)).status"
    assert first.evaluate(ask, source) in (200, 206) and second.evaluate(ask, source) == 403
    assert second.evaluate(ask, "gradio_api/file=/etc/passwd") == 403


def test_a_closed_page_leaves_no_files(open_page, video):
    page = open_page()
    segment(page, video)
    folder = Path(page.get_attribute("#marked video", "src").partition("file=")[2]).parent
    assert folder.is_dir()
    page.close()
    deadline = time.monotonic() + 60
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()


def test_the_webcams_recording_is_segmented_with_its_sound(open_page):
    page = open_page()
    page.click("#original button[aria-label='Capture from camera']")
    page.get_by_text("Click to Access Webcam").click()
    page.click("#original button[aria-label='start recording']")
    page.wait_for_timeout(6000)  # a browser on a busy machine saves nothing of a short recording
    page.get_by_text("Stop").first.click()
    page.wait_for_selector("#original button[aria-label='Clear']")
    page.get_by_label("1", exact=True).check()
    page.click("#segment")
    assert "no sound" not in wait_for_status(page, "Done:")
