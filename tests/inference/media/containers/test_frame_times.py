"""The choice between the stamps of a frame, the places of frames without a stamp, and the times of masks."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from auss.inference.media.containers.decoding import Damage
from auss.inference.media.containers.frame_times import FrameClock, MaskTimes, StampChoice, guessed_interval


def frames(stamps, duration=1):
    """Stand-ins for decoded frames, made of (presentation stamp, decoding stamp) in tenths of a second."""
    return [SimpleNamespace(pts=pts, dts=dts, duration=duration, time_base=Fraction(1, 10)) for pts, dts in stamps]


def placed(stamps, decoding_order=False, duration=1):
    damage = Damage()
    clock = FrameClock(0.1, decoding_order, damage)
    times = [round(clock.place(frame) * 10, 6) for frame in frames(stamps, duration)]
    return times, (damage.missing_time_stamps, damage.repaired_time_stamps), clock.stamped


def test_healthy_stamps_stay():
    assert placed([(3, 1), (5, 2), (6, 6)]) == ([3, 5, 6], (0, 0), 3)


def test_made_up_presentation_stamps_of_avi():
    """The stamps are those of H.264 with reordered frames in AVI. The decoder holds the last two frames back."""
    stamps = [(1, 2), (4, 3), (3, 4), (5, 5), (2, 6), (8, None), (7, None)]
    assert placed(stamps, decoding_order=True) == ([2, 3, 4, 5, 6, 7, 8], (0, 0), 5)


def test_presentation_stamps_that_prove_wrong_are_left():
    choice = StampChoice(decoding_order=False)
    stamps = [(0, 0), (3, 1), (2, 2), (1, 3), (4, 4), (7, 5), (6, 6), (5, 7)]
    assert [choice.stamp(frame) for frame in frames(stamps)] == [0, 3, 2, 3, 4, 5, 6, 7]


def test_an_overlap_is_caught_up_with():
    """The second of two joined recordings starts 0.15 s, or two frames, before the end of the first one."""
    stamps = [(k, k) for k in range(10, 16)] + [(k - 1.5, k - 1.5) for k in range(16, 30)]
    times, (missing, repaired), _ = placed(stamps)
    assert (missing, repaired) == (0, 3) and (np.diff(times) > 0).all()
    assert times[:6] == list(range(10, 16)) and times[9:] == [stamp for stamp, _ in stamps[9:]]
    # Stamps that start again or stand still are ignored.
    assert placed([(20, 20), (21, 21), (1, 1), (2, 2), (3, 3)])[0] == [20, 21, 22, 23, 24]
    assert placed([(5, 5)] * 4)[0] == [5, 6, 7, 8]


def test_missing_and_backward_stamps():
    assert placed([(5, 5), (None, None), (7, 7), (2, 2)]) == ([5, 6, 7, 8], (1, 1), 3)
    assert placed([(None, None)] * 3, duration=2) == ([0, 2, 4], (2, 0), 0)
    assert placed([(None, 3), (None, 4)]) == ([3, 4], (0, 0), 2)


def due(shown, fps, interval=0.04):
    times = MaskTimes(fps, interval)
    return [[round(time, 6) for time in times.of(start, end)] for start, end in shown]


def test_one_mask_a_period_in_a_video_of_constant_rate():
    for rate in (24, 25, 29.97, 30, 60):
        shown = [(index / rate, (index + 1) / rate) for index in range(round(4 * rate))]
        masks = [time for of_frame in due(shown, 5, 1 / rate) for time in of_frame]
        assert len(masks) == 20 and all(abs(time - k / 5) < 1 / rate for k, time in enumerate(masks))


def test_a_held_frame_gets_a_mask_every_period():
    assert due([(0.0, 14.96), (14.96, 15.0)], 5) == [[round(k / 5, 6) for k in range(75)], []]
    assert due([(k * 1.0, k + 1.0) for k in range(3)], 2, 1.0) == [[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]
    assert due([(0.0, 2.5), (2.5, 5.0)], 1) == [[0.0, 1.0, 2.0], [3.0, 4.0]]


def test_a_frame_that_is_not_held_has_one_mask():
    assert due([(k / 10, (k + 1) / 10) for k in range(10)], 25, 0.1) == [[k / 10] for k in range(10)]


def test_every_frame_gets_one_mask():
    assert due([(0.0, 9.0), (9.0, 9.1)], None) == [[0.0], [9.0]]


@pytest.mark.parametrize("fps", [0, -1, float("nan")])
def test_fps_out_of_range(fps):
    with pytest.raises(ValueError, match="fps must be positive"):
        MaskTimes(fps, 0.04)


def test_guessed_interval_of_slow_rates():
    assert guessed_interval(25) == 0.04 and guessed_interval(2 / 15) == 1.0
