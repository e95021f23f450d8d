"""RTSP through the relay: a stream plays, and a redirect leads nowhere."""

import socket
import threading

import pytest

from auss.files.errors import InputError
from auss.inference.live.live_feed import LiveFeed
from auss.inference.live.rtsp_relay import RefusedReplyError, ReplyFilter, RtspRelay
from auss.inference.live.sources import open_live_source, parse_source
from auss.inference.live.stream_reader import SharedOrigin, StreamReader

SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"


class RtspServer:
    """Plays a transport stream over the connection of the request; or redirects each request of one kind."""

    def __init__(self, content=b"", redirect=None, location=""):
        self.content, self.redirect, self.location = content, redirect, location
        self.requests = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client:
                try:
                    self._talk(client)
                except (OSError, ValueError):
                    pass

    def _talk(self, client):
        lines = client.makefile("rb")
        while request := lines.readline().split():
            headers = dict(line.split(b": ", 1) for line in iter(lambda: lines.readline().strip(), b""))
            method = request[0].decode()
            self.requests.append(method)
            sequence = headers[b"CSeq"].decode()
            if method == self.redirect:
                client.sendall(f"RTSP/1.0 302 Moved\r\nCSeq: {sequence}\r\nLocation: {self.location}\r\n\r\n".encode())
                continue
            body = SDP if method == "DESCRIBE" else ""
            extra = {
                "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n",
                "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
                "PLAY": "Session: 1\r\n",
            }.get(method, "")
            client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{extra}\r\n{body}".encode())
            if method == "PLAY":
                self._play(client)
                return

    def _play(self, client):
        for number, start in enumerate(range(0, len(self.content), 7 * 188)):
            payload = self.content[start : start + 7 * 188]
            header = bytes([0x80, 33]) + number.to_bytes(2, "big") + (number * 900).to_bytes(4, "big") + bytes(4)
            packet = header + payload
            client.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)


@pytest.fixture
def server():
    servers = []

    def start(*words, **settings):
        servers.append(RtspServer(*words, **settings))
        return servers[-1]

    yield start
    for one in servers:
        one.socket.close()


def test_a_stream_plays_over_one_connection(server, make_video):
    content = make_video("clip.ts", seconds=3.0, codecs=("libx264", "aac")).read_bytes()
    one = server(content)
    source = parse_source(f"rtsp://127.0.0.1:{one.port}/camera")
    feed = LiveFeed(most_waiting=1000)
    StreamReader(source, open_live_source(source, 5.0), feed, SharedOrigin(), 5.0).run()
    assert one.requests[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
    assert feed.received >= 25 and feed.take(0.0)[0]


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"])
def test_a_redirect_is_refused_and_the_other_address_not_contacted(server, method):
    other = server()
    one = server(redirect=method, location=f"rtsp://127.0.0.1:{other.port}/inside")
    with pytest.raises(InputError, match=f"redirects to rtsp://127.0.0.1:{other.port}/inside, which is not followed"):
        open_live_source(parse_source(f"rtsp://127.0.0.1:{one.port}/camera"), 5.0)
    assert method in one.requests and other.requests == []


def test_messages_and_packets_pass_in_pieces_of_any_size():
    stream = (
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n"
        + b"$\0\0\x0aRTSP/1.0 3"
        + (b"OPTIONS rtsp://h RTSP/1.0\r\nCSeq: 2\r\n\r\nRTSP/1.0 404 Not Found\r\n\r\n")
    )
    for size in (1, 3, 7, 1000):
        filtered = ReplyFilter()
        passed = [filtered.passed(stream[start : start + size]) for start in range(0, len(stream), size)]
        assert b"".join(passed) == stream


@pytest.mark.parametrize(
    "message",
    [
        b"RTSP/1.0 301 Moved\r\nLocation: rtsp://h\r\n\r\n",
        b"RTSP/1.0  302 x\r\n\r\n",
        b"RTSP/1.0 +302 x\r\n\r\n",
        b" RTSP/1.0 302 x\r\n\r\n",
        b"RTSP/1.0 200 OK\nRTSP/1.0 302 x\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n$\0\0\1x\r\n\r\n",
        b"\r\nRTSP/1.0 302 x\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_redirects_and_messages_that_could_hide_one_are_refused(message):
    with pytest.raises(RefusedReplyError):
        ReplyFilter().passed(message)


def test_credentials_and_path_are_kept():
    relay = RtspRelay("rtsp://user:word@camera.example/a/b?c=d")
    relay.close()
    assert relay.server == ("camera.example", 554)
    assert relay.url.startswith("rtsp://user:word@127.0.0.1:") and relay.url.endswith("/a/b?c=d")
    with pytest.raises(InputError, match="no host"):
        RtspRelay("rtsp:///x")
