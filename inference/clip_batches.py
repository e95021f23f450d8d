"""From a clip's frames and sound to masks, a few frames at a time: for the command and the pipeline."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypedDict

import numpy as np
import torch

from ..files.errors import InputError
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.post_processing_auss import DEFAULT_THRESHOLD
from ..processing.processing_auss import AussProcessor
from ..processing.video_frames import clip_to_tensor, frames_per_pass
from .array_clip import ArrayClip, ArrayFrame
from .media.video_reader import TimedFrame, VideoReader
from .parameters import DEFAULT_BATCH_SIZE, DEFAULT_FPS
from .sound_windows import SoundWindows, View


@dataclass(frozen=True)
class FrameMask:
    """What sounds in one frame."""

    index: int  # the frame's number in the video, from 0
    time: float  # seconds from the first frame
    segmentation: np.ndarray  # (H, W) uint8 class ids, 0 where nothing sounds
    scores: np.ndarray  # (H, W) float32 in [0, 1], how surely something sounds
    queries: dict[str, torch.Tensor] | None = None  # as `predict` gives them


@dataclass(frozen=True)
class ClipBatch:
    """A few frames, prepared for the network."""

    frames: list[TimedFrame | ArrayFrame]
    views: list[list[View]]  # for each frame, the windows of sound that it is seen with
    size: tuple[int, int]  # (height, width) of the pictures
    pixel_values: torch.Tensor | None  # (F, 3, H, W) float32; None where all windows are silent
    frames_per_pass: int


class Prediction(TypedDict):
    """What `predict` gives for the F frames of a batch."""

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
) -> Iterator[ClipBatch]:
    """Prepares a clip's frames for the network, `batch_size` at once, in order.

    Args:
        clip: what to read.
        processor: the one the model was trained with.
        window, stride, hears: as `SoundWindows` takes them.
        fps: frames per second, `None` for all; those of an `ArrayClip` are always taken all.
        batch_size: frames that the network sees at once.

    Raises:
        ValueError: for frames of unequal size; and what `clip` and `processor` refuse.
    """
    sound = SoundWindows(clip, processor, window, stride, hears)
    frames, first_size = clip.frames(fps), None
    while chunk := [(frame, sound.around(frame.time)) for frame in itertools.islice(frames, batch_size)]:
        pictures = clip_to_tensor([frame.picture for frame, _ in chunk], "frames")
        height, width = pictures.shape[-2:]
        size = (height, width)
        first_size = first_size or size
        if size != first_size:
            raise InputError(f"frames must be of equal size (height, width), got {first_size} and {size}")
        audible = any(view.window.audible for _, views in chunk for view in views)
        yield ClipBatch(
            frames=[frame for frame, _ in chunk],
            views=[views for _, views in chunk],
            size=size,
            pixel_values=processor(videos=pictures, return_tensors="pt")["pixel_values"][0] if audible else None,
            frames_per_pass=batch_size,
        )


def passes(batch: ClipBatch, most: int) -> Iterator[list[tuple[int, list[View]]]]:
    """The frames that the network sees at once, as their positions in the batch with their audible views.

    All frames of a pass have equally many views, which are together at most `most`, or those of one frame: the views
    of a frame are never parted, so its picture is encoded once.
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
def predict(model: AussForAudioVisualSegmentation, batch: ClipBatch, return_queries: bool = False) -> Prediction:
    """Shows the network the frames of a batch, each with every audible window of sound that it is seen with.

    Args:
        model: in evaluation mode.
        batch: of `clip_batches`.
        return_queries: also give the queries that the masks were made of.

    Returns:
        `logits`: (F, K, h, w) float32, the mean of what the windows give, by their weights, a silent window giving 1
        for label 0 and 0 for the others; None where all are silent. `queries`, on request: for each frame a dict of
        `audio_queries` (N, e), `fused_queries` (N, e) and `class_scores` (N, K + 1), probabilities of the labels and
        of "no object", in the audible window with the greatest weight for the frame; None for a frame without one.
    """
    logits: torch.Tensor | None = None
    queries: list[dict[str, torch.Tensor] | None] = [None] * len(batch.views)
    pixel_values = batch.pixel_values
    if pixel_values is None:  # as nothing is audible
        return {"logits": None, "queries": queries if return_queries else None}
    pixel_values = pixel_values.to(model.device, model.dtype)
    for seen in passes(batch, frames_per_pass(pixel_values, batch.frames_per_pass)):
        audio_queries = torch.stack(
            [
                torch.stack([view.window.queries(model, batch.frames[position].time) for view in views])
                for position, views in seen
            ]
        )
        # Each frame is a clip of one, so that a pass may take frames of different windows.
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
                    # Copies, or whoever keeps them keeps those of the whole pass.
                    "fused_queries": output.fused_queries[row, heaviest].to(torch.float32, copy=True),
                    "class_scores": output.class_queries_logits[row, heaviest].float().softmax(-1),
                }
    assert logits is not None  # since a window is audible
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
    """The masks of a batch at its pictures' own size, one by one, so that only one is large.

    Args:
        processor: whose `post_process_audio_visual_segmentation` makes them.
        batch: of `clip_batches`.
        logits, queries: as `predict` gives them.
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
        yield FrameMask(frame.index, frame.time, segmentation, scores, of_frame)


__all__ = ["ClipBatch", "FrameMask", "clip_batches", "frame_masks", "predict"]
