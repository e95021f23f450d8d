"""Cuts a video into clips around its labels, in one reading and in constant memory."""

import io
import math
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from PIL import Image

from ...files.errors import InputError
from ..media.sound.audio_track import INAUDIBLE_PEAK
from ..media.timed_frame import TimedFrame
from ..media.video_reader import VideoReader
from .labels import FrameLabels, Moment, Notes

# A shorter rest at the end of a video makes no clip: the networks hear examples of 0.96 s.
LEAST_SECONDS = 1.0
# Stamps of frames are rounded, to a millisecond in mkv. A frame that comes earlier by this much is not too early.
EARLY_SECONDS = 0.002
JPEG_QUALITY = 95


@dataclass(frozen=True)
class ClipShape:
    """
    How clips are cut.

    Args:
        seconds: the length of a clip.
        fps: the frames a second; seconds x fps is a whole number.
        size: the largest shorter side of a frame in pixels; 0 for any.
    """

    seconds: float = 5.0
    fps: float = 1.0
    size: int = 0

    @property
    def slots(self) -> int:
        """The number of frames of a clip."""
        return round(self.seconds * self.fps)

    def slot_at(self, time: float) -> int:
        """The number of the frame, counted through the whole video, to which a time in seconds belongs."""
        return math.floor((time + EARLY_SECONDS) * self.fps)

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of a clip's frames for a video of this size."""
        scale = self.size / min(height, width) if self.size else 1.0
        if scale >= 1:
            return height, width
        return max(1, round(height * scale)), max(1, round(width * scale))


@dataclass
class CutClip:
    """
    A clip of a video.

    Args:
        number: its number in the video, from 0.
        start, seconds: where it begins in the video, and its length.
        frames: JPEG files.
        masks: for each labelled frame, by its index, the mask as bool (H, W).
        labels: for each labelled frame, by its index, the labels.
        waveform: the sound, (samples,) float32.
        sampling_rate: in Hz.
    """

    number: int
    start: float
    seconds: float
    frames: list[bytes]
    masks: dict[int, np.ndarray]
    labels: dict[int, FrameLabels]
    waveform: np.ndarray
    sampling_rate: int

    @property
    def silent(self) -> bool:
        """Whether nothing can be heard in the clip."""
        return float(np.abs(self.waveform).max(initial=0)) < INAUDIBLE_PEAK

    @property
    def label_names(self) -> list[str]:
        """The labels of the clip, sorted."""
        return sorted({region.label for one in self.labels.values() for region in one.regions if region.label})


class LabelTimes:
    """The labels of one video, handed out as its frames come."""

    def __init__(self, labels: Iterable[FrameLabels]):
        self.by_frame: dict[int, list[FrameLabels]] = defaultdict(list)
        timed: list[tuple[float, FrameLabels]] = []
        for one in labels:
            moment = one.moment or Moment(frame=0)
            if moment.frame is not None:
                self.by_frame[moment.frame].append(one)
            else:
                timed.append((moment.time or 0.0, one))
        self.timed = sorted(timed, key=lambda pair: -pair[0])  # the earliest last

    def take(self, frame: TimedFrame, before: float) -> FrameLabels | None:
        """Returns the labels of a frame, all of them joined; None if it has none. Of labels at a time it takes those
        before a time in seconds."""
        found = self.by_frame.pop(frame.index, [])
        while self.timed and self.timed[-1][0] < min(frame.end, before) - EARLY_SECONDS:
            found.append(self.timed.pop()[1])
        if not found:
            return None
        regions = tuple(region for one in found for region in one.regions)
        return FrameLabels(found[0].origin, found[0].names, found[0].moment, regions)

    @property
    def empty(self) -> bool:
        return not self.by_frame and not self.timed

    def left(self) -> list[FrameLabels]:
        """The labels that no frame has taken, in their order."""
        by_frame = [one for frame in sorted(self.by_frame) for one in self.by_frame[frame]]
        return [*by_frame, *(one for _, one in reversed(self.timed))]


@dataclass
class OpenClip:
    """A clip whose frames are still coming: the frame at the start of each slot, or its first labelled frame."""

    frames: dict[int, TimedFrame] = field(default_factory=dict)
    labels: dict[int, FrameLabels] = field(default_factory=dict)
    sound: tuple[np.ndarray, int] | None = None


class ClipCutter:
    """
    Cuts one video.

    The video is divided into clips of equal length from its beginning, and each clip into slots of 1 / fps seconds. A
    slot gets its first labelled frame. A slot without labels gets the frame that is shown at its start. Clips without
    labels are left out.

    Args:
        reader: reads the video.
        labels: the labels of its frames.
        shape: how clips are cut.
        notes: notes labels that cannot be used.
    """

    def __init__(self, reader: VideoReader, labels: Iterable[FrameLabels], shape: ClipShape, notes: Notes):
        self.reader, self.shape, self.notes = reader, shape, notes
        self.waiting = LabelTimes(labels)
        self.crowded = 0  # labelled frames in a slot that has one already
        info = reader.info
        self.video_size = (info.height, info.width)
        self.size = shape.frame_size(info.height, info.width)

    def clips(self) -> Iterator[CutClip]:
        """Yields the clips that have a label, in order.

        Raises:
            ValueError: the video cannot be decoded.
        """
        number, clip, end = 0, OpenClip(), 0.0
        with closing(cast(Generator[TimedFrame], self.reader.frames())) as frames:
            for frame in frames:
                end = frame.end
                # A frame may be shown for many slots, or for a part of one.
                for slot in range(self.shape.slot_at(frame.time), self._slot_before(frame) + 1):
                    if slot // self.shape.slots > number:
                        yield from self._closed(number, clip, self.shape.seconds)
                        if self.waiting.empty:
                            return
                        number, clip = slot // self.shape.slots, OpenClip()
                    self._place(number, clip, slot % self.shape.slots, frame)
        length = min(self.shape.seconds, end - number * self.shape.seconds)
        if length >= min(LEAST_SECONDS, self.shape.seconds) - EARLY_SECONDS:
            yield from self._closed(number, clip, length)
        elif clip.labels:
            origin = next(iter(clip.labels.values())).origin
            self.notes.warn(
                f"{origin}: it lies in the last {length:.2f} s of the video, too short for a clip of "
                f"{LEAST_SECONDS:g} s, so it is left out"
            )
        for one in self.waiting.left():
            self.notes.problem(
                f"{one.origin}: the video {self.reader.info.path} ends at {end:.2f} s, before {one.moment}"
            )

    def _slot_before(self, frame: TimedFrame) -> int:
        """The last slot in which a frame is shown."""
        return max(self.shape.slot_at(frame.time), math.ceil((frame.end - EARLY_SECONDS) * self.shape.fps) - 1)

    def _place(self, number: int, clip: OpenClip, slot: int, frame: TimedFrame) -> None:
        """Puts a frame into a slot of a clip, if it is the slot's first one or its first one with labels."""
        clip.frames.setdefault(slot, frame)
        labels = self.waiting.take(frame, (number * self.shape.slots + slot + 1) / self.shape.fps)
        if labels is None:
            return
        if slot in clip.labels:
            self.crowded += 1
            return
        clip.frames[slot], clip.labels[slot] = frame, labels
        if clip.sound is None:
            start = number * self.shape.seconds
            clip.sound = self.reader.waveform(start, start + self.shape.seconds)

    def _closed(self, number: int, clip: OpenClip, seconds: float) -> Iterator[CutClip]:
        """Makes a clip of its frames, if it has a label that can be drawn."""
        if clip.sound is None:
            return
        masks, labels = {}, {}
        for slot, one in sorted(clip.labels.items()):
            try:
                masks[slot] = one.mask(self.video_size, self.size)
                labels[slot] = one
            except InputError as error:
                self.notes.problem(error)
        if not masks:
            return
        waveform, rate = clip.sound
        yield CutClip(
            number,
            number * self.shape.seconds,
            seconds,
            [self._encoded(clip.frames[slot]) for slot in sorted(clip.frames)],
            masks,
            labels,
            waveform[: max(1, round(seconds * rate))],
            rate,
        )

    def _encoded(self, frame: TimedFrame) -> bytes:
        """Returns a frame in the clip's size as a JPEG file without loss of colour detail."""
        picture = Image.fromarray(frame.picture)
        height, width = self.size
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
        content = io.BytesIO()
        picture.save(content, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        return content.getvalue()


__all__ = ["ClipCutter", "ClipShape", "CutClip"]
