"""Hands sound and frames from the reading threads to the thread of the network. It may drop frames, but no sound."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np

from ..media.timed_frame import TimedFrame
from ..media.video_probe import VideoInfo

# Frames that may wait for the network. A frame waits at most for the time that the network takes for two frames.
MOST_WAITING = 2


@dataclass(frozen=True)
class SoundPiece:
    """Some decoded sound."""

    time: float | None  # of its first sample, in seconds on the frames' clock; None if it follows the piece before
    mono: np.ndarray  # (samples,) float32
    sampling_rate: int  # Hz
    frame: av.AudioFrame | None = None  # all its channels, for the output


@dataclass(frozen=True)
class LiveFrame:
    """A decoded frame."""

    frame: TimedFrame
    info: VideoInfo  # of the source, made from its first frame
    arrived: float  # when it was decoded, by the clock of the feed


class LiveFeed:
    """
    A queue of sound and frames between threads.

    Frames wait in a short queue, so that frames that come unevenly are not dropped. If a frame comes while the queue
    is full, the network is too slow. Then all waiting frames but the newest are dropped and counted, so that the delay
    does not grow. Sound waits until it is taken, all of it.

    Args:
        most_waiting: frames that may wait.
        clock: returns the time in seconds.
    """

    def __init__(self, most_waiting: int = MOST_WAITING, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.received = 0  # frames that came
        self.dropped = 0  # frames that were never taken
        self.ending: str | None = None  # why the source ended; None while it goes on, "" if it ended regularly
        self._most_waiting = most_waiting
        self._frames: deque[LiveFrame] = deque()
        self._sound: list[SoundPiece] = []
        self._changed = threading.Condition()

    def put_sound(self, piece: SoundPiece) -> None:
        with self._changed:
            self._sound.append(piece)
            self._changed.notify()

    def put_frame(self, frame: TimedFrame, info: VideoInfo) -> None:
        with self._changed:
            self.received += 1
            if len(self._frames) == self._most_waiting:
                self.dropped += len(self._frames)
                self._frames.clear()
            self._frames.append(LiveFrame(frame, info, self.clock()))
            self._changed.notify()

    def finish(self, ending: str) -> None:
        """Says that no frame will come. `ending` is the reason, or "" if the source ended regularly. Only the first
        reason counts."""
        with self._changed:
            self.ending = ending if self.ending is None else self.ending
            self._changed.notify()

    def take(self, wait: float) -> tuple[list[SoundPiece], LiveFrame | None]:
        """
        Returns all waiting sound and the oldest waiting frame, or None instead of a frame.

        Waits for at most `wait` seconds until there is sound or a frame, or the source ends.
        """
        with self._changed:
            if not self._frames and not self._sound and self.ending is None:
                self._changed.wait(wait)
            sound, self._sound = self._sound, []
            return sound, self._frames.popleft() if self._frames else None

    @property
    def exhausted(self) -> bool:
        """Whether the source has ended and everything was taken."""
        with self._changed:
            return self.ending is not None and not self._frames and not self._sound


__all__ = ["LiveFeed", "LiveFrame", "SoundPiece"]
