"""Measures `auss live` on a stream that a second process sends over loopback at real pace.

    python benchmarks/benchmark_live.py --model auss-demo/model --video auss-demo/video.mp4 --seconds 120

The sender repeats the packets of the video, encoded once, so that it costs little. The delay of a mask counts from the
time at which the sender sent the frame. So it contains the network, the demuxer, the decoder and the queue.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from live_sender import encoded_packets, send


def video_packets(path: str, size: tuple[int, int] | None, fps: int, seconds: float = 15.0):
    """Reads a video and encodes its beginning for `send`. Returns the size, the packets and the sound's rate."""
    from auss.inference.media.video_reader import VideoReader

    reader = VideoReader(path)
    pictures, end = [], min(seconds, reader.length)
    import av

    for frame in reader.frames(fps):
        if frame.time >= end:
            break
        picture = frame.picture
        if size is not None:
            picture = av.VideoFrame.from_ndarray(picture).reformat(width=size[1], height=size[0]).to_ndarray()
        pictures.append(picture)
    for _ in reader.frames():
        waveform, rate = reader.waveform(0.0, end)
        break
    import soxr

    waveform = soxr.resample(waveform, rate, 48_000)
    return pictures[0].shape[:2], *encoded_packets(pictures, fps, waveform, 48_000), 48_000


def sender(url: str, args: argparse.Namespace, began, ready) -> None:
    """Sends the video to `url`. This is the sender's process."""
    size, pictures, sound, rate = video_packets(args.video, args.size, args.fps)

    def started(at: float) -> None:
        began.value = at

    ready.set()
    time.sleep(1.0)  # the receiver listens by now
    send(url, size, args.fps, pictures, sound, rate, args.seconds, started=started)


class Measured:
    """Stands for the outputs of a live run. It notes delays behind the sender, and the memory."""

    def __init__(self, began, writer=None):
        import psutil

        self.began, self.writer, self.closed = began, writer, False
        self.process = psutil.Process()
        self.first_time = self.first_wall = None
        self.delays, self.memory, self.masks = [], [], 0
        if writer is not None:
            writer.start()

    def put(self, frame, mask) -> None:
        now = time.monotonic()
        self.delays.append(now - (self.began.value + mask.time - self.offset))
        self.masks += bool(mask.segmentation.any())
        if len(self.delays) % 250 == 1:
            self.memory.append((now - self.began.value, self.process.memory_info().rss / 2**20))
        if self.writer is not None:
            self.writer.put_frame(frame, mask)

    offset = 0.0


def measure(args: argparse.Namespace) -> dict:
    """Runs the sender and the receiver. Returns the figures."""
    import torch

    from auss.inference.live.live import follow, reading
    from auss.inference.live.live_feed import LiveFeed
    from auss.inference.live.live_output import OutputThread
    from auss.inference.live.live_report import LiveReport
    from auss.inference.live.live_segmenter import LiveSegmenter
    from auss.inference.live.sources import parse_source
    from auss.inference.segment import load_model

    torch.set_num_threads(1)
    context = multiprocessing.get_context("spawn")
    began = context.Value("d", 0.0)
    url = f"udp://127.0.0.1:{args.port}"
    ready = context.Event()
    process = context.Process(target=sender, args=(url + "?pkt_size=1316", args, began, ready), daemon=True)
    process.start()
    model, processor = load_model(args.model, "cpu")
    segmenter = LiveSegmenter(model, processor)
    segmenter.warm_up((480, 640))
    ready.wait()
    feed, report = LiveFeed(), LiveReport()
    with tempfile.TemporaryDirectory() as folder:
        output = args.output or f"{folder}/marked.mp4"
        writer = None if args.no_output else OutputThread(output, 2)
        results = Measured(began, writer)
        put_frame = feed.put_frame

        def first_frame(frame, info) -> None:  # the first frame that is decoded is the first one that was sent
            results.offset = frame.time
            feed.put_frame = put_frame
            put_frame(frame, info)

        feed.put_frame = first_frame
        cpu, wall = time.process_time(), time.monotonic()
        with reading(parse_source(url), None, feed, args.timeout):
            follow(feed, segmenter, results, report)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        if writer is not None:
            writer.close()
        size = Path(output).stat().st_size / 2**20 if writer is not None else 0.0
    process.join()
    delays = np.array(results.delays)
    late = delays[len(delays) // 20 :]
    return {
        "masks": report.masks,
        "masks a second": round(report.rate, 2),
        "frames": feed.received,
        "dropped": feed.dropped,
        "marked": results.masks,
        "delay behind the sender, median": round(float(np.median(delays)), 3),
        "95 %": round(float(np.quantile(delays, 0.95)), 3),
        "99 %": round(float(np.quantile(delays, 0.99)), 3),
        "most after the start": round(float(late.max()), 3),
        "behind the decoded frame, median": report.delays.quantile(0.5),
        "behind the decoded frame, 95 %": report.delays.quantile(0.95),
        "cpu seconds a second": round(cpu / wall, 2),
        "memory MiB": [round(value) for _, value in results.memory[:: max(1, len(results.memory) // 20)]],
        "output MiB": round(size, 1),
        "ending": feed.ending,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--video", required=True)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the stream; default the video's")
    parser.add_argument("--port", type=int, default=15_004)
    parser.add_argument("--timeout", type=float, default=15.0)
    parser.add_argument("--output", help="keep the marked video; default a temporary file")
    parser.add_argument("--no-output", action="store_true", help="make masks only")
    results = measure(parser.parse_args())
    for name, value in results.items():
        print(f"| {name} | {value} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
