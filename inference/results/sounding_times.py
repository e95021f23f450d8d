"""Sums up what sounded when: stretches of time with a label, their share of the picture and their score."""

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...files.errors import InputError
from ..parameters import DEFAULT_FPS, is_positive
from .read_results import LabelledFrame, read_frames

# A label with masks that cover less of the picture than this counts as not found: 50 pixels of 224 x 224.
LEAST_SHARE = 0.001
LONGEST_GAP = 0.5  # seconds for which a label may be missing within a stretch: two masks or three at 5 a second
# A mask with a mean score below this is unsure. docs/masks.md has the measurement.
UNSURE_SCORE = 0.7
TIME_DIGITS, SHARE_DIGITS = 3, 4


@dataclass
class Stretch:
    """A stretch of time in which a label was found. Gaps are part of the stretch, but not of `seconds`."""

    label: str
    start: float
    end: float
    seconds: float = 0.0
    share: float = 0.0  # share of the picture, summed over the seconds
    score: float = 0.0  # mean score of the pixels, summed over the seconds

    def extend(self, end: float, seconds: float, share: float, score: float) -> None:
        """Adds a mask that is shown until `end`."""
        self.end = end
        self.seconds += seconds
        self.share += seconds * share
        self.score += seconds * score

    def entry(self) -> dict[str, Any]:
        """Returns the stretch as an entry of `segments` of the summary."""
        weight = self.seconds or 1.0
        return {
            "label": self.label,
            "start": round(self.start, TIME_DIGITS),
            "end": round(self.end, TIME_DIGITS),
            "share": round(self.share / weight, SHARE_DIGITS),
            "score": round(self.score / weight, SHARE_DIGITS),
        }


def found_labels(frame: LabelledFrame) -> dict[str, tuple[float, float]]:
    """Returns share of the picture and mean score of each label of a frame. Objects of one label count as one."""
    sums: dict[str, list[float]] = {}
    for label, score, mask in frame.segments:
        share = float(mask.mean())
        entry = sums.setdefault(label, [0.0, 0.0])
        entry[0] += share
        entry[1] += share * score
    return {label: (share, total / share) for label, (share, total) in sums.items() if share >= LEAST_SHARE}


class SoundingTimes:
    """Collects the masks of a video, in the order of their times, and sums them up at the end.

    Args:
        longest_gap: seconds for which a label may be missing within a stretch.
    """

    def __init__(self, longest_gap: float = LONGEST_GAP):
        is_number = isinstance(longest_gap, numbers.Real) and not isinstance(longest_gap, bool)
        if not is_number or not 0 <= float(longest_gap) < math.inf:
            raise InputError(f"longest_gap must be a number of seconds, 0 or more, got {longest_gap!r}")
        self._longest_gap = float(longest_gap)
        self._label_ids: dict[str, int] = {}
        self._held: tuple[float, bool, dict[str, tuple[float, float]]] | None = None
        self._open: dict[str, Stretch] = {}
        self._closed: list[Stretch] = []
        # Of each mask: the seconds for which it is shown, whether sound was heard, share of the picture, score.
        self._masks: list[tuple[float, bool, float, float]] = []

    def add(self, frame: LabelledFrame, audible: bool = True) -> None:
        """Adds the next frame of a result. Raises ValueError if its time is missing or earlier than the last one."""
        last = self._held[0] if self._held is not None else 0.0
        if frame.time is None or frame.time < last:
            raise InputError(
                f"result must have a timestamp for each frame, in order, got {frame.time} after {last:g}. Frames "
                "without segments have one only in the list that the pipeline returned"
            )
        self._label_ids |= frame.label_ids
        self._show_held(frame.time)
        self._held = frame.time, audible, found_labels(frame)

    def _show_held(self, until: float) -> None:
        if self._held is None:
            return
        start, audible, labels = self._held
        seconds = until - start
        for label, (share, score) in labels.items():
            stretch = self._open.get(label)
            if stretch is None or start - stretch.end > self._longest_gap + 1e-6:
                if stretch is not None:
                    self._closed.append(stretch)
                stretch = self._open[label] = Stretch(label, start, start)
            stretch.extend(until, seconds, share, score)
        share = sum(share for share, _ in labels.values())
        score = sum(share * score for share, score in labels.values()) / share if share else 0.0
        self._masks.append((seconds, audible, share, score))

    def summary(self, end: float | None = None) -> dict[str, Any]:
        """Returns the summary; see `summarise`. No frame can be added afterwards."""
        if self._held is not None:
            usual = float(np.median([mask[0] for mask in self._masks])) if self._masks else 1 / DEFAULT_FPS
            start = self._held[0]
            self._show_held(max(end, start) if end is not None else start + usual)
            self._held = None
        stretches = sorted([*self._closed, *self._open.values()], key=lambda one: (one.start, one.label))
        masks = np.array(self._masks, float).reshape(-1, 4)
        seconds, audible, shares, scores = masks.T
        found = shares > 0
        total, sounding = float(seconds.sum()), float(seconds[found].sum())

        def percentile(share: float) -> float:
            order = np.argsort(scores[found])
            weights = np.cumsum(seconds[found][order])
            place = min(np.searchsorted(weights, share * weights[-1]), len(order) - 1)
            return round(float(scores[found][order][place]), SHARE_DIGITS)

        return {
            "seconds": round(total, TIME_DIGITS),
            "masks": len(masks),
            "heard_seconds": round(float(seconds[audible > 0].sum()), TIME_DIGITS),
            "sounding_seconds": round(sounding, TIME_DIGITS),
            "unsure_seconds": round(float(seconds[found & (scores < UNSURE_SCORE)].sum()), TIME_DIGITS),
            "share": round(float((seconds * shares).sum() / sounding), SHARE_DIGITS) if sounding else 0.0,
            "score": {"low": percentile(0.05), "median": percentile(0.5), "high": percentile(0.95)}
            if sounding
            else None,
            "label_ids": {label: self._label_ids[label] for label in dict.fromkeys(one.label for one in stretches)},
            "segments": [stretch.entry() for stretch in stretches],
        }


def summarise(result: Any, end: float | None = None, longest_gap: float = LONGEST_GAP) -> dict[str, Any]:
    """Sums up what sounded when.

    A mask counts until the next one. A label counts as found where its mask covers at least 0.1 % of the picture.

    Args:
        result: what the pipeline returns for one input, as a list or, with `stream=True`, as an iterator.
        end: the end of the video in seconds, until which the last mask counts. By default the last mask counts as long
            as the others do (their median).
        longest_gap: seconds for which a label may be missing within a stretch. 0 splits at every gap.

    Returns:
        A dict that `json.dump` takes:

        - `segments`, a list of stretches in the order of their starts: `label`, `start` and `end` (seconds), `share`
          (of the picture, 0 to 1) and `score` (0 to 1), both means over the time in which the label was found.
        - `seconds` and `masks` of the whole; `heard_seconds`, in which there is sound at all; `sounding_seconds`, in
          which something was found; `unsure_seconds`, in which what was found has a mean score below 0.7.
        - `share` of the picture, a mean over the time in which something was found; `score`, a dict of the `median`,
          and of `low` and `high`, between which nine tenths of that time lie, or None if nothing was found.
        - `label_ids`, the class id of each label in `segments`.

    Raises:
        ValueError: `result` is something else, has no timestamps, or an argument is out of its range.
    """
    if end is not None and not is_positive(end):
        raise InputError(f"end must be a positive number of seconds or None, got {end!r}")
    times = SoundingTimes(longest_gap)
    result = result if isinstance(result, dict) else list(result)
    for frame, source in zip(read_frames(result), result, strict=False):
        times.add(frame, getattr(source, "audible", True))
    return times.summary(end)


__all__ = ["LEAST_SHARE", "LONGEST_GAP", "UNSURE_SCORE", "SoundingTimes", "summarise"]
