"""Pictures as they are shown: transparency, palettes, grey, deep and high-dynamic-range video, and held frames."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from auss.inference.media.picture.display_matrix import Orientation
from auss.inference.media.picture.frame_filters import ToneMap
from auss.inference.media.picture.frame_planes import FrameColours, own_colours
from auss.inference.media.picture.tone_mapping import BT2020, PQ, extended_range
from auss.inference.media.timed_frame import TimedFrame, composited, upright_picture

BLOCKS = np.array([[200, 30, 30], [30, 160, 30], [30, 30, 170], [128, 128, 128]], np.uint8)


def picture_of_blocks():
    return np.repeat(BLOCKS, 16, axis=0)[None].repeat(48, axis=0)


def described(frame, orientation=None, **fields):
    orientation = orientation or Orientation()
    size = (frame.width, frame.height) if orientation.sideways else (frame.height, frame.width)
    colours = own_colours(frame) or FrameColours()
    facts = {"path": "clip.mp4", "orientation": orientation, "colours": colours}
    return SimpleNamespace(height=size[0], width=size[1], **facts, **fields)


@pytest.mark.parametrize(
    "name",
    [
        "yuv420p",
        "yuv422p",
        "yuv444p",
        "yuv420p10le",
        "yuv422p10le",
        "yuv444p12le",
        "yuvj420p",
        "gbrp",
        "rgb24",
        "bgra",
    ],
)
def test_formats(name):
    frame = av.VideoFrame.from_ndarray(picture_of_blocks(), format="rgb24").reformat(format=name)
    found = upright_picture(frame, described(frame))
    assert found.dtype == np.uint8 and np.abs(found[24, 8::16].astype(int) - BLOCKS).max() <= 4


@pytest.mark.parametrize("name", ["gray", "gray10le", "gray16le"])
def test_grey(name):
    frame = av.VideoFrame.from_ndarray(picture_of_blocks(), format="rgb24").reformat(format=name)
    found = upright_picture(frame, described(frame))[24, 8::16].astype(int)
    brightness = BLOCKS @ np.array([0.299, 0.587, 0.114])
    assert np.abs(found - brightness[:, None]).max() <= 3


@pytest.mark.parametrize("name", ["rgba", "yuva420p", "gbrap", "pal8"])
def test_transparency_lies_over_black(name):
    rgba = np.concatenate([picture_of_blocks(), np.full((48, 64, 1), 255, np.uint8)], axis=-1)
    rgba[:, :16, 3], rgba[:, 48:, 3] = 0, 128
    if name == "pal8":
        indices = np.arange(4, dtype=np.uint8).repeat(16)[None].repeat(48, axis=0)
        palette = rgba[0, ::16][:, [3, 0, 1, 2]].copy()
        palette = np.concatenate([palette, np.zeros((252, 4), np.uint8)])
        frame = av.VideoFrame.from_ndarray((indices, palette), format="pal8")
    else:
        frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=name)
    found = upright_picture(frame, described(frame))[24, 8::16].astype(int)
    expected = BLOCKS * np.array([[0], [1], [1], [128 / 255]])
    assert np.abs(found - expected).max() <= 4


def test_opaque_pictures_are_not_copied():
    picture = np.full((4, 4, 4), 255, np.uint8)
    assert np.shares_memory(composited(picture), picture)


def test_turned_and_mirrored():
    frame = av.VideoFrame.from_ndarray(picture_of_blocks(), format="rgb24")
    found = upright_picture(frame, described(frame, Orientation(1, mirrored=True)))
    np.testing.assert_array_equal(found, np.fliplr(np.rot90(picture_of_blocks())))
    assert found.flags["C_CONTIGUOUS"]


def test_high_dynamic_range_as_picture_and_as_planes():
    frame = av.VideoFrame.from_ndarray(picture_of_blocks(), format="rgb24")
    frame = frame.reformat(format="yuv420p10le", dst_colorspace=BT2020, dst_color_range=1)
    frame.color_primaries, frame.color_trc, frame.time_base = BT2020, PQ, Fraction(1, 10)
    source = extended_range(frame)
    assert (source.transfer, source.wide) == (PQ, True)
    timed = TimedFrame(3, 0.5, 0.9, frame, described(frame), ToneMap(source))
    planar = timed.planar_copy()
    assert planar.format.name == "yuv420p" and own_colours(planar) == FrameColours()
    pixels = planar.to_ndarray(format="rgb24", src_colorspace="itu709")[24, 8::16].astype(int)
    assert np.abs(pixels - timed.picture[24, 8::16]).max() <= 4


def test_a_held_frame_is_the_same_picture_later():
    frame = av.VideoFrame.from_ndarray(picture_of_blocks(), format="rgb24")
    timed = TimedFrame(3, 0.5, 0.9, frame, described(frame), None)
    picture = timed.picture
    later = timed.held(0.7)
    assert (later.index, later.time, later.end, timed.time) == (3, 0.7, 0.9, 0.5)
    assert later.picture is picture and timed.held(0.5) is timed
