"""Converts decoded sound to floating-point samples and silences the unusable ones."""

import av
import numpy as np

from ....processing.waveforms import LARGEST_SAMPLE


def channel_samples(frame: av.AudioFrame) -> np.ndarray:
    """Copies the samples of a frame of packed 32-bit floats ("flt") into an array (channels, samples) float32.

    The frame must be packed, because PyAV reads beyond the planes of planar frames with eight channels or more.
    """
    return np.ascontiguousarray(frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T)


def silence_unusable(samples: np.ndarray) -> int:
    """Sets samples to 0, in place, that are NaN, infinite or too large to be sound.

    Args:
        samples: (channels, samples), floating-point.

    Returns:
        The number of time steps at which at least one channel had such a sample.
    """
    if not np.abs(samples).max(initial=0) <= LARGEST_SAMPLE:  # `not ... <=` is also true for NaN
        unusable = ~(np.abs(samples) <= LARGEST_SAMPLE)
        samples[unusable] = 0
        return int(unusable.any(axis=0).sum())
    return 0


__all__ = ["channel_samples", "silence_unusable"]
