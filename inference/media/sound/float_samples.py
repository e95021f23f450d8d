"""Decoded sound as floating-point samples in which every value is usable."""

import av
import numpy as np

from ....processing.waveforms import LARGEST_SAMPLE


def channel_samples(frame: av.AudioFrame) -> np.ndarray:
    """A frame of packed 32-bit floats ("flt") as (channels, samples) float32, a copy.

    Packed, because PyAV reads beyond the planes of planar frames that have eight channels or more.
    """
    return np.ascontiguousarray(frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T)


def silence_unusable(samples: np.ndarray) -> int:
    """Puts silence, in place, where a sample is NaN, infinite or so large that it cannot be sound.

    Args:
        samples: (channels, samples), floating point.

    Returns:
        The number of time steps in which a channel had such a sample.
    """
    if not np.abs(samples).max(initial=0) <= LARGEST_SAMPLE:  # also where it is NaN
        unusable = ~(np.abs(samples) <= LARGEST_SAMPLE)
        samples[unusable] = 0
        return int(unusable.any(axis=0).sum())
    return 0


__all__ = ["channel_samples", "silence_unusable"]
