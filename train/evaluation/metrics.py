"""The formulas of the AVSBench protocol (Zhou et al. 2022, 2023): J and F of a clip and of a class, and their means.

The classes of AVSBench-semantic have two means. The first is that of the official code, which published results use.
The second is a plain mean without the padding of that code.

`metric_modules.py` applies the formulas clip by clip, as metrics of the `evaluate` library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ...configuration.configuration_auss import IGNORED_LABEL
from ...files.errors import InputError

NUM_THRESHOLDS = 255
BETA_SQUARED = 0.3
# The official code of AVSBench-semantic pads every clip to this many frames, and scores the padding.
OFFICIAL_FRAMES = 10
# The official code resizes every label picture to this height and width by the nearest pixel, whatever its shape is.
OFFICIAL_SIZE = (224, 224)
# Scores come from divisions of float32 sums. An excess over 1 up to this value is rounding; a larger excess is an
# error.
ROUNDING = 1e-6


def _as_array(values: np.ndarray | torch.Tensor | Sequence) -> np.ndarray:
    """Converts values to a NumPy array. NumPy lacks bfloat16, so bfloat16 becomes float32."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _check_clip(scores, masks) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores as float32 or float64 and masks as bool, both (F, H, W). Raises ValueError for anything else."""
    scores, masks = _as_array(scores), _as_array(masks)
    if scores.ndim != 3 or scores.shape[0] == 0:
        raise InputError(f"scores must be (F, H, W) with F >= 1, got shape {scores.shape}")
    if masks.shape != scores.shape:
        raise InputError(f"masks must have the shape of scores, {scores.shape}, got {masks.shape}")
    if masks.dtype != bool:
        if not np.isin(masks, (0, 1)).all():
            raise InputError(f"masks must be boolean or hold 0 and 1 only, got values up to {masks.max()}")
        masks = masks.astype(bool)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32)
    if not (scores.min() >= 0 and scores.max() <= 1 + ROUNDING):
        raise InputError(f"scores must lie in [0, 1] without NaN, got {scores.min()} to {scores.max()}")
    return scores, masks


def _thresholds(dtype: np.dtype) -> np.ndarray:
    """Returns the 255 thresholds of the protocol from 0 to 1 - 1e-10 in the precision of the scores.

    The authors compare float32 scores with `torch.linspace` thresholds in float32, whose last one is exactly 1. For
    float32 scores this function returns the same numbers, so ties are decided as in the authors' code. For float64
    scores it returns float64 thresholds.
    """
    if dtype == np.float32:
        return torch.linspace(0, 1 - 1e-10, NUM_THRESHOLDS).numpy()
    return np.linspace(0, 1 - 1e-10, NUM_THRESHOLDS)


def _thresholds_passed(scores: np.ndarray) -> np.ndarray:
    """Counts the thresholds that each score reaches (score >= threshold): integers of the same shape, 1 to 255."""
    thresholds = _thresholds(scores.dtype)
    # The thresholds are almost evenly spaced, so a multiplication finds the nearest one. One comparison then tells
    # whether the score reaches it.
    nearest = (scores * scores.dtype.type(NUM_THRESHOLDS - 1) + scores.dtype.type(0.5)).astype(np.intp)
    return nearest + (scores >= thresholds[nearest])


def jaccard(scores: np.ndarray | torch.Tensor, masks: np.ndarray | torch.Tensor) -> float:
    """J of one clip: the mean over its frames of the intersection over union of (score > 0.5) and the mask.

    For a frame with an empty mask the value is the share of its pixels that are correctly left empty.

    Args:
        scores: (F, H, W) floats in [0, 1].
        masks: (F, H, W), boolean or 0 and 1. Frames without annotation must be left out by the caller.

    Raises:
        ValueError: shapes differ, there is no frame, or values are out of range.
    """
    scores, masks = _check_clip(scores, masks)
    predicted = scores > 0.5
    intersection = np.count_nonzero(predicted & masks, axis=(1, 2))
    union = np.count_nonzero(predicted | masks, axis=(1, 2))
    empty = ~masks.any(axis=(1, 2))
    pixels = masks[0].size
    # If the mask is empty, the union holds the wrongly filled pixels.
    values = np.where(empty, (pixels - union) / pixels, intersection / np.maximum(union, 1))
    return float(values.mean())


def f_score(scores: np.ndarray | torch.Tensor, masks: np.ndarray | torch.Tensor) -> float:
    """F of one clip (beta squared 0.3): the maximum over 255 thresholds of the mean over frames.

    Frames with an empty mask are left out. A clip without any annotated pixel scores 0. Scores are compared as score
    >= threshold, with thresholds of the same precision (float32 or float64).

    Args:
        scores: (F, H, W) floats in [0, 1].
        masks: (F, H, W), boolean or 0 and 1. Frames without annotation must be left out by the caller.

    Raises:
        ValueError: shapes differ, there is no frame, or values are out of range.
    """
    scores, masks = _check_clip(scores, masks)
    filled = masks.any(axis=(1, 2))
    frames = int(filled.sum())
    if frames == 0:
        return 0.0
    masks = masks[filled]
    # The histogram counts, for each frame, the pixels outside and inside its mask that reach exactly 0, 1, 2, ...
    # thresholds.
    shape = (frames, 2, NUM_THRESHOLDS + 1)
    places = _thresholds_passed(scores[filled]) + (2 * np.arange(frames)[:, None, None] + masks) * shape[-1]
    histogram = np.bincount(places.ravel(), minlength=math.prod(shape)).reshape(shape)
    # (frames, 2, 255): the pixels that reach each threshold, by a cumulative sum from the last threshold.
    reaching = histogram[..., ::-1].cumsum(axis=-1)[..., ::-1][..., 1:].astype(np.float64)
    predicted, true_positives = reaching.sum(axis=1), reaching[:, 1]
    precision = true_positives / (predicted + 1e-20)
    recall = true_positives / (np.count_nonzero(masks, axis=(1, 2))[:, None] + 1e-20)
    weighted = BETA_SQUARED * precision + recall
    # Without a true positive the value would be 0 / 0. The protocol counts it as 0.
    values = (1 + BETA_SQUARED) * precision * recall / np.where(weighted > 0, weighted, 1)
    return float(values.mean(axis=0).max())


def annotated_frames(
    scores: np.ndarray | torch.Tensor, masks: np.ndarray | torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Selects the annotated frames of a clip, in the form that `jaccard` and `f_score` take.

    Args:
        scores: (F, H, W) floats.
        masks: (F, H, W), boolean, or labels of 0 and 1 with 255 throughout a frame that is not annotated.

    Returns:
        Scores and masks of the A annotated frames, (A, H, W) each. A may be 0.

    Raises:
        ValueError: the shapes differ or are not (F, H, W).
    """
    scores, masks = _as_array(scores), _as_array(masks)
    if scores.shape != masks.shape or masks.ndim != 3:
        raise InputError(f"scores and masks must both be (F, H, W), got {scores.shape} and {masks.shape}")
    annotated = (masks != IGNORED_LABEL).any(axis=(1, 2)) if masks.dtype != bool else np.ones(len(masks), bool)
    return scores[annotated], masks[annotated]


def clip_means(records: Sequence[dict]) -> dict:
    """M_J and M_F: the means over clips.

    Args:
        records: a dict for each clip, with `J`, `F` and `category`. The category "" stands for no category.

    Returns:
        {"M_J", "M_F", "clips", "categories": {category: {"M_J", "M_F", "clips"}}}, categories sorted by name.

    Raises:
        ValueError: `records` is empty.
    """
    if not records:
        raise InputError("no clip has an annotated frame, so there are no results")

    def means(chosen: Sequence[dict]) -> dict:
        return {f"M_{kind}": mean([record[kind] for record in chosen]) for kind in ("J", "F")} | {"clips": len(chosen)}

    by_category: dict[str, list[dict]] = {}
    for record in records:
        if record["category"]:
            by_category.setdefault(record["category"], []).append(record)
    return {**means(records), "categories": {name: means(by_category[name]) for name in sorted(by_category)}}


def mean(values: Sequence[float]) -> float:
    """Returns the mean. It is the same to the last bit for every order of the values."""
    return math.fsum(values) / len(values)


def _pixel_counts(classes: np.ndarray, chosen: np.ndarray, num_labels: int) -> np.ndarray:
    """Counts the chosen pixels of each class: (F, K)."""
    offsets = np.arange(len(classes))[:, None, None] * num_labels
    counts = np.bincount((classes + offsets)[chosen], minlength=len(classes) * num_labels)
    return counts.reshape(len(classes), num_labels).astype(np.float64)


def class_scores(
    predictions: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor, num_labels: int
) -> tuple[np.ndarray, int]:
    """Computes what one clip contributes to the AVSS protocol: IoU and F (beta squared 0.3) of each class, summed over
    the frames in which the class occurs in prediction or label.

    Args:
        predictions: (F, H, W) integers, class ids in 0..num_labels-1.
        labels: (F, H, W) integers, class ids or 255. Pixels of 255, and frames of 255 only, are not scored.
        num_labels: K.

    Returns:
        A row (class id, sum of IoU, sum of F, frames) for each class that occurs, (classes, 4) float64, and the number
        of annotated frames.

    Raises:
        ValueError: shapes differ or a class id is out of range.
    """
    predictions, labels = _as_array(predictions).astype(np.int64), _as_array(labels).astype(np.int64)
    if predictions.ndim != 3 or predictions.shape != labels.shape:
        raise InputError(f"predictions and labels must both be (F, H, W), got {predictions.shape} and {labels.shape}")
    annotated = (labels != IGNORED_LABEL).any(axis=(1, 2))
    predictions, labels = predictions[annotated], labels[annotated]
    known = labels != IGNORED_LABEL
    for name, values in (("predictions", predictions), ("labels", labels[known])):
        if values.size and not (values.min() >= 0 and values.max() < num_labels):
            raise InputError(f"{name} must hold class ids 0 to {num_labels - 1}, got {values.min()} to {values.max()}")
    intersection = _pixel_counts(predictions, known & (predictions == labels), num_labels)
    predicted = _pixel_counts(predictions, known, num_labels)
    labelled = _pixel_counts(np.where(known, labels, 0), known, num_labels)
    union = predicted + labelled - intersection
    iou = intersection / np.maximum(union, 1)
    # With p = i / predicted and r = i / labelled, 1.3 p r / (0.3 p + r) equals 1.3 i / (0.3 labelled + predicted).
    # Without an intersection the first form is NaN and this one is 0.
    weighted = BETA_SQUARED * labelled + predicted
    f = (1 + BETA_SQUARED) * intersection / np.where(weighted > 0, weighted, 1)
    rows = np.stack([np.arange(num_labels), iou.sum(axis=0), f.sum(axis=0), (union > 0).sum(axis=0)], axis=1)
    return rows[rows[:, 3] > 0], int(annotated.sum())


def sum_classes(clips: Sequence[Sequence[Sequence[float]]]) -> dict[int, np.ndarray]:
    """Adds up the rows of `class_scores` of all clips: {class id: (sum of IoU, sum of F, frames)}, ids ascending.

    Raises:
        ValueError: no class occurs in any clip.
    """
    sums: dict[int, np.ndarray] = {}
    for rows in clips:
        for index, *values in rows:
            sums[int(index)] = sums.get(int(index), 0.0) + np.asarray(values, dtype=np.float64)
    if not sums:
        raise InputError("no clip has an annotated frame, so there are no results")
    return dict(sorted(sums.items()))


def means_of_sums(sums: dict[int, np.ndarray]) -> dict:
    """Computes the result of `class_means` from the sums of `sum_classes`. A class without a frame counts as 0."""
    classes = {
        index: {"J": float(iou / max(frames, 1)), "F": float(f / max(frames, 1)), "frames": int(frames)}
        for index, (iou, f, frames) in sums.items()
    }
    means = {f"M_{kind}": float(np.mean([values[kind] for values in classes.values()])) for kind in ("J", "F")}
    return {**means, "classes": classes}


def class_means(clips: Sequence[Sequence[Sequence[float]]]) -> dict:
    """Computes the plain M_J and M_F of AVSBench-semantic: the means over the classes that occur, without any padding.

    Args:
        clips: the rows of `class_scores` of each clip.

    Returns:
        {"M_J", "M_F", "classes": {id: {"J", "F", "frames"}}}, ids ascending.

    Raises:
        ValueError: no class occurs in any clip.
    """
    return means_of_sums(sum_classes(clips))


def official_padding(frames: int) -> int:
    """Returns how many frames of padding the official code of AVSBench-semantic adds to a clip of `frames` frames."""
    return max(0, OFFICIAL_FRAMES - frames)


def official_class_means(clips: Sequence[Sequence[Sequence[float]]], padding: int, num_labels: int) -> dict:
    """Computes M_J and M_F as the official code of AVSBench-semantic does.

    The official code pads the pictures and the labels of a short clip to `OFFICIAL_FRAMES` frames and sets the
    network's output for the padding to 0 (`vid_temporal_mask_flag`). Its argmax reads this output as class 0. So each
    padded frame counts as a perfectly segmented frame of background. The code takes the mean over all classes, and a
    class that occurs in no frame counts as 0.

    Args:
        clips: the rows of `class_scores` of each clip, for masks of `OFFICIAL_SIZE`, without padding.
        padding: the number of padded frames of all clips together, the sum of `official_padding` over the clips.
        num_labels: K, the number of classes. Class 0 is the background.

    Returns:
        {"M_J", "M_F", "classes": {id: {"J", "F", "frames"}}} of all K classes.

    Raises:
        ValueError: no class occurs in any clip.
    """
    sums = {index: np.zeros(3) for index in range(num_labels)} | sum_classes(clips)
    sums[0] = sums[0] + padding
    return means_of_sums(sums)


__all__ = [
    "OFFICIAL_FRAMES",
    "OFFICIAL_SIZE",
    "annotated_frames",
    "class_means",
    "class_scores",
    "clip_means",
    "f_score",
    "jaccard",
    "mean",
    "official_class_means",
    "official_padding",
]
