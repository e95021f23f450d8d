"""`auss live` from a stream to a finished file: regular ends, breaks, stalls, Ctrl-C, and real pace over loopback."""

import multiprocessing
import re
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from auss.cli import main
from auss.inference.live.live import Outputs, follow, reading
from auss.inference.live.live_feed import LiveFeed, SoundPiece
from auss.inference.live.live_report import LiveReport
from auss.inference.live.live_segmenter import LiveSegmenter
from auss.inference.live.sources import parse_source

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


class Sender:
    """A TCP server that sends bytes to its first client, and then closes, resets or keeps the connection."""

    def __init__(self, content, ending, pace):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.socket.getsockname()[1]}"
        self.sent, self.released = threading.Event(), threading.Event()
        threading.Thread(target=self._serve, args=(content, ending, pace), daemon=True).start()

    def _serve(self, content, ending, pace):
        client, _ = self.socket.accept()
        pieces = 40
        for start in range(0, len(content), len(content) // pieces + 1):
            try:
                client.sendall(content[start : start + len(content) // pieces + 1])
            except OSError:  # the receiver has ended
                return
            time.sleep(pace / pieces)
        self.sent.set()
        if ending == "keep":
            self.released.wait(30)
        if ending == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


@pytest.fixture
def sending(make_video):
    """`sending(ending, seconds=..., pace=...)` sends a transport stream over TCP."""
    senders = []

    def start(ending="close", seconds=2.0, pace=0.5, **settings):
        content = make_video("sent.ts", seconds=seconds, codecs=("libx264", "aac"), **settings).read_bytes()
        senders.append(Sender(content, ending, pace))
        return senders[-1]

    yield start
    for sender in senders:
        sender.released.set()
        sender.socket.close()


def frames_of(path):
    with av.open(str(path)) as container:
        frames = [frame.time for frame in container.decode(video=0)]
        sound = container.streams.audio[0].duration if container.streams.audio else None
        return frames, sound


def live(model_folder, sender, output, *words):
    return main(["live", sender.url, "--model", str(model_folder), "-o", str(output), "--device", "cpu", *words])


def test_a_stream_that_ends_gives_a_finished_file(model_folder, sending, tmp_path, capsys):
    assert live(model_folder, sending(), tmp_path / "out.mp4") == 0
    out = capsys.readouterr().out.splitlines()
    frames, sound = frames_of(tmp_path / "out.mp4")
    masks, dropped, received = map(int, re.search(r": (\d+) masks, .*dropped (\d+) of (\d+) frames", out[0]).groups())
    assert masks + dropped == received == 20 and masks == len(frames) and sound is not None
    assert out[1] == f"{tmp_path / 'out.mp4'}: {masks} frames"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out.mp4", "sent.ts"]


@pytest.mark.parametrize(
    "ending, words", [("reset", "reading broke off"), ("keep", "reading broke off (nothing came for 1 s)")]
)
def test_a_stream_that_breaks_off_or_stalls_is_said_and_the_file_is_finished(
    model_folder, sending, tmp_path, capsys, ending, words
):
    assert live(model_folder, sending(ending), tmp_path / "out.mkv", "--timeout", "1") == 1
    assert "auss live: tcp://" in (err := capsys.readouterr().err) and words in err and "Traceback" not in err
    assert len(frames_of(tmp_path / "out.mkv")[0]) >= 2


def test_a_short_stall_is_survived(tiny_model, tiny_processor, sending, make_video):
    sender = sending(seconds=4.0, pace=1.0)
    feed, report = LiveFeed(), LiveReport()
    with reading(parse_source(sender.url), None, feed, 5.0):
        follow(feed, LiveSegmenter(tiny_model, tiny_processor), Outputs(None, None, 2), report)
    assert feed.ending == "" and report.masks + feed.dropped == feed.received == 40


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_end_with_a_finished_file(model_folder, sending, tmp_path, capsys, number, status):
    sender = sending("keep", seconds=5.0)

    def interrupt():
        sender.sent.wait(60)
        time.sleep(0.5)
        signal.raise_signal(number)

    threading.Thread(target=interrupt, daemon=True).start()
    assert live(model_folder, sender, tmp_path / "out.mp4", "--timeout", "20") == status
    assert len(frames_of(tmp_path / "out.mp4")[0]) >= 2
    assert ("masks" if status == 0 else "stopped by SIGTERM") in "".join(capsys.readouterr())
    assert [path.name for path in tmp_path.glob(".auss*")] == []


def test_it_ends_after_the_seconds_that_were_asked_for(model_folder, sending, tmp_path):
    sender = sending("keep", seconds=20.0, pace=20.0)
    assert live(model_folder, sender, tmp_path / "out.mkv", "--seconds", "0.2", "--timeout", "20") == 0
    assert not sender.sent.is_set() and frames_of(tmp_path / "out.mkv")[0][-1] < 19.0


def test_a_stream_without_sound_warns_and_nothing_sounds(model_folder, sending, tmp_path, caplog):
    assert live(model_folder, sending(sound=False), tmp_path / "out.mp4") == 0
    assert "has no sound" in caplog.text and "nothing sounds" in caplog.text
    assert frames_of(tmp_path / "out.mp4")[1] is None


def test_an_output_that_exists_is_refused_before_the_model_is_loaded(tmp_path, capsys):
    (tmp_path / "out.mp4").write_bytes(b"mine")
    assert main(["live", "udp://127.0.0.1:9", "--model", "none", "-o", str(tmp_path / "out.mp4")]) == 2
    assert "--overwrite" in capsys.readouterr().err and (tmp_path / "out.mp4").read_bytes() == b"mine"


class Frame:
    def __init__(self, time):
        self.time, self.picture = time, np.zeros((32, 32, 3), np.uint8)


def test_all_sound_reaches_the_network_before_the_frame(tiny_model, tiny_processor):
    feed, segmenter, report = LiveFeed(), LiveSegmenter(tiny_model, tiny_processor), LiveReport()
    for index in range(20):
        feed.put_sound(SoundPiece(index / 10, np.full(1600, 0.1, np.float32), 16_000))
    feed.put_frame(Frame(1.9), None)
    feed.put_frame(Frame(4.0), None)
    feed.finish("")
    follow(feed, segmenter, Outputs(None, None, 2), report)
    assert segmenter.sound.memory.end == pytest.approx(2.0)
    assert (report.masks, report.without_sound) == (2, 1)


def send_numbers(url, seconds, pauses, began, ready):
    """Sends numbered pictures and noise at real pace, from a process of its own."""
    sys.path.insert(0, str(BENCHMARKS))
    from live_sender import encoded_packets, send

    pictures = [np.full((96, 128, 3), 5 * (index % 50), np.uint8) for index in range(50)]
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * 48_000)
    packets = encoded_packets(pictures, 25, noise, 48_000)
    ready.set()
    time.sleep(1.0)  # the receiver listens by now

    def started(at):
        began.value = at

    send(url, (96, 128), 25, *packets, 48_000, seconds, started=started, pauses=pauses)


def received(tiny_model, tiny_processor, seconds, pauses=(), timeout=8.0, after=None):
    """Runs a sender over UDP and the receiver. Returns the feed, the report and the delays behind the sender."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    began = context.Value("d", 0.0)
    url = f"udp://127.0.0.1:{port}"
    ready = context.Event()
    words = (url + "?pkt_size=1316", seconds, pauses, began, ready)
    process = context.Process(target=send_numbers, args=words, daemon=True)
    segmenter, feed, report = LiveSegmenter(tiny_model, tiny_processor), LiveFeed(), LiveReport()
    segmenter.warm_up((96, 128))
    outputs = Outputs(None, None, 2)
    done = []
    outputs.put = lambda frame, mask: done.append((mask.time, time.monotonic(), feed.received))
    process.start()
    assert ready.wait(120)
    with reading(parse_source(url), None, feed, timeout):
        follow(feed, segmenter, outputs, report)
    process.join()
    delays = [wall - began.value - at for at, wall, _ in done]
    return feed, report, np.array([at for at, _, _ in done]), np.array(delays)


@pytest.mark.slow
def test_at_real_pace_the_delay_stays_bounded(tiny_model, tiny_processor):
    feed, report, times, delays = received(tiny_model, tiny_processor, seconds=15.0, timeout=4.0)
    assert "nothing came for 4 s" in feed.ending
    assert report.masks + feed.dropped == feed.received >= 370
    assert report.rate > 12 and report.without_sound == 0
    assert report.delays.quantile(0.95) < 0.3
    # Between the first seconds, in which the stream is analysed, and the end.
    assert np.ptp(delays[(times > 4) & (times < 14)]) < 1.0


@pytest.mark.slow
def test_a_pause_of_the_sender_is_survived_and_the_delay_does_not_grow(tiny_model, tiny_processor):
    feed, report, times, delays = received(tiny_model, tiny_processor, seconds=14.0, pauses=[(6.0, 8.0)], timeout=5.0)
    assert not ((times > 6.3) & (times < 7.7)).any() and (times > 13).any()
    before, after = (np.median(delays[(times > low) & (times < high)]) for low, high in ((4, 6), (9, 13)))
    assert abs(after - before) < 0.2
