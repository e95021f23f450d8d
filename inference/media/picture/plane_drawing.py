"""Drawing masks on the planes of YUV 4:2:0, in the look of `overlay`, without a conversion to RGB and back.

Mixing a picture with a colour is affine, as the step from RGB to YUV is: mixing before that step or after it gives the
same but for rounding. So each plane is multiplied by what the mask leaves of it, and what the mask adds is added.
"""

import av
import numpy as np
from scipy import ndimage

from ....processing.drawing import class_colour, outline, outline_thickness
from .frame_planes import BRIGHTNESS_WEIGHTS, FrameColours, planes

ONE = 256  # the weights' unit: with 8-bit values everything stays below 2 ** 16


def plane_values(colour: tuple[int, int, int], colours: FrameColours) -> tuple[int, int, int]:
    """Y, U and V, 0 to 255, of red, green and blue, 0 to 255. ITU-R BT.709 and BT.601."""
    of_red, of_blue = BRIGHTNESS_WEIGHTS[colours.matrix]
    red, green, blue = (value / 255 for value in colour)
    brightness = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    blueness, redness = (blue - brightness) / (2 - 2 * of_blue), (red - brightness) / (2 - 2 * of_red)
    darkest, brightness_steps, colour_steps = (0, 255, 255) if colours.full_range else (16, 219, 224)
    values = darkest + brightness_steps * brightness, 128 + colour_steps * blueness, 128 + colour_steps * redness
    y, u, v = (min(255, round(value)) for value in values)  # full range ends half a step early
    return y, u, v


def marked_area(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The rows and columns of a boolean mask (H, W) with something in them, from even to even; None if it is empty."""
    found = ndimage.find_objects(mask.view(np.uint8))
    if not found:
        return None
    rows, columns = (slice(side.start // 2 * 2, (side.stop + 1) // 2 * 2) for side in found[0])
    return rows, columns


def halved(weights: np.ndarray) -> np.ndarray:
    """The mean of each 2 x 2 pixels of (H, W) uint16 weights up to `ONE`, rounded down."""
    rows = weights[::2] + weights[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) >> 2


class PlanePaint:
    """A label map made ready to be drawn on frame after frame: tints and outlines as `overlay_labels` draws them.

    Args:
        labels: (H, W) bool or class ids, 0 where the frame stays as it is; H and W are even.
        colours: of the frames.
        alpha: opacity of the tint in [0, 1]. The outline is opaque.
    """

    def __init__(self, labels: np.ndarray, colours: FrameColours, alpha: float = 0.5):
        # For each plane where it changes, and there what is kept of it and what is added, (h, w) uint16 in 256ths.
        self._layers: list[tuple[tuple[slice, slice], np.ndarray, np.ndarray]] = []
        area = marked_area(labels != 0)
        if area is None:
            return
        part, thickness = labels[area], outline_thickness(labels.shape)
        kept = [np.full(part.shape, ONE, np.uint16), np.full([side // 2 for side in part.shape], ONE, np.uint16)]
        added = [np.full_like(kept[plane > 0], ONE // 2) for plane in range(3)]  # half a step, so that results round
        for label in np.unique(part):
            if label == 0:
                continue
            weights = (part == label) * np.uint16(round(alpha * ONE))
            weights[outline(labels == label, thickness)[area]] = ONE
            of_size = (weights, halved(weights))
            for remaining, taken in zip(kept, of_size, strict=True):
                remaining -= taken
            for plane, value in enumerate(plane_values(class_colour(int(label)), colours)):
                added[plane] += of_size[plane > 0] * np.uint16(value)
        half_rows, half_columns = (slice(side.start // 2, side.stop // 2) for side in area)
        for plane in range(3):
            self._layers.append(((half_rows, half_columns) if plane else area, kept[plane > 0], added[plane]))

    def draw(self, frame: av.VideoFrame) -> None:
        """Draws on a frame of the label map's size, in yuv420p and with the colours given."""
        for plane, (area, kept, added) in zip(planes(frame), self._layers, strict=False):  # an empty mask has none
            mixed = np.multiply(plane[area], kept, dtype=np.uint16)
            mixed += added
            mixed >>= 8
            plane[area] = mixed


__all__ = ["PlanePaint", "plane_values"]
