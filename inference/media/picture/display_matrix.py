"""Reads from the display matrix of a file how its pictures are turned and mirrored. Phones and editors write it.

The matrix takes a stored pixel (x, y) to (a x + c y, b x + d y), with y downwards. Its eight right-angled forms are
the orientations of EXIF. https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html
"""

import math
from dataclasses import dataclass

import av
import numpy as np

NOTICEABLE_DEGREES = 2.0  # a picture that stays askew by more than this gives a warning


@dataclass(frozen=True)
class Orientation:
    """A turn, followed by a mirroring from left to right."""

    quarter_turns: int = 0  # counterclockwise, 0 to 3
    mirrored: bool = False
    askew: float = 0.0  # rest of the turn in degrees counterclockwise, -45 to 45; it is not applied

    @property
    def sideways(self) -> bool:
        """Whether width and height change places."""
        return self.quarter_turns % 2 == 1

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """Returns a view of a stored picture (H, W, ...), turned and mirrored as it is shown."""
        turned = np.rot90(picture, self.quarter_turns)
        return turned[:, ::-1] if self.mirrored else turned


def orientation(matrix: np.ndarray) -> Orientation:
    """The orientation that a display matrix asks for. The matrix is nine whole numbers in FFmpeg's order.

    Scaling is ignored. A matrix that would map the picture to nothing counts as upright.
    """
    a, b, _, c, d = (float(value) for value in matrix[:5])
    determinant = a * d - b * c
    if determinant == 0 or not math.isfinite(determinant):
        return Orientation()
    mirrored = determinant < 0
    # A second mirroring from left to right leaves a pure turn. y points downwards, so a positive b turns clockwise.
    degrees = -math.degrees(math.atan2(b, -a if mirrored else a))
    quarter_turns = round(degrees / 90)
    return Orientation(quarter_turns % 4, mirrored, degrees - 90 * quarter_turns)


def frame_orientation(frame: av.VideoFrame) -> Orientation:
    """The orientation of a decoded frame. A frame without a display matrix is upright."""
    data = frame.side_data.get("DISPLAYMATRIX")
    return orientation(np.frombuffer(bytes(data), np.int32)) if data is not None else Orientation()


__all__ = ["NOTICEABLE_DEGREES", "Orientation", "frame_orientation", "orientation"]
