"""From the network's output back to masks of the frames' own size (Eq. 20-21)."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import interpolate

from ..configuration.score_threshold import DEFAULT_THRESHOLD, check_threshold
from ..files.errors import InputError

# Numbers that are resized at once: 64 MiB of float32, however many frames a clip has and however large they are.
MAX_RESIZED_VALUES = 2**24

# Pixels of a frame: 32768 x 32768. A larger size is a slip, and would fill the memory.
LARGEST_SIZE = 2**30


def _is_side(side: Any) -> bool:
    return isinstance(side, numbers.Integral) and not isinstance(side, bool) and int(side) > 0


def _checked_sizes(target_sizes: Any, num_clips: int) -> list[tuple[int, int]]:
    """(height, width) of each clip, given as numbers, arrays or tensors of any integer type."""
    try:
        if isinstance(target_sizes, Mapping | str):
            raise TypeError
        sizes = target_sizes.tolist() if hasattr(target_sizes, "tolist") else list(target_sizes)
        num_sizes = len(sizes)
    except TypeError:  # a number, an array of none, a dictionary
        raise InputError(
            f"target_sizes must hold one (height, width) for each of the {num_clips} clips of outputs.logits, got "
            f"{target_sizes!r}"
        ) from None
    if num_sizes != num_clips:
        raise InputError(
            f"target_sizes must hold one (height, width) for each of the {num_clips} clips of outputs.logits, "
            f"got {num_sizes}"
        )
    # A pair may also be made of NumPy's or torch's numbers, such as those that `frame.shape` arithmetic gives.
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
    Raises ValueError for what no model gives as logits.

    Args:
        logits: of frames of clips, (B, F, K, h, w).
        got: the name of what they were taken from, for the message.
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
    """The labels (F, *size) int64 and the scores (F, *size) float32 of frames' logits (F, K, h, w)."""
    logits = logits.to(torch.float32)
    # Not finite, or negative: of a NaN neither comparison holds.
    if not ((logits >= 0) & (logits < torch.inf)).all():
        raise InputError(
            "outputs.logits must be numbers, got NaN, infinite or negative ones: the weights or the "
            "inputs of the model are damaged"
        )
    if tuple(logits.shape[-2:]) != size:
        logits = interpolate(logits, size=size, mode="bilinear", align_corners=False)
    weighted = logits
    if threshold != DEFAULT_THRESHOLD:
        # A label's share against silence, l / (l + l_0), is over the threshold t where (1 - t) * l is over t * l_0.
        odds = logits.new_full((logits.shape[1], 1, 1), 1 - threshold)
        odds[0] = threshold
        weighted = logits * odds
    # Of equal values argmax takes the first, so that a tie with label 0 is silent. A comparison of two labels says the
    # same a hundred times as fast.
    two = logits.shape[1] == 2
    labels = (weighted[:, 1] > weighted[:, 0]).long() if two else weighted.argmax(dim=1)
    total = logits.sum(dim=1)
    scores = torch.where(total > 0, 1 - logits[:, 0] / total, torch.zeros_like(total)).clamp(0, 1)
    if two:
        # Rounding may move a score across the threshold where the labels all but tie; the argmax decides.
        highest_silent = torch.tensor(threshold, dtype=torch.float32, device=logits.device)
        lowest_sounding = torch.nextafter(highest_silent, torch.ones_like(highest_silent))
        scores = torch.where(labels == 1, scores.clamp(min=lowest_sounding), scores.clamp(max=highest_silent))
    return labels, scores


def post_process_audio_visual_segmentation(
    outputs: Any, target_sizes: Sequence[tuple[int, int]] | None = None, threshold: float = DEFAULT_THRESHOLD
) -> list[dict[str, torch.Tensor]]:
    """Turns the output of `AussForAudioVisualSegmentation` into masks of the wanted size.

    Args:
        outputs: what the model returned; its `logits` (B, F, K, h, w) in [0, 1] of any floating type, on any device.
        target_sizes: the (height, width) in pixels to resize to, one for each clip; `None` keeps (h, w).
        threshold: how sure a label must be against silence, in [0, 1]: a pixel has the best of the labels other than
            silent where that one's l / (l + l_silent) is over it. At 0.5 this is the argmax of Eq. 20.

    Returns:
        A dictionary for each clip: `segmentation` (F, height, width) int64, the label of every pixel, 0 (silent) where
        labels tie or nothing claims the pixel; `scores` (F, height, width) float32 in [0, 1], the share of the labels
        other than silent, 0 where nothing claims the pixel. With two labels `scores > threshold` is
        `segmentation == 1`.

    Raises:
        ValueError: `outputs` has no five-dimensional floating-point `logits` of a frame and two labels or more, or
            some that are NaN, infinite or negative; `target_sizes` holds the wrong number of sizes, or something else
            than pairs of positive integers; `threshold` is no number from 0 to 1.
    """
    check_threshold(threshold)
    threshold = float(threshold)
    logits = getattr(outputs, "logits", None)
    check_logits(logits, type(outputs).__name__)
    num_clips, _, num_labels, *own_size = logits.shape
    sizes = [tuple(own_size)] * num_clips if target_sizes is None else _checked_sizes(target_sizes, num_clips)

    results = []
    for clip, (height, width) in zip(logits.detach(), sizes, strict=True):
        frames_at_once = max(1, MAX_RESIZED_VALUES // (num_labels * height * width))
        parts = [segment_frames(frames, (height, width), threshold) for frames in clip.split(frames_at_once)]
        segmentation, scores = (torch.cat(part) for part in zip(*parts, strict=True))
        results.append({"segmentation": segmentation, "scores": scores})
    return results
