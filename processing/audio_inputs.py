"""Converts the sound objects of `datasets` and torchcodec to `{"array", "sampling_rate"}`, which `waveforms` reads.

The objects are recognised by their attributes and keys, so neither library needs to be installed.
"""

import importlib
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..files.errors import InputError
from .waveforms import HIGHEST_RATE, LOWEST_RATE

# A program that writes a wav file to a pipe does not know the length, and writes one of these numbers in its place.
UNKNOWN_LENGTHS = (0, 0xFFFFFFFF)


def _check_wav_length(head: bytes, size: int, name: str) -> None:
    """Raises ValueError if a RIFF header announces more bytes than the file has. libsndfile itself raises no error."""
    announced = int.from_bytes(head[4:8], "little")
    if head[:4] == b"RIFF" and announced not in UNKNOWN_LENGTHS and announced + 8 > size:
        raise InputError(f"{name} is truncated: {size} of {announced + 8} bytes")


def read_sound(source: Any, name: str) -> tuple[np.ndarray, int]:
    """Reads a sound file.

    Args:
        source: the path of a file on this machine, or the bytes of a file. A URL is not opened.
        name: how the error messages call the file, such as "audio file a.wav".

    Returns:
        The samples and the sampling rate in Hz. The samples are (samples,) for one channel and (samples, channels) for
        more channels, float32, nominally in [-1, 1].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, is truncated, is not a sound that libsndfile reads, or has no samples; or its
            sampling rate is less than 100 Hz or more than 10 MHz.
    """
    # Transformers asks for every package that a repository's code imports by a statement. Segmenting a video does not
    # need soundfile, so it is imported by its name and only here.
    soundfile = importlib.import_module("soundfile")
    if isinstance(source, bytes | bytearray | memoryview):
        source, head, size = io.BytesIO(source), bytes(source[:8]), len(source)
    else:
        path = os.fspath(source)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{name} does not exist")
        if not os.path.isfile(path):  # reading a pipe may never end
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
    """Returns a sampling rate as a plain number. A formatted row may hold it as an array of no dimensions."""
    return rate.item() if getattr(rate, "shape", None) == () and hasattr(rate, "item") else rate


def _decoded_file(value: Mapping) -> dict | None:
    """Decodes a `{"bytes", "path"}` of an `Audio(decode=False)` column. Returns None for another mapping."""
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
    """Converts an object with the keys "array" and "sampling_rate" to a dict. Other objects are returned unchanged."""
    try:
        return {"array": clip["array"], "sampling_rate": _as_number(clip["sampling_rate"])}
    except (KeyError, TypeError, IndexError):
        return clip


def decoded_sound(clip: Any) -> Any:
    """Converts one sound that knows its sampling rate to `{"array", "sampling_rate"}`. Others are returned unchanged.

    Args:
        clip: an `AudioDecoder` (anything with `get_all_samples`), an `AudioSamples` (anything with `data` and
            `sample_rate`), a mapping or an object with the keys "array" and "sampling_rate", a mapping of `bytes` and
            `path` from an undecoded column, or a waveform.

    Raises:
        FileNotFoundError, ValueError: as in `read_sound`, for a mapping of bytes or a path. A decoder that fails
            raises ValueError.
    """
    if hasattr(clip, "get_all_samples"):
        # Do not use clip["array"]. It averages the channels, so sounds that cancel between left and right are lost.
        try:
            clip = clip.get_all_samples()
        except Exception as error:  # torchcodec raises errors of many classes for what FFmpeg reports
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
    """Converts one sound or several sounds: each sound that knows its rate becomes `{"array", "sampling_rate"}`.

    A column of a data set becomes a list, and so does an array of objects from `with_format("numpy")`. Waveforms are
    returned as they are.

    Raises:
        FileNotFoundError, ValueError: as in `decoded_sound`.
    """
    if isinstance(audio, np.ndarray) and audio.dtype == object:
        audio = audio.tolist()
    if isinstance(audio, Sequence) and not isinstance(audio, str | bytes | bytearray | memoryview):
        # A waveform may be a list of numbers. To recognise it quickly, only the first element is examined.
        if len(audio) and (isinstance(audio[0], int | float) or getattr(audio[0], "ndim", None) == 0):
            return audio
        return [decoded_sound(clip) for clip in audio]
    return decoded_sound(audio)


__all__ = ["decoded_audio", "decoded_sound", "read_sound"]
