import numpy as np
import pytest

from auss.train.composer.drawn_objects import DRAWINGS
from auss.train.composer.synthesised_sounds import LOUDNESS, SAMPLING_RATE, SOUNDS, normalise_loudness, synthesise


def sound(category, instance, seconds=5.0):
    return synthesise(category, np.random.default_rng([3, instance]), seconds)


def spectrum(wave, bands=32):
    """Computes the log magnitude in linear bands, (frames, bands), by NumPy alone: 25 ms windows every 10 ms."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160] * np.hanning(400)
    magnitude = np.abs(np.fft.rfft(frames, 512))[:, :256]
    return np.log(magnitude.reshape(len(frames), bands, -1).mean(2) + 0.01)


def timbre(wave):
    bands = spectrum(wave)
    return np.concatenate([bands.mean(0), bands.std(0)])


def test_what_is_drawn_can_be_heard():
    assert list(SOUNDS) == list(DRAWINGS) and len(SOUNDS) >= 8


@pytest.mark.parametrize("category", SOUNDS)
def test_a_sound_fills_its_time_at_one_loudness(category):
    wave = sound(category, 0)
    assert wave.shape == (5 * SAMPLING_RATE,) and wave.dtype == np.float32
    assert np.isfinite(wave).all() and np.abs(wave).max() < 1.2
    seconds = np.sqrt((wave.reshape(5, -1) ** 2).mean(1))
    assert seconds.min() > 0.3 * LOUDNESS and seconds.max() < 1.5 * LOUDNESS
    assert np.array_equal(wave, sound(category, 0)) and not np.array_equal(wave, sound(category, 1))
    assert sound(category, 0, 1.3).shape == (round(1.3 * SAMPLING_RATE),)


@pytest.mark.parametrize("seconds", [5.0, 1.0])
def test_the_nearest_timbre_tells_the_category(seconds):
    known = {name: np.mean([timbre(sound(name, i)) for i in range(5)], axis=0) for name in SOUNDS}
    hits = 0
    for name in SOUNDS:
        for instance in range(50, 55):
            heard = timbre(sound(name, instance, seconds))
            hits += min(known, key=lambda other: np.linalg.norm(heard - known[other])) == name
    assert hits >= 0.9 * 5 * len(SOUNDS)


@pytest.mark.parametrize(
    ("category", "low", "high"), [("drum", 50, 260), ("siren", 550, 1750), ("kettle", 2200, 3000)]
)
def test_the_strongest_frequency_lies_in_the_register(category, low, high):
    for instance in range(4):
        wave = sound(category, instance)
        magnitude = np.abs(np.fft.rfft(wave))
        assert low < np.argmax(magnitude) / 5 < high


def test_silence_stays_silent():
    assert not normalise_loudness(np.zeros(SAMPLING_RATE, np.float32)).any()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="category must be one of bell, .*got 'harp'"):
        sound("harp", 0)
    with pytest.raises(ValueError, match="seconds must be more than 0, got 0"):
        sound("bell", 0, 0)
