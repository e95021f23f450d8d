"""When frames are shown, by time stamps that may be missing or wrong, and which of them get masks."""

import math
from collections.abc import Iterator

import av

from .decoding import Damage

# A frame is due when its time reaches the next multiple of the period, less these seconds for the rounding of time
# stamps (mkv keeps milliseconds: at 30 frames a second, 1/30 s is 0.033 s).
DUE_TOLERANCE = 0.001
# Stamps that step back by less belong to the same time line; by more, they start anew and mean nothing. Sound is read
# with the same limit.
OVERLAP_SECONDS = 1.0
# What a frame without a duration of its own is shown for at most: an average rate says little about slide shows.
LONGEST_GUESS_SECONDS = 1.0
# A frame that is shown for longer counts as held. No sound changes what is seen within a shorter time.
HELD_SECONDS = 0.1


def guessed_interval(fps: float) -> float:
    """Seconds for which a frame is shown where nothing but the average rate of the frames is known."""
    return min(1 / fps, LONGEST_GUESS_SECONDS)


class StampChoice:
    """Chooses between the two stamps of each frame of a stream, as FFmpeg's `best_effort_timestamp` does.

    A frame has the presentation stamp of its packet, and the decoding stamp of the packet after which the decoder gave
    it out. Both rise from frame to frame in a healthy stream, and the presentation stamp is the right one. AVI stores
    only one stamp a packet, in the order of decoding: there the presentation stamps of reordered frames are made up.

    Args:
        decoding_order: whether the format stores stamps in the order of decoding only, as AVI does.
    """

    def __init__(self, decoding_order: bool):
        self._decoding_order = decoding_order
        self._last_presentation = self._last_decoding = -math.inf
        self._wrong_presentation = self._wrong_decoding = 0

    def stamp(self, frame: av.VideoFrame) -> int | None:
        """The stamp, in the frame's time base, at which the next frame of the stream is shown; None without any."""
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
    """Gives each frame of a stream, in order, a time that lies after that of the frame before.

    A frame without a stamp, or whose stamp does not lie after that of the frame before, is put where the frame before
    ends. Where stamps step back by less than `OVERLAP_SECONDS` and rise again, as where recordings are joined with an
    overlap, the frames that follow are shown for half as long until the clock has caught up with their stamps.

    Args:
        interval: seconds that a frame is shown for where it does not say so itself.
        decoding_order: as `StampChoice` takes it.
        damage: where repairs are counted.
    """

    def __init__(self, interval: float, decoding_order: bool, damage: Damage):
        self.stamped = 0  # frames with a stamp of their own
        self._interval = interval
        self._choice = StampChoice(decoding_order)
        self._drains = decoding_order
        self._damage = damage
        self._last: float | None = None
        self._last_shown = 0.0
        self._behind: float | None = None  # the stamp of the frame before, in seconds, if it was too early

    def shown(self, frame: av.VideoFrame) -> float:
        """Seconds for which a frame says that it is shown; 0 where it does not say it."""
        if frame.duration and frame.duration > 0 and frame.time_base:
            return float(frame.duration * frame.time_base)
        return 0.0

    def place(self, frame: av.VideoFrame) -> float:
        """The time of the next frame, in seconds of the file's own clock; 0 for a first one without a stamp."""
        stamp = self._choice.stamp(frame)
        time = float(stamp * frame.time_base) if stamp is not None and frame.time_base else None
        if time is not None:
            self.stamped += 1
        if self._last is None:
            time = 0.0 if time is None else time
        elif time is None or time <= self._last:
            if time is not None:
                self._damage.repaired_time_stamps += 1
            elif not self._drains:  # where frames have decoding stamps, those that the decoder held back have none
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

    Period k starts at k / fps. The first frame that starts in it gets a mask, at the frame's own time; where the frame
    before is held on (see `HELD_SECONDS`), it gets one at the start of the period. So masks come every 1 / fps seconds
    also while one frame is shown for long.

    Args:
        fps: masks per second; None gives every frame one, when it starts, however long it is shown.
        interval: seconds between frames. A frame that starts so soon after the start of a period (at most
            `HELD_SECONDS`, and in the period's first half) is waited for.
    """

    def __init__(self, fps: float | None, interval: float):
        if fps is not None and not fps > 0:
            raise ValueError(f"fps must be positive, or None for every frame, got {fps}")
        self._fps = fps
        self._wait = min(interval, 0.5 / fps, HELD_SECONDS) if fps is not None else 0.0
        self._next = 0  # the first period without a mask

    def of(self, start: float, end: float) -> Iterator[float]:
        """The times, in seconds, of the masks of a frame that is shown from `start` to `end`."""
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
