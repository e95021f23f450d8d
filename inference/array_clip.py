"""Frames and sound in memory, with the methods of `VideoReader` that the pipeline uses."""

import math
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..files.errors import InputError
from ..processing.audio_inputs import decoded_audio
from ..processing.video_frames import decoded_video, is_frame
from ..processing.waveforms import to_mono, waveforms_and_rates


@dataclass(frozen=True)
class ArrayFrame:
    """A frame in memory. `index` counts from 0, and `time` is in seconds."""

    index: int
    time: float
    picture: Any  # a PIL image or an array


class ArrayClip:
    """Holds frames with their times, and one waveform.

    Args:
        frames: pictures in the order of their times, as `AussVideoProcessor` takes those of a clip: PIL images or
            arrays, in a list, or an array (F, H, W, 3) or (F, 3, H, W).
        audio: one waveform, as `AussFeatureExtractor` takes it, or the object that `datasets` returns for a sound.
        sampling_rate: the rate of `audio` in Hz; `None` if `audio` has its own, like the objects of `datasets`.
        timestamps: the times of the frames in seconds. By default they are spread evenly over the sound, from 0 on.

    Raises:
        ValueError: frames, sound or rate are missing, or the times do not fit the frames.
    """

    def __init__(
        self,
        frames: Sequence[Any],
        audio: Any,
        sampling_rate: float | None = None,
        timestamps: Sequence[float] | None = None,
    ):
        frames = decoded_video(frames)
        if is_frame(frames):
            frames = [frames]
        if isinstance(frames, str | dict) or not hasattr(frames, "__len__") or not hasattr(frames, "__getitem__"):
            raise InputError(f"frames must be a list of pictures or an array, got {type(frames).__name__}")
        if len(frames) == 0:
            raise InputError("frames must hold at least one picture, got none")
        self._frames = frames
        waveforms, rates = waveforms_and_rates(decoded_audio(audio), sampling_rate)
        if len(waveforms) != 1:
            raise InputError(f"audio must be one waveform, got {len(waveforms)}")
        self._waveform, self._sampling_rate = to_mono(waveforms[0]).astype(np.float32), rates[0]
        duration = len(self._waveform) / self._sampling_rate
        self._times = [index * duration / len(frames) for index in range(len(frames))]
        if timestamps is not None:
            self._times = self._checked_times(timestamps)
        self.length = max(duration, self._times[-1])  # seconds until sound and frames have ended

    def _checked_times(self, timestamps: Any) -> list[float]:
        times = timestamps.tolist() if hasattr(timestamps, "tolist") else timestamps
        times = list(times) if isinstance(times, list | tuple) else [times]
        are_numbers = all(isinstance(time, numbers.Real) and math.isfinite(time) for time in times)
        if len(times) != len(self._frames) or not are_numbers or times != sorted(times) or times[0] < 0:
            raise InputError(
                f"timestamps must be a time in seconds for each of the {len(self._frames)} frames, from 0 on and in "
                f"order, got {len(times)}: {times[:5]}"
            )
        return [float(time) for time in times]

    def frames(self, fps: float | None = None) -> Iterator[ArrayFrame]:
        """Yields all frames in order. The caller has chosen the frames, so `fps` is ignored."""
        for index, time in enumerate(self._times):
            yield ArrayFrame(index, time, decoded_video(self._frames[index]))

    def waveform(self, start: float, end: float) -> tuple[np.ndarray, float]:
        """Returns the sound between two times in seconds, (samples,) float32, and its sampling rate in Hz. There is at
        least one sample. Samples after the end of the sound are 0."""
        first, last = round(start * self._sampling_rate), round(end * self._sampling_rate)
        piece = self._waveform[first:last]
        return np.pad(piece, (0, max(1, last - first) - len(piece))), self._sampling_rate

    def check(self) -> None:
        """Does nothing, because frames and sound in memory cannot be damaged."""


__all__ = ["ArrayClip", "ArrayFrame"]
