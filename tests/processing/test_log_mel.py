"""Compares the log-mel with the reference implementation, and with its definition written as loops."""

import cmath
import math

import numpy as np
import pytest
import torch
from torchvggish.mel_features import spectrogram_to_mel_matrix
from torchvggish.vggish_input import waveform_to_examples

from auss.processing.log_mel import (
    EXAMPLE_HOP,
    EXAMPLE_LENGTH,
    cut_into_examples,
    log_mel_examples,
    mel_matrix,
)

SECONDS = np.arange(80_000) / 16_000
NOISE = np.random.default_rng(0).uniform(-1, 1, 80_000)

# For loud pure tones and for a constant, the error of a float32 FFT exceeds 1e-4.
SIGNALS = {
    "noise": NOISE,
    "quiet noise": 1e-4 * NOISE,
    "tone": np.sin(2 * np.pi * 1000 * SECONDS),
    "tone between bins": np.sin(2 * np.pi * 300.5 * SECONDS),
    "square": np.sign(np.sin(2 * np.pi * 440 * SECONDS)),
    "constant": np.ones(80_000),
    "silence": np.zeros(80_000),
    "beyond full scale": 1000 * np.sin(2 * np.pi * 300.5 * SECONDS),
}


def loop_log_mel(waveform: np.ndarray, example: int, frame: int) -> list[float]:
    """Computes the 64 values of one frame by the definition: Fourier transform, triangles and logarithms in loops."""
    start = (96 * example + frame) * 160
    windowed = [waveform[start + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400)) for n in range(400)]
    magnitude = [
        abs(sum(x * cmath.exp(-2j * math.pi * k * n / 512) for n, x in enumerate(windowed))) for k in range(257)
    ]

    def mel(hertz):
        return 1127 * math.log(1 + hertz / 700)

    step = (mel(7500) - mel(125)) / 65
    values = []
    for band in range(64):
        lower, centre, upper = (mel(125) + (band + side) * step for side in range(3))
        energy = 0.0
        for k in range(1, 257):  # the DC bin has no weight in any band
            position = mel(k * 16_000 / 512)
            energy += magnitude[k] * max(0.0, min((position - lower) / step, (upper - position) / step))
        values.append(math.log(energy + 0.01))
    return values


@pytest.mark.parametrize("name", SIGNALS)
def test_equals_the_reference_implementation(name):
    waveform = SIGNALS[name]
    expected = waveform_to_examples(waveform, 16_000, return_tensor=False)
    (features,) = log_mel_examples([waveform])
    assert features.dtype == torch.float32
    assert features.shape == expected.shape == (5, 96, 64)
    np.testing.assert_allclose(features.numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("num_samples", [15_600, 30_959, 30_960, 77_039, 77_040, 92_400])
def test_counts_examples_as_the_reference_does(num_samples):
    waveform = np.resize(NOISE, num_samples)
    expected = waveform_to_examples(waveform, 16_000, return_tensor=False)
    (features,) = log_mel_examples([waveform])
    assert features.shape == expected.shape
    np.testing.assert_allclose(features.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("example", "frame"), [(0, 0), (1, 95), (4, 40)])
def test_equals_the_definition_in_loops(example, frame):
    (features,) = log_mel_examples([NOISE])
    np.testing.assert_allclose(features[example, frame], loop_log_mel(NOISE, example, frame), rtol=0, atol=1e-5)


def test_mel_matrix_is_the_reference_one():
    expected = spectrogram_to_mel_matrix(64, 257, 16_000, 125.0, 7500.0)
    np.testing.assert_allclose(mel_matrix(), expected, rtol=0, atol=1e-14)
    assert not mel_matrix()[0].any()


def test_clips_of_unequal_length_are_computed_together():
    clips = [NOISE, NOISE[:20_000], NOISE[:100], NOISE[5_000:60_000]]
    together = log_mel_examples(clips)
    assert [len(features) for features in together] == [5, 1, 1, 3]
    for clip, features in zip(clips, together, strict=True):
        torch.testing.assert_close(features, log_mel_examples([clip])[0], rtol=0, atol=1e-6)


def test_a_short_clip_is_filled_up_with_silence():
    (short,) = log_mel_examples([NOISE[:1000]])
    (padded,) = log_mel_examples([np.concatenate([NOISE[:1000], np.zeros(EXAMPLE_LENGTH - 1000)])])
    torch.testing.assert_close(short, padded, rtol=0, atol=0)
    assert short.shape == (1, 96, 64)
    assert torch.all(short[0, 10:] == math.log(0.01))


def test_examples_overlap_by_one_window():
    examples = cut_into_examples(torch.arange(50_000.0))
    assert examples.shape == (3, EXAMPLE_LENGTH)
    assert examples[:, 0].tolist() == [0, EXAMPLE_HOP, 2 * EXAMPLE_HOP]
