"""Keeps the last seconds of a sound that comes piece by piece, as log-mel rows. Every row is computed once."""

import math
from typing import Any

import numpy as np
import soxr
import torch

from ...files.errors import InputError
from ...processing.log_mel import HOP_LENGTH, NUM_MEL_BINS, SAMPLING_RATE, WINDOW_LENGTH, log_mel
from ...processing.waveforms import sampling_rates, to_mono
from ..media.sound.audio_track import GAP_SECONDS

ROWS_PER_SECOND = SAMPLING_RATE // HOP_LENGTH
# A step back of the clock by more than this is a new start. A smaller one is sound that was already heard.
RESTART_SECONDS = 10.0


class SoundMemory:
    """
    A sound on the time line of its source, as rows of a log-mel spectrogram, one row per 10 ms.

    Rows are numbered from the beginning of the sound on. A row needs 25 ms of sound. Its values do not depend on the
    pieces in which the sound came, because the resampler and the frames of the spectrogram go on from piece to piece.

    Args:
        seconds: how much of the sound is kept.
        block: rows are computed in blocks of this number, so that short pieces cost little.
    """

    def __init__(self, seconds: float, block: int):
        self.most_rows = math.ceil(seconds * ROWS_PER_SECOND)
        self.block = block
        self.restarts = -1  # how often the memory began anew; numbers of rows from before mean other rows now
        self._forget_all()

    def _forget_all(self) -> None:
        self.restarts += 1
        self.origin: float | None = None  # the time of row 0, in seconds; None before the first piece
        self.num_rows = 0  # rows that were computed, with those that are no longer kept
        self._rows = np.zeros((0, NUM_MEL_BINS))
        self._peaks = np.zeros(0)
        self._waiting: list[np.ndarray] = []  # samples at 16 kHz that belong to no complete block of rows yet
        self._num_waiting = 0
        self._resampler: soxr.ResampleStream | None = None
        self._rate = 0.0
        self._anchor = 0.0  # the time of a sample; `_since` input samples came after it
        self._since = 0

    @property
    def first_row(self) -> int:
        """The number of the oldest row that is kept."""
        return self.num_rows - len(self._rows)

    @property
    def end(self) -> float | None:
        """The time at which the sound so far ends, in seconds; None before the first piece."""
        return None if self.origin is None else self._anchor + self._since / max(self._rate, 1.0)

    def time_of(self, row: int) -> float:
        """The time at which a row begins, in seconds."""
        assert self.origin is not None  # there are rows only after the first piece
        return self.origin + row / ROWS_PER_SECOND

    def rows(self, first: int, last: int) -> np.ndarray:
        """The rows from `first` to before `last`, (last - first, 64) float64. They must be kept."""
        return self._rows[first - self.first_row : last - self.first_row]

    def peak(self, first: int, last: int) -> float:
        """The largest absolute sample in the rows from `first` to before `last`."""
        return float(self._peaks[first - self.first_row : last - self.first_row].max(initial=0.0))

    def push(self, samples: Any, sampling_rate: float, time: float | None = None) -> None:
        """
        Adds the next piece of the sound.

        Args:
            samples: a waveform as `AussFeatureExtractor` takes it. No samples are no piece.
            sampling_rate: its rate in Hz, which may change from piece to piece.
            time: the time of the first sample in seconds. With None, and if it differs by at most 0.05 s, the piece
                directly follows the piece before. A gap is filled with silence. Sound that was already heard is left
                out. After a gap that is longer than what is kept, or a step back by more than 10 s, the memory begins
                anew.

        Raises:
            ValueError: as `AussFeatureExtractor` for samples and rate; or `time` is not finite.
        """
        (rate,) = sampling_rates(sampling_rate, 1)
        if time is not None and not math.isfinite(time):
            raise InputError(f"time must be a finite number of seconds, or None, got {time!r}")
        if not np.size(samples):
            return
        mono = to_mono(samples)
        end = self.end
        if end is not None and time is not None:
            if time < end - RESTART_SECONDS or time > end + self.most_rows / ROWS_PER_SECOND:
                self._forget_all()
            elif time > end + GAP_SECONDS:
                self._fill(time - end)
                self._anchor, self._since = time, 0
            elif time < end - GAP_SECONDS:
                mono = mono[round((end - time) * rate) :]
                if not len(mono):
                    return
        if self.origin is None:
            self.origin = self._anchor = 0.0 if time is None else float(time)
        self._set_rate(rate)
        self._since += len(mono)
        self._add(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def _set_rate(self, rate: float) -> None:
        """Prepares for pieces of this rate."""
        if rate != self._rate:
            if self._since:
                self._anchor, self._since = self._anchor + self._since / self._rate, 0
            self._flush()
            self._rate = rate
        if self._resampler is None and rate != SAMPLING_RATE:
            self._resampler = soxr.ResampleStream(rate, SAMPLING_RATE, 1, dtype="float64", quality="HQ")

    def _flush(self) -> None:
        """Takes out of the resampler what it still holds back."""
        if self._resampler is not None:
            self._add(self._resampler.resample_chunk(np.zeros(0), last=True))
        self._resampler = None

    def _fill(self, seconds: float) -> None:
        """Adds silence after all sound that has come."""
        self._flush()
        self._add(np.zeros(round(seconds * SAMPLING_RATE)))

    def _add(self, samples: np.ndarray) -> None:
        """Adds samples at 16 kHz. Computes rows as soon as there are enough samples for a block."""
        self._waiting.append(samples)
        self._num_waiting += len(samples)
        ready = (self._num_waiting - WINDOW_LENGTH) // HOP_LENGTH + 1
        count = ready // self.block * self.block
        if self._num_waiting < WINDOW_LENGTH or count < 1:
            return
        waiting = np.concatenate(self._waiting)
        used = waiting[: (count - 1) * HOP_LENGTH + WINDOW_LENGTH]
        rows = log_mel(torch.from_numpy(used)[None])[0].numpy()
        peaks = np.abs(waiting[: count * HOP_LENGTH]).reshape(count, HOP_LENGTH).max(axis=1)
        self._rows = np.concatenate([self._rows, rows])[-self.most_rows :]
        self._peaks = np.concatenate([self._peaks, peaks])[-self.most_rows :]
        self.num_rows += count
        self._waiting = [waiting[count * HOP_LENGTH :]]
        self._num_waiting = len(self._waiting[0])


__all__ = ["ROWS_PER_SECOND", "SoundMemory"]
