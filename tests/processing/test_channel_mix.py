"""Several channels are mixed to one. Opposite signs and empty channels lose no sound."""

import numpy as np
import pytest
import scipy.signal

from auss.processing import channel_mix
from auss.processing.channel_mix import band_edges, mix_channels
from auss.processing.log_mel import log_mel_examples

RATE = 16_000
TIME = np.arange(5 * RATE) / RATE
RNG = np.random.default_rng(0)
VOICE = 0.3 * np.sin(2 * np.pi * 440 * TIME) * (np.sin(2 * np.pi * 1.5 * TIME) > 0)
NOISE = 0.1 * RNG.standard_normal(len(TIME))
OTHER = 0.1 * RNG.standard_normal(len(TIME))
HALF = len(TIME) // 2


def loudness_difference(found, expected):
    """Returns the mean absolute difference of the log-mel values, which are the network's input."""
    found, expected = log_mel_examples([found, expected])
    return float((found - expected).abs().mean())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (NOISE, NOISE),
        (NOISE, OTHER),
        (NOISE, 0.05 * OTHER),
        (VOICE + NOISE, VOICE),
        (NOISE, -0.2 * NOISE),
    ],
    ids=["dual mono", "unrelated", "one is quiet", "in common", "little cancels"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_does_not_cancel_is_the_plain_mean(first, second, dtype):
    stereo = np.stack([first, second]).astype(dtype)
    mono = mix_channels(stereo)
    assert mono.dtype == dtype
    np.testing.assert_array_equal(mono, stereo.mean(axis=0))


def test_unrelated_rumble_is_the_plain_mean():
    """Low-frequency noise has few independent values in a cell. Even so, its channels must not cancel by chance."""
    for seed in range(50):
        noise = np.random.default_rng(seed).standard_normal((2, 2 * RATE))
        stereo = 0.05 * scipy.signal.lfilter([1], [1, -0.97], noise)
        np.testing.assert_array_equal(mix_channels(stereo), stereo.mean(axis=0))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (VOICE, -VOICE, VOICE),
        (NOISE, -NOISE, NOISE),
        (NOISE + 0.5, 0.9 - NOISE, NOISE),
        (NOISE, -0.5 * NOISE, 0.75 * NOISE),
        (VOICE + NOISE, VOICE - NOISE, VOICE + NOISE),
        (NOISE, np.append(-NOISE[:HALF], NOISE[HALF:]), NOISE),
        (1e-3 * NOISE, -1e-3 * NOISE, 1e-3 * NOISE),
    ],
    ids=["tone", "noise", "with offsets", "partly", "one of two sounds", "half of the time", "quiet"],
)
def test_what_cancels_is_heard_as_if_it_had_one_sign(first, second, expected):
    mono = mix_channels(np.stack([first, second]))
    assert loudness_difference(mono, expected) < 0.3
    plain = (first + second) / 2
    if np.abs(expected).max() > 0.01:
        assert loudness_difference(plain, expected) > 5 * loudness_difference(mono, expected)
    assert np.std(mono) == pytest.approx(np.std(expected), rel=0.1)


def test_a_side_channel_does_not_silence_the_middle():
    """In a recording of middle and side, a sound on the far right gives side = -middle."""
    right = mix_channels(np.stack([NOISE, -NOISE]))
    centre = mix_channels(np.stack([NOISE, 0 * NOISE]))
    for mono in (right, centre):
        assert np.std(mono) == pytest.approx(np.std(NOISE), rel=0.1)


def test_there_are_no_clicks():
    """The sound does not jump at the border between a mended cell and a plain cell."""
    tone = 0.5 * np.sin(2 * np.pi * 300 * TIME)
    second = np.append(-tone[:HALF], tone[HALF:])
    mono = mix_channels(np.stack([tone, second]))
    assert np.abs(np.diff(mono)).max() < 2 * np.abs(np.diff(tone)).max()


def test_long_sound_is_mixed_in_parts(monkeypatch):
    stereo = np.stack([NOISE, np.append(-NOISE[:HALF], OTHER[HALF:])])
    whole = mix_channels(stereo)
    monkeypatch.setattr(channel_mix, "GROUP_VALUES", 1)
    np.testing.assert_allclose(mix_channels(stereo), whole, rtol=0, atol=1e-3)


@pytest.mark.parametrize("num_samples", [0, 1, 2, 1023, 1024, 1025, 40_000])
def test_any_length(num_samples):
    stereo = np.stack([NOISE, -NOISE])[:, :num_samples]
    mono = mix_channels(stereo)
    assert mono.shape == (num_samples,) and np.isfinite(mono).all()
    if num_samples > 10_000:
        assert np.std(mono) == pytest.approx(np.std(NOISE), rel=0.1)


def test_weights_say_what_belongs_into_the_mix():
    channels = np.stack([NOISE, OTHER, VOICE])
    expected = 0.25 * NOISE + 0.25 * OTHER + 0.5 * VOICE
    np.testing.assert_allclose(mix_channels(channels, np.array([1, 1, 2])), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mix_channels(channels, np.array([1, 0, 0])), NOISE, rtol=0, atol=1e-12)
    assert mix_channels(channels[:1]) is not None and mix_channels(channels[:1]).shape == NOISE.shape


def test_empty_channels_take_no_loudness_away():
    channels = np.zeros((16, len(TIME)))
    channels[5] = NOISE
    channels[6] = 1e-4 * OTHER
    np.testing.assert_allclose(mix_channels(channels), NOISE, rtol=0, atol=1e-12)
    assert not mix_channels(np.zeros((16, 100))).any()
    for stereo in (np.stack([VOICE, 0 * VOICE]), np.stack([0 * VOICE + 0.3, VOICE])):
        np.testing.assert_array_equal(mix_channels(stereo), VOICE)


def test_a_channel_without_a_weight_is_heard_when_it_alone_sounds():
    channels = np.stack([0 * NOISE, NOISE])
    np.testing.assert_allclose(mix_channels(channels, np.array([1.0, 0.0])), NOISE, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mix_channels(channels[::-1], np.array([1.0, 0.0])), NOISE, rtol=0, atol=1e-12)


def test_surround_channels_that_cancel():
    channels = np.stack([NOISE, -NOISE, VOICE])
    mono = mix_channels(channels, np.array([1.0, 1.0, 1.0]))
    assert loudness_difference(mono, (2 * NOISE + VOICE) / 3) < 0.1


def test_bands_cover_what_is_heard():
    edges = band_edges()
    assert edges[0] == 3 and edges[-1] == 513 and (np.diff(edges) >= 3).all()
