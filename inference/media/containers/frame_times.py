"""The times at which frames are shown, from time stamps that may be missing or wrong, and the times of masks."""

import math
from collections.abc import Iterator

import av

from .decoding import Damage

# A frame is due when its time reaches the next multiple of the period. It may be earlier by this number of seconds,
# because time stamps are rounded. An mkv file stores milliseconds, so 1/30 s becomes 0.033 s.
DUE_TOLERANCE = 0.001
# Stamps that step back by less than this belong to the same time line. Stamps that step back further have started
# again and are ignored. The reader of sound uses the same limit.
OVERLAP_SECONDS = 1.0
# The longest time that is guessed for a frame without a duration. In a slide show the average rate says little.
LONGEST_GUESS_SECONDS = 1.0
# A frame that is shown for longer than this counts as held. Within a shorter time one mask is enough.
HELD_SECONDS = 0.1


def guessed_interval(fps: float) -> float:
    """Seconds for which a frame is shown, guessed from the average frame rate when nothing else is known."""
    return min(1 / fps, LONGEST_GUESS_SECONDS)


class StampChoice:
    """Chooses between the two stamps of each frame of a stream, as FFmpeg's `best_effort_timestamp` does.

    A frame has two stamps: the presentation stamp of its own packet, and the decoding stamp of the packet after which
    the decoder gave the frame out. In a healthy stream both stamps rise from frame to frame, and the presentation
    stamp is right. AVI stores one stamp per packet, in the order of decoding. FFmpeg then invents the presentation
    stamps of reordered frames.

    Args:
        decoding_order: whether the format stores stamps in the order of decoding only, as AVI does.
    """

    def __init__(self, decoding_order: bool):
        self._decoding_order = decoding_order
        self._last_presentation = self._last_decoding = -math.inf
        self._wrong_presentation = self._wrong_decoding = 0

    def stamp(self, frame: av.VideoFrame) -> int | None:
        """The stamp of the stream's next frame, `frame`, in its time base; None if the frame has no stamp."""
        presentation, decoding = frame.pts, frame.dts
        if self._decoding_order:
            return decoding
        if decoding is not None:
            self._wrong_decoding += decoding <= self._last_decoding
            self._last_decoding = decoding
        if presentation is not None:
            self._wrong_presentation += presentation <= self._last_presentation
            self._last_presentation = presentation
        trusted = decoding is None or self._wrong_presentation <= self._wrong_decoding
        return presentation if presentation is not None and trusted else decoding


class FrameClock:
    """Gives each frame of a stream, in order, a time later than the time of the frame before.

    A frame starts where the frame before ends if it has no stamp, or if its stamp is not later than the stamp of the
    frame before. Recordings that were joined with an overlap have stamps that step back by less than `OVERLAP_SECONDS`
    and then rise again. The frames after such a step are shown for half as long, until the clock has caught up with
    their stamps.

    Args:
        interval: seconds for which a frame is shown if it has no duration of its own.
        decoding_order: as `StampChoice` takes it.
        damage: counts the repairs.
    """

    def __init__(self, interval: float, decoding_order: bool, damage: Damage):
        self.stamped = 0  # how many frames had a stamp of their own
        self._interval = interval
        self._choice = StampChoice(decoding_order)
        self._drains = decoding_order
        self._damage = damage
        self._last: float | None = None
        self._last_shown = 0.0
        self._behind: float | None = None  # the stamp of the frame before, in seconds, if that stamp was too early

    def shown(self, frame: av.VideoFrame) -> float:
        """The duration that a frame declares, in seconds; 0 if it declares none."""
        if frame.duration and frame.duration > 0 and frame.time_base:
            return float(frame.duration * frame.time_base)
        return 0.0

    def place(self, frame: av.VideoFrame) -> float:
        """The time of the next frame, in seconds of the file's own clock; 0 for a first frame without a stamp."""
        stamp = self._choice.stamp(frame)
        time = float(stamp * frame.time_base) if stamp is not None and frame.time_base else None
        if time is not None:
            self.stamped += 1
        if self._last is None:
            time = 0.0 if time is None else time
        elif time is None or time <= self._last:
            if time is not None:
                self._damage.repaired_time_stamps += 1
            elif not self._drains:  # the last frames that a decoder gives out have no decoding stamp
                self._damage.missing_time_stamps += 1
            rises = time is not None and self._behind is not None and self._behind < time
            overlaps = rises and time is not None and self._last - time < OVERLAP_SECONDS
            time, self._behind = self._last + self._last_shown / (2 if overlaps else 1), time
        else:
            self._behind = None
        self._last, self._last_shown = time, self.shown(frame) or self._interval
        return time


class MaskTimes:
    """The times at which frames get masks, when `fps` masks are wanted per second.

    Period k starts at k / fps. The first frame that starts in a period gets a mask at its own time. If the frame
    before is held (see `HELD_SECONDS`), that frame gets a mask at the start of the period. So there is a mask every
    1 / fps seconds, even while one frame is shown for a long time.

    Args:
        fps: masks per second. With None every frame gets one mask at its start, however long it is shown.
        interval: seconds between frames. If a new frame can be expected this soon after the start of a period (at most
            `HELD_SECONDS`, and in the first half of the period), the mask waits for it.
    """

    def __init__(self, fps: float | None, interval: float):
        if fps is not None and not fps > 0:
            raise ValueError(f"fps must be positive, or None for every frame, got {fps}")
        self._fps = fps
        self._wait = min(interval, 0.5 / fps, HELD_SECONDS) if fps is not None else 0.0
        self._next = 0  # the first period without a mask

    def of(self, start: float, end: float) -> Iterator[float]:
        """Yields the times, in seconds, of the masks of a frame that is shown from `start` to `end`."""
        if self._fps is None:
            yield start
            return
        period = math.floor((start + DUE_TOLERANCE) * self._fps)
        if period >= self._next:
            yield start
            self._next = period + 1
        if end - start <= HELD_SECONDS + DUE_TOLERANCE:
            return
        while self._next / self._fps + self._wait < end - DUE_TOLERANCE:
            yield self._next / self._fps
            self._next += 1


__all__ = ["DUE_TOLERANCE", "OVERLAP_SECONDS", "FrameClock", "MaskTimes", "StampChoice", "guessed_interval"]
