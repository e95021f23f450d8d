"""A clock that jumps forwards or backwards is made continuous. A hole in another format stays."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.format import ContainerFormat

from auss.inference.media.containers.stream_clock import StreamClock, clock_may_jump
from auss.inference.media.video_reader import VideoReader

SOUND, PICTURE = SimpleNamespace(type="audio"), SimpleNamespace(type="video")


def packet(stream, start, duration=0.1):
    """Stands in for a packet of a file with a time base of 1 ms."""
    return SimpleNamespace(
        stream=stream,
        stream_index=0 if stream is PICTURE else 1,
        time_base=Fraction(1, 1000),
        size=1,
        pts=round(start * 1000) + 40,
        dts=round(start * 1000),
        duration=round(duration * 1000),
    )


def corrected(packets, name="mpegts"):
    clock = StreamClock(SimpleNamespace(format=ContainerFormat(name, "r")))
    for one in packets:
        clock.correct(one)
    stamps = [None if one.dts is None else one.dts / 1000 for one in packets]
    assert all(one.pts is None if one.dts is None else one.pts == one.dts + 40 for one in packets)
    return stamps, clock.jumps


@pytest.mark.parametrize("jump", [600.0, -500.0, -0.5, 95443.7])
def test_a_jump_moves_all_later_packets(jump):
    before = [packet(PICTURE, 500.0), packet(SOUND, 500.02), packet(PICTURE, 500.1), packet(SOUND, 500.12)]
    after = [packet(SOUND, 500.22 + jump), packet(PICTURE, 500.2 + jump), packet(PICTURE, 500.3 + jump)]
    stamps, jumps = corrected(before + after)
    assert stamps == pytest.approx([500.0, 500.02, 500.1, 500.12, 500.22, 500.2, 500.3], abs=0.002) and jumps == 1


@pytest.mark.parametrize("step", [9.0, 0.0, -0.05])
def test_small_steps_are_kept(step):
    stamps, jumps = corrected([packet(PICTURE, 5.0), packet(PICTURE, 5.1 + step)])
    assert stamps == pytest.approx([5.0, 5.1 + step]) and jumps == 0


def test_a_stream_that_comes_after_the_jump():
    stamps, _ = corrected([packet(PICTURE, 5.0), packet(SOUND, 605.0), packet(PICTURE, 605.1)])
    assert stamps == pytest.approx([5.0, 5.0, 5.1])


def test_a_packet_from_before_the_jump_comes_after_it():
    """The last picture of a transport stream is complete only when the next picture starts."""
    packets = [
        packet(PICTURE, 5.0),
        packet(SOUND, 5.0),
        packet(SOUND, 3.1),
        packet(PICTURE, 5.1),
        packet(PICTURE, 3.2),
    ]
    stamps, jumps = corrected(packets)
    assert stamps == pytest.approx([5.0, 5.0, 5.1, 5.1, 5.2]) and jumps == 1


def test_other_formats_keep_their_holes_but_no_impossible_stamp():
    packets = [packet(PICTURE, time) for time in (0.0, 0.1, 600.0, 600.1, 600.2 + 40 * 3600, 600.3)]
    stamps, jumps = corrected(packets, "matroska")
    assert stamps == pytest.approx([0.0, 0.1, 600.0, 600.1, None, 600.3]) and jumps == 0


def test_which_formats_may_jump():
    may = {name: clock_may_jump(SimpleNamespace(format=ContainerFormat(name, "r"))) for name in ("mpegts", "mp4")}
    assert may == {"mpegts": True, "mp4": False}


def copy_later(source, target, seconds):
    """Copies packets with later stamps."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        streams = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        for one in read.demux():
            if one.dts is None:
                continue
            shift = round(seconds / one.time_base)
            one.pts, one.dts, one.stream = one.pts + shift, one.dts + shift, streams[one.stream_index]
            write.mux(one)
    return target


@pytest.mark.parametrize("seconds", [600, 0])
def test_joined_transport_streams(make_video, media, tmp_path, seconds, caplog):
    """Picture and sound go on where the first recording ended, on the same clock."""
    first = make_video("first.ts", seconds=2.0, codecs=("libx264", "aac"))
    second = copy_later(first, tmp_path / "second.ts", seconds)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    reader, waveforms = VideoReader(joined), []
    frames = []
    for frame in reader.frames():
        frames.append(frame)
        waveforms.append(np.abs(reader.waveform(frame.time, frame.time + 0.1)[0]).max())
    assert [media.number_of(frame.picture) for frame in frames] == [*range(20), *range(20)]
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(40) / 10, atol=0.03)
    assert reader.length == pytest.approx(4.0, abs=0.1) and reader.picture_end == pytest.approx(4.0, abs=0.1)
    assert min(waveforms[2:-2]) > 0.05
    reader.check()
    assert "ran backwards" not in caplog.text and "no frame for" not in caplog.text
