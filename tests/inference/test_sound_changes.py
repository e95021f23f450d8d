"""Changes are found only where two sounds meet, and they do not depend on the order of the calls."""

import numpy as np
import pytest
import torch

from auss.inference.sound_changes import SoundChanges, change_scores, peaks, spectrogram
from auss.processing.log_mel import log_mel_examples

RATE = 16_000


def pulses(seconds, pitch, rate=RATE):
    """A tone struck every 0.4 s, with a little noise. It varies all the time but never becomes another sound."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(round(pitch)).normal(0, 1e-3, len(time))
    return (0.3 * np.sin(2 * np.pi * pitch * time) * np.exp(-5 * (time % 0.4)) + noise).astype(np.float32)


def joined(*parts, rate=RATE):
    """Joins pulses (seconds, pitch) one after the other."""
    return np.concatenate([pulses(*part, rate) for part in parts])


def changes_of(waveform, rate=RATE):
    length = len(waveform) / rate
    return SoundChanges(lambda start, end: (waveform[round(start * rate) : round(end * rate)], rate), length)


@pytest.mark.parametrize("rate", [16_000, 44_100, 8_000])
def test_changes_are_found_where_they_are(rate):
    waveform = joined((3.3, 300), (1.2, 1500), (6.1, 700), (0.8, 2500), rate=rate)
    found = changes_of(waveform, rate).between(0, 20)
    assert found == pytest.approx([3.3, 4.5, 10.6], abs=0.06)


def test_what_goes_on_does_not_change():
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.1, 12 * RATE).astype(np.float32)
    louder = noise * np.linspace(0.2, 1, len(noise), dtype=np.float32)
    for waveform in (pulses(12, 440), noise, louder, np.zeros(12 * RATE, np.float32)):
        assert changes_of(waveform).between(0, 12) == []


def test_silence_is_another_sound():
    waveform = joined((3, 300), (3, 300))
    waveform[4 * RATE :] = 0
    assert changes_of(waveform).between(0, 6) == pytest.approx([4.0], abs=0.1)


def test_what_is_found_does_not_depend_on_what_was_asked():
    generator = np.random.default_rng(1)
    lengths = generator.uniform(1, 4, 12)
    waveform = joined(*zip(lengths, generator.permutation(12) * 230 + 200, strict=True))
    whole = changes_of(waveform).between(0, 60)
    assert len(whole) > 8
    pieces = changes_of(waveform)
    asked = [time for start in np.arange(0, 40, 1.7) for time in pieces.between(start, start + 5)]
    assert sorted(set(asked)) == whole
    assert changes_of(waveform).between(11.0, 15.0) == [time for time in whole if 11 <= time <= 15]
    for start in np.arange(0, 30, 2.5):  # nothing outside of `reach` is read
        changes = changes_of(waveform)
        read, original = [], changes.read
        changes.read = lambda first, last, read=read, original=original: (
            read.append((first, last)) or original(first, last)
        )
        changes.between(start, start + 5)
        first, last = SoundChanges.reach(start, start + 5)
        assert all(first <= one and other <= last for one, other in read)


@pytest.mark.parametrize("seconds", [0.001, 0.5, 0.99, 1.0])
def test_hardly_any_sound(seconds):
    assert changes_of(pulses(seconds, 300)).between(0, 5) == []


def test_no_number_is_no_change():
    waveform = joined((3, 300), (3, 1500))
    waveform[RATE] = np.nan
    assert changes_of(waveform).between(0, 6) == pytest.approx([3.0], abs=0.06)


def test_the_spectrogram_is_that_of_the_network():
    waveform = joined((1, 300), (2, 1500))
    (expected,) = log_mel_examples([waveform])
    found = spectrogram(waveform, RATE)
    assert found.shape == (300, 64)
    torch.testing.assert_close(torch.from_numpy(found[:288]).float(), expected.flatten(0, 1), rtol=0, atol=1e-5)


def test_scores_near_the_ends_are_none():
    generator = np.random.default_rng(0)
    scores = change_scores(generator.normal(size=(300, 64)))
    assert scores.shape == (300,) and not scores[:50].any() and scores[50:250].all() and not scores[251:].any()
    assert change_scores(np.zeros((0, 64))).shape == (0,)


def test_of_near_peaks_only_the_greatest_counts():
    scores = np.zeros(300)
    scores[[50, 90, 120, 250]] = 2, 3, 2.5, 0.4
    assert peaks(scores).tolist() == [90]
