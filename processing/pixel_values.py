"""Pixel values of every type on the scale 0-255, on which the frames of `AussVideoProcessor` are."""

import numpy as np
import torch
from PIL import Image

FULL_SCALE = 255
FULL_SCALE_16_BITS = 65_535
# Pillow before release 11 opens grey PNG files of 16 bits as "I", as it still opens PGM files of 16 bits.
FORMATS_OF_16_BITS = ("PNG", "PPM")
# Values this far outside of the scale still round to a value on it: interpolation leaves such values.
TOLERANCE = 0.5


def _grey_levels(image: Image.Image, name: str) -> np.ndarray:
    """The values of a picture of mode I or F on the scale 0-255, or an error where their scale cannot be known."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} of mode {image.mode} holds NaN or infinite values")
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if image.mode == "I" and image.format in FORMATS_OF_16_BITS and low >= 0 and high <= FULL_SCALE_16_BITS:
        return values * (FULL_SCALE / FULL_SCALE_16_BITS)
    if low < 0 or high > FULL_SCALE:
        raise ValueError(
            f"{name} of mode {image.mode} must hold values of 0 to 255, got {low:g} to {high:g}; a picture of 16 bits "
            "has mode I;16"
        )
    if image.mode == "F" and 0 < high <= 1:
        raise ValueError(f"{name} of mode F must hold values of 0 to 255, got {low:g} to {high:g}: multiply it by 255")
    return values


def to_eight_bits(image: Image.Image, name: str = "picture") -> Image.Image:
    """A picture with 16 or 32 bits a pixel as one with 8; any other picture is returned as it is.

    Pillow's own `convert` clips such values to 255, which turns the picture white. A 16-bit picture is scaled by its
    type. Where one grey level of it stands for "transparent", the result has an alpha channel.

    Args:
        image: of any mode.
        name: what the error messages call it.

    Returns:
        A picture of mode L or LA for the modes I;16, I and F.

    Raises:
        ValueError: a picture of mode I or F whose values are not 0 to 255, or NaN.
    """
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        levels = values * (FULL_SCALE / FULL_SCALE_16_BITS)
    elif image.mode in ("I", "F"):
        values = np.asarray(image)
        levels = _grey_levels(image, name)
    else:
        return image
    grey = Image.fromarray(levels.round().astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, FULL_SCALE).astype(np.uint8)))
    return grey


def on_the_scale(frames: torch.Tensor, name: str, limit: float | None = FULL_SCALE) -> torch.Tensor:
    """Frames whose values lie between 0 and `limit`: uint8 as it is, everything else as float32.

    Args:
        frames: of any shape and any real type. 16-bit frames (uint16) are scaled by their type: 65535 becomes `limit`.
        name: what the error messages call them.
        limit: the value of full brightness; `None` leaves values of other types than uint16 unchecked.

    Raises:
        ValueError: bool or complex values, NaN, infinite values, or values outside of 0 to `limit`.
    """
    if frames.dtype == torch.uint8:
        return frames
    if frames.dtype == torch.bool or frames.is_complex():
        raise ValueError(f"{name} must hold uint8 or floating-point values, got {frames.dtype}")
    values = frames.to(torch.float32)
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    if frames.dtype == torch.uint16:
        return values * ((FULL_SCALE if limit is None else limit) / FULL_SCALE_16_BITS)
    if limit is not None and values.numel():
        low, high = values.min().item(), values.max().item()
        slack = TOLERANCE * limit / FULL_SCALE
        if low < -slack or high > limit + slack:
            raise ValueError(
                f"{name} must hold values of 0 to {limit:g}, got {low:g} to {high:g} of {frames.dtype}; frames of "
                "16 bits are uint16, and other scales need a rescale_factor of their own, or do_rescale=False"
            )
    return values


__all__ = ["FULL_SCALE", "on_the_scale", "to_eight_bits"]
