"""Tests of `AussFeatureExtractor`: shapes, padding, masks, batches, errors, and the settings that saving keeps."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torchvggish.vggish_input import waveform_to_examples
from transformers import AutoFeatureExtractor

import auss  # noqa: F401 (registers the Auto classes)
from auss.processing.feature_extraction_auss import AussFeatureExtractor

SILENCE = np.float32(math.log(0.01))
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 80_000)


@pytest.fixture
def extractor():
    return AussFeatureExtractor()


def test_a_clip_of_five_seconds_is_five_examples_of_the_reference(extractor):
    outputs = extractor(NOISE, sampling_rate=16_000, return_tensors="pt")
    assert set(outputs) == {"input_features", "input_features_mask"}
    assert outputs.input_features.shape == (1, 5, 96, 64)
    assert outputs.input_features.dtype == torch.float32
    assert outputs.input_features_mask.dtype == torch.int64
    assert outputs.input_features_mask.tolist() == [[1] * 5]
    expected = waveform_to_examples(NOISE, 16_000, return_tensor=False)
    np.testing.assert_allclose(outputs.input_features[0].numpy(), expected, rtol=0, atol=1e-5)


def test_int16_stereo_is_what_the_reference_reads_from_a_wav(extractor):
    stereo = np.random.default_rng(1).integers(-(2**15), 2**15, (80_000, 2), dtype=np.int16)
    expected = waveform_to_examples(stereo / 32768.0, 16_000, return_tensor=False)
    for waveform in (stereo, stereo.T):
        features = extractor(waveform, sampling_rate=16_000, return_tensors="np").input_features
        np.testing.assert_allclose(features[0], expected, rtol=0, atol=1e-5)


def test_44100_hz_stereo_is_close_to_the_reference_with_its_own_resampler(extractor):
    stereo = np.random.default_rng(2).uniform(-0.5, 0.5, (5 * 44_100, 2))
    features = extractor(stereo, sampling_rate=44_100, return_tensors="np").input_features[0]
    assert features.shape == (5, 96, 64)
    # The reference's resampler weakens frequencies above 7.3 kHz, the resampler of auss only higher ones. The highest
    # bands therefore differ by up to 0.5. In these bands, auss is close to an ideal low-pass filter.
    reference = waveform_to_examples(stereo, 44_100, return_tensor=False)
    np.testing.assert_allclose(features[..., :58], reference[..., :58], rtol=0, atol=5e-4)
    ideal = waveform_to_examples(scipy.signal.resample(stereo.mean(axis=1), 80_000), 16_000, return_tensor=False)
    np.testing.assert_allclose(features, ideal, rtol=0, atol=1e-2)


def test_a_batch_equals_its_clips_one_by_one(extractor):
    clips = [NOISE, NOISE[:40_000].astype(np.float32), torch.from_numpy(NOISE[:300]), NOISE[:64_000].tolist()]
    rates = [16_000, 8_000, 16_000, 16_000]
    batch = extractor(clips, sampling_rate=rates, return_tensors="pt")
    assert batch.input_features.shape == (4, 5, 96, 64)
    assert batch.input_features_mask.tolist() == [[1] * 5, [1] * 5, [1, 0, 0, 0, 0], [1] * 4 + [0]]
    for index, (clip, rate) in enumerate(zip(clips, rates, strict=True)):
        single = extractor(clip, sampling_rate=rate, return_tensors="pt").input_features[0]
        torch.testing.assert_close(batch.input_features[index, : len(single)], single, rtol=0, atol=1e-6)
        assert torch.all(batch.input_features[index, len(single) :] == torch.tensor(SILENCE))


def test_padding_and_truncation(extractor):
    clips = [NOISE[:20_000], np.tile(NOISE, 2)]

    def lengths(**kwargs):
        outputs = extractor(clips, sampling_rate=16_000, **kwargs)
        assert [len(clip) for clip in outputs.input_features] == [len(mask) for mask in outputs.input_features_mask]
        return [len(clip) for clip in outputs.input_features], [
            int(mask.sum()) for mask in outputs.input_features_mask
        ]

    assert lengths() == lengths(padding="longest") == ([10, 10], [1, 10])
    assert lengths(padding=False) == ([1, 10], [1, 10])
    assert lengths(padding="max_length") == ([5, 10], [1, 10])
    assert lengths(padding="max_length", truncation=True) == lengths(truncation=True) == ([5, 5], [1, 5])
    assert lengths(padding="max_length", truncation=True, max_length=3) == ([3, 3], [1, 3])
    assert lengths(pad_to_multiple_of=4) == ([12, 12], [1, 10])


def test_num_audio_examples_is_the_default_length():
    outputs = AussFeatureExtractor(num_audio_examples=7)(
        NOISE, sampling_rate=16_000, padding="max_length", return_tensors="pt"
    )
    assert outputs.input_features.shape == (1, 7, 96, 64)
    assert outputs.input_features_mask.tolist() == [[1] * 5 + [0] * 2]


def test_the_mask_can_be_left_out(extractor):
    assert set(extractor(NOISE, sampling_rate=16_000, return_attention_mask=False)) == {"input_features"}


def test_unequal_lengths_without_padding_make_no_tensor(extractor):
    with pytest.raises(ValueError, match=r"return_tensors='pt' needs clips of equal length, got \[1, 5\] examples"):
        extractor([NOISE[:20_000], NOISE], sampling_rate=16_000, padding=False, return_tensors="pt")


def test_return_types(extractor):
    as_list = extractor([NOISE], sampling_rate=16_000)
    as_numpy = extractor([NOISE], sampling_rate=16_000, return_tensors="np")
    as_torch = extractor([NOISE], sampling_rate=16_000, return_tensors="pt", device="cpu")
    assert isinstance(as_list.input_features, list)
    assert isinstance(as_numpy.input_features, np.ndarray)
    assert isinstance(as_torch.input_features, torch.Tensor)
    assert as_list.input_features[0].dtype == as_numpy.input_features.dtype == np.float32
    assert as_list.input_features_mask[0].dtype == as_numpy.input_features_mask.dtype == np.int64
    np.testing.assert_array_equal(as_numpy.input_features, as_torch.input_features.numpy())


@pytest.mark.parametrize("waveform", [np.zeros(80_000), np.zeros((2, 80_000), np.int16), np.zeros(1)])
def test_silence_is_legal_and_finite(extractor, waveform):
    features = extractor(waveform, sampling_rate=16_000, return_tensors="np").input_features
    assert np.all(features == SILENCE)


@pytest.mark.parametrize("num_samples", [1, 2, 100])
def test_a_clip_of_a_few_samples_at_a_high_rate(extractor, num_samples):
    outputs = extractor(NOISE[:num_samples], sampling_rate=96_000, return_tensors="pt")
    assert outputs.input_features.shape == (1, 1, 96, 64)
    assert outputs.input_features.isfinite().all()


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (NOISE, None, "sampling_rate is missing"),
        (NOISE, 0, "sampling_rate must be a positive number of Hz, got 0"),
        (np.append(NOISE, np.nan), 16_000, "audio must be finite, got 1 NaN or infinite samples out of 80001"),
        ([NOISE, NOISE * np.inf], 16_000, r"audio\[1\] must be finite"),
        (np.zeros(0), 16_000, "audio has no samples"),
        ([], 16_000, "audio is an empty list"),
        (np.zeros((2, 2, 100)), 16_000, "audio must be a waveform .* of 3 dimensions"),
        (np.zeros((8, 100)), 16_000, "audio must be a waveform .* a batch is a list of waveforms"),
        (["a.wav", "b.wav"], 16_000, r"audio\[0\] must be a waveform .* got str"),
    ],
)
def test_bad_input_is_refused(extractor, audio, rate, message):
    with pytest.raises(ValueError, match=message):
        extractor(audio, sampling_rate=rate)


@pytest.mark.parametrize("argument", [{"feature_size": 80}, {"sampling_rate": 44_100}])
def test_what_vggish_fixes_cannot_be_set(argument):
    with pytest.raises(ValueError, match=f"{next(iter(argument))} must be .* VGGish"):
        AussFeatureExtractor(**argument)


def test_saving_and_loading_keeps_everything(tmp_path):
    saved = AussFeatureExtractor(num_audio_examples=10, padding_value=-2.0)
    saved.save_pretrained(tmp_path)
    for loaded in (AussFeatureExtractor.from_pretrained(tmp_path), AutoFeatureExtractor.from_pretrained(tmp_path)):
        assert type(loaded) is AussFeatureExtractor
        assert loaded.to_dict() == saved.to_dict()
        assert loaded.num_audio_examples == 10
    assert AussFeatureExtractor.from_pretrained(tmp_path, num_audio_examples=3).num_audio_examples == 3
