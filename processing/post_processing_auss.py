"""Turns the network's output into masks of the original size of the frames (Eq. 20-21)."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from ..configuration.score_threshold import DEFAULT_THRESHOLD, check_threshold
from ..files.errors import InputError

# Values that are resized at once: 64 MiB of float32. The limit does not depend on the number and size of the frames.
MAX_RESIZED_VALUES = 2**24

# The most pixels of a frame: 32768 x 32768. A larger size is surely a mistake, and would fill the memory.
LARGEST_SIZE = 2**30


def _is_side(side: Any) -> bool:
    return isinstance(side, numbers.Integral) and not isinstance(side, bool) and int(side) > 0


def _checked_sizes(target_sizes: Any, num_clips: int) -> list[tuple[int, int]]:
    """Checks and returns the (height, width) of each clip. The sizes may be numbers, arrays or tensors of integers."""
    try:
        if isinstance(target_sizes, Mapping | str):
            raise TypeError
        sizes = target_sizes.tolist() if hasattr(target_sizes, "tolist") else list(target_sizes)
        num_sizes = len(sizes)
    except TypeError:  # a number, an array of no dimensions, a dictionary or a string
        raise InputError(
            f"target_sizes must hold one (height, width) for each of the {num_clips} clips of outputs.logits, got "
            f"{target_sizes!r}"
        ) from None
    if num_sizes != num_clips:
        raise InputError(
            f"target_sizes must hold one (height, width) for each of the {num_clips} clips of outputs.logits, "
            f"got {num_sizes}"
        )
    # A pair may hold numbers of NumPy or torch, which come from arithmetic with the shape of a frame.
    sizes = [size.tolist() if hasattr(size, "tolist") else size for size in sizes]
    sizes = [
        [side.item() if isinstance(side, torch.Tensor) and side.ndim == 0 else side for side in size]
        if isinstance(size, Sequence) and not isinstance(size, str)
        else size
        for size in sizes
    ]
    for size in sizes:
        if not isinstance(size, list) or len(size) != 2 or not all(map(_is_side, size)):
            got = tuple(size) if isinstance(size, list) else size
            raise InputError(f"target_sizes must hold pairs of positive integers (height, width), got {got!r}")
        if int(size[0]) * int(size[1]) > LARGEST_SIZE:
            raise InputError(f"target_sizes must hold sizes of at most {LARGEST_SIZE} pixels, got {tuple(size)}")
    return [(int(height), int(width)) for height, width in sizes]


def check_logits(logits: Any, got: str) -> None:
    """
    Raises ValueError if `logits` cannot be the logits of a model.

    Args:
        logits: the logits of the frames of clips, (B, F, K, h, w).
        got: the name of the type of the model's output, for the error message.
    """
    if not isinstance(logits, torch.Tensor) or logits.ndim != 5:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else got
        raise InputError(f"outputs must have logits of shape (B, F, K, h, w), got {got}")
    if 0 in logits.shape or logits.shape[2] < 2 or not logits.is_floating_point():
        raise InputError(
            "outputs must have floating-point logits (B, F, K, h, w) of one frame or more and two labels or more, got "
            f"{logits.dtype} of shape {tuple(logits.shape)}"
        )


def segment_frames(
    logits: torch.Tensor, size: tuple[int, int], threshold: float = DEFAULT_THRESHOLD
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes labels (F, *size) int64 and scores (F, *size) float32 from the logits (F, K, h, w) of frames."""
    logits = logits.to(torch.float32)
    # This finds negative, infinite and NaN values. A comparison with NaN is always False.
    if not ((logits >= 0) & (logits < torch.inf)).all():
        raise InputError(
            "outputs.logits must be numbers, got NaN, infinite or negative ones: the weights or the "
            "inputs of the model are damaged"
        )
    if tuple(logits.shape[-2:]) != size:
        logits = interpolate(logits, size=size, mode="bilinear", align_corners=False)
    weighted = logits
    if threshold != DEFAULT_THRESHOLD:
        # A label's share against silence, l / (l + l_0), exceeds the threshold t exactly if (1 - t) * l > t * l_0.
        odds = logits.new_full((logits.shape[1], 1, 1), 1 - threshold)
        odds[0] = threshold
        weighted = logits * odds
    # argmax takes the first of equal values, so a tie with label 0 is silent. For two labels, a comparison gives the
    # same result a hundred times as fast.
    two = logits.shape[1] == 2
    found = weighted[:, 1] > weighted[:, 0] if two else weighted.argmax(dim=1)
    # Maps of the size of a picture are large, and new memory takes most of the time. So values are changed in place.
    total = logits[:, 0] + logits[:, 1] if two else logits.sum(dim=1)
    scores = logits[:, 0] / total
    torch.sub(scores.new_ones(()), scores, out=scores)
    scores.masked_fill_(total == 0, 0)
    if not two:
        return found, scores.clamp_(0, 1)
    # If the labels almost tie, rounding may move a score across the threshold. The label decides on the side.
    highest_silent = np.float32(threshold)
    lowest_sounding = np.nextafter(highest_silent, np.float32(1))
    sounding = scores.clamp(float(lowest_sounding), 1)
    return found.long(), torch.where(found, sounding, scores.clamp_(0, float(highest_silent)))


def post_process_audio_visual_segmentation(
    outputs: Any, target_sizes: Sequence[tuple[int, int]] | None = None, threshold: float = DEFAULT_THRESHOLD
) -> list[dict[str, torch.Tensor]]:
    """Turns the output of `AussForAudioVisualSegmentation` into masks of the wanted size.

    Args:
        outputs: the model's output. Its `logits` (B, F, K, h, w) are in [0, 1], of any floating type, on any device.
        target_sizes: the (height, width) in pixels to resize to, one for each clip. `None` keeps (h, w).
        threshold: the certainty that a label needs against silence, in [0, 1]. Let l be the highest value of the
            labels other than silent. The pixel gets this label if l / (l + l_silent) exceeds the threshold, and is
            silent otherwise. With 0.5 this is the argmax of Eq. 20.

    Returns:
        A dictionary for each clip. `segmentation` (F, height, width) int64 is the label of every pixel. A pixel is 0
        (silent) if a label ties with silence or if all values of the pixel are 0. `scores` (F, height, width) float32
        in [0, 1] is the share of the labels other than silent, or 0 if all values of the pixel are 0. With two labels,
        `scores > threshold` equals `segmentation == 1`.

    Raises:
        ValueError: `outputs` has no five-dimensional floating-point `logits` with at least one frame and two labels;
            a value is NaN, infinite or negative; `target_sizes` holds a wrong number of sizes, or something else than
            pairs of positive integers; or `threshold` is not a number from 0 to 1.
    """
    check_threshold(threshold)
    threshold = float(threshold)
    logits: Any = getattr(outputs, "logits", None)
    check_logits(logits, type(outputs).__name__)
    num_clips, _, num_labels, *own_size = logits.shape
    sizes = [tuple(own_size)] * num_clips if target_sizes is None else _checked_sizes(target_sizes, num_clips)

    results = []
    for clip, (height, width) in zip(logits.detach(), sizes, strict=True):
        frames_at_once = max(1, MAX_RESIZED_VALUES // (num_labels * height * width))
        parts = [segment_frames(frames, (height, width), threshold) for frames in clip.split(frames_at_once)]
        # `torch.cat` copies even a single part.
        segmentation, scores = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        results.append({"segmentation": segmentation, "scores": scores})
    return results
