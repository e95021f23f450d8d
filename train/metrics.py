"""M_J and M_F by the AVSBench protocol (Zhou et al. 2022), for two labels and for the semantic subset."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..configuration.configuration_auss import IGNORED_LABEL

NUM_THRESHOLDS = 255
BETA_SQUARED = 0.3
# Scores come from divisions of float32 sums; this much over 1 is rounding, more is an error.
ROUNDING = 1e-6


def _as_array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _check_clip(scores, masks) -> tuple[np.ndarray, np.ndarray]:
    """Scores as float32 or float64 and masks as bool, both (F, H, W); ValueError where they are anything else."""
    if isinstance(scores, torch.Tensor) and scores.dtype == torch.bfloat16:
        scores = scores.float()  # NumPy has no bfloat16
    scores, masks = _as_array(scores), _as_array(masks)
    if scores.ndim != 3 or scores.shape[0] == 0:
        raise ValueError(f"scores must be (F, H, W) with F >= 1, got shape {scores.shape}")
    if masks.shape != scores.shape:
        raise ValueError(f"masks must have the shape of scores, {scores.shape}, got {masks.shape}")
    if masks.dtype != bool:
        if not np.isin(masks, (0, 1)).all():
            raise ValueError(f"masks must be boolean or hold 0 and 1 only, got values up to {masks.max()}")
        masks = masks.astype(bool)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32)
    if not (scores.min() >= 0 and scores.max() <= 1 + ROUNDING):
        raise ValueError(f"scores must lie in [0, 1] without NaN, got {scores.min()} to {scores.max()}")
    return scores, masks


def _thresholds(dtype: np.dtype) -> np.ndarray:
    """The protocol's 255 thresholds from 0 to 1 - 1e-10 in the scores' own precision.

    The authors compare float32 scores with `torch.linspace` thresholds in float32, whose last one is exactly 1. For
    scores of that type these are the same numbers, so ties fall as theirs do; float64 scores meet float64 thresholds.
    """
    if dtype == np.float32:
        return torch.linspace(0, 1 - 1e-10, NUM_THRESHOLDS).numpy()
    return np.linspace(0, 1 - 1e-10, NUM_THRESHOLDS)


def _thresholds_passed(scores: np.ndarray) -> np.ndarray:
    """How many thresholds each score reaches (score >= threshold): int64 of the same shape, 1 to 255."""
    thresholds = _thresholds(scores.dtype)
    # The thresholds are all but evenly spaced, so the rank is a multiplication, then exact by one comparison
    # each way: 4 times as fast as a binary search.
    rank = np.minimum((scores * scores.dtype.type(NUM_THRESHOLDS - 1)).astype(np.int64), NUM_THRESHOLDS - 1)
    rank -= scores < thresholds[rank]
    following = np.minimum(rank + 1, NUM_THRESHOLDS - 1)
    rank += (scores >= thresholds[following]) & (following > rank)
    return rank + 1


def jaccard(scores: np.ndarray | torch.Tensor, masks: np.ndarray | torch.Tensor) -> float:
    """J of one clip: the mean over its frames of the intersection over union of (score > 0.5) and the mask.

    A frame with an empty mask counts the share of its pixels rightly left empty.

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
    # With an empty mask the union is what was wrongly filled.
    values = np.where(empty, (pixels - union) / pixels, intersection / np.maximum(union, 1))
    return float(values.mean())


def f_score(scores: np.ndarray | torch.Tensor, masks: np.ndarray | torch.Tensor) -> float:
    """F of one clip (beta squared 0.3): the maximum over 255 thresholds of the mean over frames.

    Frames with an empty mask are left out; a clip without any annotated pixel scores 0. Scores are compared with
    thresholds of their own precision (float32 or float64), by score >= threshold.

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
    bins = NUM_THRESHOLDS + 1
    passed = _thresholds_passed(scores[filled]) + np.arange(frames)[:, None, None] * bins

    def pixels_at_thresholds(chosen: np.ndarray) -> np.ndarray:
        """(frames, 255): how many of the chosen pixels reach each threshold, by a reversed cumulative histogram."""
        histogram = np.bincount(chosen, minlength=frames * bins).reshape(frames, bins)
        return histogram[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:].astype(np.float64)

    predicted = pixels_at_thresholds(passed.ravel())
    true_positives = pixels_at_thresholds(passed[masks[filled]])
    precision = true_positives / (predicted + 1e-20)
    recall = true_positives / (np.count_nonzero(masks[filled], axis=(1, 2))[:, None] + 1e-20)
    weighted = BETA_SQUARED * precision + recall
    # No true positive makes 0 / 0, which the protocol counts as 0.
    values = (1 + BETA_SQUARED) * precision * recall / np.where(weighted > 0, weighted, 1)
    return float(values.mean(axis=0).max())


class SegmentationMetrics:
    """Gathers J and F clip by clip; M_J and M_F are their means over clips, overall and per category.

    `per_clip` holds one record a clip, {"clip_id", "category", "J", "F"}, in the order of their coming: to rank clips,
    to save, or to send to another process, which takes it in by `merge`.
    """

    def __init__(self):
        self._records: dict[tuple[str, str], dict] = {}

    @property
    def per_clip(self) -> list[dict]:
        return list(self._records.values())

    def add(
        self, clip_id: str, category: str, scores: np.ndarray | torch.Tensor, masks: np.ndarray | torch.Tensor
    ) -> dict | None:
        """Scores a clip and keeps the record; a clip that comes again replaces its earlier record.

        Args:
            clip_id, category: what the record is filed under; category "" belongs to no category.
            scores: (F, H, W) floats in [0, 1].
            masks: (F, H, W), boolean, or labels of 0 and 1 with 255 throughout a frame that is not annotated.
                Such frames are not scored.

        Returns:
            The record, or None where no frame is annotated: then nothing is kept.
        """
        scores, masks = _as_array(scores), _as_array(masks)
        if scores.shape != masks.shape or masks.ndim != 3:
            raise ValueError(
                f"scores and masks of clip {clip_id!r} must both be (F, H, W), got {scores.shape} and {masks.shape}"
            )
        annotated = (masks != IGNORED_LABEL).any(axis=(1, 2)) if masks.dtype != bool else np.ones(len(masks), bool)
        if not annotated.any():
            return None
        scores, masks = scores[annotated], masks[annotated]
        try:
            values = {"J": jaccard(scores, masks), "F": f_score(scores, masks)}
        except ValueError as error:
            raise ValueError(f"clip {clip_id!r}: {error}") from error
        record = {"clip_id": str(clip_id), "category": str(category), **values}
        self.merge([record])
        return record

    def merge(self, records: list[dict]) -> None:
        """Takes in another accumulator's `per_clip`. A clip both have counts once, as padding processes may repeat."""
        for record in records:
            self._records[record["category"], record["clip_id"]] = record

    @staticmethod
    def _means(records: list[dict]) -> dict:
        # fsum: the same to the last bit in whatever order processes bring their clips.
        return {
            "M_J": math.fsum(record["J"] for record in records) / len(records),
            "M_F": math.fsum(record["F"] for record in records) / len(records),
            "clips": len(records),
        }

    def results(self) -> dict:
        """{"M_J", "M_F", "clips", "categories": {category: {"M_J", "M_F", "clips"}}}, categories sorted by name.

        Raises:
            ValueError: no clip was scored.
        """
        if not self._records:
            raise ValueError("no clip with an annotated frame was added, so there are no results")
        by_category: dict[str, list[dict]] = {}
        for record in self._records.values():
            if record["category"]:
                by_category.setdefault(record["category"], []).append(record)
        categories = {category: self._means(by_category[category]) for category in sorted(by_category)}
        return {**self._means(self.per_clip), "categories": categories}


class SemanticMetrics:
    """The AVSS protocol: IoU and F of each class, over the frames in which it occurs in prediction or label."""

    def __init__(self, num_labels: int):
        self.num_labels = num_labels
        self.frames = 0
        self._iou = np.zeros(num_labels)
        self._f = np.zeros(num_labels)
        self._occurrences = np.zeros(num_labels, dtype=np.int64)

    def _pixel_counts(self, classes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """(F, K): pixels of each class among the chosen ones."""
        offsets = np.arange(len(classes))[:, None, None] * self.num_labels
        counts = np.bincount((classes + offsets)[chosen], minlength=len(classes) * self.num_labels)
        return counts.reshape(len(classes), self.num_labels).astype(np.float64)

    def add(self, predictions: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor) -> None:
        """Counts the annotated frames of a clip.

        Args:
            predictions: (F, H, W) integers, class ids in 0..num_labels-1.
            labels: (F, H, W) integers, class ids or 255: such a pixel, and a frame of nothing else, is not scored.

        Raises:
            ValueError: shapes differ or a class id is out of range.
        """
        predictions, labels = _as_array(predictions).astype(np.int64), _as_array(labels).astype(np.int64)
        if predictions.ndim != 3 or predictions.shape != labels.shape:
            raise ValueError(
                f"predictions and labels must both be (F, H, W), got {predictions.shape} and {labels.shape}"
            )
        annotated = (labels != IGNORED_LABEL).any(axis=(1, 2))
        predictions, labels = predictions[annotated], labels[annotated]
        known = labels != IGNORED_LABEL
        for name, values in (("predictions", predictions), ("labels", labels[known])):
            if values.size and not (values.min() >= 0 and values.max() < self.num_labels):
                raise ValueError(
                    f"{name} must hold class ids 0 to {self.num_labels - 1}, got {values.min()} to {values.max()}"
                )
        intersection = self._pixel_counts(predictions, known & (predictions == labels))
        predicted = self._pixel_counts(predictions, known)
        labelled = self._pixel_counts(np.where(known, labels, 0), known)
        union = predicted + labelled - intersection
        self._iou += (intersection / np.maximum(union, 1)).sum(axis=0)
        # 1.3 p r / (0.3 p + r) with p = i / predicted and r = i / labelled is 1.3 i / (0.3 labelled + predicted), and
        # 0 where it would be NaN: without an intersection.
        weighted = BETA_SQUARED * labelled + predicted
        self._f += ((1 + BETA_SQUARED) * intersection / np.where(weighted > 0, weighted, 1)).sum(axis=0)
        self._occurrences += (union > 0).sum(axis=0)
        self.frames += int(annotated.sum())

    def results(self) -> dict:
        """{"M_J", "M_F", "frames", "classes": {id: {"J", "F", "frames"}}} over the classes that occur.

        Raises:
            ValueError: no annotated frame was added.
        """
        occurring = np.flatnonzero(self._occurrences)
        if len(occurring) == 0:
            raise ValueError("no annotated frame was added, so there are no results")
        classes = {
            int(index): {
                "J": float(self._iou[index] / self._occurrences[index]),
                "F": float(self._f[index] / self._occurrences[index]),
                "frames": int(self._occurrences[index]),
            }
            for index in occurring
        }
        means = {f"M_{kind}": float(np.mean([values[kind] for values in classes.values()])) for kind in ("J", "F")}
        return {**means, "frames": self.frames, "classes": classes}


__all__ = ["SegmentationMetrics", "SemanticMetrics", "f_score", "jaccard"]
