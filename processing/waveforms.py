"""Checks the waveforms that users pass, and turns them into mono at 16 kHz."""

import numbers
from typing import Any, cast

import numpy as np
import soxr
import torch
from transformers.utils import logging

from ..files.errors import InputError
from .channel_mix import mix_channels
from .log_mel import SAMPLING_RATE

logger = logging.get_logger(__name__)

MAX_CHANNELS = 2
# A rate outside of this range comes from a damaged header. Resampling from a few Hz would fill the memory.
LOWEST_RATE, HIGHEST_RATE = 100, 10_000_000  # Hz

# Integer samples are PCM: full scale is the largest magnitude that the type can hold.
FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31}

# The full scale of floating-point sound is 1, and decoders of compressed sound exceed it a little. Samples that exceed
# it by 24 dB have another scale. They may be integer PCM that was converted to floats without scaling.
LARGEST_SAMPLE = 16.0
# The full scale of 24-bit samples that were stored as int32 without a shift.
FULL_SCALE_24_BITS = 2**23

ACCEPTED = "a waveform of shape (samples,), (channels, samples) or (samples, channels) with at most 2 channels"


def list_of_waveforms(audio: Any) -> list:
    """Splits `audio` into its clips. A list or tuple of waveforms is a batch; an array or list of numbers is one clip.

    Raises:
        ValueError: `audio` is an empty list.
    """
    if not isinstance(audio, list | tuple):
        return [audio]
    if len(audio) == 0:
        raise InputError(f"audio is an empty list: it must hold one clip at least, each {ACCEPTED}")
    is_number = isinstance(audio[0], numbers.Number) or getattr(audio[0], "ndim", None) == 0
    return [audio] if is_number else list(audio)


def sampling_rates(sampling_rate: Any, num_clips: int) -> list[float]:
    """Returns the sampling rate in Hz of each of `num_clips` clips. The input is one rate for all, or one for each.

    Raises:
        ValueError: the rate is missing, a rate is not a number from 100 Hz to 10 MHz, or the number of rates is wrong.
    """
    if sampling_rate is None:
        raise InputError(
            "sampling_rate is missing: pass the rate of `audio` in Hz (one number, or one for each clip); "
            f"audio at any other rate than {SAMPLING_RATE} Hz is resampled"
        )
    if hasattr(sampling_rate, "tolist"):  # NumPy and torch, scalars included
        sampling_rate = sampling_rate.tolist()
    rates = list(sampling_rate) if isinstance(sampling_rate, list | tuple) else [sampling_rate] * num_clips
    if len(rates) != num_clips:
        raise InputError(
            f"sampling_rate holds {len(rates)} rates for {num_clips} clips: pass one number, or one a clip"
        )
    for rate in rates:
        # Compare the rate without a conversion to float, because a whole number may be too large for a float.
        is_number = isinstance(rate, numbers.Real) and not isinstance(rate, bool)
        if not is_number or not LOWEST_RATE <= cast(float, rate) <= HIGHEST_RATE:
            raise InputError(
                f"sampling_rate must be a positive number of Hz, got {rate!r:.50}; {LOWEST_RATE} to {HIGHEST_RATE} "
                "are taken"
            )
    return [float(rate) for rate in rates]


def waveforms_and_rates(audio: Any, sampling_rate: Any = None) -> tuple[list, list[float]]:
    """Splits `audio` into its clips, and returns the clips and the sampling rate in Hz of each.

    A clip may hold its rate: `datasets` decodes sound to `{"array": waveform, "sampling_rate": Hz}`.

    Raises:
        ValueError: as in `list_of_waveforms` and `sampling_rates`. Also, only some of the clips hold their rates, or
            `sampling_rate` contradicts the rates in the clips.
    """
    clips = list_of_waveforms(audio)
    if not any(isinstance(clip, dict) for clip in clips):
        return clips, sampling_rates(sampling_rate, len(clips))
    for clip in clips:
        if not isinstance(clip, dict) or not {"array", "sampling_rate"} <= clip.keys():
            got = f"a dict of {sorted(map(str, clip))}" if isinstance(clip, dict) else type(clip).__name__
            raise InputError(f"audio holds dicts, so each clip must be a dict of array and sampling_rate, got {got}")
    rates = sampling_rates([clip["sampling_rate"] for clip in clips], len(clips))
    if sampling_rate is not None and sampling_rates(sampling_rate, len(clips)) != rates:
        raise InputError(f"sampling_rate must be that of audio's own dicts, {rates}, or None, got {sampling_rate}")
    return [clip["array"] for clip in clips], rates


def to_array(waveform: Any, name: str) -> np.ndarray:
    """Converts `waveform` to a NumPy array. Raises ValueError if its shape is not a waveform's or if it is empty."""
    if isinstance(waveform, torch.Tensor):
        waveform = waveform.detach().cpu()
        # NumPy has no bfloat16.
        waveform = (waveform.double() if waveform.is_floating_point() else waveform).numpy()
    try:
        array = np.asarray(waveform)
    except ValueError as error:
        raise InputError(f"{name} must be {ACCEPTED}, got rows of unequal length") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} must be {ACCEPTED}, got {type(waveform).__name__} of dtype {array.dtype}")
    if array.ndim not in (1, 2):
        raise InputError(
            f"{name} must be {ACCEPTED}, got shape {array.shape} of {array.ndim} dimensions; "
            "a batch is a list of waveforms"
        )
    if array.size == 0:
        raise InputError(f"{name} has no samples (shape {array.shape}); it must have one at least")
    return array


def to_floating_point(array: np.ndarray, name: str) -> np.ndarray:
    """Converts an array of samples to float64 with its full scale at 1. Raises ValueError for a type or a scale that
    is not accepted, and for NaN or infinite samples."""
    if array.dtype in FULL_SCALE:
        if array.dtype == np.int32 and 2**15 < np.abs(array, dtype=np.int64).max() <= FULL_SCALE_24_BITS:
            logger.warning_once(
                f"{name} is int32 and uses less than 24 of its 32 bits: it is taken as very quiet sound. If it holds "
                "24-bit samples, multiply them by 256"
            )
        return array / FULL_SCALE[array.dtype]
    if array.dtype.kind != "f":
        raise InputError(f"{name} must hold floating-point, int16 or int32 samples, got {array.dtype}")
    array = array.astype(np.float64)
    num_bad = array.size - np.count_nonzero(np.isfinite(array))
    if num_bad:
        raise InputError(f"{name} must be finite, got {num_bad} NaN or infinite samples out of {array.size}")
    peak = np.abs(array).max()
    if peak > LARGEST_SAMPLE:
        raise InputError(
            f"{name} must hold floating-point samples in [-1, 1], got samples up to {peak:g}: divide PCM by its full "
            "scale, which is 32768 for 16 bits"
        )
    return array


def to_mono(waveform: Any, name: str = "audio") -> np.ndarray:
    """Turns one waveform into mono float64 (samples,). Integer PCM is scaled to [-1, 1].

    Args:
        waveform: a NumPy array, torch tensor or list. It is (samples,), or two-dimensional with one or two channels.
            The shorter axis is the axis of channels, which `mix_channels` mixes. Samples of any floating type are used
            as they are; int16 and int32 samples are PCM.
        name: how the error messages call the waveform.

    Raises:
        ValueError: the waveform has more dimensions or channels, no samples, another type, NaN or infinite samples, or
            floating-point samples far beyond [-1, 1].
    """
    array = to_floating_point(to_array(waveform, name), name)
    if array.ndim == 1:
        return array
    channel_axis = int(np.argmin(array.shape))
    if array.shape[channel_axis] > MAX_CHANNELS:
        raise InputError(f"{name} must be {ACCEPTED}, got shape {array.shape}; a batch is a list of waveforms")
    return mix_channels(np.moveaxis(array, channel_axis, 0))


def resample(waveform: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Resamples a waveform (samples,) from `sampling_rate` Hz to 16 kHz."""
    if sampling_rate == SAMPLING_RATE:
        return waveform
    return soxr.resample(waveform, sampling_rate, SAMPLING_RATE, quality="HQ")
