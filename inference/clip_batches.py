"""Makes masks from the frames and the sound of a clip, a few frames at a time. Commands and pipeline use it."""

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypedDict

import numpy as np
import torch

from ..files.errors import InputError
from ..hub.exported_model import AnyAuss
from ..processing.post_processing_auss import DEFAULT_THRESHOLD
from ..processing.processing_auss import AussProcessor
from ..processing.video_frames import clip_to_tensor, frames_per_pass
from .array_clip import ArrayClip, ArrayFrame
from .media.video_reader import TimedFrame, VideoReader
from .parameters import DEFAULT_BATCH_SIZE, DEFAULT_FPS
from .sound_windows import SoundWindows, View


@dataclass(frozen=True)
class FrameMask:
    """The mask of one frame: what sounds in it."""

    index: int  # the frame's number in the video, from 0
    time: float  # seconds from the first frame
    segmentation: np.ndarray  # (H, W) uint8 class ids, 0 where nothing sounds
    scores: np.ndarray  # (H, W) float32 in [0, 1], the score that something sounds
    queries: dict[str, torch.Tensor] | None = None  # as `predict` returns them
    audible: bool = True  # whether there is any sound at that time


@dataclass(frozen=True)
class FramePlace:
    """Which frame a mask belongs to. The picture itself is not kept, because a batch may wait for the network."""

    index: int  # the frame's number in the video, from 0
    time: float  # seconds from the first frame


@dataclass(frozen=True)
class ClipBatch:
    """A few frames, prepared for the network."""

    frames: list[FramePlace]
    views: list[list[View]]  # for each frame, the windows of sound that it is combined with
    size: tuple[int, int]  # (height, width) of the pictures
    pixel_values: torch.Tensor | None  # (F, 3, H, W) float32; None where all windows are silent
    frames_per_pass: int


class Prediction(TypedDict):
    """The result of `predict` for the F frames of a batch."""

    logits: torch.Tensor | None  # (F, K, h, w) float32; None where all windows are silent
    queries: list[dict[str, torch.Tensor] | None] | None


def clip_batches(
    clip: VideoReader | ArrayClip,
    processor: AussProcessor,
    window: float,
    stride: float,
    fps: float | None = DEFAULT_FPS,
    batch_size: int = DEFAULT_BATCH_SIZE,
    hears: bool = True,
) -> Generator[ClipBatch, None, None]:
    """Prepares the frames of a clip for the network, in order, `batch_size` frames at once.

    Args:
        clip: the frames and the sound.
        processor: the processor that the model was trained with.
        window, stride, hears: as `SoundWindows` takes them.
        fps: frames per second; `None` takes all frames. An `ArrayClip` always gives all its frames.
        batch_size: the number of frames that the network sees at once.

    Raises:
        ValueError: the frames differ in size; or `clip` or `processor` refuses them.
    """
    sound = SoundWindows(clip, processor, window, stride, hears)
    frames, first_size = clip.frames(fps), None
    # The pictures belong to `prepared_batch`, so they are freed while this generator waits.
    while batch := prepared_batch(frames, sound, processor, batch_size):
        first_size = first_size or batch.size
        if batch.size != first_size:
            raise InputError(f"frames must be of equal size (height, width), got {first_size} and {batch.size}")
        yield batch


def prepared_batch(
    frames: Iterator[TimedFrame | ArrayFrame], sound: SoundWindows, processor: AussProcessor, batch_size: int
) -> ClipBatch | None:
    """Prepares the next `batch_size` frames. Returns None if there are no more frames."""
    chunk = [(frame, sound.around(frame.time)) for frame in itertools.islice(frames, batch_size)]
    if not chunk:
        return None
    pictures = clip_to_tensor([frame.picture for frame, _ in chunk], "frames")
    height, width = pictures.shape[-2:]
    audible = any(view.window.audible for _, views in chunk for view in views)
    return ClipBatch(
        frames=[FramePlace(frame.index, frame.time) for frame, _ in chunk],
        views=[views for _, views in chunk],
        size=(height, width),
        pixel_values=processor(videos=pictures, return_tensors="pt")["pixel_values"][0] if audible else None,
        frames_per_pass=batch_size,
    )


def passes(batch: ClipBatch, most: int) -> Iterator[list[tuple[int, list[View]]]]:
    """Yields the frames that the network sees at once: their positions in the batch with their audible views.

    All frames of a pass have the same number of views. The views of a pass are at most `most`, unless one frame alone
    has more. The views of a frame are never split, so its picture is encoded once.
    """
    by_count: dict[int, list[tuple[int, list[View]]]] = {}
    for position, views in enumerate(batch.views):
        if audible := [view for view in views if view.window.audible]:
            by_count.setdefault(len(audible), []).append((position, audible))
    for count, frames in by_count.items():
        step = max(1, most // count)
        for start in range(0, len(frames), step):
            yield frames[start : start + step]


@torch.no_grad()
def predict(model: AnyAuss, batch: ClipBatch, return_queries: bool = False) -> Prediction:
    """Runs the network on the frames of a batch, each frame with all audible windows of its views.

    Args:
        model: the model in evaluation mode, or an exported network.
        batch: a batch from `clip_batches`.
        return_queries: whether to return the queries that the masks were made from, too.

    Returns:
        `logits`: (F, K, h, w) float32, the weighted mean of the results for the windows. A silent window counts as 1
        for label 0 and as 0 for the other labels. None if all windows of the batch are silent. `queries`, on request:
        for each frame a dict of `audio_queries` (N, e), `fused_queries` (N, e) and `class_scores` (N, K + 1), the
        probabilities of the labels and of "no object". They come from the audible window with the greatest weight for
        the frame. A frame without an audible window has None.
    """
    logits: torch.Tensor | None = None
    queries: list[dict[str, torch.Tensor] | None] = [None] * len(batch.views)
    pixel_values = batch.pixel_values
    if pixel_values is None:  # no window is audible
        return {"logits": None, "queries": queries if return_queries else None}
    pixel_values = pixel_values.to(model.device, model.dtype)
    for seen in passes(batch, frames_per_pass(pixel_values, batch.frames_per_pass)):
        audio_queries = torch.stack(
            [
                torch.stack([view.window.queries(model, batch.frames[position].time) for view in views])
                for position, views in seen
            ]
        )
        # Each frame is passed as a clip of one frame, so that a pass can combine frames of different windows.
        frames = pixel_values[[position for position, _ in seen]].unsqueeze(1)
        output = model(pixel_values=frames, frame_queries=audio_queries)
        found: torch.Tensor = output.logits.float()
        if logits is None:
            logits = found.new_zeros(len(batch.views), *found.shape[2:])
        for row, (position, views) in enumerate(seen):
            for column, view in enumerate(views):
                logits[position] += view.weight * found[row, column]
            if return_queries:
                heaviest = max(range(len(views)), key=lambda column: views[column].weight)
                queries[position] = {
                    "audio_queries": audio_queries[row, heaviest].to(torch.float32, copy=True),
                    # These are copies. A view would keep the tensors of the whole pass in memory.
                    "fused_queries": output.fused_queries[row, heaviest].to(torch.float32, copy=True),
                    "class_scores": output.class_queries_logits[row, heaviest].float().softmax(-1),
                }
    assert logits is not None  # at least one window is audible
    silent = [sum(view.weight for view in views if not view.window.audible) for views in batch.views]
    logits[:, 0] += logits.new_tensor(silent)[:, None, None]
    return {"logits": logits, "queries": queries if return_queries else None}


def frame_masks(
    processor: AussProcessor,
    batch: ClipBatch,
    logits: torch.Tensor | None,
    queries: list[dict[str, torch.Tensor] | None] | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> Iterator[FrameMask]:
    """Yields the masks of a batch in the size of its pictures. They are made one by one to save memory.

    Args:
        processor: its `post_process_audio_visual_segmentation` makes the masks.
        batch: a batch from `clip_batches`.
        logits, queries: as `predict` returns them.
        threshold: as the processor takes it.
    """
    for position, frame in enumerate(batch.frames):
        of_frame = queries[position] if queries is not None else None
        if logits is None:
            segmentation, scores = np.zeros(batch.size, np.uint8), np.zeros(batch.size, np.float32)
        else:
            output = SimpleNamespace(logits=logits[None, position : position + 1])
            (clip,) = processor.post_process_audio_visual_segmentation(output, [batch.size], threshold)
            segmentation = clip["segmentation"][0].to(torch.uint8).cpu().numpy()
            scores = clip["scores"][0].float().cpu().numpy()
        audible = any(view.window.audible for view in batch.views[position])
        yield FrameMask(frame.index, frame.time, segmentation, scores, of_frame, audible)


__all__ = ["ClipBatch", "FrameMask", "clip_batches", "frame_masks", "predict"]
