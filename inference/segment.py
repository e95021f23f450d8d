"""`auss segment`: reads a video and writes it again with what sounds marked, and the masks if wanted."""

import argparse
import contextlib
import dataclasses
import logging
import os
import stat
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image
from tqdm import tqdm

from ..files.file_names import printable
from ..files.new_contents import NewContents, entries
from ..hub.exported_model import AnyAuss
from ..hub.shipped_model import chosen_model, known_categories
from ..hub.trained_model import load_model
from ..processing.drawing import lay_over, mark_layer
from ..processing.post_processing_auss import DEFAULT_THRESHOLD
from ..processing.processing_auss import AussProcessor
from .arguments import mask_options
from .clip_batches import ClipBatch, FrameMask, clip_batches, frame_masks, predict
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
from .results.mask_files import MASK_NAME, mask_name, mask_values
from .results.run_outputs import RunOutputs
from .results.run_report import report_lines
from .sound_windows import window_seconds
from .worker_threads import Passage, Worker, ahead

logger = logging.getLogger(__name__)

# How many batches are decoded and prepared ahead of the network, and how many masks may wait to be drawn. The network
# makes the masks of a batch one after the other, so as many masks as a batch has keep the writing busy meanwhile.
BATCHES_AHEAD, MASKS_BEHIND = 1, DEFAULT_BATCH_SIZE
NO_SCORES = np.zeros((0, 0), np.float32)
BAR_FORMAT = "{l_bar}{bar}| {n:.1f}/{total:.1f} s of video [{elapsed}<{remaining}]"


def reader_masks(
    reader: VideoReader,
    model: AnyAuss,
    processor: AussProcessor,
    fps: float | None = DEFAULT_FPS,
    batch_size: int = DEFAULT_BATCH_SIZE,
    window: float | None = None,
    stride: float | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> Generator[FrameMask, None, None]:
    """Works like `segment_video` for a `VideoReader`. The caller must call `reader.check` afterwards.

    A thread decodes and prepares frames ahead of the network. It ends with the last mask, or when the returned
    generator is closed. A caller that may stop earlier must close the generator.
    """
    check_fps(fps)
    check_batch_size(batch_size)
    check_threshold(threshold)
    window, stride = window_and_stride(window_seconds(model), window, stride)
    batches = clip_batches(reader, processor, window, stride, fps, batch_size, hears=model.config.audio_input)
    # This is no generator function, so a wrong argument is refused at the call, before anything is written.
    return batch_masks(ahead(batches, BATCHES_AHEAD, reader.stop), model, processor, threshold)


def batch_masks(
    batches: Generator[ClipBatch, None, None], model: AnyAuss, processor: AussProcessor, threshold: float
) -> Generator[FrameMask, None, None]:
    """Yields the masks of batches. Closes `batches` at the end."""
    with contextlib.closing(batches):
        for batch in batches:
            yield from frame_masks(processor, batch, predict(model, batch)["logits"], threshold=threshold)


def segment_video(
    video: str | Path,
    model: AnyAuss,
    processor: AussProcessor,
    fps: float | None = DEFAULT_FPS,
    batch_size: int = DEFAULT_BATCH_SIZE,
    window: float | None = None,
    stride: float | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    audio_track: int | None = None,
) -> Iterator[FrameMask]:
    """Finds what sounds in a video of any length, in constant memory.

    The sound is cut into windows of the length that the model takes, 5 s for most models. The network sees every frame
    with the window in which the frame is shown. If the sound changes, a frame hears its own side of the change. Masks
    are empty in a window without sound and in a video without a sound track.

    Args:
        video: a file with a picture, or the http(s) URL of one.
        model: the model in evaluation mode.
        processor: the processor that the model was trained with.
        fps: masks per second; `None` makes a mask for every frame.
        batch_size: the number of frames that the network sees at once.
        window: seconds of sound in a window; `None` for the maximum, which is what the model takes.
        stride: seconds from the start of one window to the start of the next; `None` for the length of the window. If
            windows overlap, a frame gets the mean of their results, weighted by its distance from their middles.
        threshold: a pixel sounds if its score, in [0, 1], is higher. For more than two labels see
            `AussProcessor.post_process_audio_visual_segmentation`.
        audio_track: the number of the sound track that is heard, from 1; `None` for the track that a player would
            choose, or for another one that sounds if that track is silent.

    Yields:
        Masks of the size of the picture, in order.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: as `VideoReader`.
        ValueError: an argument is out of its range.
        DamagedVideoError: the file could not be read completely. The error comes after the last mask.
    """
    reader = VideoReader(video, audio_track)
    yield from reader_masks(reader, model, processor, fps, batch_size, window, stride, threshold)
    reader.check()


class HeldMask:
    """Draws one mask on frame after frame. The marks of the mask are computed once."""

    def __init__(self, mask: FrameMask, num_labels: int):
        self._marks = mark_layer(mask.segmentation if num_labels > 2 else mask.segmentation > 0)
        self._layer: MaskLayer | None = None

    def draw(self, picture: np.ndarray | av.VideoFrame) -> np.ndarray | av.VideoFrame:
        """Draws the mask on an RGB picture (H, W, 3) uint8, or on a frame that `planar_copy` returned."""
        if isinstance(picture, np.ndarray):
            return lay_over(picture, self._marks)
        if self._layer is None:
            colours = own_colours(picture)
            assert colours is not None  # every frame of `planar_copy` has known colours
            self._layer = MaskLayer(self._marks, colours)
        return self._layer.draw(picture)


def write_mask(mask: FrameMask, folder: Path, num_labels: int) -> Path:
    """Saves a mask as PNG and returns its path. With two labels the values are 255 where something sounds and 0
    elsewhere; with more labels they are the class ids. The name holds the number and the time of the frame."""
    path = folder / f"{mask_name(mask.index, mask.time)}.png"
    Image.fromarray(mask_values(mask.segmentation, num_labels)).save(path)
    return path


def marked_frames(
    frames: Iterator[TimedFrame], masks: Iterator[FrameMask], num_labels: int, mask_folder: Path | None = None
) -> Iterator[tuple[float, np.ndarray | av.VideoFrame]]:
    """Yields (time, picture) for every frame. The latest mask at that time is drawn on the picture. Each new mask is
    saved if there is a `mask_folder`. If new masks come while a frame is held, the frame is yielded again for each."""
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
    on_frame: Callable[[float], None] | None = None,
) -> int:
    """Writes a video with its masks drawn in it. Also saves the masks if `mask_folder` is given.

    Args:
        reader: the reader of the video.
        masks: the masks that `reader_masks` makes with this reader.
        num_labels: the number of labels. If there are more than 2, each has its own colour.
        output, overwrite: as `VideoWriter` takes them.
        mask_folder: an existing folder for the masks.
        show_progress: whether a progress bar is shown.
        on_frame: called with the time of every frame, in seconds, in the thread that writes. If it raises an error,
            nothing is written.

    Returns:
        The number of frames.
    """
    # A second reader decodes the pictures to draw on, so that no picture is kept until its mask is known. A thread
    # reads, draws and encodes them, while this thread makes the masks.
    pictures = VideoReader(reader.info.path, info=reader.info)
    passage: Passage[FrameMask] = Passage(MASKS_BEHIND)
    with (
        VideoWriter(output, reader.info, overwrite) as writer,
        tqdm(
            total=round(reader.length, 1),
            desc=printable(Path(reader.info.path).name),
            bar_format=BAR_FORMAT,
            disable=not show_progress,
        ) as bar,
    ):

        def write_frames() -> int:
            count = 0
            for time, picture in marked_frames(pictures.frames(), iter(passage), num_labels, mask_folder):
                if passage.stopped:
                    break
                writer.write(time, picture)
                count += 1
                if on_frame is not None:
                    on_frame(time)
                bar.update(max(0.0, min(time, bar.total) - bar.n))
            return count

        with Worker(write_frames, passage) as worker:
            for mask in masks:
                # Only the labels are drawn. The scores of a waiting mask would take four times their memory.
                if not passage.put(dataclasses.replace(mask, scores=NO_SCORES, queries=None)):
                    break
            passage.end()
            count = worker.result()
        writer.hold(pictures.picture_end or 0.0)
        bar.update(max(0.0, bar.total - bar.n))
    return count


def earlier_masks(folder: Path, overwrite: bool) -> list[str]:
    """
    Lists the names of the masks in a folder that new masks will replace. Nothing is changed.

    Raises:
        FileExistsError: `folder` is a file; or it is not empty and `overwrite` is not set, since the masks of two runs
            would look like those of one run; or a folder or a link has the name of a mask.
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
    """Runs the command. Returns 1 if the video was damaged. The output then holds the part that could be read."""
    reader = VideoReader(arguments.video, arguments.audio_track)
    check_video_output(arguments.output, reader.info.path, arguments.overwrite)
    # This refuses sound that cannot be written, before any file is made or replaced.
    plan_sound(reader.info, container_format(arguments.output))
    video = printable(Path(str(reader.info.path)).name)
    outputs = RunOutputs(
        video, arguments.masks, arguments.timeline or (), arguments.separate_objects, arguments.overwrite
    )
    mask_folder = arguments.masks if outputs.masks is None else None
    old = earlier_masks(mask_folder, arguments.overwrite) if mask_folder is not None else []
    source = chosen_model(arguments.model)
    model, processor = load_model(source, arguments.device, arguments.threads, arguments.trust_remote_code)
    found = reader_masks(reader, model, processor, **mask_options(arguments))
    if not reader.info.has_audio:
        logger.warning(
            "%s has no sound track: it is taken as silent, so nothing in it sounds", printable(arguments.video)
        )
    # Masks are made in a hidden folder. They replace earlier masks when the video and all masks are complete.
    with (
        contextlib.closing(found),
        NewContents(mask_folder) if mask_folder is not None else contextlib.nullcontext() as folder,
    ):
        new = folder.new if folder is not None else None
        masks = outputs.watch(found, model.config.id2label, new)
        count = write_marked(reader, masks, model.config.num_labels, arguments.output, new, arguments.overwrite)
        if folder is not None:
            folder.install(old)
    summary = outputs.finish(reader.length)
    print(f"{printable(arguments.output)}: {count} frames, {reader.length:.1f} s")
    if arguments.masks is not None:
        print(f"{printable(arguments.masks)}: {outputs.count} masks")
    for path in outputs.timelines:
        print(f"{printable(path)}: what sounded when")
    print("\n".join(report_lines(summary, model.config, known_categories() if arguments.model is None else ())))
    try:
        reader.check()
    except DamagedVideoError as error:
        print(f"auss segment: {printable(error)}. The output holds what could be read.", file=sys.stderr)
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
