"""The labels of frames, as every reader of this folder returns them."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ...files.errors import InputError
from ...files.file_names import printable
from .regions import check_mask_size

logger = logging.getLogger(__name__)

# Labels may be drawn on smaller or larger copies of the video. Their width : height may differ from the video's by
# this share, since sizes are whole numbers.
ASPECT_TOLERANCE = 0.02
MOST_LISTED = 20  # problems that an error lists; the number of the others is given


@dataclass(frozen=True)
class Moment:
    """When a label is: at a frame of the video, counted from 0, or at a time in seconds from the first frame. One of
    the two is None."""

    frame: int | None = None
    time: float | None = None

    def __str__(self) -> str:
        return f"frame {self.frame}" if self.frame is not None else f"{self.time:g} s"


@dataclass(frozen=True)
class Region:
    """
    A labelled part of a frame.

    Args:
        label: its name; "" if it has none.
        size: (height, width) of the picture that was labelled, or None if the label does not say so.
        draw: makes the mask, bool (H, W), for a (height, width). That is `size`, or the video's if `size` is None.
    """

    label: str
    size: tuple[int, int] | None
    draw: Callable[[tuple[int, int]], np.ndarray]


def check_same_picture(size: tuple[int, int], video_size: tuple[int, int]) -> None:
    """Raises ValueError unless two (height, width) have about the same shape."""
    aspect, expected = size[1] / size[0], video_size[1] / video_size[0]
    if abs(aspect / expected - 1) > ASPECT_TOLERANCE:
        turned = " (is the video turned?)" if size == video_size[::-1] else ""
        raise InputError(
            f"a mask of {size[1]} x {size[0]} pixels does not fit a video of {video_size[1]} x {video_size[0]}{turned}"
        )


def scaled_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales a mask, bool (H, W), to (height, width). A pixel is inside if at least half of it was."""
    if mask.shape == size:
        return mask
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BOX)) >= 128


@dataclass(frozen=True)
class FrameLabels:
    """
    The labels of one frame. Without a region, nothing sounds in the frame.

    Args:
        origin: the file, and the place in it, for messages.
        names: texts that may name the video: names of files, paths or addresses. The first that fits a video counts.
        moment: when the frame is; None if the first name tells it, as the name of a picture does.
    """

    origin: str
    names: tuple[str, ...]
    moment: Moment | None
    regions: tuple[Region, ...]

    def mask(self, video_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """Draws all regions into one mask.

        Args:
            video_size: (height, width) of the video.
            size: (height, width) of the mask.

        Returns:
            bool (H, W).

        Raises:
            ValueError: a region cannot be drawn, or was drawn on a picture of another shape than the video. The error
                names the origin.
            FileNotFoundError: a picture was removed meanwhile.
        """
        whole = np.zeros(size, dtype=bool)
        for region in self.regions:
            try:
                own = check_mask_size(*(region.size or video_size))
                check_same_picture(own, video_size)
                mask = region.draw(own)
                check_same_picture(check_mask_size(*mask.shape), video_size)
            except InputError as error:
                raise InputError(f"{self.origin}: {error}") from error
            whole |= scaled_mask(mask, size)
        return whole


@dataclass
class Notes:
    """What was found to be wrong while the labels and videos were read."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unused: Counter = field(default_factory=Counter)

    def problem(self, text: object) -> None:
        """Notes something that cannot be used."""
        self.problems.append(printable(text))

    def warn(self, text: object) -> None:
        """Notes something that the user should look at, and logs it."""
        self.warnings.append(printable(text))
        logger.warning("%s", printable(text))

    def pass_over(self, origin: str, kind: str) -> None:
        """Counts a label that is no mask, such as a box. `warn_of_unused` tells the counts."""
        self.unused[origin, kind] += 1

    def warn_of_unused(self) -> None:
        for (origin, kind), count in self.unused.items():
            self.warn(f"{origin}: {count} {kind} are passed over: only masks and polygons say which pixels sound")
        self.unused.clear()

    def settle(self, skip_bad: bool) -> None:
        """Raises a ValueError that lists the problems, or turns them into warnings if `skip_bad` is set."""
        found, self.problems = self.problems, []
        if skip_bad:
            for text in found:
                self.warn(f"left out: {text}")
        elif found:
            more = [f"and {len(found) - MOST_LISTED} more"] * (len(found) > MOST_LISTED)
            raise InputError(
                f"{len(found)} labels or videos cannot be used; nothing was written (--skip-bad leaves them out): "
                + "; ".join([*found[:MOST_LISTED], *more])
            )


def chosen_regions(frames: Iterable[FrameLabels], sounding: list[str] | None) -> list[FrameLabels]:
    """Keeps only the regions of the given labels; None keeps all.

    Raises:
        ValueError: a given label is that of no region. The error lists the labels that there are.
    """
    frames = list(frames)
    if sounding is None:
        return frames
    known = {region.label for one in frames for region in one.regions}
    unknown = [label for label in sounding if label not in known]
    if unknown:
        raise InputError(
            f"sounding must be of the labels {', '.join(sorted(known)) or '(none)'}, got {', '.join(unknown)}"
        )
    chosen = set(sounding)
    return [
        FrameLabels(
            one.origin, one.names, one.moment, tuple(region for region in one.regions if region.label in chosen)
        )
        for one in frames
    ]


__all__ = ["FrameLabels", "Moment", "Notes", "Region", "check_same_picture", "chosen_regions", "scaled_mask"]
