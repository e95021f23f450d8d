"""Decoded frames in their stored form: 8-bit planes of brightness and colour, and the meaning of their values.

Colours are numbered as in H.273. FFmpeg uses the same numbers. https://www.itu.int/rec/T-REC-H.273
"""

from dataclasses import dataclass
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import ColorRange

from .display_matrix import Orientation
from .tone_mapping import is_extended

RESERVED, UNSPECIFIED = 0, 2  # of primaries and transfer function; UNSPECIFIED also of the matrix
HIGH_DEFINITION_HEIGHT = 720  # players assume BT.709 from this height on and BT.601 below it
BT709 = 1  # number of the matrix, the primaries and the transfer function
BT601_625, BT601_525 = 5, 6  # matrix and primaries of two systems; 6 is also the transfer function
BT2020 = 9  # number of the matrix
# The matrices that FFmpeg converts: RGB, and the matrices that three weights of brightness define. FFmpeg refuses the
# others, such as YCgCo, ICtCp and the matrix of Dolby Vision.
CONVERTED_MATRICES = frozenset({0, BT709, UNSPECIFIED, 4, BT601_625, BT601_525, 7, BT2020})
CONSTANT_BRIGHTNESS = 10  # the matrix of BT.2020 with constant luminance
MATRICES = (BT709, BT601_625, BT601_525)
# Formats with Y at full size, and U and V at half of it. yuvj420p is FFmpeg's name for yuv420p with a full range.
PLANAR_FORMATS = ("yuv420p", "yuvj420p")


@dataclass(frozen=True)
class FrameColours:
    """How the values of brightness and colour planes translate to red, green and blue."""

    matrix: int = BT709  # one of `MATRICES`
    primaries: int = BT709
    transfer: int = BT709
    full_range: bool = False  # whether Y goes from 0 to 255 instead of 16 to 235


def own_colours(frame: av.VideoFrame) -> FrameColours | None:
    """The colours that a frame declares. Missing values are filled in as players do.

    Returns None for all colours but BT.709 and BT.601, such as RGB, BT.2020 or a high dynamic range.
    """
    if is_extended(frame):
        return None
    matrix = int(frame.colorspace)
    if matrix == UNSPECIFIED:
        matrix = BT709 if min(frame.height, frame.width) >= HIGH_DEFINITION_HEIGHT else BT601_525
    if frame.format.is_rgb or matrix not in MATRICES:
        return None
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    if primaries in (RESERVED, UNSPECIFIED):
        primaries = matrix
    if transfer in (RESERVED, UNSPECIFIED):
        transfer = BT709 if matrix == BT709 else BT601_525
    full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return FrameColours(matrix, primaries, transfer, full_range)


def with_known_matrix(frame: av.VideoFrame) -> av.VideoFrame:
    """Returns the same frame. If FFmpeg does not convert its matrix, the closest convertible matrix replaces it."""
    matrix = int(frame.colorspace)
    if matrix not in CONVERTED_MATRICES:
        frame.colorspace = BT2020 if matrix == CONSTANT_BRIGHTNESS else UNSPECIFIED
    return frame


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes of a frame in one of `PLANAR_FORMATS`, as (h, w) uint8 views of the frame's memory."""
    return [
        np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    ]


def upright_copy(
    frame: av.VideoFrame, size: tuple[int, int], orientation: Orientation, colours: FrameColours
) -> av.VideoFrame | None:
    """Copies a frame and turns and mirrors the copy as it is shown. The copy may be drawn on. The frame itself must
    not change, because the decoder may still predict other frames from it.

    Args:
        frame: the frame as it was decoded.
        size: the height and width of the copy, both even.
        orientation: how the frame is turned and mirrored.
        colours: the colours of the copy.

    Returns:
        A frame in the format yuv420p that declares its colours. None if a copy is not enough, because the frame has
        another format, another size, other colours or an odd size, or is stored bottom up.
    """
    stored = (frame.width, frame.height) if orientation.sideways else (frame.height, frame.width)
    if frame.format.name not in PLANAR_FORMATS or stored != size or size[0] % 2 or size[1] % 2:
        return None
    if own_colours(frame) != colours or any(plane.line_size < 0 for plane in frame.planes):
        return None
    copy = av.VideoFrame(size[1], size[0], "yuv420p")
    for source, target in zip(planes(frame), planes(copy), strict=True):
        np.copyto(target, orientation.upright(source))
    copy.colorspace, copy.color_primaries, copy.color_trc = colours.matrix, colours.primaries, colours.transfer
    copy.color_range = ColorRange.JPEG if colours.full_range else ColorRange.MPEG
    return copy


__all__ = [
    "BT709",
    "CONVERTED_MATRICES",
    "PLANAR_FORMATS",
    "UNSPECIFIED",
    "FrameColours",
    "own_colours",
    "planes",
    "upright_copy",
    "with_known_matrix",
]
