"""Frames and sound in memory are read like a file."""

import numpy as np
import pytest
import torch
from PIL import Image

from auss.inference.array_clip import ArrayClip

RATE = 16_000


def make_arrays(num_frames=10, seconds=10.0):
    frames = np.random.default_rng(0).integers(0, 255, (num_frames, 24, 32, 3), dtype=np.uint8)
    audio = np.sin(np.arange(round(seconds * RATE)) / 5).astype(np.float32)
    return frames, audio


def test_frames_are_spread_over_the_sound():
    frames, audio = make_arrays()
    clip = ArrayClip(frames, audio, RATE)
    read = list(clip.frames(fps=1 / 3))  # the caller has chosen the frames, so fps is ignored
    assert [(frame.index, frame.time) for frame in read] == [(index, index) for index in range(10)]
    np.testing.assert_array_equal(read[7].picture, frames[7])
    assert clip.length == 10
    clip.check()


def test_times_and_pictures_of_ones_own():
    frames, audio = make_arrays(3, seconds=6.0)
    pictures = [Image.fromarray(frame) for frame in frames]
    clip = ArrayClip(pictures, audio, RATE, timestamps=np.array([0.5, 7.0, 21.0]))
    assert [frame.time for frame in clip.frames()] == [0.5, 7.0, 21.0]
    assert next(clip.frames()).picture is pictures[0]
    assert clip.length == 21


def test_a_single_picture_is_a_frame():
    frames, audio = make_arrays(1)
    assert [frame.time for frame in ArrayClip(frames[0], audio, RATE).frames()] == [0]


def test_sound_between_two_times_and_silence_after_its_end():
    _, audio = make_arrays(seconds=6.0)
    clip = ArrayClip(np.zeros((1, 4, 4, 3), np.uint8), audio, RATE)
    waveform, rate = clip.waveform(5.0, 8.0)
    assert rate == RATE and waveform.shape == (3 * RATE,) and waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform[:RATE], audio[5 * RATE :])
    assert not waveform[RATE:].any()
    assert clip.waveform(7.0, 7.0)[0].tolist() == [0]


@pytest.mark.parametrize(
    "form",
    [
        lambda audio: np.stack([audio, audio], axis=1),  # as soundfile.read gives it
        lambda audio: (audio.astype(np.float64) * (2**31 - 1)).astype(np.int32),
        torch.from_numpy,
        lambda audio: audio.tolist(),
        lambda audio: {"array": audio, "sampling_rate": RATE},
    ],
)
def test_sound_is_taken_as_the_processor_takes_it(form):
    frames, audio = make_arrays()
    waveform, _ = ArrayClip(frames, form(audio), RATE).waveform(0.0, 10.0)
    np.testing.assert_allclose(waveform, audio, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frames": []}, "frames must hold at least one picture"),
        ({"frames": "clip.mp4"}, "frames must be a list of pictures or an array, got str"),
        ({"frames": iter([])}, "frames must be a list of pictures or an array, got list_iterator"),
        ({"audio": np.zeros(0)}, "audio has no samples"),
        ({"audio": np.zeros((1, 2, 3))}, "audio must be"),
        ({"audio": np.array([0.0, np.nan])}, "audio must be finite"),
        ({"audio": [np.ones(9), np.ones(9)]}, "audio must be one waveform, got 2"),
        ({"sampling_rate": 0}, "sampling_rate must be"),
        ({"timestamps": [0.0, 1.0]}, "timestamps must be a time in seconds for each of the 10 frames"),
        ({"timestamps": list(range(10))[::-1]}, "timestamps must be"),
        ({"timestamps": [-1.0, *range(9)]}, "timestamps must be"),
        ({"timestamps": [0.0, *[float("nan")] * 9]}, "timestamps must be"),
        ({"timestamps": ["0"] * 10}, "timestamps must be"),
    ],
)
def test_refusals(changed, message):
    frames, audio = make_arrays()
    with pytest.raises(ValueError, match=message):
        ArrayClip(**{"frames": frames, "audio": audio, "sampling_rate": RATE, **changed})
