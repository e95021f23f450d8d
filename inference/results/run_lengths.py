"""Masks as run lengths, in the compressed form of COCO that pycocotools, Detectron2 and label tools read.

The form is that of `pycocotools.mask`: the pixels are read column by column, and the lengths of the runs of 0 and 1
alternate, beginning with 0. From the fourth length on, the difference to the length two places before is stored. Each
number is cut into groups of five bits, the lowest first; a sixth bit says that another group follows. A group is
written as the character with the code 48 + its value.
"""

from typing import Any

import numpy as np

from ...files.errors import InputError

GROUP_BITS = 5
FOLLOWED = 1 << GROUP_BITS  # the bit that says that another group follows
SIGN = 1 << (GROUP_BITS - 1)  # of the last group: the bits above it are all 1 if it is set
FIRST_CHARACTER = 48
MOST_GROUPS = 13  # of a number of 64 bits


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Returns the lengths of the runs of 0 and 1 in a mask (H, W) bool, read column by column, beginning with 0."""
    pixels = np.asarray(mask, bool).ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [pixels.size]]))
    return np.concatenate([[0], lengths]) if pixels.size and pixels[0] else lengths


def compress(lengths: np.ndarray) -> str:
    """Compresses run lengths (n,) to text."""
    rest = lengths.astype(np.int64)
    rest[3:] -= lengths[1:-2]
    groups, used = [], []
    goes_on = np.ones(rest.shape, bool)
    while goes_on.any():
        group = rest & (FOLLOWED - 1)
        rest = rest >> GROUP_BITS
        used.append(goes_on)
        goes_on = goes_on & np.where(group & SIGN, rest != -1, rest != 0)
        groups.append(group | FOLLOWED * goes_on)
    # Each row holds the groups of one number.
    characters = np.stack(groups, axis=1)[np.stack(used, axis=1)] + FIRST_CHARACTER
    return characters.astype(np.uint8).tobytes().decode("ascii")


def decompress(text: str | bytes) -> np.ndarray:
    """Turns compressed text back into run lengths (n,) int64. Raises ValueError for text that is no such form."""
    data = text.encode("ascii", errors="replace") if isinstance(text, str) else bytes(text)
    groups = np.frombuffer(data, np.uint8).astype(np.int64) - FIRST_CHARACTER
    if not len(groups) or groups.min() < 0 or groups.max() >= 2 * FOLLOWED or groups[-1] & FOLLOWED:
        raise InputError("counts must be the compressed run lengths of COCO")
    last = np.flatnonzero(groups & FOLLOWED == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() >= MOST_GROUPS:
        raise InputError("counts must be the compressed run lengths of COCO: a number in it is too large")
    shifts = GROUP_BITS * (np.arange(len(groups)) - np.repeat(first, last - first + 1))
    numbers = np.add.reduceat((groups & (FOLLOWED - 1)) << shifts, first)
    numbers -= np.where(groups[last] & SIGN, np.int64(1) << (shifts[last] + GROUP_BITS).clip(max=62), 0)
    lengths = numbers.copy()
    lengths[1::2], lengths[2::2] = np.cumsum(numbers[1::2]), np.cumsum(numbers[2::2])
    return lengths


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """Encodes a mask as `pycocotools.mask.encode` does, but with text that JSON takes in place of bytes.

    Args:
        mask: (H, W) bool, or numbers of which all but 0 belong to the mask; or a picture of mode L.

    Returns:
        A dict of `size`, [height, width], and `counts`, the compressed run lengths.

    Raises:
        ValueError: `mask` is no array (H, W) of at least one pixel.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"mask must be an array (H, W) of at least one pixel, got shape {array.shape}")
    return {"size": list(array.shape), "counts": compress(run_lengths(array != 0))}


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """Decodes a mask of COCO's compressed run lengths.

    Args:
        rle: a dict of `size`, [height, width], and `counts`, text or bytes, as `encode_rle` and pycocotools give it.

    Returns:
        The mask, (H, W) bool.

    Raises:
        ValueError: an entry is missing, or the run lengths do not fill a mask of the size.
    """
    try:
        (height, width), counts = rle["size"], rle["counts"]
        size = int(height), int(width)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("rle must be a dict of size, [height, width], and counts") from error
    if not isinstance(counts, str | bytes):
        raise InputError(f"counts must be text or bytes, got {type(counts).__name__}")
    lengths = decompress(counts)
    if lengths.min() < 0 or lengths.sum() != size[0] * size[1]:
        raise InputError(f"counts must be run lengths of {size[0]} x {size[1]} pixels, got {lengths.sum()} in all")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(size, order="F")


__all__ = ["decode_rle", "encode_rle"]
