"""Writes a result as an animated GIF or as a video."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...files.errors import InputError
from ...files.whole_files import WholeFile
from ...processing.drawing import resize_map
from ..media.containers.container_formats import CONTAINER_FORMATS
from ..media.containers.decoding import is_url
from ..media.picture.display_matrix import Orientation
from ..media.picture.frame_planes import FrameColours
from ..media.video_probe import VideoInfo
from ..media.video_writer import VideoWriter
from ..parameters import DEFAULT_FPS
from .mask_pictures import check_alpha, drawn_pictures
from .read_results import LabelledFrame, read_frames

GIF_TICK = 0.01  # seconds; a GIF stores how long a picture is shown in this unit
LEAST_TICKS = 2  # browsers show a picture of fewer ticks for 0.1 s


def frame_times(result: list[LabelledFrame]) -> list[float]:
    """Returns the time of each frame in seconds, and the end of the last. Without times, there are 5 frames a second.

    The last frame is shown as long as the others are in the median.
    """
    times = [frame.time for frame in result]
    if any(time is None for time in times):
        return [index / DEFAULT_FPS for index in range(len(result) + 1)]
    known = [time for time in times if time is not None]
    usual = float(np.median(np.diff(known))) if len(known) > 1 else 1 / DEFAULT_FPS
    return [*known, known[-1] + usual]


def scaled(picture: np.ndarray, height: int | None) -> np.ndarray:
    """Returns a picture (H, W, 3) uint8 with the wanted height and the same proportions."""
    if height is None:
        return picture
    return resize_map(picture, (height, max(1, round(height * picture.shape[1] / picture.shape[0]))))


def write_gif(pictures: Iterator[np.ndarray], times: list[float], path: Path) -> None:
    """Writes pictures (H, W, 3) uint8 as an animated GIF that repeats without end."""
    # Rounding the times and not the durations keeps the animation as long as the video.
    ticks = [round(time / GIF_TICK) for time in times]
    durations = [max(LEAST_TICKS, end - start) * 10 for start, end in zip(ticks, ticks[1:], strict=False)]
    images = (Image.fromarray(picture) for picture in pictures)
    first = next(images)
    first.save(path, format="GIF", save_all=True, append_images=images, duration=durations, loop=0)


def write_video(
    pictures: Iterator[np.ndarray], times: list[float], path: Path, source: Path | str, overwrite: bool
) -> None:
    """Writes pictures (H, W, 3) uint8 as a video without sound. They come from the video `source`."""
    first = next(pictures)
    height, width = first.shape[:2]
    info = VideoInfo(
        path=source,
        width=width,
        height=height,
        fps=1 / float(np.median(np.diff(times))),
        duration=times[-1] - times[0],
        has_audio=False,
        sampling_rate=0,
        orientation=Orientation(),
        pixel_aspect=Fraction(1),
        origin=0.0,
        colours=FrameColours(),
    )
    with VideoWriter(path, info, overwrite) as writer:
        writer.write(0.0, first)
        for time, picture in zip(times[1:], pictures, strict=False):
            writer.write(time - times[0], picture)
        writer.hold(times[-1] - times[0])


def save_animation(
    frames: Any,
    result: Any,
    path: str | Path,
    height: int | None = None,
    alpha: float = 0.5,
    overwrite: bool = False,
) -> Path:
    """Saves the frames of a result, with their masks drawn on them, as an animated GIF or as a video.

    Args:
        frames, result, alpha: as `draw_masks` takes them.
        path: the file to write: .gif, .mp4, .mkv or .webm.
        height: the height of the pictures in pixels; None keeps that of the frames. A GIF of large pictures is large.
        overwrite: whether an existing file may be replaced.

    Returns:
        The path of the file. It shows the frames of the result at their times, 5 a second if they have none, and has
        no sound. `auss segment` writes all frames of a video with their masks, and its sound.

    Raises:
        ValueError, FileNotFoundError, DamagedVideoError: as `draw_masks`.
        ValueError: `result` has no frame, the ending of `path` is another one, or `height` is no number of at least 1.
        FileExistsError: the file exists and `overwrite` is False.
    """
    path = Path(path)
    endings = (".gif", *CONTAINER_FORMATS)
    if path.suffix.lower() not in endings:
        raise InputError(f"path must end in {', '.join(endings)}, got {str(path)!r}")
    if height is not None and (isinstance(height, bool) or not isinstance(height, int) or height < 1):
        raise InputError(f"height must be a whole number of pixels, at least 1, or None, got {height!r}")
    check_alpha(alpha)
    source = frames if isinstance(frames, str | Path) else Path(os.devnull)
    if not is_url(source) and path.exists() and path.samefile(source):
        raise InputError(f"path {str(path)!r} is the video itself: choose another name")
    read = read_frames(result)
    if not read:
        raise InputError("result must have at least one frame, got none")
    times = frame_times(read)
    pictures = (scaled(picture, height) for _, picture in drawn_pictures(frames, read, alpha))
    if path.suffix.lower() == ".gif":
        with WholeFile(path, overwrite) as file:
            write_gif(pictures, times, file.partial_path)
    else:
        write_video(pictures, times, path, source, overwrite)
    return path


__all__ = ["save_animation"]
