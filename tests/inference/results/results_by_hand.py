"""Results of the pipeline that are made by hand: a red rectangle sounds, or two rectangles, at known times."""

import numpy as np

from auss.inference.clip_batches import FrameMask
from auss.inference.results.frame_segments import FrameSegments, frame_segments

TWO = {0: "silent", 1: "sounding"}
FOUR = {0: "silent", 1: "dog", 2: "car", 3: "drum"}
SIZE = (40, 60)


def label_map(*rectangles: tuple[int, int, int, int, int]) -> np.ndarray:
    """(40, 60) uint8 with rectangles of (label, top, bottom, left, right)."""
    labels = np.zeros(SIZE, np.uint8)
    for label, top, bottom, left, right in rectangles:
        labels[top:bottom, left:right] = label
    return labels


def frame(time: float, labels: np.ndarray, names=TWO, score: float = 0.9, index: int | None = None, **options):
    """The segments of a frame at a time, all of the same score."""
    audible = options.pop("audible", True)
    number = round(time * 10) if index is None else index
    mask = FrameMask(number, time, labels, np.where(labels > 0, score, 0.1).astype(np.float32), audible=audible)
    return frame_segments(mask, names, **options)


def sounding(*scores: float, step: float = 0.2) -> list[FrameSegments]:
    """A result whose frame sounds with each score; nothing sounds where the score is 0."""
    shown, nothing = label_map((1, 10, 20, 10, 30)), label_map()
    return [
        frame(index * step, shown if score else nothing, score=score or 0.1, index=index)
        for index, score in enumerate(scores)
    ]
