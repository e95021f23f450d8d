"""The properties in the header and the first frame, and the end of the packets, in each format."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from auss.inference.media.picture.display_matrix import Orientation
from auss.inference.media.video_probe import frame_rate, probe, scan_extent


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("rotation", "turns"), [(0, 0), (90, 1), (180, 2), (-90, 3)])
def test_orientation(make_video, rotation, turns, mirrored):
    info = probe(make_video("turned.mp4", seconds=1.0, rotation=rotation, mirrored=mirrored))
    assert (info.orientation.quarter_turns, info.orientation.mirrored) == (turns, mirrored)
    assert (info.width, info.height) == ((48, 64) if turns % 2 else (64, 48)) and info.rotation == 90 * turns
    assert info.warnings == ()


def test_what_stays_askew_is_told(make_video):
    info = probe(make_video("askew.mp4", seconds=1.0, rotation=30))
    assert info.orientation.quarter_turns == 0 and info.orientation != Orientation()
    assert "turned by 30 more degrees" in info.warnings[0]


def test_transparency_that_no_decoder_reads_is_told(tmp_path):
    path = tmp_path / "alpha.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["alpha_mode"] = "1"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    assert "transparency cannot be read" in probe(path).warnings[0]


def test_brightness_that_no_screen_has_is_told(tmp_path):
    path = tmp_path / "linear.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.color_trc = 8
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    assert "its brightness is coded linearly" in probe(path).warnings[0]


@pytest.mark.parametrize(
    ("average", "guessed", "duration", "expected"),
    [
        (Fraction(24), Fraction(24), 0, 24),
        (None, Fraction(30), 0, 30),
        (None, None, 0, 25),
        (Fraction(60_000), Fraction(25), 2400, 25),  # raw DV
        (Fraction(90_000), Fraction(90_000), 3000, 20),
        (Fraction(90_000), Fraction(50), 0, 50),
        (Fraction(90_000), Fraction(90_000), 0, 25),
    ],
)
def test_a_rate_that_cannot_be_is_not_believed(average, guessed, duration, expected):
    stream = SimpleNamespace(average_rate=average, guessed_rate=guessed)
    frame = SimpleNamespace(duration=duration, time_base=Fraction(1, 60_000))
    assert frame_rate(stream, frame) == expected


def reordered(path, seconds, codec="libx264", hole=0.0, fps=10):
    """Writes a video with reordered frames. Its second half is shown later by `hole`."""
    count = round(seconds * fps)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"bf": "3", "b-adapt": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * index, np.uint8), format="rgb24")
            frame.pts = index + (round(hole * fps) if index >= count // 2 else 0)
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.avi", "b.ts", "b.h264"])
def test_extent_of_reordered_frames(tmp_path, name):
    path = reordered(tmp_path / name, 2.0)
    info = probe(path)
    extent = scan_extent(path, info.interval)
    start = extent.picture_start if info.decoding_order else info.origin
    assert extent.picture_end - start == pytest.approx(2.0, abs=0.002)
    assert info.decoding_order == (name == "b.avi") and extent.sound_end is None


def test_extent_of_reordered_frames_with_a_hole(tmp_path):
    path = reordered(tmp_path / "hole.mp4", 2.0, hole=3.0)
    info = probe(path)
    assert scan_extent(path, info.interval).picture_end - info.origin == pytest.approx(5.0, abs=0.11)


def test_extent_of_sound_and_picture(make_video):
    path = make_video("longer.mkv", seconds=2.0, audio_seconds=4.0)
    extent = scan_extent(path, 0.1, sound_index=1)
    assert extent.picture_end == pytest.approx(2.0, abs=0.01) and extent.sound_end == pytest.approx(4.0, abs=0.06)
    assert extent.file_end == extent.sound_end
