"""Sounds as `datasets` and torchcodec hand them out, as `{"array", "sampling_rate"}`, which `waveforms` reads.

Everything is recognised by its attributes and keys, so neither library has to be installed.
"""

import importlib
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..files.errors import InputError
from .waveforms import HIGHEST_RATE, LOWEST_RATE

# What a wav written to a pipe says where its length belongs.
UNKNOWN_LENGTHS = (0, 0xFFFFFFFF)


def _check_wav_length(head: bytes, size: int, name: str) -> None:
    """Raises ValueError where a RIFF header announces more bytes than the file has: libsndfile reads on regardless."""
    announced = int.from_bytes(head[4:8], "little")
    if head[:4] == b"RIFF" and announced not in UNKNOWN_LENGTHS and announced + 8 > size:
        raise InputError(f"{name} is truncated: {size} of {announced + 8} bytes")


def read_sound(source: Any, name: str) -> tuple[np.ndarray, int]:
    """Reads a sound file.

    Args:
        source: the path of a file on this machine, or the bytes of one. A URL is not opened.
        name: what the error messages call it, such as "audio file a.wav".

    Returns:
        The samples, (samples,) for one channel and (samples, channels) for more, float32, nominally in [-1, 1]; and
        the sampling rate in Hz.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, no sound that libsndfile reads, truncated, has no samples, or a sampling rate
            of less than 100 Hz or more than 10 MHz.
    """
    # Imported here, by name: a model repository's code asks only for what segmenting a video takes.
    soundfile = importlib.import_module("soundfile")
    if isinstance(source, bytes | bytearray | memoryview):
        source, head, size = io.BytesIO(source), bytes(source[:8]), len(source)
    else:
        path = os.fspath(source)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{name} does not exist")
        if not os.path.isfile(path):  # reading a pipe would wait for ever
            raise InputError(f"{name} is no file")
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(8)
    if size == 0:
        raise InputError(f"{name} is empty (0 bytes)")
    _check_wav_length(head, size, name)
    try:
        samples, sampling_rate = soundfile.read(source, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise InputError(f"{name} is not a sound file: {error.error_string}") from error
    except Exception as error:  # a damaged header makes soundfile ask for arrays of impossible sizes
        raise InputError(f"{name} cannot be decoded: {error}") from error
    if samples.shape[0] == 0:
        raise InputError(f"{name} has no samples")
    if not LOWEST_RATE <= sampling_rate <= HIGHEST_RATE:
        raise InputError(f"{name} has a sampling rate of {sampling_rate} Hz, which no recording has")
    return samples, sampling_rate


def _as_number(rate: Any) -> Any:
    """A sampling rate that a formatted row holds as an array of no dimensions, as a plain number."""
    return rate.item() if getattr(rate, "shape", None) == () and hasattr(rate, "item") else rate


def _decoded_file(value: Mapping) -> dict | None:
    """What a `{"bytes", "path"}` of an `Audio(decode=False)` column holds, decoded; None for another mapping."""
    if value.get("bytes") is not None:
        source = value["bytes"]
        source = source.tobytes() if hasattr(source, "tobytes") else source
    elif value.get("path") is not None:
        source = value["path"]
    else:
        return None
    samples, sampling_rate = read_sound(source, f"audio file {value.get('path') or '(bytes)'}")
    return {"array": samples, "sampling_rate": sampling_rate}


def _keyed_sound(clip: Any) -> Any:
    """What gives ["array"] and ["sampling_rate"] as a dict of both; anything else as it is."""
    try:
        return {"array": clip["array"], "sampling_rate": _as_number(clip["sampling_rate"])}
    except (KeyError, TypeError, IndexError):
        return clip


def decoded_sound(clip: Any) -> Any:
    """One sound as `{"array", "sampling_rate"}` where it brings its rate along; anything else as it is.

    Args:
        clip: an `AudioDecoder` (anything with `get_all_samples`), an `AudioSamples` (anything with `data` and
            `sample_rate`), a mapping or an object that gives `["array"]` and `["sampling_rate"]`, a mapping of `bytes`
            and `path` as an undecoded column holds it, or a waveform.

    Raises:
        FileNotFoundError, ValueError: as `read_sound`, for a mapping of bytes or a path; a decoder that fails.
    """
    if hasattr(clip, "get_all_samples"):
        # Not ["array"], which averages the channels: where left and right cancel, it hears nothing.
        try:
            clip = clip.get_all_samples()
        except Exception as error:  # torchcodec passes on whatever FFmpeg says, as a RuntimeError or otherwise
            path = getattr(getattr(clip, "metadata", None), "path", None)
            raise InputError(f"audio {path or '(without a path)'} cannot be decoded: {error}") from error
    if hasattr(clip, "sample_rate") and hasattr(clip, "data"):  # data is (channels, samples)
        data = clip.data
        return {"array": data[0] if len(data) == 1 else data, "sampling_rate": _as_number(clip.sample_rate)}
    if isinstance(clip, Mapping):
        if clip.get("array") is not None and "sampling_rate" in clip:
            return {"array": clip["array"], "sampling_rate": _as_number(clip["sampling_rate"])}
        return _decoded_file(clip) or clip
    return clip if hasattr(clip, "shape") or isinstance(clip, Sequence) else _keyed_sound(clip)


def decoded_audio(audio: Any) -> Any:
    """`audio`, one sound or several, with every sound that brings its rate along as `{"array", "sampling_rate"}`.

    A column of a data set, and an array of objects as `with_format("numpy")` gives, become lists. Waveforms stay what
    they are.

    Raises:
        FileNotFoundError, ValueError: as `decoded_sound`.
    """
    if isinstance(audio, np.ndarray) and audio.dtype == object:
        audio = audio.tolist()
    if isinstance(audio, Sequence) and not isinstance(audio, str | bytes | bytearray | memoryview):
        # A waveform may be a list of numbers: only its first element is looked at.
        if len(audio) and (isinstance(audio[0], int | float) or getattr(audio[0], "ndim", None) == 0):
            return audio
        return [decoded_sound(clip) for clip in audio]
    return decoded_sound(audio)


__all__ = ["decoded_audio", "decoded_sound", "read_sound"]
