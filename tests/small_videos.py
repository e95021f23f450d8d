"""Real little videos, written with PyAV: every frame carries its number, and the sound is a tone."""

import http.server
import re
import threading
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition

CODECS = {".mp4": ("libx264", "aac"), ".webm": ("libvpx", "libopus"), ".mkv": ("libx264", "libmp3lame")}
NUM_BITS = 10
SPEED = {"libx264": {"preset": "ultrafast", "crf": "18"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}


def numbered_picture(index: int, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: the index in binary as white columns in the upper half, the lower half red left, blue right."""
    picture = np.zeros((height, width, 3), np.uint8)
    columns = np.minimum(np.arange(width) * NUM_BITS // width, NUM_BITS - 1)
    picture[: height // 2] = np.where((index >> columns) & 1, 235, 20)[None, :, None]
    picture[height // 2 :, : width // 2] = (200, 30, 30)
    picture[height // 2 :, width // 2 :] = (30, 30, 200)
    return picture


def number_of(picture: np.ndarray) -> int:
    """The number that a decoded picture carries."""
    row = picture[picture.shape[0] // 4, :, 1].astype(int)
    centres = ((np.arange(NUM_BITS) + 0.5) * picture.shape[1] / NUM_BITS).astype(int)
    return sum(int(row[centre] > 128) << bit for bit, centre in enumerate(centres))


def tone(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """(channels, samples) float32. It rises in pitch and loudness, so that no stretch of it is like another."""
    time = np.arange(round(seconds * rate)) / rate
    wave = (0.1 + 0.02 * time) * np.sin(2 * np.pi * (300 + 50 * time) * time)
    return np.tile(wave, (channels, 1)).astype(np.float32)


def encode_sound(container, stream, waveform: np.ndarray, rate: int) -> None:
    layout = "mono" if len(waveform) == 1 else "stereo"
    for position in range(0, waveform.shape[1], 960):
        piece = np.ascontiguousarray(waveform[:, position : position + 960])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), position
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def set_rotation(path: Path, degrees: int, mirrored: bool = False) -> None:
    """Turns the picture of an mp4 counterclockwise by its track header's matrix, as a phone does; and then mirrors it
    from left to right."""
    turn, side = np.deg2rad(-degrees), -1 if mirrored else 1
    matrix = [side * np.cos(turn), np.sin(turn), 0, side * -np.sin(turn), np.cos(turn), 0, 0, 0, 2**14]
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44  # the first track is the picture's
    content[start : start + 36] = np.round(np.array(matrix) * 2**16).astype(">i4").tobytes()
    path.write_bytes(content)


def write_video(
    path: Path,
    seconds: float = 3.0,
    fps: int = 10,
    size: tuple[int, int] = (48, 64),
    audio_seconds: float | None = None,
    channels: int = 1,
    rate: int = 48_000,
    times: list[float] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    codecs: tuple[str, str] | None = None,
    options: dict | None = None,
    sound: bool = True,
    picture: bool = True,
    waveform: np.ndarray | None = None,
) -> Path:
    """Writes a video; `times` are the frames' times where they are not evenly spaced. The sound is a tone, unless
    `waveform` (channels, samples) is given."""
    video_codec, audio_codec = codecs or CODECS[path.suffix]
    with av.open(str(path), "w", options=options or {}) as container:
        if picture:
            video = container.add_stream(video_codec, rate=fps, options=dict(SPEED.get(video_codec, {})))
            video.height, video.width = size
            video.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000 * fps)
        if sound:
            audio = container.add_stream(audio_codec, rate=rate, layout="mono" if channels == 1 else "stereo")
        frame_times = times if times is not None else [index / fps for index in range(round(seconds * fps))]
        if picture:
            for index, time in enumerate(frame_times):
                frame = av.VideoFrame.from_ndarray(numbered_picture(index, *size), format="rgb24")
                frame.pts, frame.time_base = round(time * 1000 * fps), Fraction(1, 1000 * fps)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if sound:
            waveform = tone(audio_seconds or seconds, rate, channels) if waveform is None else waveform
            encode_sound(container, audio, waveform, rate)
    if rotation or mirrored:
        set_rotation(path, rotation, mirrored)
    return path


@pytest.fixture
def make_video(tmp_path):
    """`make_video(name, **settings)` writes a video into the test's own folder; see `write_video`."""
    return lambda name, **settings: write_video(tmp_path / name, **settings)


def write_tracks(
    path: Path,
    tracks: list[np.ndarray | None],
    codec: str = "pcm_f32le",
    layout: str = "mono",
    rate: int = 16_000,
    languages: tuple[str, ...] = (),
    seconds: float = 3.0,
    flags: tuple[Disposition, ...] = (),
) -> Path:
    """Writes a video of 10 frames a second with several sound tracks, (channels, samples) each; `None` is a track
    without packets. `languages` and `flags` belong to the tracks in order."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options=dict(SPEED["libx264"]))
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        streams = [container.add_stream(codec, rate=rate, layout=layout) for _ in tracks]
        for stream, language in zip(streams, languages, strict=False):
            stream.metadata["language"] = language
        for stream, flag in zip(streams, flags, strict=False):
            stream.disposition = flag
        for index in range(round(seconds * 10)):
            frame = av.VideoFrame.from_ndarray(numbered_picture(index, 48, 64), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream, waveform in zip(streams, tracks, strict=True):
            if waveform is None:
                continue
            for position in range(0, waveform.shape[1], 1024):
                packed = np.ascontiguousarray(waveform[:, position : position + 1024].T, np.float32).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
                frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), position
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.fixture
def make_tracks(tmp_path):
    """`make_tracks(name, tracks, **settings)` writes a video into the test's own folder; see `write_tracks`."""
    return lambda name, tracks, **settings: write_tracks(tmp_path / name, tracks, **settings)


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder's files and ranges of them, as video servers do; of no file more than its first `sent` bytes."""

    sent: int | None = None
    log_message = staticmethod(lambda *_: None)

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        first, last = int(asked[1]), int(asked[2] or len(content) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        try:
            self.wfile.write(content[first : min(last + 1, self.sent or len(content))])
        except ConnectionError:  # the reader has what it wanted
            self.close_connection = True


@pytest.fixture
def serve():
    """`serve(folder)` serves it on this machine and returns the URL; with `sent`, connections break off there."""
    servers = []

    def start(folder, sent=None):
        handler = type("Handler", (RangeHandler,), {"sent": sent})
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def lag_and_match(expected: np.ndarray, found: np.ndarray, rate: int) -> tuple[float, float]:
    """How many seconds, up to 20 ms, `found` (samples,) is late against `expected`, and their correlation then."""
    reach = rate // 50
    middle = slice(reach, min(len(expected), len(found)) - reach)
    errors = {}
    for lag in range(-reach, reach + 1):
        shifted = found[middle.start + lag : middle.stop + lag]
        errors[lag] = np.abs(expected[middle][: len(shifted)] - shifted).mean()
    lag = min(errors, key=errors.get)
    shifted = found[middle.start + lag : middle.stop + lag]
    return lag / rate, float(np.corrcoef(expected[middle][: len(shifted)], shifted)[0, 1])


@pytest.fixture
def media():
    """The helpers of this file, for tests."""
    return SimpleNamespace(
        number_of=number_of,
        tone=tone,
        lag_and_match=lag_and_match,
        picture=numbered_picture,
        encode_sound=encode_sound,
    )


class RedSounds:
    """Stands in for a trained network: the red half of a picture sounds, but only in a window with a tone in it.

    So masks are known exactly, and a frame paired with the wrong sound shows.
    """

    def __init__(self):
        self.config = SimpleNamespace(
            num_audio_examples=5, num_labels=2, id2label={0: "silent", 1: "sounding"}, audio_input=True
        )
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.auss = self
        self.heard: list[list[int]] = []  # of every window that was heard, which examples are sound
        self.passes: list[int] = []  # frames of every pass

    def frame_queries(self, num_frames, input_features, input_features_mask, frame_examples):
        """One query of one feature: whether there is a tone in the window."""
        self.heard.append(input_features_mask[0].tolist())
        loud = input_features.amax(dim=(2, 3)) > -1
        tone = float((loud & input_features_mask.bool()).any())
        return None, torch.full((1, num_frames, 1, 1), tone)

    def __call__(self, pixel_values, frame_queries):
        self.passes.append(len(pixel_values))
        red = (pixel_values[:, :, 0] - pixel_values[:, :, 2] > 1).float()
        sounding = red * frame_queries[..., 0, 0, None, None]
        return SimpleNamespace(logits=torch.stack([1 - sounding, sounding], dim=2))


@pytest.fixture
def red_sounds():
    return RedSounds()
