"""Computes the log-mel examples that are the input of VGGish: the front end of Hershey et al. 2017, batched in torch.

The code follows `mel_features.py` of the AudioSet VGGish release (Apache-2.0). The tests compare it with that file.
All frames of all clips go through one FFT and one product with the mel matrix.

All values are float64 until the end, and a clip takes 3 ms. In float32, a loud pure tone would leave FFT noise in the
quiet bands. The logarithm of (x + 0.01) would turn this noise into errors of 7e-4. auss promises at most 1e-4, so that
pretrained weights see the input that they were trained on.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank

SAMPLING_RATE = 16_000  # Hz
WINDOW_LENGTH = 400  # samples: 25 ms
HOP_LENGTH = 160  # samples: 10 ms
FFT_LENGTH = 512
NUM_MEL_BINS = 64
LOWEST_MEL_HZ = 125.0
HIGHEST_MEL_HZ = 7500.0
LOG_OFFSET = 0.01
NUM_EXAMPLE_FRAMES = 96
EXAMPLE_HOP = NUM_EXAMPLE_FRAMES * HOP_LENGTH  # samples: 0.96 s
EXAMPLE_LENGTH = (NUM_EXAMPLE_FRAMES - 1) * HOP_LENGTH + WINDOW_LENGTH  # samples: 0.975 s
# Stored log-mels are found again only while all of these stay the same.
SETTINGS = (
    *(SAMPLING_RATE, WINDOW_LENGTH, HOP_LENGTH, FFT_LENGTH, NUM_MEL_BINS, LOWEST_MEL_HZ, HIGHEST_MEL_HZ, LOG_OFFSET),
    NUM_EXAMPLE_FRAMES,
)


@lru_cache(maxsize=1)
def mel_matrix() -> np.ndarray:
    """Returns the weight of each FFT bin in each mel band, (257, 64) float64.

    The bands are triangles on the mel scale of HTK, as in the reference. Kaldi uses the same scale.
    """
    return mel_filter_bank(
        FFT_LENGTH // 2 + 1,
        NUM_MEL_BINS,
        LOWEST_MEL_HZ,
        HIGHEST_MEL_HZ,
        SAMPLING_RATE,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )


def cut_into_examples(waveform: torch.Tensor) -> torch.Tensor:
    """Cuts a waveform (samples,) at 16 kHz into examples (T, 15600) that start 15360 samples apart.

    A waveform that is shorter than one example is filled up with silence. As in the reference, a tail that is too
    short for another example is dropped.
    """
    missing = EXAMPLE_LENGTH - waveform.shape[0]
    if missing > 0:
        waveform = torch.nn.functional.pad(waveform, (0, missing))
    return waveform.unfold(0, EXAMPLE_LENGTH, EXAMPLE_HOP)


def log_mel(examples: torch.Tensor) -> torch.Tensor:
    """Computes the log-mel spectrograms (E, 96, 64) float64 of examples (E, 15600) at 16 kHz."""
    examples = examples.to(torch.float64)
    window = torch.hann_window(WINDOW_LENGTH, periodic=True, dtype=examples.dtype, device=examples.device)
    frames = examples.unfold(1, WINDOW_LENGTH, HOP_LENGTH) * window  # (E, 96, 400)
    magnitude = torch.fft.rfft(frames, n=FFT_LENGTH).abs()  # (E, 96, 257)
    weights = torch.from_numpy(mel_matrix()).to(examples.device)
    return torch.log(magnitude @ weights + LOG_OFFSET)


def log_mel_examples(waveforms: Sequence[np.ndarray | torch.Tensor]) -> list[torch.Tensor]:
    """Turns waveforms (samples,) at 16 kHz, nominally in [-1, 1], into log-mel examples (T, 96, 64) float32 each.

    T is 1 + (samples - 15600) // 15360, at least 1. The clips may differ in length and are computed together.
    """
    examples = [cut_into_examples(torch.as_tensor(waveform, dtype=torch.float64)) for waveform in waveforms]
    features = log_mel(torch.cat(examples)).to(torch.float32)
    return list(features.split([clip.shape[0] for clip in examples]))
