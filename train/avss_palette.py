"""The colours of AVSBench-semantic's label pictures (the PASCAL VOC colour map) and the names in label2idx.json."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from fsspec.core import url_to_fs

AVSS_NUM_LABELS = 71
LABEL_FILE = "label2idx.json"
# The authors' loader reads a colour that is in no palette as class 0. A few such pixels (edges that were smoothed) are
# harmless; more than this share means that the picture is no label picture of this palette.
UNKNOWN_COLOUR_SHARE = 0.01


@cache
def avss_palette(num_labels: int = AVSS_NUM_LABELS) -> np.ndarray:
    """The colour of each class id: (num_labels, 3) uint8.

    Bits 0, 1 and 2 of the id become the highest bits of red, green and blue, the next three bits the second highest,
    and so on, as in PASCAL VOC: 0 is black, 1 (128, 0, 0), 2 (0, 128, 0).
    """
    ids = np.arange(num_labels)
    palette = np.zeros((num_labels, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((ids >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    palette.setflags(write=False)  # the cached array is handed to every caller
    return palette


@cache
def _channel_ids() -> np.ndarray:
    """What each value of each channel adds to the class id: (3, 256) int64; the inverse of `avss_palette`."""
    values = np.arange(256)
    ids = np.zeros((3, 256), dtype=np.int64)
    for bit in range(8):
        for channel in range(3):
            ids[channel] |= (values >> (7 - bit) & 1) << (3 * bit + channel)
    return ids


def class_ids_of_colours(colours: np.ndarray, num_labels: int = AVSS_NUM_LABELS) -> np.ndarray:
    """Class ids of colours (..., 3) uint8: int64 (...), -1 for a colour that no class has."""
    parts = _channel_ids()
    ids = parts[0][colours[..., 0]] + parts[1][colours[..., 1]] + parts[2][colours[..., 2]]
    return np.where(ids < num_labels, ids, -1)


def label_picture_to_ids(picture, num_labels: int, name: str) -> np.ndarray:
    """Class ids of a PIL label picture, palette or RGB: (H, W) uint8.

    Raises:
        ValueError: over 1 % of the pixels have a colour of no class; `name` says which picture.
    """
    if picture.mode == "P":
        table = np.full(256, -1, dtype=np.int64)
        entries = np.array(picture.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        table[: len(entries)] = class_ids_of_colours(entries, num_labels)
        ids = table[np.asarray(picture)]
    else:
        ids = class_ids_of_colours(np.asarray(picture.convert("RGB")), num_labels)
    unknown = ids < 0
    if unknown.mean() > UNKNOWN_COLOUR_SHARE:
        raise ValueError(
            f"mask {name} has colours of no class in {unknown.mean():.0%} of its pixels; "
            f"expected the VOC colours of {num_labels} classes (num_labels)"
        )
    return np.where(unknown, 0, ids).astype(np.uint8)


def read_class_names(root: str | Path) -> list[str]:
    """The AVSS class names in the order of their ids, from label2idx.json in the data set's folder, or on the Hub.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON object of names with the ids 0, 1, 2, ... once each.
    """
    path = f"{root}/{LABEL_FILE}"
    try:
        filesystem, inner_path = url_to_fs(path)  # hf://datasets/... too
        content = filesystem.cat_file(inner_path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"AVSBench avss is missing {path}") from error
    expected = f"{path} must map each class name to its id, 0 to n - 1, once each"
    try:
        ids = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{expected}; it is not JSON: {error}") from error
    if not isinstance(ids, dict) or sorted(map(str, ids.values())) != sorted(map(str, range(len(ids)))):
        raise ValueError(f"{expected}, got {str(ids)[:100]}")
    return sorted(ids, key=lambda name: int(ids[name]))


__all__ = ["AVSS_NUM_LABELS", "avss_palette", "class_ids_of_colours", "label_picture_to_ids", "read_class_names"]
