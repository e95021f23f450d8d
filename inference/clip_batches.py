"""From windows of sound with their frames to masks, a few frames at a time: for the command and the pipeline."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.processing_auss import AussProcessor
from ..processing.waveforms import sampling_rates, to_mono
from .video_reader import Window

# Below one step of 16-bit sound nothing can be heard, and so nothing sounds: the network need not be asked.
INAUDIBLE_PEAK = 2.0**-15


@dataclass(frozen=True)
class FrameMask:
    """What sounds in one frame."""

    index: int  # the frame's number in the video, from 0
    time: float  # seconds from the first frame
    segmentation: np.ndarray  # (H, W) uint8 class ids, 0 where nothing sounds
    scores: np.ndarray  # (H, W) float32 in [0, 1], how surely something sounds


@dataclass(frozen=True)
class ArrayFrame:
    """A frame that is in memory already; has what `clip_batches` needs of a `TimedFrame`."""

    index: int
    time: float
    picture: np.ndarray  # (H, W, 3) uint8


def window_seconds(model: AussForAudioVisualSegmentation) -> float:
    """The length of sound that the network takes at once: an example of 0.96 s for every second."""
    return float(model.config.num_audio_examples)


def clip_batches(windows: Iterable[Window], processor: AussProcessor, batch_size: int) -> Iterator[dict[str, Any]]:
    """Prepares the windows' frames for the network, at most `batch_size` at once, in order.

    Yields:
        Dicts with `indices` and `times` (lists, an entry a frame), `size` (height, width) of the pictures, and
        `inputs`: the network's arguments for a batch of one clip, or None where the window is silent.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    for window in windows:
        waveform = window.waveform.mean(axis=0)
        audible = np.abs(waveform).max() >= INAUDIBLE_PEAK
        features = {}
        if audible:
            features = dict(processor(audio=waveform, sampling_rate=window.sampling_rate, return_tensors="pt"))
        frames = iter(window.frames)
        while chunk := list(itertools.islice(frames, batch_size)):
            pictures = [frame.picture for frame in chunk]
            inputs = {**processor(videos=pictures, return_tensors="pt"), **features} if audible else None
            yield {
                "indices": [frame.index for frame in chunk],
                "times": [frame.time for frame in chunk],
                "size": pictures[0].shape[:2],
                "inputs": inputs,
            }


@torch.inference_mode()
def predict(model: AussForAudioVisualSegmentation, batch: dict[str, Any]) -> torch.Tensor | None:
    """The network's scores (F, K, h, w) for a batch of `clip_batches`; None where it is silent."""
    if batch["inputs"] is None:
        return None
    inputs = {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in batch["inputs"].items()
    }
    return model(**inputs).logits[0]


def frame_masks(processor: AussProcessor, batch: dict[str, Any], logits: torch.Tensor | None) -> Iterator[FrameMask]:
    """The masks of a batch at its pictures' own size, one by one, so that only one is large."""
    height, width = batch["size"]
    for position, (index, time) in enumerate(zip(batch["indices"], batch["times"], strict=True)):
        if logits is None:
            yield FrameMask(index, time, np.zeros((height, width), np.uint8), np.zeros((height, width), np.float32))
            continue
        output = SimpleNamespace(logits=logits[None, position : position + 1])
        clip = processor.post_process_audio_visual_segmentation(output, target_sizes=[(height, width)])[0]
        segmentation = clip["segmentation"][0].to(torch.uint8).cpu().numpy()
        yield FrameMask(index, time, segmentation, clip["scores"][0].float().cpu().numpy())


def array_windows(
    frames: Sequence[Any] | np.ndarray,
    audio: np.ndarray,
    sampling_rate: int,
    timestamps: Sequence[float] | None = None,
    seconds: float = 5.0,
) -> Iterator[Window]:
    """Cuts frames and sound that are in memory into windows, as `VideoReader.windows` cuts a file.

    Args:
        frames: pictures, each a PIL image or (H, W, 3) uint8, in the order of their times.
        audio: one waveform, as `AussFeatureExtractor` takes it.
        sampling_rate: of `audio`, in Hz.
        timestamps: the frames' times in seconds; by default they are spread evenly over the sound, the first at 0.
        seconds: length of a window.

    Raises:
        ValueError: without frames, sound or a rate, or with times that do not fit the frames.
    """
    waveform = to_mono(audio).astype(np.float32)[None]
    (sampling_rate,) = sampling_rates(sampling_rate, 1)
    if len(frames) == 0:
        raise ValueError("frames must hold at least one picture, got none")
    duration = waveform.shape[1] / sampling_rate
    times = [index * duration / len(frames) for index in range(len(frames))] if timestamps is None else timestamps
    if len(times) != len(frames) or list(times) != sorted(times) or times[0] < 0:
        raise ValueError(
            f"timestamps must be a time in seconds for each of the {len(frames)} frames, from 0 on and in order, got "
            f"{len(times)}: {list(times)[:5]}"
        )
    pictures = (np.asarray(frame.convert("RGB") if isinstance(frame, Image.Image) else frame) for frame in frames)
    timed = map(ArrayFrame, itertools.count(), map(float, times), pictures)
    for index, group in itertools.groupby(timed, key=lambda frame: int(frame.time / seconds + 1e-6)):
        start, end = index * seconds, (index + 1) * seconds
        piece = waveform[:, round(start * sampling_rate) : round(end * sampling_rate)]
        if piece.shape[1] == 0:  # the sound ended before
            piece = np.zeros((1, 1), np.float32)
        yield Window(index, start, end, piece, int(sampling_rate), group)


__all__ = ["FrameMask", "array_windows", "clip_batches", "frame_masks", "predict", "window_seconds"]
