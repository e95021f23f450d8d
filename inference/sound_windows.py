"""The stretches of sound that a frame is seen with: windows that follow one another, or overlap and are blended."""

import math
from collections import deque
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.log_mel import EXAMPLE_HOP, SAMPLING_RATE
from ..processing.processing_auss import AussProcessor
from .array_clip import ArrayClip
from .audio_track import INAUDIBLE_PEAK
from .video_reader import VideoReader

EXAMPLE_SECONDS = EXAMPLE_HOP / SAMPLING_RATE
ROUNDING = 1e-6  # times are sums of fractions
# A frame at the very edge of its only window would otherwise have no weight at all.
LEAST_WEIGHT = 1e-3


def window_seconds(model: AussForAudioVisualSegmentation) -> float:
    """The length of sound that the network takes at once: an example of 0.96 s for every second."""
    return float(model.config.num_audio_examples)


class SoundWindow:
    """A stretch of sound, encoded when a frame first needs it, and only once.

    Args:
        index: its number, from 0.
        start: of the sound, in seconds.
        inputs: what the processor made of the sound; None of a silent one.
    """

    def __init__(self, index: int, start: float, inputs: dict[str, torch.Tensor] | None):
        self.index = index
        self.start = start
        self.inputs = inputs
        self._queries: torch.Tensor | None = None

    @property
    def audible(self) -> bool:
        """Whether it can be heard at all."""
        return self.inputs is not None

    def queries(self, model: AussForAudioVisualSegmentation, time: float) -> torch.Tensor:
        """The audio queries (N, e) that a frame shown at `time`, in seconds, starts from; of an audible window."""
        assert self.inputs is not None  # of an audible window
        num_examples = self.inputs["input_features"].shape[1]
        if self._queries is None:
            dtype = {"input_features": model.dtype}
            inputs = {name: value.to(model.device, dtype.get(name)) for name, value in self.inputs.items()}
            examples = torch.arange(num_examples, device=model.device)[None]
            self._queries = model.auss.frame_queries(num_examples, **inputs, frame_examples=examples)[1][0]
        example = math.floor((time - self.start) / EXAMPLE_SECONDS + ROUNDING)
        return self._queries[min(max(example, 0), num_examples - 1)]


@dataclass(frozen=True)
class View:
    """A frame as it is seen with the sound of one window."""

    window: SoundWindow
    weight: float  # those of a frame's views add up to 1


class SoundWindows:
    """The windows of a clip's sound, read forwards as its frames need them.

    Window k is for the frames from k * stride on, for `window` seconds. It hears the sound of that time; but the last
    one, which the clip's end would cut short, hears the clip's last `window` seconds, because what the network makes
    of a second of sound is poor; it is silent where its own time is. Windows that would hear nothing new are left out.

    Args:
        clip: whose sound it is.
        processor: the one the model was trained with.
        window: seconds of sound in a window.
        stride: seconds from the start of one window to that of the next, at most `window`.
        hears: whether the model hears. To one that does not (`audio_input=False`) silence is as audible as any sound.
    """

    def __init__(
        self,
        clip: VideoReader | ArrayClip,
        processor: AussProcessor,
        window: float,
        stride: float,
        hears: bool = True,
    ):
        self.hears = hears
        self.clip = clip
        self.processor = processor
        self.window = window
        self.stride = stride
        self._heard: deque[SoundWindow] = deque()

    @cached_property
    def last_index(self) -> int:
        """The number of the window that reaches the clip's end."""
        return max(0, math.ceil((self.clip.length - self.window) / self.stride - ROUNDING))

    def around(self, time: float) -> list[View]:
        """The windows that a frame is seen with. Its weight in a window falls linearly from the window's middle to its
        edges, over the sum of its weights in all.

        Args:
            time: of the frame, in seconds; not before that of the previous call.
        """
        first = max(0, math.floor((time - self.window) / self.stride + ROUNDING) + 1)
        # A frame after the end that the clip was said to have still needs a window.
        last = max(first, min(math.floor(time / self.stride + ROUNDING), self.last_index))
        while self._heard and self._heard[0].index < first:
            self._heard.popleft()
        for index in range(max(first, self._heard[-1].index + 1 if self._heard else 0), last + 1):
            self._heard.append(self._hear(index))
        weights = [self._weight(window.index, time) for window in self._heard]
        return [View(window, weight / sum(weights)) for window, weight in zip(self._heard, weights, strict=True)]

    def _hear(self, index: int) -> SoundWindow:
        own_start = start = index * self.stride
        if index == self.last_index:
            start = min(start, max(0.0, self.clip.length - self.window))
        end = start + self.window
        if start < self.clip.length:
            end = min(end, self.clip.length)
        waveform, rate = self.clip.waveform(start, end)
        own = waveform[round((own_start - start) * rate) :]
        inputs = None
        if not self.hears or np.abs(own).max(initial=0) >= INAUDIBLE_PEAK:
            inputs = dict(self.processor(audio=waveform, sampling_rate=rate, return_tensors="pt"))
        return SoundWindow(index, start, inputs)

    def _weight(self, index: int, time: float) -> float:
        from_start = time - index * self.stride
        return max(LEAST_WEIGHT, min(from_start, self.window - from_start) / (self.window / 2))


__all__ = ["SoundWindow", "SoundWindows", "View", "window_seconds"]
