"""What SOURCE and --sound mean, and that a source opens nothing else."""

import socket
import threading

import pytest

from auss.files.errors import InputError
from auss.inference.live import sources
from auss.inference.live.sources import LiveSource, open_live_source, parse_sound, parse_source


@pytest.fixture
def linux(monkeypatch):
    monkeypatch.setattr(sources.sys, "platform", "linux")
    monkeypatch.setattr(sources.av, "formats_available", {"video4linux2,v4l2", "x11grab", "alsa"})


def test_devices_of_linux(linux, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":7.1")
    camera = parse_source("camera", size="640x480", rate=25.0)
    assert (camera.device, camera.address) == ("v4l2", "/dev/video0")
    assert camera.options == {"timestamps": "abs", "video_size": "640x480", "framerate": "25"}
    assert parse_source("/dev/video3").address == parse_source("v4l2:/dev/video3").address == "/dev/video3"
    screen = parse_source("screen")
    assert (screen.device, screen.address, screen.options) == ("x11grab", ":7.1", {})
    assert parse_source("x11grab::1").address == ":1"
    assert parse_sound("alsa:hw:1,0").address == "hw:1,0"
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(InputError, match="DISPLAY"):
        parse_source("screen")


def test_devices_of_a_mac(monkeypatch):
    monkeypatch.setattr(sources.sys, "platform", "darwin")
    monkeypatch.setattr(sources.av, "formats_available", {"avfoundation"})
    assert [parse_source(name).address for name in ("camera", "screen")] == ["0:0", "Capture screen 0:0"]
    assert parse_source("avfoundation:1:2").device == parse_sound("avfoundation::0").device == "avfoundation"


@pytest.mark.parametrize(
    "url", ["udp://127.0.0.1:5", "RTP://h:5", "rtsp://h/x", "tcp://h:5", "http://h/x", "HTTPS://h"]
)
def test_urls(url):
    source = parse_source(url)
    assert source == LiveSource(url, url) and source.scheme == url.partition(":")[0].lower()


@pytest.mark.parametrize("name", ["", "ftp://h/x", "file:///etc/hosts", "concat:a|b", "udp:x", "a.mp4", "lavfi:x"])
def test_nothing_else_is_a_source(name, linux):
    with pytest.raises(InputError, match="SOURCE must be 'camera'"):
        parse_source(name)


def test_what_cannot_work_is_refused_before_anything_is_opened(linux, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(InputError, match="auss segment"):
        parse_source(str(tmp_path / "clip.mp4"))
    with pytest.raises(InputError, match="no avfoundation"):
        parse_source("avfoundation:0")
    with pytest.raises(InputError, match="names no device"):
        parse_source("v4l2:")
    with pytest.raises(InputError, match="KIND:DEVICE"):
        parse_sound("default")
    with pytest.raises(InputError, match="no pulse"):
        parse_sound("pulse:default")
    with pytest.raises(InputError, match="--frame-size"):
        parse_source("udp://127.0.0.1:5", size="640x480")


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Answering:
    """A TCP server that sends `content` to each client, and counts the clients."""

    def __init__(self, content):
        self.clients = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, args=(content,), daemon=True).start()

    def _serve(self, content):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            self.clients += 1
            with client:
                client.sendall(content)


@pytest.fixture
def answering():
    servers = []

    def start(content=b""):
        servers.append(Answering(content))
        return servers[-1]

    yield start
    for server in servers:
        server.socket.close()


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile tcp://127.0.0.1:{port}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 33\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>',
    ],
)
def test_a_playlist_in_a_stream_is_refused_and_opens_nothing(answering, playlist):
    other = answering()
    server = answering(playlist.format(port=other.port).encode() * 40)
    with pytest.raises(InputError, match="cannot be opened"):
        open_live_source(parse_source(f"tcp://127.0.0.1:{server.port}"), timeout=1.0)
    assert (server.clients, other.clients) == (1, 0)


def test_nobody_there_and_nothing_coming_are_said():
    with pytest.raises(InputError, match="Connection refused"):
        open_live_source(parse_source(f"tcp://127.0.0.1:{free_port()}"), timeout=1.0)
    with pytest.raises(InputError, match="nothing came for 0.2 s"):
        open_live_source(parse_source(f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"), timeout=0.2)


def test_a_missing_device_is_said(linux):
    with pytest.raises(InputError, match="SOURCE /dev/video99 cannot be opened"):
        open_live_source(parse_source("/dev/video99"), timeout=1.0)
