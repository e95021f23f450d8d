"""What an upload may be, and what the page starts with. The file does not import torch, Transformers or Gradio."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..configuration.score_threshold import DEFAULT_THRESHOLD
from ..files.errors import InputError
from ..inference.parameters import DEFAULT_FPS

MEGABYTE = 2**20  # as Gradio counts, which checks the size before the upload


@dataclass(frozen=True)
class Limits:
    """The limits of an upload."""

    bytes: int = 500 * MEGABYTE
    seconds: float = 600.0
    pixels: int = 3840 * 2160  # of the picture, as it is shown
    waiting: int = 20  # how many videos may wait in the queue

    def check_size(self, path: Path) -> None:
        """Raises ValueError if the file is too large or empty."""
        size = path.stat().st_size
        if size == 0:
            raise InputError("The file is empty.")
        if size > self.bytes:
            raise InputError(
                f"The file has {size / MEGABYTE:.1f} MB, and this page takes at most {self.bytes / MEGABYTE:.3g} MB. "
                "Shorten the video, or save it with a lower quality."
            )

    def check_picture(self, width: int, height: int) -> None:
        """Raises ValueError if the picture has too many pixels."""
        if width * height > self.pixels:
            raise InputError(
                f"The picture has {width} x {height} pixels, and this page takes at most {self.pixels / 1e6:.1f} "
                "million. Save the video in a smaller size."
            )

    def check_length(self, seconds: float) -> None:
        """Raises ValueError if the video is too long."""
        if seconds > self.seconds:
            raise InputError(
                f"The video lasts {seconds:.1f} s, and this page takes at most {self.seconds:g} s. "
                "Cut out a part of it."
            )

    def in_words(self) -> str:
        """The limits in a sentence for the page."""
        length = f"{self.seconds / 60:g} minutes" if self.seconds >= 120 else f"{self.seconds:g} seconds"
        return f"At most {length} and {self.bytes / MEGABYTE:.3g} MB."


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class PageSettings:
    """What the page starts with, and what its visitors cannot change."""

    fps: float | None = DEFAULT_FPS  # masks a second; None for every frame
    threshold: float = DEFAULT_THRESHOLD
    options: Mapping[str, Any] = field(default_factory=dict)  # further options for `reader_masks`
    audio_track: int | None = None
    limits: Limits = DEFAULT_LIMITS


__all__ = ["DEFAULT_LIMITS", "MEGABYTE", "Limits", "PageSettings"]
