"""The windows of sound that the network combines with a frame. Windows may overlap; their results are then blended."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..hub.exported_model import AnyAuss
from ..processing.log_mel import EXAMPLE_HOP, SAMPLING_RATE
from ..processing.processing_auss import AussProcessor
from .array_clip import ArrayClip
from .media.sound.audio_track import INAUDIBLE_PEAK
from .media.video_reader import VideoReader
from .sound_changes import SoundChanges

EXAMPLE_SECONDS = EXAMPLE_HOP / SAMPLING_RATE
ROUNDING = 1e-6  # seconds; times are sums of fractions and not exact
# A frame this short time before a change belongs to the sound after it: the frame is still shown then, and changes are
# found to within some hundredths of a second.
CHANGE_TOLERANCE = 0.05
MOST_ANSWERS = 64  # number of answers that are kept about whether a stretch of sound is audible
CHANGE_MARGIN = 0.15  # seconds next to a change that are ignored when its side is tested for silence
# Without this minimum, a frame at the edge of its only window would have the weight 0.
LEAST_WEIGHT = 1e-3


def window_seconds(model: AnyAuss) -> float:
    """The seconds of sound that the network takes at once, one for each example. Examples have 0.96 s and follow each
    other, so the network hears the first 4.8 s of 5."""
    return float(model.config.num_audio_examples)


class SoundWindow:
    """A stretch of sound. It is encoded once, when the first frame needs it.

    Args:
        index: the number of the window, from 0.
        start, end: the times of the sound, in seconds.
        inputs: the output of the processor for the sound; None if the window is silent.
    """

    def __init__(self, index: int, start: float, end: float, inputs: dict[str, torch.Tensor] | None):
        self.index = index
        self.start = start
        self.end = end
        self.inputs = inputs
        self._queries: torch.Tensor | None = None

    @property
    def audible(self) -> bool:
        """Whether anything can be heard in the window."""
        return self.inputs is not None

    def queries(self, model: AnyAuss, time: float) -> torch.Tensor:
        """Returns the audio queries (N, e) for a frame shown at `time`, in seconds. The window must be audible."""
        assert self.inputs is not None  # the window is audible
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
    """The combination of a frame with one window of sound."""

    window: SoundWindow
    weight: float  # the weights of all views of a frame add up to 1


class SoundBuffer:
    """Reads the sound of a clip forwards and keeps it for a while. Windows and the search for changes share it."""

    def __init__(self, clip: VideoReader | ArrayClip):
        self.clip = clip
        self._start = self._end = 0.0
        self._samples = np.zeros(0, np.float32)
        self._rate = 1.0

    def read(self, start: float, end: float) -> tuple[np.ndarray, float]:
        """Returns the sound between two times in seconds, (samples,) float32, and its rate in Hz. `start` must not be
        before the time given to `forget`."""
        if start > self._end or not len(self._samples):
            self._start = self._end = start
            self._samples = self._samples[:0]
        if end > self._end:
            more, self._rate = self.clip.waveform(self._end, end)
            self._samples, self._end = np.concatenate([self._samples, more]), end
        first = round(start * self._rate) - round(self._start * self._rate)
        return self._samples[first : first + max(1, round(end * self._rate) - round(start * self._rate))], self._rate

    def forget(self, before: float) -> None:
        """Drops the sound before a time in seconds."""
        if self._start < before < self._end:
            self._samples = self._samples[round(before * self._rate) - round(self._start * self._rate) :]
            self._start = before


class SoundWindows:
    """Makes the windows of the sound of a clip, forwards, as the frames need them.

    Window k belongs to the frames from k * stride on, for `window` seconds. If the sound changes in that time, or the
    clip ends, a frame hears its own side of the change. The window is moved to that side. If the sound between two
    changes is shorter than the window, it is repeated, because the network understands it better than with silence
    after it. A window counts as silent if its own interval is silent. Windows that hear nothing new are left out.

    Args:
        clip: the clip with the sound.
        processor: the processor that the model was trained with.
        window: seconds of sound in a window.
        stride: seconds from the start of one window to the start of the next, at most `window`.
        hears: whether the model hears. For a model that does not (`audio_input=False`), every window counts as
            audible.
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
        self.sound = SoundBuffer(clip)
        self._heard: dict[tuple[float, float, bool], SoundWindow] = {}
        self._audible: dict[tuple[float, float], bool] = {}

    @cached_property
    def changes(self) -> SoundChanges:
        """The moments at which the sound of the clip changes."""
        return SoundChanges(self.sound.read, self.clip.length)

    @cached_property
    def last_index(self) -> int:
        """The number of the window that reaches the clip's end."""
        return max(0, math.ceil((self.clip.length - self.window) / self.stride - ROUNDING))

    def around(self, time: float) -> list[View]:
        """Returns the windows for a frame, with weights. The weight falls linearly from the middle of a window to its
        edges. The weights are then divided by their sum.

        Args:
            time: the time of the frame in seconds, not earlier than in the previous call.
        """
        first = max(0, math.floor((time - self.window) / self.stride + ROUNDING) + 1)
        # A frame may come after the end that the clip declares. It still needs a window.
        last = max(first, min(math.floor(time / self.stride + ROUNDING), self.last_index))
        stretch = self._stretch(time, first * self.stride, last * self.stride)
        weights: dict[tuple[float, float, bool], float] = {}
        heard = {}
        for index in range(first, last + 1):
            key = self._heard_part(index, stretch)
            heard[key] = self._heard.get(key) or self._hear(index, *key)
            weights[key] = weights.get(key, 0.0) + self._weight(index, time)
        self._heard = {**{key: window for key, window in self._heard.items() if window.index >= first}, **heard}
        total = sum(weights.values())
        return [View(heard[key], weight / total) for key, weight in weights.items()]

    def _stretch(self, time: float, first: float, last: float) -> tuple[float, float]:
        """Returns start and end of the sound around `time`: from the change before it to the change after it.

        The search covers what windows that begin between `first` and `last` can reach.
        """
        start, end = max(0.0, first - self.window), last + 2 * self.window
        self.sound.forget(self.changes.reach(start, end)[0])
        if time >= self.clip.length:
            return start, last + self.window
        changes = self.changes.between(start, end) if self.hears else []
        before = [change for change in changes if change <= time + CHANGE_TOLERANCE]
        after = [change for change in changes if change > time + CHANGE_TOLERANCE]
        return max([start, *before[-1:]]), min([self.clip.length, *after[:1]])

    def _heard_part(self, index: int, stretch: tuple[float, float]) -> tuple[float, float, bool]:
        """Returns start and end of the part of a stretch that window `index` hears, and whether it is audible."""
        own_start = max(index * self.stride, stretch[0])
        # The frame may lie just before a change, within the tolerance. Its window on the grid may end there.
        least = min(self.window, EXAMPLE_SECONDS)
        own_end = min(max(index * self.stride + self.window, own_start + least), stretch[1])
        end = min(max(own_end, own_start + self.window), stretch[1])
        start = max(min(own_start, end - self.window), stretch[0])
        audible = True
        if self.hears:
            # Changes are not found to the exact sample, so the sound next to a change may belong to its other side.
            quarter = (own_end - own_start) / 4
            own_start += min(CHANGE_MARGIN, quarter) if own_start == stretch[0] > 0 else 0
            own_end -= min(CHANGE_MARGIN, quarter) if own_end == stretch[1] < self.clip.length else 0
            audible = self._is_audible(own_start, own_end)
        return start, end, audible

    def _is_audible(self, start: float, end: float) -> bool:
        # Many frames ask about the same stretch, so answers are kept.
        if (start, end) not in self._audible:
            if len(self._audible) >= MOST_ANSWERS:
                self._audible.clear()
            own, _ = self.sound.read(start, end)
            self._audible[start, end] = bool(np.abs(own).max(initial=0) >= INAUDIBLE_PEAK)
        return self._audible[start, end]

    def _hear(self, index: int, start: float, end: float, audible: bool) -> SoundWindow:
        if not audible:
            return SoundWindow(index, start, end, None)
        waveform, rate = self.sound.read(start, end)
        wanted = round(self.window * rate)
        if len(waveform) < wanted:
            waveform = np.resize(waveform, wanted)
        inputs = dict(self.processor(audio=waveform, sampling_rate=rate, return_tensors="pt"))
        return SoundWindow(index, start, end, inputs)

    def _weight(self, index: int, time: float) -> float:
        from_start = time - index * self.stride
        return max(LEAST_WEIGHT, min(from_start, self.window - from_start) / (self.window / 2))


__all__ = ["SoundBuffer", "SoundWindow", "SoundWindows", "View", "window_seconds"]
