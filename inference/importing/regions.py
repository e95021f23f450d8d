"""Turns the outlines and run lengths of labelling programs into masks: bool (H, W), True inside.

All functions check what they read. Their input comes from files that other people may have written.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...files.errors import InputError

# Pillow's limit against decompression bombs. A mask of a larger size is refused before its memory is reserved.
MOST_PIXELS = 89_478_485
# COCO's compressed run lengths use the 64 characters from "0" on, six bits each. Bit 5 says that more of them follow.
FIRST_CHARACTER, MORE_FOLLOWS, SIGN = 48, 32, 16
FARTHEST = 1e9  # pixels from the corner of the picture to a corner of a polygon
LONGEST_NUMBER = 13  # characters of a number of 64 bits
ELLIPSE_CORNERS = 128
# Label Studio: the bits of the number of values, of the word size, and of each of the four run sizes.
COUNT_BITS, WORD_BITS, RUN_SIZE_BITS = 32, 5, 4
RGBA = 4


def check_mask_size(height: Any, width: Any) -> tuple[int, int]:
    """Returns the size of a mask as (height, width). Raises ValueError for no size, or one beyond Pillow's limit."""
    try:
        size = int(height), int(width)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"a mask's height and width must be numbers, got {height!r} and {width!r}") from error
    if min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        raise InputError(f"a mask must have 1 to {MOST_PIXELS} pixels, got {size[1]} x {size[0]}")
    return size


def fill_polygon(points: Any, size: tuple[int, int]) -> np.ndarray:
    """Fills a closed polygon: a pixel is inside if its centre is. Where the outline goes around twice, it is outside.

    Args:
        points: (N, 2) x and y in pixels, from the upper left corner of the picture. Parts of the polygon may lie
            outside of the picture.
        size: (height, width) of the mask.

    Returns:
        bool (H, W).

    Raises:
        ValueError: there are fewer than three points, or a coordinate is not a finite number.
    """
    try:
        corners = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"a polygon must be a list of x and y, got {str(points)[:60]}") from error
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not (np.abs(corners) < FARTHEST).all():
        raise InputError(
            f"a polygon must have at least three points, with x and y below {FARTHEST:g}, got {str(points)[:60]}"
        )
    height, width = size
    # Every edge changes inside to outside, and back, for the pixels of a row to the right of where it crosses the row.
    changes = np.zeros((height, width + 1), dtype=np.int32)
    for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y == next_y:
            continue
        top, bottom = sorted((y, next_y))
        rows = np.arange(max(0, int(np.ceil(min(top, height) - 0.5))), int(np.ceil(np.clip(bottom, 0, height) - 0.5)))
        crossings = x + (rows + 0.5 - y) * (next_x - x) / (next_y - y)
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
        np.add.at(changes, (rows, columns), 1)
    return np.cumsum(changes[:, :width], axis=1) % 2 == 1


def fill_ellipse(
    centre: tuple[float, float], radii: tuple[float, float], degrees: float, size: tuple[int, int]
) -> np.ndarray:
    """Fills an ellipse, drawn as a polygon of many corners.

    Args:
        centre, radii: x and y in pixels.
        degrees: how far the ellipse is turned clockwise.
        size: (height, width) of the mask.

    Returns:
        bool (H, W).
    """
    angles, turn = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False), np.deg2rad(degrees)
    along, across = np.cos(angles) * radii[0], np.sin(angles) * radii[1]
    x = centre[0] + along * np.cos(turn) - across * np.sin(turn)
    y = centre[1] + along * np.sin(turn) + across * np.cos(turn)
    return fill_polygon(np.stack([x, y], axis=1), size)


def fill_runs(runs: Sequence[int], size: tuple[int, int], by_columns: bool) -> np.ndarray:
    """Makes a mask of run lengths that begin with a run outside.

    Args:
        runs: the lengths of the runs, alternately outside and inside.
        size: (height, width) of the mask.
        by_columns: True for COCO, whose runs go down the columns. CVAT's runs go along the rows.

    Raises:
        ValueError: the runs do not add up to the number of pixels, or are not numbers of at least 0.
    """
    try:
        lengths = np.asarray(runs, dtype=np.int64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"run lengths must be whole numbers, got {str(runs)[:60]}") from error
    pixels = size[0] * size[1]
    if (lengths < 0).any() or (lengths > pixels).any() or lengths.sum() != pixels:
        raise InputError(
            f"run lengths must add up to the {pixels} pixels of {size[1]} x {size[0]}, got a sum of {lengths.sum()}"
        )
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return flat.reshape(size[1], size[0]).T if by_columns else flat.reshape(size)


def read_coco_string(text: str) -> list[int]:
    """Returns the run lengths in a compressed COCO string.

    A number is stored in groups of five bits, the lowest first, each as a character. From the fourth number on, the
    difference to the second number before is stored.

    Raises:
        ValueError: the text has other characters, or ends within a number.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - FIRST_CHARACTER
        if not 0 <= group < 2 * MORE_FOLLOWS or shift >= 5 * LONGEST_NUMBER:
            raise InputError(f"compressed run lengths must consist of the characters '0' to 'o', got {text[:60]!r}")
        value |= (group & (MORE_FOLLOWS - 1)) << shift
        shift += 5
        if group & MORE_FOLLOWS:
            continue
        if group & SIGN:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise InputError(f"compressed run lengths end within a number: {text[-20:]!r}")
    return runs


class BitReader:
    """Reads numbers of any count of bits from bytes, the highest bit first."""

    def __init__(self, content: bytes):
        self._bits = "".join(f"{byte:08b}" for byte in content)
        self._position = 0

    def number(self, count: int) -> int:
        """Returns the number in the next `count` bits. Raises ValueError if fewer bits are left."""
        taken = self._bits[self._position : self._position + count]
        if len(taken) < count:
            raise InputError("Label Studio's rle ends too early")
        self._position += count
        return int(taken, 2)


def read_label_studio_runs(content: Any, size: tuple[int, int]) -> np.ndarray:
    """Makes a mask of the bytes in Label Studio's `rle`, which hold an RGBA picture. A pixel is inside if its opacity
    is at least half.

    The first 32 bits are the number of values. Then come the word size less one (5 bits), and four run sizes less one
    (4 bits each). Each run begins with a bit that says whether its values are all equal, and two bits that choose the
    run size in which its length less one is stored.

    Args:
        content: a list of bytes, numbers of 0 to 255.
        size: (height, width) of the picture.

    Raises:
        ValueError: the content is no such list, ends too early, or holds a picture of another size.
    """
    try:
        if not isinstance(content, list):  # bytes(number) would reserve that many bytes
            raise TypeError
        bits = BitReader(bytes(content))
    except (TypeError, ValueError) as error:
        raise InputError("Label Studio's rle must be a list of numbers of 0 to 255") from error
    count = bits.number(COUNT_BITS)
    expected = size[0] * size[1] * RGBA
    if count != expected:
        raise InputError(
            f"Label Studio's rle must hold {expected} values for a picture of {size[1]} x {size[0]}, got {count}"
        )
    word = bits.number(WORD_BITS) + 1
    run_sizes = [bits.number(RUN_SIZE_BITS) + 1 for _ in range(4)]
    values = np.zeros(count, dtype=np.uint8)
    position = 0
    while position < count:
        equal = bits.number(1)
        end = min(count, position + 1 + bits.number(run_sizes[bits.number(2)]))
        if equal:
            values[position:end] = bits.number(word) & 255
        else:
            values[position:end] = [bits.number(word) & 255 for _ in range(position, end)]
        position = end
    return values.reshape(*size, RGBA)[..., 3] >= 128


__all__ = [
    "check_mask_size",
    "fill_ellipse",
    "fill_polygon",
    "fill_runs",
    "read_coco_string",
    "read_label_studio_runs",
]
