"""How a stored picture is turned and mirrored to be shown, from the matrix that phones and editors write.

The matrix takes a stored pixel (x, y) to (a x + c y, b x + d y), with y downwards. Its eight right-angled forms are
those of EXIF. https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html
"""

import math
from dataclasses import dataclass

import av
import numpy as np

NOTICEABLE_DEGREES = 2.0  # a picture that stays so much askew is told of


@dataclass(frozen=True)
class Orientation:
    """A turn, and after it a mirroring from left to right."""

    quarter_turns: int = 0  # counterclockwise, 0 to 3
    mirrored: bool = False
    askew: float = 0.0  # degrees counterclockwise that are left over, -45 to 45; they are not turned

    @property
    def sideways(self) -> bool:
        """Whether width and height change places."""
        return self.quarter_turns % 2 == 1

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """A view of a picture (H, W, ...) as it is shown."""
        turned = np.rot90(picture, self.quarter_turns)
        return turned[:, ::-1] if self.mirrored else turned


def orientation(matrix: np.ndarray) -> Orientation:
    """The orientation that a display matrix, nine whole numbers in FFmpeg's order, asks for.

    Scaling is not followed; a matrix that shows nothing is taken for none.
    """
    a, b, _, c, d = (float(value) for value in matrix[:5])
    determinant = a * d - b * c
    if determinant == 0 or not math.isfinite(determinant):
        return Orientation()
    mirrored = determinant < 0
    # Mirrored from left to right once more, the rest is a pure turn. With y downwards a positive b is clockwise.
    degrees = -math.degrees(math.atan2(b, -a if mirrored else a))
    quarter_turns = round(degrees / 90)
    return Orientation(quarter_turns % 4, mirrored, degrees - 90 * quarter_turns)


def frame_orientation(frame: av.VideoFrame) -> Orientation:
    """The orientation of a decoded frame; upright where it has no display matrix."""
    data = frame.side_data.get("DISPLAYMATRIX")
    return orientation(np.frombuffer(bytes(data), np.int32)) if data is not None else Orientation()


__all__ = ["NOTICEABLE_DEGREES", "Orientation", "frame_orientation", "orientation"]
