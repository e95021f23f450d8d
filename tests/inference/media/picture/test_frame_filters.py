"""Interlaced frames lose their combs and keep their times. High dynamic range becomes BT.709 as computed."""

from fractions import Fraction

import av
import numpy as np
import pytest

from auss.inference.media.picture.frame_filters import ToneMap, deinterlaced
from auss.inference.media.picture.frame_planes import planes
from auss.inference.media.picture.tone_mapping import BT2020, HLG, PQ, Range, ordinary_colours


def combed(number, interlaced=True):
    """An interlaced frame with a bright block that moves by 8 pixels from one field to the next."""
    frame = av.VideoFrame(96, 32, "yuv420p")
    for plane, value in zip(planes(frame), (40, 128, 128), strict=True):
        plane[:] = value
    for field in range(2):
        left = 8 * (2 * number + field)
        planes(frame)[0][field::2, left : left + 24] = 200
    frame.pts, frame.time_base, frame.duration = 3 * number, Fraction(1, 30), 3
    if interlaced:
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(width=96, height=32, format="yuv420p", time_base=frame.time_base)]
        nodes += [graph.add("setfield", "tff"), graph.add("buffersink")]
        graph.link_nodes(*nodes).configure()
        graph.push(frame)
        frame = graph.vpull()
    return frame


def combs(frame):
    """The mean difference of a line from both of its neighbours."""
    lines = planes(frame)[0].astype(int)
    middle, above, below = lines[1:-1], lines[:-2], lines[2:]
    return np.minimum(np.abs(middle - above), np.abs(middle - below)).mean()


def test_combs_go_and_times_stay():
    frames = [combed(number) for number in range(5)]
    assert all(frame.interlaced_frame for frame in frames)
    found = list(deinterlaced(frames))
    assert [(frame.pts, frame.duration, frame.time_base) for frame in found] == [
        (3 * number, 3, Fraction(1, 30)) for number in range(5)
    ]
    assert not any(frame.interlaced_frame for frame in found)
    assert all(combs(frame) < 0.1 * combs(before) for frame, before in zip(found, frames, strict=True))


def test_progressive_frames_are_left_alone():
    frames = [combed(number, interlaced=False) for number in range(3)]
    assert all(one is other for one, other in zip(deinterlaced(frames), frames, strict=True))


def test_frames_of_another_size_start_anew():
    frames = [combed(0), combed(1), combed(2).reformat(width=48), combed(3).reformat(width=48)]
    found = list(deinterlaced(frames))
    assert [(frame.width, frame.pts) for frame in found] == [(96, 0), (96, 3), (48, 6), (48, 9)]


def bars(transfer):
    """A frame of 10 bits in BT.2020 with bars of 16 pixels, and the signals of the bars."""
    signals = np.array([[0.2, 0.2, 0.2], [0.4, 0.3, 0.3], [0.32, 0.42, 0.36], [0.3, 0.3, 0.5], [0.58, 0.58, 0.58]])
    picture = np.repeat(np.round(signals * 65535).astype(np.uint16), 16, axis=0)[None].repeat(32, axis=0)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb48le")
    frame = frame.reformat(format="yuv420p10le", dst_colorspace=BT2020, dst_color_range=1)
    frame.color_primaries, frame.color_trc, frame.time_base = BT2020, transfer, Fraction(1, 10)
    return frame, signals


@pytest.mark.parametrize("transfer", [PQ, HLG, 14])
@pytest.mark.parametrize("format_name", ["rgb24", "yuv420p"])
def test_tone_map(transfer, format_name):
    frame, signals = bars(transfer)
    source = Range(transfer, wide=True)
    tone_map = ToneMap(source)
    expected = 255 * ordinary_colours(signals, source)
    for _ in range(2):
        found = tone_map.convert(frame, format_name)
        assert found.format.name == format_name and (found.color_primaries, found.color_trc) == (1, 1)
        pixels = found.to_ndarray(format="rgb24", src_colorspace="itu709")[16, 8::16]
        assert np.abs(pixels - expected).max() < 5
