"""Draws the masks of a result on their frames, as pictures and as a contact sheet."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ...files.errors import InputError
from ...files.file_names import printable
from ...processing.drawing import lay_over, mark_layer, resize_map
from ...processing.video_frames import clip_to_tensor, decoded_video
from ..media.video_reader import VideoReader
from .read_results import LabelledFrame, read_frames
from .timeline import ShownFigure

TILE_WIDTH = 2.6  # inches
DEFAULT_COLUMNS, DEFAULT_MOST = 5, 15


def check_alpha(alpha: Any) -> None:
    """Raises ValueError unless `alpha` is a number from 0 to 1."""
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise InputError(f"alpha must be a number from 0 to 1, got {alpha!r}")


def frames_of_video(video: str | Path, result: list[LabelledFrame]) -> Iterator[np.ndarray]:
    """Yields the picture (H, W, 3) uint8 that a video shows at the time of each frame of a result."""
    waiting = iter(result)
    wanted = next(waiting, None)
    shown = None
    for frame in VideoReader(video).frames():
        while wanted is not None:
            if wanted.time is None:
                raise InputError(
                    f"result must have a timestamp for each frame to be drawn on a video, frame {wanted.index} has "
                    "none: pass the frames themselves instead of the video"
                )
            # Times come from the same clock, but may have been rounded.
            if wanted.time >= frame.end - 1e-6:
                break
            yield frame.picture
            wanted = next(waiting, None)
        if wanted is None:
            return
        shown = frame
    while wanted is not None and shown is not None and wanted.time is not None:  # at the very end of the video
        if wanted.time > shown.end + 1:
            raise InputError(
                f"result must belong to the video {video}: it has a frame at {wanted.time:g} s, and the video ends at "
                f"{shown.end:g} s"
            )
        yield shown.picture
        wanted = next(waiting, None)


def matching_frames(frames: Any, result: list[LabelledFrame]) -> Any:
    """Returns a video's path as it is, and other frames as a sequence. Raises ValueError unless it has as many frames
    as the result."""
    if isinstance(frames, str | Path):
        return frames
    frames = decoded_video(frames)
    if not hasattr(frames, "__len__") or not hasattr(frames, "__getitem__"):
        if not isinstance(frames, Iterable):
            raise InputError(f"frames must be a video's path or URL, or pictures, got {type(frames).__name__}")
        frames = list(frames)
    if len(frames) != len(result):
        raise InputError(
            f"frames must be as many as those of result, got {len(frames)} and {len(result)}. For a video, pass its "
            "path or URL: the frames at the times of the result are read from it"
        )
    return frames


def pictures_of(frames: Any, result: list[LabelledFrame]) -> Iterator[np.ndarray]:
    """Yields the picture (H, W, 3) uint8 of each frame of a result.

    Args:
        frames: what `matching_frames` returned.
        result: the frames of the result.
    """
    if isinstance(frames, str | Path):
        yield from frames_of_video(frames, result)
        return
    for index in range(len(frames)):
        tensor = clip_to_tensor([decoded_video(frames[index])], "frames")[0]
        if tensor.is_floating_point():
            tensor = tensor.round().byte()
        yield np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())


def draw_frame(picture: np.ndarray, frame: LabelledFrame, alpha: float = 0.5) -> np.ndarray:
    """Draws the masks of a frame on its picture (H, W, 3) uint8, and returns a new picture.

    Masks of another size are resized. Each separate object gets its own outline.
    """
    size = (picture.shape[0], picture.shape[1])
    for label, _, mask in frame.segments:
        fitted = resize_map(mask, size, nearest=True).astype(np.uint8)
        picture = lay_over(picture, mark_layer(fitted * np.uint8(frame.label_ids[label]), alpha))
    return picture


def drawn_pictures(
    frames: Any, result: list[LabelledFrame], alpha: float = 0.5
) -> Iterator[tuple[LabelledFrame, np.ndarray]]:
    """Yields each frame of a result with its picture (H, W, 3) uint8, on which its masks are drawn."""
    for frame, picture in zip(result, pictures_of(matching_frames(frames, result), result), strict=True):
        yield frame, draw_frame(picture, frame, alpha)


def draw_masks(frames: Any, result: Any, alpha: float = 0.5) -> list[Image.Image]:
    """Draws the masks of a result on their frames: a tint, and an outline in two tones that shows on any picture.

    Args:
        frames: the video that was segmented, as a path or an http(s) URL; or its frames, one for each frame of
            `result`: a list of PIL images or of arrays (H, W, 3), or an array (F, H, W, 3) uint8.
        result: what the pipeline returns for one input, or what the processor returns for one clip.
        alpha: the opacity of the tint, from 0 to 1.

    Returns:
        A picture of the size of the frames for each frame of `result`. Labels have the colours of `auss segment`. For
        a long video, `save_animation` holds one picture at a time.

    Raises:
        ValueError: frames and result do not fit, or an argument is something else.
        FileNotFoundError, DamagedVideoError: as `VideoReader`.
    """
    check_alpha(alpha)
    return [Image.fromarray(picture) for _, picture in drawn_pictures(frames, read_frames(result), alpha)]


def caption(frame: LabelledFrame) -> str:
    """Returns the line above a picture of the contact sheet: time, labels and scores."""
    names = [f"{printable(label)} {score:.2f}" for label, score, mask in frame.segments if mask.any()]
    time = [f"{frame.time:.1f} s"] if frame.time is not None else [f"frame {frame.index}"]
    return "  ".join([*time, ", ".join(names) or "nothing sounds"])


def plot_masks(
    frames: Any, result: Any, columns: int = DEFAULT_COLUMNS, most: int = DEFAULT_MOST, alpha: float = 0.5
) -> Figure:
    """Draws a contact sheet: frames with their masks, each with its time, its labels and their scores.

    Args:
        frames, result, alpha: as `draw_masks` takes them.
        columns: the number of pictures in a row.
        most: the largest number of pictures. A longer result shows frames that are evenly spread.

    Returns:
        A Matplotlib figure, which a notebook shows. `figure.savefig("sheet.png")` writes it to a file.

    Raises:
        ValueError, FileNotFoundError, DamagedVideoError: as `draw_masks`.
        ValueError: `result` has no frame, or `columns` or `most` is no whole number of at least 1.
    """
    check_alpha(alpha)
    for name, value in (("columns", columns), ("most", most)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")
    read = read_frames(result)
    if not read:
        raise InputError("result must have at least one frame, got none")
    chosen = np.unique(np.linspace(0, len(read) - 1, min(most, len(read))).round().astype(int)).tolist()
    frames = matching_frames(frames, read)
    if not isinstance(frames, str | Path):
        frames = [frames[index] for index in chosen]
    read = [read[index] for index in chosen]
    tiles = list(drawn_pictures(frames, read, alpha))
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    height, width = tiles[0][1].shape[:2]
    figure = ShownFigure(
        figsize=(columns * TILE_WIDTH, rows * (TILE_WIDTH * height / width + 0.3)), layout="constrained"
    )
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, (frame, picture) in zip(figure.axes, tiles, strict=False):
        axes.imshow(picture)
        axes.set_title(caption(frame), fontsize=8, parse_math=False)
    return figure


__all__ = ["check_alpha", "draw_masks", "drawn_pictures", "plot_masks"]
