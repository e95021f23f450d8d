"""The colours of AVSBench-semantic's label pictures (the PASCAL VOC colour map) and the names in label2idx.json."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from fsspec.core import url_to_fs

from ...files.errors import InputError

AVSS_NUM_LABELS = 71
LABEL_FILE = "label2idx.json"
# The folders under a root that may hold AVSBench-semantic. The empty name is the root itself.
AVSS_FOLDERS = ("", "AVSBench-semantic", "AVSBench_semantic", "avsbench_data/AVSBench-semantic")
# The authors' loader reads a colour outside the palette as class 0. A few such pixels, from smoothed edges, are
# harmless. If their share is larger than this, the picture is no label picture of this palette.
UNKNOWN_COLOUR_SHARE = 0.01


@cache
def avss_palette(num_labels: int = AVSS_NUM_LABELS) -> np.ndarray:
    """Returns the colour of each class id: (num_labels, 3) uint8.

    The colours are those of PASCAL VOC. Bits 0, 1 and 2 of the id become the highest bits of red, green and blue; the
    next three bits become the second highest bits, and so on. Class 0 is black, class 1 is (128, 0, 0), class 2 is (0,
    128, 0).
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
    """Returns the share of each channel value in the class id: (3, 256) int64. This is the inverse of
    `avss_palette`."""
    values = np.arange(256)
    ids = np.zeros((3, 256), dtype=np.int64)
    for bit in range(8):
        for channel in range(3):
            ids[channel] |= (values >> (7 - bit) & 1) << (3 * bit + channel)
    return ids


def class_ids_of_colours(colours: np.ndarray, num_labels: int = AVSS_NUM_LABELS) -> np.ndarray:
    """Returns the class ids of colours (..., 3) uint8 as int64 (...). A colour of no class gives -1."""
    parts = _channel_ids()
    ids = parts[0][colours[..., 0]] + parts[1][colours[..., 1]] + parts[2][colours[..., 2]]
    return np.where(ids < num_labels, ids, -1)


def _ids_of_palette_picture(picture, num_labels: int) -> np.ndarray:
    """Returns the class ids of a palette picture: those of its colours, or its indices if the palette is all grey."""
    entries = np.array(picture.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    indices = np.asarray(picture).astype(np.int64)
    used = np.unique(indices)
    used = used[used < len(entries)]
    if (entries[used] == used[:, None]).all():  # a palette that shows index i as the grey level i
        return np.where(indices < num_labels, indices, -1)
    table = np.full(256, -1, dtype=np.int64)
    table[: len(entries)] = class_ids_of_colours(entries, num_labels)
    return table[indices]


def label_picture_to_ids(picture, num_labels: int, name: str) -> np.ndarray:
    """Returns the class ids of a PIL label picture: (H, W) uint8.

    A colour picture (RGB, or with a palette) holds the colours of `labels_rgb`. A grey picture, of 8 or 16 bits, holds
    the ids themselves, as in `labels_semantic`.

    Raises:
        ValueError: more than 1 % of the pixels have a colour or an id of no class. The message calls the picture
            `name`.
    """
    if picture.mode == "P":
        ids = _ids_of_palette_picture(picture, num_labels)
    elif picture.mode in ("1", "L", "I") or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.int64)
        ids = np.where((values >= 0) & (values < num_labels), values, -1)
    else:
        ids = class_ids_of_colours(np.asarray(picture.convert("RGB")), num_labels)
    unknown = ids < 0
    if unknown.mean() > UNKNOWN_COLOUR_SHARE:
        raise InputError(
            f"{name} has colours of no class in {unknown.mean():.0%} of its pixels; "
            f"expected the VOC colours of {num_labels} classes (num_labels), or grey levels that are their ids"
        )
    return np.where(unknown, 0, ids).astype(np.uint8)


def _read_label_file(root: str | Path) -> tuple[str, bytes]:
    """Returns the path and the content of label2idx.json, which lies beside metadata.csv in one of `AVSS_FOLDERS`."""
    for folder in AVSS_FOLDERS:
        path = "/".join(part for part in (str(root), folder, LABEL_FILE) if part)
        filesystem, inner_path = url_to_fs(path)  # `path` may also be hf://datasets/...
        try:
            return path, filesystem.cat_file(inner_path)
        except FileNotFoundError:
            continue
    raise FileNotFoundError(f"AVSBench avss is missing {root}/{LABEL_FILE}")


def read_class_names(root: str | Path) -> list[str]:
    """Returns the AVSS class names in the order of their ids, from label2idx.json in the data set's folder or on the
    Hub.

    Raises:
        FileNotFoundError: label2idx.json does not exist.
        ValueError: the file is no JSON object that gives each name one of the ids 0, 1, 2, ..., each id once.
    """
    path, content = _read_label_file(root)
    expected = f"{path} must map each class name to its id, 0 to n - 1, once each"
    try:
        ids = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{expected}; it is not JSON: {error}") from error
    if not isinstance(ids, dict) or sorted(map(str, ids.values())) != sorted(map(str, range(len(ids)))):
        raise InputError(f"{expected}, got {str(ids)[:100]}")
    return sorted(ids, key=lambda name: int(ids[name]))


__all__ = ["AVSS_NUM_LABELS", "avss_palette", "class_ids_of_colours", "label_picture_to_ids", "read_class_names"]
