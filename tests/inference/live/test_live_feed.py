"""The queue between reading and the network: frames may be dropped, sound may not, and delays stay bounded."""

import threading
import time

import numpy as np
import pytest

from auss.inference.live.live_feed import MOST_WAITING, LiveFeed, SoundPiece


def piece(number):
    return SoundPiece(float(number), np.zeros(1, np.float32), 16_000)


class FakeClock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def simulate(work, frames=500, interval=0.04):
    """Frames and sound come every `interval` seconds, and a mask takes `work` seconds. Returns feed and delays."""
    clock = FakeClock()
    feed = LiveFeed(clock=clock)
    arrivals, delays, heard, taken = iter(range(frames)), [], [], []
    upcoming = next(arrivals)
    while upcoming is not None or not feed.exhausted:
        while upcoming is not None and upcoming * interval <= clock.now:
            now, clock.now = clock.now, upcoming * interval
            feed.put_sound(piece(upcoming))
            feed.put_frame(upcoming, None)
            clock.now, upcoming = now, next(arrivals, None)
        if upcoming is None:
            feed.finish("")
        sound, frame = feed.take(0.0)
        heard += [one.time for one in sound]
        if frame is None:
            clock.now = max(clock.now, upcoming * interval) if upcoming is not None else clock.now
            continue
        clock.now += work
        taken.append(frame.frame)
        delays.append(clock.now - frame.arrived)
    return feed, taken, delays, heard


@pytest.mark.parametrize("work", [0.01, 0.039, 0.05, 0.1, 0.5])
def test_frames_are_dropped_when_the_network_is_slow_and_sound_never(work):
    feed, taken, delays, heard = simulate(work)
    assert heard == list(range(500))
    assert feed.received == 500 == len(taken) + feed.dropped
    assert taken == sorted(set(taken))
    assert (feed.dropped == 0) == (work < 0.04)
    assert len(taken) >= min(500, int(20 / work) - 1)  # the network is never idle while frames wait
    # A frame waits at most for the frame that is worked on and for the one before it in the queue.
    assert max(delays) <= (MOST_WAITING + 1) * work + 1e-9


def test_frames_that_come_unevenly_are_not_dropped():
    feed = LiveFeed()
    for pair in range(20):
        feed.put_frame(2 * pair, None)
        feed.put_frame(2 * pair + 1, None)
        assert [feed.take(0.0)[1].frame, feed.take(0.0)[1].frame] == [2 * pair, 2 * pair + 1]
    assert feed.dropped == 0


def test_take_waits_for_the_next_piece_and_not_longer():
    feed = LiveFeed()
    threading.Timer(0.05, feed.put_sound, [piece(1)]).start()
    sound, frame = feed.take(10.0)
    assert [one.time for one in sound] == [1.0] and frame is None
    began = time.monotonic()
    assert feed.take(0.05) == ([], None) and time.monotonic() - began >= 0.04


def test_what_waits_is_taken_after_the_end_and_the_first_reason_counts():
    feed = LiveFeed()
    feed.put_frame("frame", None)
    feed.finish("it broke")
    feed.finish("")
    assert not feed.exhausted and feed.take(0.0)[1].frame == "frame"
    assert feed.exhausted and feed.ending == "it broke"
