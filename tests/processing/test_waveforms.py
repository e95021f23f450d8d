"""Waveforms of every supported kind become the same mono float64. For other inputs, the error names the argument."""

import numpy as np
import pytest
import torch
from transformers.audio_utils import make_list_of_audio

from auss.processing.waveforms import list_of_waveforms, resample, sampling_rates, to_mono, waveforms_and_rates

MONO = np.linspace(-0.9, 0.9, 50)


@pytest.mark.parametrize(
    ("waveform", "tolerance"),
    [
        (MONO, 0),
        (MONO.tolist(), 0),
        (tuple(MONO), 0),
        (torch.from_numpy(MONO), 0),
        (torch.from_numpy(MONO).requires_grad_(), 0),
        (MONO.astype(np.float32), 1e-7),
        (MONO.astype(np.float16), 1e-3),
        (torch.from_numpy(MONO).to(torch.bfloat16), 1e-2),
        (np.round(MONO * 2**15).astype(np.int16), 2.0**-16),
        (torch.from_numpy(np.round(MONO * 2**15)).to(torch.int16), 2.0**-16),
        (np.round(MONO * 2**31).astype(np.int32), 2.0**-32),
        (MONO[::-1].copy()[::-1], 0),
        (MONO[None], 0),
        (MONO[:, None], 0),
        (np.stack([MONO + 0.05, MONO - 0.05]), 1e-12),
        (np.stack([MONO + 0.05, MONO - 0.05], axis=1), 1e-12),
    ],
)
def test_every_kind_becomes_the_same_mono(waveform, tolerance):
    mono = to_mono(waveform)
    assert mono.dtype == np.float64
    assert mono.shape == (50,)
    np.testing.assert_allclose(mono, MONO, rtol=0, atol=tolerance)


def test_full_scale_integers_are_one():
    assert to_mono(np.array([-(2**15), 0, 2**14], np.int16)).tolist() == [-1, 0, 0.5]


@pytest.mark.parametrize("scale", [1, 2**15])
def test_channels_that_cancel_are_heard(scale):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    stereo = np.stack([noise, -noise]) * scale
    for waveform in (stereo, stereo.T):
        mono = to_mono(waveform if scale == 1 else np.round(waveform).astype(np.int16))
        assert np.std(mono) == pytest.approx(np.std(noise), rel=0.05)


def test_samples_a_little_beyond_full_scale_are_taken_as_they_are():
    np.testing.assert_array_equal(to_mono(np.array([0.0, -2.5, 3.0])), [0.0, -2.5, 3.0])


def test_unshifted_24_bit_samples_are_noticed(caplog, monkeypatch):
    warnings = []
    monkeypatch.setattr("auss.processing.waveforms.logger.warning_once", warnings.append)
    to_mono(np.array([0, 2**23 - 1, -(2**20)], np.int32), "audio[1]")
    assert len(warnings) == 1 and "audio[1] is int32 and uses less than 24 of its 32 bits" in warnings[0]
    for array in (np.array([0, 2**30]), np.array([-(2**31), 0]), np.array([0, 100])):
        to_mono(array.astype(np.int32))
    assert len(warnings) == 1


def test_the_input_is_not_changed():
    stereo = np.stack([MONO, -MONO])
    before = stereo.copy()
    to_mono(stereo)
    np.testing.assert_array_equal(stereo, before)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.array([0.0, np.nan, np.inf]), "must be finite, got 2 NaN or infinite samples out of 3"),
        (torch.full((2, 10), torch.nan), "must be finite, got 20"),
        (np.full(10, 12_000.0), r"samples in \[-1, 1\], got samples up to 12000: divide PCM"),
        (torch.full((2, 10), -100.0), "got samples up to 100"),
        (np.zeros(0), r"has no samples \(shape \(0,\)\)"),
        (np.zeros((2, 0)), "has no samples"),
        (np.zeros((1, 1, 100)), "got shape .1, 1, 100. of 3 dimensions"),
        (np.float32(0.5), "of 0 dimensions"),
        (np.zeros((3, 100)), "at most 2 channels, got shape .3, 100.; a batch is a list"),
        (np.zeros(10, np.int64), "floating-point, int16 or int32 samples, got int64"),
        (np.zeros(10, np.uint8), "got uint8"),
        (np.zeros(10, bool), "got bool"),
        (np.zeros(10, complex), "of dtype complex128"),
        ("clip.wav", "got str of dtype"),
        ({"array": MONO, "sampling_rate": 16_000}, "got dict of dtype object"),
        ([[0.0, 0.1], [0.0]], "rows of unequal length"),
    ],
)
def test_what_is_no_waveform_is_refused(waveform, message):
    with pytest.raises(ValueError, match=r"audio\[3\] .*" + message):
        to_mono(waveform, "audio[3]")


def test_what_is_a_batch_and_what_is_a_clip():
    assert len(list_of_waveforms(MONO)) == 1
    assert len(list_of_waveforms(np.stack([MONO, MONO]))) == 1
    assert list_of_waveforms([0.1, 0.2]) == [[0.1, 0.2]]
    assert list_of_waveforms(list(MONO))[0] == list(MONO)
    assert len(list_of_waveforms(list(torch.from_numpy(MONO)))) == 1
    assert list_of_waveforms([[0.1, 0.2], [0.3]]) == [[0.1, 0.2], [0.3]]
    assert len(list_of_waveforms((MONO, MONO, MONO))) == 3
    with pytest.raises(ValueError, match="audio is an empty list"):
        list_of_waveforms([])


@pytest.mark.parametrize("rate", [16_000, 16_000.0, np.int64(16_000), torch.tensor(16_000), [16_000, 16_000]])
def test_one_rate_or_one_for_each_clip(rate):
    assert sampling_rates(rate, 2) == [16_000, 16_000]


@pytest.mark.parametrize("rate", [0, -8000, float("nan"), float("inf"), True, "16000", [16_000, 0]])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ValueError, match="sampling_rate must be a positive number of Hz, got"):
        sampling_rates(rate, 2)


def test_a_missing_rate_and_a_wrong_number_of_rates_are_refused():
    with pytest.raises(ValueError, match="sampling_rate is missing"):
        sampling_rates(None, 1)
    with pytest.raises(ValueError, match="sampling_rate holds 3 rates for 2 clips"):
        sampling_rates([16_000] * 3, 2)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_a_tone(rate):
    seconds = np.arange(rate) / rate
    resampled = resample(np.sin(2 * np.pi * 440 * seconds), rate)
    assert resampled.shape == (16_000,)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    # The resampling filter has no samples before the beginning and after the end, so the edges are not compared.
    np.testing.assert_allclose(resampled[500:-500], expected[500:-500], rtol=0, atol=1e-3)


def test_resampling_removes_what_16_khz_cannot_hold():
    seconds = np.arange(48_000) / 48_000
    resampled = resample(np.sin(2 * np.pi * 12_000 * seconds), 48_000)
    assert np.abs(resampled[500:-500]).max() < 1e-4
    assert resample(seconds, 16_000) is seconds


def test_sound_may_bring_its_rate_along():
    first, second = {"array": MONO, "sampling_rate": 16_000}, {"array": -MONO, "sampling_rate": 8_000, "path": None}
    for audio, passed, expected in (
        (first, None, [16_000.0]),
        ([first, second], None, [16_000.0, 8_000.0]),
        ([first, second], [16_000, 8_000], [16_000.0, 8_000.0]),
    ):
        clips, rates = waveforms_and_rates(audio, passed)
        assert rates == expected
        assert all(clip is dictionary["array"] for clip, dictionary in zip(clips, (first, second), strict=False))
    clips, rates = waveforms_and_rates([MONO, -MONO], 44_100)
    assert rates == [44_100.0] * 2 and len(clips) == 2


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (MONO, None, "sampling_rate is missing"),
        ({"array": MONO}, None, r"a dict of array and sampling_rate, got a dict of \['array'\]"),
        ([{"array": MONO, "sampling_rate": 8_000}, MONO], None, "each clip must be a dict .* got ndarray"),
        ({"array": MONO, "sampling_rate": None}, None, "must be a positive number of Hz, got None"),
        (
            {"array": MONO, "sampling_rate": 8_000},
            16_000,
            r"must be that of audio's own dicts, \[8000.0\], .* got 16000",
        ),
    ],
)
def test_a_rate_that_sound_brings_along_is_checked(audio, rate, message):
    with pytest.raises(ValueError, match=message):
        waveforms_and_rates(audio, rate)


def test_batches_are_those_of_transformers_where_it_takes_them():
    """`make_list_of_audio` refuses lists of whole numbers and the dicts of `datasets`, but auss accepts both."""
    wave = np.linspace(-1, 1, 8)
    for audio in (
        wave,
        torch.from_numpy(wave),
        wave.tolist(),
        [wave, wave[:3]],
        [wave.tolist(), wave.tolist()],
        wave[None],
    ):
        found, expected = list_of_waveforms(audio), make_list_of_audio(audio)
        assert len(found) == len(expected) and all(one is other for one, other in zip(found, expected, strict=True))
    for refused in ([1, -2, 3], {"array": wave, "sampling_rate": 16_000}):
        assert list_of_waveforms(refused) == [refused]
        with pytest.raises(ValueError, match="Invalid input type"):
            make_list_of_audio(refused)
