"""Stored frames: which of them can be written unchanged, their colours, and their copies."""

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange

from auss.inference.media.picture.display_matrix import Orientation
from auss.inference.media.picture.frame_planes import (
    BT709,
    CONVERTED_MATRICES,
    FrameColours,
    own_colours,
    planes,
    upright_copy,
    with_known_matrix,
)

BT601_625, BT601, BT2020, PQ, HLG, DISPLAY_P3 = 5, 6, 9, 16, 18, 12


def stored(height=8, width=12, name="yuv420p", colours=(2, 2, 2), color_range=0):
    """A frame with padded lines, in which all neighbouring values differ."""
    frame = av.VideoFrame(width, height, name)
    for number, plane in enumerate(frame.planes):
        plane.update((np.arange(plane.buffer_size) * (number + 3) % 251).astype(np.uint8))
    frame.colorspace, frame.color_primaries, frame.color_trc = colours
    frame.color_range = color_range
    return frame


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (stored(), FrameColours(BT601, BT601, BT601, False)),
        (stored(720, 1280), FrameColours()),
        (stored(1280, 720), FrameColours()),
        (stored(colours=(BT709, DISPLAY_P3, 2)), FrameColours(BT709, DISPLAY_P3, BT709, False)),
        (stored(colours=(BT601_625, 0, 0)), FrameColours(BT601_625, BT601_625, BT601, False)),
        (stored(color_range=ColorRange.JPEG), FrameColours(BT601, BT601, BT601, True)),
        (stored(name="yuvj420p"), FrameColours(BT601, BT601, BT601, True)),
        (stored(colours=(BT2020, BT2020, HLG)), None),
        (stored(colours=(BT709, BT709, PQ)), None),  # its numbers mean another brightness
        (stored(name="rgb24"), None),
    ],
)
def test_own_colours(frame, expected):
    assert own_colours(frame) == expected


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le"])
def test_every_matrix_gives_a_picture(name):
    for matrix in range(18):
        frame = with_known_matrix(stored(48, 64, name, (matrix, 2, 2)))
        assert (int(frame.colorspace) == matrix) == (matrix in CONVERTED_MATRICES)
        assert frame.to_ndarray(format="rgb24").shape == (48, 64, 3)


@pytest.mark.parametrize("name", ["yuv420p", "yuvj420p"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_copy_is_upright_and_leaves_the_frame_alone(name, rotation, mirrored):
    frame = stored(name=name, colours=(1, 1, 1), color_range=ColorRange.JPEG)
    before = [plane.copy() for plane in planes(frame)]
    assert [plane.shape for plane in before] == [(8, 12), (4, 6), (4, 6)]
    colours = own_colours(frame)
    orientation = Orientation(rotation // 90, mirrored)
    copy = upright_copy(frame, (12, 8) if rotation % 180 else (8, 12), orientation, colours)
    assert copy.format.name == "yuv420p" and own_colours(copy) == colours and copy.pict_type == 0
    for plane, expected in zip(planes(copy), before, strict=True):
        turned = np.rot90(expected, rotation // 90)
        np.testing.assert_array_equal(plane, np.fliplr(turned) if mirrored else turned)
        plane[:] = 0
    for plane, expected in zip(planes(frame), before, strict=True):
        np.testing.assert_array_equal(plane, expected)


def bottom_up(frame):
    """Turns a frame over as FFmpeg does, with a negative line size."""
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=12, height=8, format="yuv420p", time_base=1), graph.add("vflip")]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


@pytest.mark.parametrize(
    "frame",
    [
        stored(name="yuv444p"),
        stored(name="yuv420p10le"),
        stored(name="rgb24"),
        stored(10, 12),
        stored(colours=(1, 1, 1)),
        stored(color_range=ColorRange.JPEG),
        bottom_up(stored()),
    ],
    ids=["444", "10 bit", "rgb", "size", "matrix", "range", "bottom up"],
)
def test_what_is_stored_otherwise_is_not_copied(frame):
    colours = own_colours(stored())
    assert upright_copy(stored(), (8, 12), Orientation(), colours) is not None
    assert upright_copy(frame, (8, 12), Orientation(), colours) is None


@pytest.mark.parametrize("size", [(7, 12), (8, 11)])
def test_odd_sizes_are_not_copied(size):
    frame = stored(*size)
    assert upright_copy(frame, size, Orientation(), own_colours(frame)) is None
