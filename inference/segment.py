"""`auss segment`: a video in; out, the same video with what sounds marked in it, and the masks if wanted."""

import argparse
import contextlib
import logging
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..files.errors import InputError
from ..files.file_names import printable
from ..files.new_contents import NewContents, entries
from ..hub.trained_model import load_trained
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.drawing import lay_over, mark_layer
from ..processing.post_processing_auss import DEFAULT_THRESHOLD
from ..processing.processing_auss import AussProcessor
from .arguments import mask_options
from .clip_batches import FrameMask, clip_batches, frame_masks, predict
from .media.containers.container_formats import container_format
from .media.containers.decoding import DamagedVideoError
from .media.picture.frame_planes import own_colours
from .media.picture.mask_layer import MaskLayer
from .media.sound_copy import plan_sound
from .media.video_reader import TimedFrame, VideoReader
from .media.video_writer import VideoWriter, check_video_output
from .parameters import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_FPS,
    check_batch_size,
    check_fps,
    check_threshold,
    window_and_stride,
)
from .sound_windows import window_seconds

logger = logging.getLogger(__name__)

# Exactly what `write_mask` names its files: of those, and of nothing else, an earlier run's may be replaced.
MASK_NAME = re.compile(r"mask_[0-9]{6,}_[0-9]{5,}\.[0-9]{3}s\.png")
BAR_FORMAT = "{l_bar}{bar}| {n:.1f}/{total:.1f} s of video [{elapsed}<{remaining}]"


def load_model(folder: str | Path, device: str = "auto") -> tuple[AussForAudioVisualSegmentation, AussProcessor]:
    """The model and the processor saved in a folder, in evaluation mode on the device.

    Args:
        folder: what `auss train` or `save_pretrained` wrote.
        device: as torch names it, or "auto": the GPU if there is one.

    Raises:
        FileNotFoundError, ValueError: as `load_trained`.
        ValueError: for a device that is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model, processor = load_trained(folder)
    try:
        model = model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch's words for a device that is unknown, or is not there
        raise InputError(f"device must be one that torch has here, got {device!r}: {error}") from error
    return model, processor


def reader_masks(
    reader: VideoReader,
    model: AussForAudioVisualSegmentation,
    processor: AussProcessor,
    fps: float | None = DEFAULT_FPS,
    batch_size: int = DEFAULT_BATCH_SIZE,
    window: float | None = None,
    stride: float | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> Iterator[FrameMask]:
    """As `segment_video`, of a reader; whether it read everything is left to the caller to check."""
    check_fps(fps)
    check_batch_size(batch_size)
    check_threshold(threshold)
    window, stride = window_and_stride(window_seconds(model), window, stride)
    batches = clip_batches(reader, processor, window, stride, fps, batch_size, hears=model.config.audio_input)
    # No generator function, so that a wrong argument is refused at the call, before anything is written.
    return (
        mask
        for batch in batches
        for mask in frame_masks(processor, batch, predict(model, batch)["logits"], threshold=threshold)
    )


def segment_video(
    video: str | Path,
    model: AussForAudioVisualSegmentation,
    processor: AussProcessor,
    fps: float | None = DEFAULT_FPS,
    batch_size: int = DEFAULT_BATCH_SIZE,
    window: float | None = None,
    stride: float | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    audio_track: int | None = None,
) -> Iterator[FrameMask]:
    """Finds what sounds in a video of any length, in constant memory.

    The sound is cut into windows as long as the model takes, 5 s for most; every frame is seen with the window that it
    is shown in. Where the sound changes, a frame hears its own side of the change. A window without sound, and a
    video without a sound track, has empty masks.

    Args:
        video: a file with a picture, or the http(s) URL of one.
        model: in evaluation mode.
        processor: the one the model was trained with.
        fps: masks per second; `None` gives every frame one.
        batch_size: frames that the network sees at once.
        window: seconds of sound in a window; `None` for as many as the model takes, which is the most.
        stride: seconds from the start of one window to that of the next; `None` for the window's length. Where windows
            overlap, a frame gets the mean of what its windows give, by how near their middle it is.
        threshold: the score over which a pixel sounds, in [0, 1]; of more labels, see
            `AussProcessor.post_process_audio_visual_segmentation`.
        audio_track: the number of the sound track that is heard, from 1; `None` for the one that a player would
            choose, or another one if that one is silent.

    Yields:
        Masks of the picture's own size, in order.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: as `VideoReader`.
        ValueError: for an argument out of its range.
        DamagedVideoError: after the last mask, if the file could not be read whole.
    """
    reader = VideoReader(video, audio_track)
    yield from reader_masks(reader, model, processor, fps, batch_size, window, stride, threshold)
    reader.check()


class HeldMask:
    """Draws the last mask on frame after frame; what only the mask says is found once."""

    def __init__(self, mask: FrameMask, num_labels: int):
        self._marks = mark_layer(mask.segmentation if num_labels > 2 else mask.segmentation > 0)
        self._layer: MaskLayer | None = None

    def draw(self, picture: np.ndarray | av.VideoFrame) -> np.ndarray | av.VideoFrame:
        """The mask drawn on an RGB picture (H, W, 3) uint8, or on a frame of `planar_copy`."""
        if isinstance(picture, np.ndarray):
            return lay_over(picture, self._marks)
        if self._layer is None:
            colours = own_colours(picture)
            assert colours is not None  # as all that `planar_copy` gives
            self._layer = MaskLayer(self._marks, colours)
        return self._layer.draw(picture)


def write_mask(mask: FrameMask, folder: Path, num_labels: int) -> Path:
    """Saves a mask as PNG: 255 where something sounds with two labels, else the class ids. The name has the frame's
    number and time."""
    values = mask.segmentation if num_labels > 2 else (mask.segmentation > 0).astype(np.uint8) * 255
    path = folder / f"mask_{mask.index:06d}_{mask.time:09.3f}s.png"
    Image.fromarray(values).save(path)
    return path


def draw_masks(
    frames: Iterator[TimedFrame], masks: Iterator[FrameMask], num_labels: int, mask_folder: Path | None = None
) -> Iterator[tuple[float, np.ndarray | av.VideoFrame]]:
    """(time, picture) of every frame, with the last mask up to it drawn on it; each new mask is saved on the way. A
    frame that is held while new masks come is given again, at the time of each."""
    held, upcoming = None, next(masks, None)
    for frame in frames:
        time: float | None = frame.time
        while time is not None:
            while upcoming is not None and (upcoming.index, upcoming.time) <= (frame.index, time):
                held = HeldMask(upcoming, num_labels)
                if mask_folder is not None:
                    write_mask(upcoming, mask_folder, num_labels)
                upcoming = next(masks, None)
            picture = frame.planar_copy() or frame.picture
            yield time, held.draw(picture) if held is not None else picture
            time = upcoming.time if upcoming is not None and upcoming.index == frame.index else None


def write_marked(
    reader: VideoReader,
    masks: Iterator[FrameMask],
    num_labels: int,
    output: Path,
    mask_folder: Path | None = None,
    overwrite: bool = False,
    show_progress: bool = True,
) -> int:
    """Writes a video with its masks drawn in it, and the masks themselves if there is a folder for them.

    Args:
        reader: of the video.
        masks: what `reader_masks` gives of it.
        num_labels: more than 2 have colours of their own.
        output, overwrite: as `VideoWriter` takes them.
        mask_folder: is there already.
        show_progress: whether a bar is shown.

    Returns:
        The number of frames.
    """
    # A second reader decodes the pictures to draw on, so that none needs to be kept until its masks are known.
    pictures = VideoReader(reader.info.path, info=reader.info)
    with (
        VideoWriter(output, reader.info, overwrite) as writer,
        tqdm(
            total=round(reader.length, 1),
            desc=printable(Path(reader.info.path).name),
            bar_format=BAR_FORMAT,
            disable=not show_progress,
        ) as bar,
    ):
        count = 0
        for time, picture in draw_masks(pictures.frames(), masks, num_labels, mask_folder):
            writer.write(time, picture)
            count += 1
            bar.update(max(0.0, min(time, bar.total) - bar.n))
        writer.hold(pictures.picture_end or 0.0)
        bar.update(max(0.0, bar.total - bar.n))
    return count


def earlier_masks(folder: Path, overwrite: bool) -> list[str]:
    """
    The names of the masks in a folder that new ones are to replace. Nothing is changed.

    Raises:
        FileExistsError: `folder` is a file; something is in it and `overwrite` is not set, since masks of two runs
            side by side would be taken for those of one; a folder or a link has the name of a mask.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise FileExistsError(f"masks: {printable(folder)} is a file, not a folder")
    found = entries(folder)
    if found and not overwrite:
        raise FileExistsError(
            f"masks: {printable(folder)} is not empty: choose another folder, or allow it with --overwrite"
        )
    masks = [path for path in found if MASK_NAME.fullmatch(path.name)]
    for path in masks:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise FileExistsError(f"masks: {printable(path)} is no file that auss wrote: choose another folder")
    return [path.name for path in masks]


def run(arguments: argparse.Namespace) -> int:
    """Runs the command. Returns 1 where the video was damaged: what could be read of it is then in the output."""
    reader = VideoReader(arguments.video, arguments.audio_track)
    check_video_output(arguments.output, reader.info.path, arguments.overwrite)
    # Sound that cannot be written is found out before anything is made or replaced.
    plan_sound(reader.info, container_format(arguments.output))
    old = earlier_masks(arguments.masks, arguments.overwrite) if arguments.masks is not None else []
    model, processor = load_model(arguments.model, arguments.device)
    masks = reader_masks(reader, model, processor, **mask_options(arguments))
    if not reader.info.has_audio:
        logger.warning("%s has no sound track: it is taken as silent, so nothing in it sounds", arguments.video)
    # Masks are made aside, and take the place of earlier ones when all of them, and the video, are there.
    with NewContents(arguments.masks) if arguments.masks is not None else contextlib.nullcontext() as folder:
        count = write_marked(
            reader,
            masks,
            model.config.num_labels,
            arguments.output,
            folder.new if folder is not None else None,
            arguments.overwrite,
        )
        num_masks = 0
        if folder is not None:
            num_masks = len(os.listdir(folder.new))
            folder.install(old)
    print(f"{printable(arguments.output)}: {count} frames, {reader.length:.1f} s")
    if arguments.masks is not None:
        print(f"{printable(arguments.masks)}: {num_masks} masks")
    try:
        reader.check()
    except DamagedVideoError as error:
        print(f"auss segment: {error}. The output holds what could be read.", file=sys.stderr)
        return 1
    return 0


__all__ = [
    "MASK_NAME",
    "load_model",
    "reader_masks",
    "run",
    "segment_video",
    "write_marked",
    "write_mask",
]
