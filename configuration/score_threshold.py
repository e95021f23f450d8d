"""The score above which a pixel counts as sounding: its default and its check.

The file does not import torch, so that the command line can use it quickly.
"""

import numbers
from typing import Any

from ..files.errors import InputError

DEFAULT_THRESHOLD = 0.5  # Eq. 20


def check_threshold(threshold: Any) -> None:
    """Raises ValueError unless `threshold` is a number from 0 to 1."""
    is_number = isinstance(threshold, numbers.Real) and not isinstance(threshold, bool)
    if not is_number or not 0 <= float(threshold) <= 1:
        raise InputError(f"threshold must be a number from 0 to 1, got {threshold!r}")


__all__ = ["DEFAULT_THRESHOLD", "check_threshold"]
