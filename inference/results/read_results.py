"""Reads what a user passes as a result: the pipeline's for one input, or the processor's for one clip."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...files.errors import InputError
from ..clip_batches import FrameMask
from .frame_segments import FrameSegments, mask_parts

ACCEPTED = (
    "result must be what the pipeline returns for one input, a list of frames with a list of segments each, or what "
    "the processor returns for one clip, a dict of segmentation and scores"
)
TWO_LABELS = {0: "silent", 1: "sounding"}


@dataclass(frozen=True)
class LabelledFrame:
    """One frame of a result."""

    index: int
    time: float | None  # seconds from the first frame; None if the result does not say it
    segments: list[tuple[str, float, np.ndarray]]  # label, score, mask (H, W) bool
    label_ids: dict[str, int]  # the class id of each label
    size: tuple[int, int] | None  # (height, width) in pixels; None if the result does not say it

    def label_map(self) -> np.ndarray | None:
        """Returns the class ids as (H, W) uint8, 0 where nothing sounds; None if the size is not known."""
        if self.size is None:
            return None
        labels = np.zeros(self.size, np.uint8)
        for label, _, mask in self.segments:
            labels[mask] = self.label_ids[label]
        return labels


def mask_array(mask: Any) -> np.ndarray:
    """Returns a segment's mask, a picture or an array, as (H, W) bool."""
    array = np.asarray(mask)
    if array.ndim != 2 or array.dtype.kind not in "bui":
        raise InputError(f"a mask in result must be a picture of mode L or (H, W), got shape {array.shape}")
    return array != 0


def read_segments(frame: Iterable[Any], position: int, label_ids: dict[str, int]) -> LabelledFrame:
    """Reads one frame of the pipeline's result. Labels without a known id get the next free one in `label_ids`."""
    found, times = [], []
    known = frame.label_ids if isinstance(frame, FrameSegments) else {}
    label_ids |= known
    for segment in frame:
        if not isinstance(segment, Mapping) or not {"label", "mask"} <= segment.keys():
            hint = ": pass result[0], the result of the first input" if isinstance(segment, list) else ""
            got = "list" if isinstance(segment, list) else type(segment).__name__
            raise InputError(f"{ACCEPTED}, got a {got} in place of a segment{hint}")
        label = str(segment["label"])
        label_ids.setdefault(label, max([0, *label_ids.values()]) + 1)
        found.append((label, float(segment.get("score", 0.0)), mask_array(segment["mask"])))
        times.append(segment.get("timestamp"))
    sizes = {mask.shape for _, _, mask in found}
    if len(sizes) > 1:
        raise InputError(f"masks of one frame in result must have one size, got {sorted(sizes)}")
    index, time, size = position, times[0] if times else None, next(iter(sizes), None)
    if isinstance(frame, FrameSegments):
        index, time, size = frame.frame_index, frame.timestamp, size or frame.size
    return LabelledFrame(index, time, found, label_ids, size)


def read_mask(mask: FrameMask, names: dict[int, str]) -> LabelledFrame:
    """Reads the mask of a frame. `names` has the name of each class id."""
    height, width = mask.segmentation.shape
    label_ids = {name: label for label, name in names.items()}
    return LabelledFrame(mask.index, mask.time, list(mask_parts(mask, names)), label_ids, (height, width))


def read_clip(clip: Mapping[str, Any]) -> list[LabelledFrame]:
    """Reads the processor's result for one clip: `segmentation` (F, h, w) of class ids, and `scores` (F, h, w)."""
    segmentation, scores = (
        np.asarray(value.cpu() if hasattr(value, "cpu") else value)
        for value in (clip["segmentation"], clip.get("scores", clip["segmentation"]))
    )
    if segmentation.ndim != 3 or segmentation.shape != scores.shape:
        raise InputError(
            f"segmentation and scores in result must both be (F, h, w), got {segmentation.shape} and {scores.shape}"
        )
    most = int(segmentation.max(initial=0))
    names = TWO_LABELS if most < 2 else {label: str(label) for label in range(most + 1)}
    label_ids = {name: label for label, name in names.items()}
    frames = []
    for index, (labels, values) in enumerate(zip(segmentation, scores, strict=True)):
        present = [label for label in np.unique(labels).tolist() if label]
        found = [(names[label], float(values[labels == label].mean()), labels == label) for label in present]
        frames.append(LabelledFrame(index, None, found, label_ids, labels.shape))
    return frames


def read_frames(result: Any) -> list[LabelledFrame]:
    """Reads a result.

    Args:
        result: what the pipeline returns for one input, also as an iterator (`stream=True`), or what
            `post_process_audio_visual_segmentation` returns for one clip.

    Raises:
        ValueError: `result` is something else, such as the pipeline's list of results for several inputs.
    """
    if isinstance(result, Mapping):
        if "segmentation" not in result:
            raise InputError(f"{ACCEPTED}, got a dict of {', '.join(map(str, result)) or 'nothing'}")
        return read_clip(result)
    if not isinstance(result, Iterable) or isinstance(result, str | bytes | np.ndarray):
        raise InputError(f"{ACCEPTED}, got {type(result).__name__}")
    frames, label_ids = [], {}
    for position, frame in enumerate(result):
        if isinstance(frame, Mapping | str) or not isinstance(frame, Iterable):
            hint = ": pass a whole result, not one frame of it" if isinstance(frame, Mapping) else ""
            raise InputError(f"{ACCEPTED}, got a {type(frame).__name__} in place of a frame{hint}")
        frames.append(read_segments(frame, position, label_ids))
    return frames


__all__ = ["LabelledFrame", "read_frames", "read_mask"]
