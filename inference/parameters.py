"""The settings for segmenting a video: their defaults and the checks of their values."""

import math
import numbers
from typing import Any

from ..configuration.score_threshold import check_threshold
from ..files.errors import InputError

DEFAULT_FPS = 5.0  # masks a second: motion is followed closely enough for the eye, at a fifth of the cost of 25
DEFAULT_BATCH_SIZE = 8


def is_positive(value: Any) -> bool:
    """Whether a value is a positive, finite number. True and False do not count as numbers."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 < float(value) < math.inf


def check_fps(fps: Any) -> None:
    """Raises ValueError unless `fps` is a positive number or None."""
    if fps is not None and not is_positive(fps):
        raise InputError(f"fps must be a positive number of masks a second, or None for every frame, got {fps!r}")


def check_batch_size(batch_size: Any) -> None:
    """Raises ValueError unless `batch_size` is a whole number of at least 1."""
    is_integer = isinstance(batch_size, numbers.Integral) and not isinstance(batch_size, bool)
    if not is_integer or batch_size < 1:
        raise InputError(f"batch_size must be a whole number of frames, at least 1, got {batch_size!r}")


def check_audio_track(audio_track: Any) -> None:
    """Raises ValueError unless `audio_track` is a whole number of at least 1 or None."""
    is_integer = isinstance(audio_track, numbers.Integral) and not isinstance(audio_track, bool)
    if audio_track is not None and not (is_integer and int(audio_track) >= 1):
        raise InputError(f"audio_track must be the number of a sound track, from 1, or None, got {audio_track!r}")


def window_and_stride(longest: float, window: float | None, stride: float | None) -> tuple[float, float]:
    """Returns window and stride in seconds, with the defaults filled in. The stride leads from window to window.

    Args:
        longest: the longest window that the model takes, in seconds.
        window: the length of a window in seconds; `None` for `longest`.
        stride: seconds from the start of one window to the next; `None` for `window`, so that windows do not overlap.

    Raises:
        ValueError: a value is no positive number, the window is longer than `longest`, or the stride longer than the
            window.
    """
    if window is not None and not (is_positive(window) and window <= longest):
        raise InputError(
            f"window must be a positive number of seconds, at most the {longest:g} s that the model takes, or None "
            f"for those, got {window!r}"
        )
    window = longest if window is None else float(window)
    if stride is not None and not (is_positive(stride) and stride <= window):
        raise InputError(
            f"stride must be a positive number of seconds, at most window={window:g} s, since frames between windows "
            f"would have no sound, or None for the window's, got {stride!r}"
        )
    return window, window if stride is None else float(stride)


def check_flag(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, got {value!r}")


__all__ = [
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_FPS",
    "check_audio_track",
    "check_batch_size",
    "check_flag",
    "check_fps",
    "check_threshold",
    "window_and_stride",
]
