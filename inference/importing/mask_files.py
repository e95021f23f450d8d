"""Reads masks from pictures and from videos: black and white, grey, with a palette, in colours, or with transparency.

Black, the first colour of a palette and transparency are the background. Everything else is labelled.
"""

import os
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...files.errors import InputError
from ...processing.pictures import open_picture, to_eight_bits
from ...train.composer.object_library import is_hidden
from ..media.video_reader import VideoReader
from ..segment_folder import VIDEO_SUFFIXES
from .labels import FrameLabels, Moment, Region

# JPEG is missing on purpose: its smeared edges are no masks.
MASK_SUFFIXES = frozenset((".png", ".bmp", ".tif", ".tiff", ".gif", ".webp"))
WHITE_FROM = 128
# A grey mask with more levels than this is smooth, and pixels from the middle level on are inside. One with fewer
# levels holds the numbers of classes or objects, and everything but 0 is inside.
MOST_LEVELS = 16
# A picture with more colours than this is a photograph, not a mask.
MOST_COLOURS = 4096
# CVAT's and VOC's label of pixels at the edge of an object, and its colour in their palette.
VOID, VOID_COLOUR = 255, (224, 224, 192)
# The folder of masks in the VOC layout, and the folders beside it that hold other pictures.
CLASS_FOLDER, OTHER_FOLDERS = "SegmentationClass", ("SegmentationObject", "JPEGImages", "ImageSets")
VIDEO_FROM = 64  # compression blurs masks in videos, and their colours may be as dark as 128


def grey_mask(levels: np.ndarray) -> np.ndarray:
    """Makes a mask, bool (H, W), of grey levels (H, W) uint8."""
    if len(np.unique(levels)) > MOST_LEVELS:
        return np.asarray(levels >= WHITE_FROM)
    return np.asarray(levels > 0)


def palette_mask(picture: Any) -> np.ndarray:
    """Makes a mask, bool (H, W), of a picture with a palette: everything but index 0 and the void colour."""
    indices = np.asarray(picture)
    colours = np.array(picture.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    if len(colours) > VOID and tuple(colours[VOID]) == VOID_COLOUR:
        indices = np.where(indices == VOID, 0, indices)
    return np.asarray(indices > 0)


def colour_mask(colours: np.ndarray) -> np.ndarray:
    """Makes a mask, bool (H, W), of colours (H, W, 3) uint8: everything that is not black.

    Raises:
        ValueError: the picture has too many colours for a mask.
    """
    if (colours == colours[..., :1]).all():
        return grey_mask(colours[..., 0])
    numbers = colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    count = len(np.unique(numbers))
    if count > MOST_COLOURS:
        raise InputError(f"it has {count} colours, so it is a photograph and no mask")
    return np.asarray(colours.any(axis=-1))


def draw_mask_picture(path: Path, _: tuple[int, int]) -> np.ndarray:
    """Reads a mask picture as bool (H, W), in its own size.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no picture, or is a photograph.
    """
    picture = open_picture(path, f"mask file {path}")
    if picture.mode == "P" and "transparency" not in picture.info:
        return palette_mask(picture)
    if picture.mode == "1":
        return np.asarray(picture)
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.int64)
        # 16 bits hold the numbers of objects, or grey levels of the full scale
        if values.min(initial=0) >= 0 and len(np.unique(values)) <= MOST_COLOURS:
            return values > 0
    picture = to_eight_bits(picture, f"mask file {path}")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        pixels = np.asarray(picture.convert("RGBA"))
        if pixels[..., 3].min(initial=255) < 255:
            # A label on a transparent background may have any colour, also black.
            return pixels[..., 3] >= WHITE_FROM
    return colour_mask(np.asarray(picture.convert("RGB")))


def unpacked_mask(content: bytes, size: tuple[int, int], _: tuple[int, int]) -> np.ndarray:
    """Returns a mask of `packed_mask` as bool (H, W). The last argument is not used."""
    bits = np.unpackbits(np.frombuffer(zlib.decompress(content), dtype=np.uint8), count=size[0] * size[1])
    return bits.reshape(size).astype(bool)


def packed_mask(mask: np.ndarray) -> Region:
    """Keeps a mask, bool (H, W), in little memory."""
    content = zlib.compress(np.packbits(mask).tobytes(), 1)
    return Region("", mask.shape, partial(unpacked_mask, content, mask.shape))


def read_mask_video(path: Path, origin: str, fps: float) -> list[FrameLabels]:
    """Reads a mask video: every 1 / fps seconds one mask, in which everything is inside that is not nearly black.

    Raises:
        ValueError: the file is no video, or it is damaged.
    """
    reader = VideoReader(path)
    found = []
    for frame in reader.frames(fps):
        mask = frame.picture.max(axis=-1) >= VIDEO_FROM
        regions = (packed_mask(mask),) if mask.any() else ()
        found.append(FrameLabels(f"{origin} at {frame.time:g} s", (origin,), Moment(time=frame.time), regions))
    problems = reader.problems()
    if problems:
        raise InputError(f"mask video {path} is damaged: {'; '.join(problems)}")
    return found


def read_mask_folder(folder: Path, fps: float) -> list[FrameLabels]:
    """Lists the masks in a folder and its subfolders: pictures, each of one frame, and videos.

    The name of a picture tells the moment, and its name or that of its folder tells the video. Hidden files are
    passed over. In a folder in the layout of VOC, as CVAT exports it, only the masks of classes count.

    Args:
        folder: the folder.
        fps: how many masks a second a mask video gives.

    Raises:
        ValueError: the folder has no mask, or a mask video cannot be read.
    """
    found: list[FrameLabels] = []
    for place, folders, files in os.walk(folder, followlinks=False):
        if CLASS_FOLDER in folders:
            folders[:] = [name for name in folders if name not in OTHER_FOLDERS]
        folders[:] = sorted(name for name in folders if not is_hidden(Path(name)))
        for name in sorted(files):
            path = Path(place, name)
            inner = path.relative_to(folder).as_posix()
            if is_hidden(Path(name)):
                continue
            if path.suffix.lower() in MASK_SUFFIXES:
                region = Region("", None, partial(draw_mask_picture, path))
                found.append(FrameLabels(f"mask {path}", (inner,), None, (region,)))
            elif path.suffix.lower() in VIDEO_SUFFIXES - MASK_SUFFIXES:
                found += read_mask_video(path, inner, fps)
    if not found:
        endings = ", ".join(sorted(MASK_SUFFIXES))
        raise InputError(f"labels {folder} has no mask: no picture ({endings}) and no video in it")
    return found


__all__ = ["MASK_SUFFIXES", "draw_mask_picture", "read_mask_folder", "read_mask_video"]
