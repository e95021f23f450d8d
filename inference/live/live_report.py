"""Counts what `auss live` did, in constant memory, and says it in a few lines."""

import numpy as np

from .sound_queries import LATEST_SECONDS

BIN_SECONDS = 0.001
NUM_BINS = 10_000  # delays of 10 s and more share the last bin


class Delays:
    """The distribution of delays, to a millisecond."""

    def __init__(self):
        self._counts = np.zeros(NUM_BINS, np.int64)

    def add(self, seconds: float) -> None:
        """Counts a delay."""
        self._counts[min(max(round(seconds / BIN_SECONDS), 0), NUM_BINS - 1)] += 1

    def quantile(self, share: float) -> float:
        """The delay in seconds that `share` of all delays do not exceed; 0 if there are none."""
        total = self._counts.sum()
        return float(np.searchsorted(self._counts.cumsum(), max(1, share * total))) * BIN_SECONDS if total else 0.0


class LiveReport:
    """What a live run did so far."""

    def __init__(self):
        self.masks = 0
        self.without_sound = 0  # frames whose last second had no sound
        self.delays = Delays()  # from the decoded frame to its mask
        self._first = self._last = 0.0

    def note(self, delay: float, time: float, sound_end: float | None) -> None:
        """
        Counts a mask.

        Args:
            delay: seconds from the decoding of the frame until its mask was ready.
            time: the time of the frame, in seconds of the stream.
            sound_end: up to when sound had come; None if none had come.
        """
        if not self.masks:
            self._first = time
        self._last = time
        self.masks += 1
        self.without_sound += sound_end is None or sound_end < time - LATEST_SECONDS
        self.delays.add(delay)

    @property
    def rate(self) -> float:
        """Masks for a second of the stream, between the first mask and the last one."""
        return (self.masks - 1) / (self._last - self._first) if self._last > self._first else 0.0

    def summary(self, received: int, dropped: int) -> str:
        """The figures in one line, given how many frames came and how many of them were dropped."""
        median, high = self.delays.quantile(0.5), self.delays.quantile(0.95)
        return (
            f"{self.masks} masks, {self.rate:.1f} a second; dropped {dropped} of {received} frames; "
            f"delay behind the frame {median:.3f} s (median), {high:.3f} s (95 %)"
        )


__all__ = ["Delays", "LiveReport"]
