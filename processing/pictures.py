"""Opens picture files, and scales pixels of any type to 8 bits or to floating point."""

import contextlib
import io
import os
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from ..files.errors import InputError

# AVIF is missing on purpose: not every build of Pillow has it, and no audio-visual data set uses it.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
PNG_START = b"\x89PNG\r\n\x1a\n"
EXIF_ORIENTATION = 0x0112


def _check_file(path: str, name: str) -> None:
    """Refuses a path that is not a file with content. Opening a pipe could wait forever."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{name} does not exist")
    if not os.path.isfile(path):
        raise InputError(f"{name} is no file")
    if os.path.getsize(path) == 0:
        raise InputError(f"{name} is empty (0 bytes)")


def check_png(source: Any) -> None:
    """
    Checks the checksums of a PNG file, because Pillow decodes damaged files without checking them all. Other files are
    not checked.

    Args:
        source: a path, or a file object with bytes.

    Raises:
        SyntaxError, ValueError: a checksum is wrong, or the file is truncated.
    """
    with contextlib.nullcontext(source) if isinstance(source, io.BytesIO) else open(source, "rb") as file:
        start = file.read(len(PNG_START))
        if start == PNG_START:
            check_chunks(file)
        file.seek(0)


def check_chunks(file: BinaryIO) -> None:
    """Checks the chunks of a PNG file, from the position behind its first 8 bytes. Raises as `check_png`."""
    while True:
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        content = file.read(length)
        stored = file.read(4)
        if len(stored) < 4:
            raise InputError("it is truncated")
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(stored, "big"):
            raise InputError(f"the checksum of its part {kind.decode('latin-1')!r} is wrong")
        if kind == b"IEND":
            return


def open_picture(source: Any, name: str) -> Image.Image:
    """Opens and loads a picture, and turns it upright by its EXIF orientation.

    If the file is an animation, the first frame is loaded. `n_frames` of the result is the number of frames.

    Args:
        source: the path of a file, or the bytes of a file.
        name: how the error messages call the picture, such as "frames file a.png". It becomes the picture's
            `filename`.

    Returns:
        A PIL image in the mode of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, damaged or truncated, or is not a picture of `PICTURE_FORMATS`; or it has more
            pixels than Pillow's limit against decompression bombs (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    if isinstance(source, bytes | bytearray | memoryview):
        if len(source) == 0:
            raise InputError(f"{name} is empty (0 bytes)")
        source = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        _check_file(os.fspath(source), name)
    try:
        check_png(source)
        picture = Image.open(source, formats=PICTURE_FORMATS)
        picture.load()
        orientation = picture.getexif().get(EXIF_ORIENTATION)
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not a picture: it is none of {', '.join(PICTURE_FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large: {error}") from error
    except SyntaxError as error:
        raise InputError(f"{name} is not a picture: {error}") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise errors of any kind
        raise InputError(f"{name} cannot be decoded: {error or type(error).__name__}") from error
    if orientation not in (None, 1):
        frames = getattr(picture, "n_frames", 1)
        picture = ImageOps.exif_transpose(picture)
        picture.n_frames = frames  # type: ignore[attr-defined]  # `exif_transpose` returns a plain image
    picture.filename = name  # type: ignore[attr-defined]  # only pictures from files have a name so far
    return picture


def is_stored_picture(value: Any) -> bool:
    """Whether `value` is a picture from an undecoded column of `datasets`: a mapping of `bytes` and `path`."""
    return isinstance(value, Mapping) and (value.get("bytes") is not None or value.get("path") is not None)


def open_stored_picture(value: Mapping, name: str = "picture file") -> Image.Image:
    """Opens the `{"bytes", "path"}` of an undecoded column. Errors are those of `open_picture`, with the path added to
    `name`."""
    path, content = value.get("path"), value.get("bytes")
    if content is not None and hasattr(content, "tobytes"):  # with_format("numpy") may make an array of bytes
        content = content.tobytes()
    return open_picture(path if content is None else content, f"{name} {path or '(bytes)'}")


FULL_SCALE = 255
FULL_SCALE_16_BITS = 65_535
# Pillow opens grey PGM files of 16 bits in the mode "I". Before release 11, it opens grey PNG files of 16 bits so too.
FORMATS_OF_16_BITS = ("PNG", "PPM")
# Interpolation may leave values slightly outside of the scale. Values up to this distance round to a value on it.
TOLERANCE = 0.5


def _grey_levels(image: Image.Image, name: str) -> np.ndarray:
    """Returns the values of a picture of mode I or F on the scale 0-255. Raises ValueError if the scale is unclear."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name} of mode {image.mode} holds NaN or infinite values")
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if image.mode == "I" and image.format in FORMATS_OF_16_BITS and low >= 0 and high <= FULL_SCALE_16_BITS:
        return values * (FULL_SCALE / FULL_SCALE_16_BITS)
    if low < 0 or high > FULL_SCALE:
        raise InputError(
            f"{name} of mode {image.mode} must hold values of 0 to 255, got {low:g} to {high:g}; a picture of 16 bits "
            "has mode I;16"
        )
    if image.mode == "F" and 0 < high <= 1:
        raise InputError(f"{name} of mode F must hold values of 0 to 255, got {low:g} to {high:g}: multiply it by 255")
    return values


def to_eight_bits(image: Image.Image, name: str = "picture") -> Image.Image:
    """Converts a picture with 16 or 32 bits for a pixel to 8 bits. Any other picture is returned as it is.

    Pillow's own `convert` clips such values to 255, which turns the picture white. This function scales a 16-bit
    picture from 65535 to 255. If the picture marks a grey level as transparent, the result has an alpha channel.

    Args:
        image: a picture of any mode.
        name: how the error messages call the picture.

    Returns:
        A picture of mode L or LA for the modes I;16, I and F.

    Raises:
        ValueError: a picture of mode I or F has NaN values or values outside of 0 to 255.
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
    """Checks that the values of frames lie between 0 and `limit`. uint8 frames stay uint8, others become float32.

    Args:
        frames: frames of any shape and any real type. 16-bit frames (uint16) are scaled: 65535 becomes `limit`.
        name: how the error messages call the frames.
        limit: the value of full brightness. `None` leaves the range unchecked, and scales uint16 frames to 255.

    Raises:
        ValueError: the values are bool, complex, NaN, infinite, or outside of 0 to `limit`.
    """
    if frames.dtype == torch.uint8:
        return frames
    if frames.dtype == torch.bool or frames.is_complex():
        raise InputError(f"{name} must hold uint8 or floating-point values, got {frames.dtype}")
    values = frames.to(torch.float32)
    if not torch.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinite values")
    if frames.dtype == torch.uint16:
        return values * ((FULL_SCALE if limit is None else limit) / FULL_SCALE_16_BITS)
    if limit is not None and values.numel():
        low, high = values.min().item(), values.max().item()
        slack = TOLERANCE * limit / FULL_SCALE
        if low < -slack or high > limit + slack:
            raise InputError(
                f"{name} must hold values of 0 to {limit:g}, got {low:g} to {high:g} of {frames.dtype}; frames of "
                "16 bits are uint16, and other scales need a rescale_factor of their own, or do_rescale=False"
            )
    return values


__all__ = [
    "FULL_SCALE",
    "PICTURE_FORMATS",
    "is_stored_picture",
    "on_the_scale",
    "open_picture",
    "open_stored_picture",
    "to_eight_bits",
]
