"""Opens picture files. Every picture that auss reads from a file or from bytes is opened here.

Pillow knows some forty formats and goes by a file's content, not by its name. Some formats start other programs (EPS
starts Ghostscript), and hardly anybody maintains others. So only the formats of photographs and masks are tried.
"""

import io
import os
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

# AVIF is missing on purpose: not every build of Pillow has it, and no audio-visual data set uses it.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
EXIF_ORIENTATION = 0x0112


def _check_file(path: str, name: str) -> None:
    """Refuses a path that is no file with content. Opening a pipe would wait for ever."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{name} does not exist")
    if not os.path.isfile(path):
        raise ValueError(f"{name} is no file")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{name} is empty (0 bytes)")


def open_picture(source: Any, name: str) -> Image.Image:
    """Opens a picture, loads it and turns it upright, as its EXIF orientation says.

    Of an animation the first frame is loaded; its `n_frames` says how many there are.

    Args:
        source: the path of a file, or the bytes of one.
        name: what the error messages call it, such as "frames file a.png". It is kept as the picture's `filename`.

    Returns:
        A PIL image of whatever mode the file has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, no picture of `PICTURE_FORMATS`, damaged or truncated, or has more pixels than
            Pillow's limit against decompression bombs (`PIL.Image.MAX_IMAGE_PIXELS`) allows.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        if len(source) == 0:
            raise ValueError(f"{name} is empty (0 bytes)")
        source = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        _check_file(os.fspath(source), name)
    try:
        picture = Image.open(source, formats=PICTURE_FORMATS)
        picture.load()
        orientation = picture.getexif().get(EXIF_ORIENTATION)
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not a picture: it is none of {', '.join(PICTURE_FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is too large: {error}") from error
    except SyntaxError as error:
        raise ValueError(f"{name} is not a picture: {error}") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise errors of any kind
        raise ValueError(f"{name} cannot be decoded: {error or type(error).__name__}") from error
    if orientation not in (None, 1):
        frames = getattr(picture, "n_frames", 1)
        picture = ImageOps.exif_transpose(picture)
        picture.n_frames = frames  # type: ignore[attr-defined]  # `exif_transpose` returns a plain image
    picture.filename = name  # type: ignore[attr-defined]  # files have one, and pictures made from bytes do not
    return picture


def is_stored_picture(value: Any) -> bool:
    """Whether `value` is a picture as an undecoded column of `datasets` holds it: a mapping of `bytes` and `path`."""
    return isinstance(value, Mapping) and (value.get("bytes") is not None or value.get("path") is not None)


def open_stored_picture(value: Mapping, name: str = "picture file") -> Image.Image:
    """Opens the `{"bytes", "path"}` of an undecoded column; its path is added to `name`. Raises as `open_picture`."""
    path, content = value.get("path"), value.get("bytes")
    if content is not None and hasattr(content, "tobytes"):  # with_format("numpy") may make an array of bytes
        content = content.tobytes()
    return open_picture(path if content is None else content, f"{name} {path or '(bytes)'}")


__all__ = ["PICTURE_FORMATS", "is_stored_picture", "open_picture", "open_stored_picture"]
