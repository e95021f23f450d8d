"""Valid settings are accepted, and all others are refused with a message."""

import numpy as np
import pytest

from auss.inference.parameters import (
    check_audio_track,
    check_batch_size,
    check_flag,
    check_fps,
    is_positive,
    window_and_stride,
)


def test_positive_numbers():
    assert all(is_positive(value) for value in (1, 0.5, np.float32(2), np.int64(3)))
    assert not any(is_positive(value) for value in (0, -1, True, "1", None, float("nan"), float("inf"), 1j, [1]))


def test_accepted():
    for fps in (None, 1, 0.5, 29.97, np.float64(5)):
        check_fps(fps)
    for batch_size in (1, 64, np.int32(8)):
        check_batch_size(batch_size)
    check_flag("stream", True)
    for audio_track in (None, 1, np.int64(2)):
        check_audio_track(audio_track)


@pytest.mark.parametrize("audio_track", [0, -1, 1.0, "1", True])
def test_wrong_audio_track(audio_track):
    with pytest.raises(ValueError, match=f"audio_track must be the number .* from 1, or None, got {audio_track!r}"):
        check_audio_track(audio_track)


@pytest.mark.parametrize("fps", [0, -1, "5", True, float("nan")])
def test_wrong_fps(fps):
    with pytest.raises(ValueError, match=f"fps must be a positive number .* or None for every frame, got {fps!r}"):
        check_fps(fps)


@pytest.mark.parametrize("batch_size", [0, -8, 2.0, "8", True, None])
def test_wrong_batch_size(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be a whole number .* at least 1, got {batch_size!r}"):
        check_batch_size(batch_size)


@pytest.mark.parametrize("flag", [1, "yes", None])
def test_wrong_flag(flag):
    with pytest.raises(ValueError, match=f"stream must be True or False, got {flag!r}"):
        check_flag("stream", flag)


def test_windows_and_strides():
    assert window_and_stride(5.0, None, None) == (5.0, 5.0)
    assert window_and_stride(5.0, 2, None) == (2.0, 2.0)
    assert window_and_stride(5.0, None, 2.5) == (5.0, 2.5)
    assert window_and_stride(10.0, 4, 4) == (4.0, 4.0)


@pytest.mark.parametrize("window", [0, -1, 5.01, "5", True, float("inf")])
def test_wrong_window(window):
    with pytest.raises(ValueError, match=f"window must be .* at most the 5 s that the model takes.*, got {window!r}"):
        window_and_stride(5.0, window, None)


@pytest.mark.parametrize("stride", [0, -1, 2.5, "1", False, float("nan")])
def test_wrong_stride(stride):
    with pytest.raises(ValueError, match=f"stride must be .* at most window=2 s.*, got {stride!r}"):
        window_and_stride(5.0, 2, stride)
