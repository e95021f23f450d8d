"""Finds the moments at which a sound changes into another one: the spectra before and after differ most there."""

import math
from collections.abc import Callable

import numpy as np
import torch

from ..processing.log_mel import HOP_LENGTH, SAMPLING_RATE, cut_into_examples, log_mel
from ..processing.waveforms import resample

FRAMES_PER_SECOND = SAMPLING_RATE // HOP_LENGTH  # of the log-mel spectrogram
SIDE_SECONDS = 1.0  # length that is compared on each side: several strokes of a bell, or a phrase of a bird
SHORTEST_SIDE_SECONDS = 0.5  # the least length of a side at the ends of a sound
APART_SECONDS = 0.5  # if two changes are nearer to each other, only the greater one counts
# The score of a change. It was chosen with benchmarks/benchmark_windows.py; docs/media.md has the table.
THRESHOLD = 0.5
# Added to the variance of a band, in squared log units. The value 1 is a band that varies by a factor of e.
STEADY_VARIANCE = 1.0
LEVEL_WEIGHT = 0.1  # weight of a change in loudness, relative to a change in the shape of the spectrum
BLOCK_SECONDS = 8.0  # length of sound that is searched at once


def spectrogram(waveform: np.ndarray, rate: float) -> np.ndarray:
    """Returns the log-mel spectrogram (n, 64) float64 of a waveform (samples,) at `rate` Hz, one row per 10 ms."""
    # The processor refuses NaN and infinite samples. Here they must not spread over the seconds around them.
    finite = np.nan_to_num(waveform.astype(np.float32), posinf=0, neginf=0)
    samples = torch.as_tensor(resample(finite, rate), dtype=torch.float64)
    count = len(samples) // HOP_LENGTH
    # The last frames are filled up with sound from before. Silence would look like a change.
    missing = -(-max(count, 1) // 96) * 96 * HOP_LENGTH + SAMPLING_RATE // 40 - len(samples)
    if missing > 0:
        samples = torch.cat([samples, samples.flip(0).repeat(1 + missing // max(1, len(samples)))[:missing]])
    return log_mel(cut_into_examples(samples)).flatten(0, 1)[:count].numpy()


def change_scores(log_mels: np.ndarray) -> np.ndarray:
    """Scores how much the sound differs before and after each moment.

    The power of each band is averaged over the second before and the second after. The logarithms of both means are
    subtracted. The shape of this difference over the bands counts fully, and its level counts a little. Both are
    measured in units of how much a band varies within the two seconds.

    Args:
        log_mels: (n, 64), as `spectrogram` gives it.

    Returns:
        (n,) scores, for the moment at the beginning of each row; 0 if it is nearer to an end than
        `SHORTEST_SIDE_SECONDS`.
    """
    num_rows = len(log_mels)
    side = round(SIDE_SECONDS * FRAMES_PER_SECOND)
    middle = np.arange(num_rows)
    first, last = np.maximum(0, middle - side), np.minimum(num_rows, middle + side)
    before, after = np.maximum(middle - first, 1)[:, None], (last - middle)[:, None]

    def sums(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(0)])
        return total[middle] - total[first], total[last] - total[middle]

    power_before, power_after = sums(np.exp(log_mels))
    mean_before, mean_after = sums(log_mels)
    square_before, square_after = sums(log_mels**2)
    within = square_before - mean_before**2 / before + square_after - mean_after**2 / after
    variance = np.maximum(within, 0) / (before + after) + STEADY_VARIANCE
    tiny = np.finfo(np.float64).tiny
    difference = np.log(power_after / after + tiny) - np.log(power_before / before + tiny)
    level = difference.mean(1)
    shape = ((difference - level[:, None]) ** 2 / variance).mean(1)
    scores = np.sqrt(shape + LEVEL_WEIGHT * level**2 / variance.mean(1))
    shortest = SHORTEST_SIDE_SECONDS * FRAMES_PER_SECOND
    return np.where((middle - first >= shortest) & (last - middle >= shortest), scores, 0.0)


def peaks(scores: np.ndarray) -> np.ndarray:
    """The rows whose score is at least `THRESHOLD` and the greatest within `APART_SECONDS` on both sides."""
    reach = round(APART_SECONDS * FRAMES_PER_SECOND)
    candidates = np.flatnonzero(scores >= THRESHOLD)
    chosen = [
        row
        for row in candidates
        if row == max(0, row - reach) + scores[max(0, row - reach) : row + reach + 1].argmax()
    ]
    return np.array(chosen, int)


class SoundChanges:
    """Finds the moments at which the sound of a clip changes, on request.

    Only the sound around a moment decides about it. So the answer does not depend on earlier calls.

    Args:
        read: a function that returns the sound between two times in seconds, as (samples,), and its rate in Hz.
        length: the length of the sound in seconds. Its end does not count as a change.
    """

    def __init__(self, read: Callable[[float, float], tuple[np.ndarray, float]], length: float):
        self.read = read
        self.length = length
        self._blocks: dict[int, list[float]] = {}

    @staticmethod
    def reach(start: float, end: float) -> tuple[float, float]:
        """The largest stretch, as (start, end) in seconds, that is read to find the changes between two times."""
        around = SIDE_SECONDS + APART_SECONDS
        first, last = math.floor(start / BLOCK_SECONDS), math.floor(end / BLOCK_SECONDS)
        return max(0.0, first * BLOCK_SECONDS - around), (last + 1) * BLOCK_SECONDS + around

    def between(self, start: float, end: float) -> list[float]:
        """The changes at times in [start, end], in order."""
        blocks = range(
            math.floor(max(0.0, start) / BLOCK_SECONDS), math.floor(min(end, self.length) / BLOCK_SECONDS) + 1
        )
        for block in [block for block in self._blocks if block < blocks.start]:
            del self._blocks[block]
        found = []
        for block in blocks:
            if block not in self._blocks:
                self._blocks[block] = self._find(block * BLOCK_SECONDS)
            found += [time for time in self._blocks[block] if start <= time <= end]
        return found

    def _find(self, start: float) -> list[float]:
        first, last = self.reach(start, start)
        last = min(last, self.length)
        if last - first < 2 * SHORTEST_SIDE_SECONDS:
            return []
        times = first + peaks(change_scores(spectrogram(*self.read(first, last)))) / FRAMES_PER_SECOND
        return [float(time) for time in times if start <= time < start + BLOCK_SECONDS]


__all__ = ["SoundChanges", "change_scores", "peaks", "spectrogram"]
