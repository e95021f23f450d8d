"""The figures of a live run, against NumPy's on the same numbers."""

import numpy as np
import pytest

from auss.inference.live.live_report import Delays, LiveReport


def test_quantiles_are_those_of_the_delays_to_a_millisecond():
    values = np.random.default_rng(0).exponential(0.1, 5000)
    delays = Delays()
    for value in values:
        delays.add(value)
    for share in (0.05, 0.5, 0.95, 1.0):
        assert delays.quantile(share) == pytest.approx(np.quantile(values, share), abs=0.0015)


def test_no_delay_and_a_very_long_one():
    delays = Delays()
    assert delays.quantile(0.5) == 0.0
    delays.add(1e6)
    assert delays.quantile(0.5) == pytest.approx(9.999)


def test_summary_counts_masks_drops_and_frames_without_sound():
    report = LiveReport()
    assert report.rate == 0.0
    for index in range(51):
        report.note(0.02, index / 25, sound_end=None if index < 10 else index / 25 - (2.0 if index < 15 else 0.5))
    assert report.without_sound == 15 and report.rate == pytest.approx(25.0)
    text = report.summary(60, 9)
    assert "51 masks, 25.0 a second" in text and "dropped 9 of 60 frames" in text and "0.020 s (median)" in text
