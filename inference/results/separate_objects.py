"""Splits a mask into its separate objects: the parts that do not touch each other."""

import numbers
from typing import Any

import numpy as np
from scipy import ndimage

from ...files.errors import InputError

# The least part of a picture that counts as an object: 50 pixels of 224 x 224, 920 of 1280 x 720. Smaller parts are
# mostly specks at the edge of a mask.
DEFAULT_MIN_AREA = 0.001
TOUCHING = np.ones((3, 3), bool)  # pixels that share only a corner touch, too


def check_min_area(min_area: Any) -> None:
    """Raises ValueError unless `min_area` is a number from 0 to 1, without 1."""
    is_number = isinstance(min_area, numbers.Real) and not isinstance(min_area, bool)
    if not is_number or not 0 <= float(min_area) < 1:
        raise InputError(f"min_area must be a share of the picture, from 0 to below 1, got {min_area!r}")


def separate_objects(mask: np.ndarray, min_area: float = DEFAULT_MIN_AREA) -> list[np.ndarray]:
    """Splits a mask into one mask for each separate object.

    Two pixels belong to the same object if a path of touching pixels connects them; pixels touch by a side or a
    corner. Two objects that touch in the picture are therefore one object here, and an object behind a post is two.
    Objects are not followed from frame to frame.

    Args:
        mask: (H, W) bool, or numbers of which all but 0 belong to the mask.
        min_area: the least share of the picture that an object covers, from 0 to below 1. Smaller parts are left out.

    Returns:
        Masks (H, W) bool, the largest first.

    Raises:
        ValueError: `mask` is no array (H, W), or `min_area` is out of its range.
    """
    check_min_area(min_area)
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise InputError(f"mask must be an array (H, W), got shape {mask.shape}")
    numbered, count = ndimage.label(mask != 0, structure=TOUCHING)  # pyright: ignore[reportGeneralTypeIssues]
    areas = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-areas, kind="stable")
    return [numbered == number + 1 for number in order if areas[number] >= min_area * mask.size]


__all__ = ["DEFAULT_MIN_AREA", "check_min_area", "separate_objects"]
