"""Windows of live sound: which sound a frame hears, and that every stretch of it is worked on once."""

import numpy as np
import pytest
import torch

from auss.inference.live.sound_queries import STEP_ROWS, SoundQueries
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation


def noise(seconds, seed=0, level=0.1):
    return np.random.default_rng(seed).normal(0, level, round(seconds * 16_000))


def tone(seconds, hertz):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 16_000)) / 16_000)


@pytest.fixture
def sound(tiny_model):
    return SoundQueries(tiny_model)


@torch.inference_mode()
def offline_queries(model, processor, waveform, example):
    inputs = dict(processor(audio=waveform, sampling_rate=16_000, return_tensors="pt"))
    places = torch.full((1, 1), example)
    return model.auss.frame_queries(1, **inputs, frame_examples=places)[1][0, 0]


@pytest.mark.parametrize("conditioned", [False, True])
def test_queries_are_those_of_the_offline_path_for_the_same_window(make_config, tiny_processor, conditioned):
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(frame_conditioned_queries=conditioned)).eval()
    sound = SoundQueries(model)
    waveform = noise(7.0)
    sound.memory.push(waveform, 16_000, 100.0)
    last = sound.window_end(106.0)  # rows before it are heard
    assert last == int(6.48 * 100) // STEP_ROWS * STEP_ROWS
    with torch.inference_mode():
        queries = sound.at(106.0)
    end = (last - 1) * 160 + 400
    window = waveform[end - (5 * 15_360 + 240) : end]  # five examples exactly
    torch.testing.assert_close(queries, offline_queries(model, tiny_processor, window, 4), atol=1e-5, rtol=1e-5)
    assert sound.at(106.0) is queries  # the next frame does not compute them again


def test_a_new_window_encodes_one_new_example(sound):
    waveform = noise(12.0)
    with torch.inference_mode():
        for index in range(300):  # 12 s of frames, 25 a second
            sound.memory.push(waveform[index * 640 : (index + 1) * 640], 16_000, index / 25)
            sound.at(index / 25)
    windows = sound.memory.num_rows // STEP_ROWS
    # The first windows are shorter than an example and repeat what there is.
    assert sound.num_encoded == windows == 49


def test_objects_without_an_encoder_of_their_own_get_the_whole_window(red_sounds):
    sound = SoundQueries(red_sounds)
    sound.memory.push(tone(6.0, 440), 16_000, 0.0)
    assert sound.at(5.0).tolist() == [[1.0]] and red_sounds.heard == [[1, 1, 1, 1, 1]]


def test_after_a_change_only_the_new_sound_is_heard(sound):
    sound.memory.push(np.concatenate([tone(6.0, 440), noise(2.0)]), 16_000, 0.0)
    (before, _), (after, _) = sound.heard_rows(23 * STEP_ROWS), sound.heard_rows(31 * STEP_ROWS)
    assert before == 23 * STEP_ROWS - 480 and abs(after - 600) <= 5


def test_silence_after_sound_is_silent_and_sound_after_silence_is_heard(sound):
    sound.memory.push(np.concatenate([tone(4.0, 440), np.zeros(2 * 16_000), tone(2.0, 440)]), 16_000, 0.0)
    with torch.inference_mode():
        audible = {time: sound.at(time) is not None for time in (3.0, 5.5, 7.5)}
    assert audible == {3.0: True, 5.5: False, 7.5: True}


def test_late_early_and_missing_sound(sound):
    assert sound.window_end(0.0) is None  # no sound has come
    sound.memory.push(noise(9.0), 16_000, 10.0)
    newest = sound.memory.num_rows // STEP_ROWS * STEP_ROWS
    assert sound.window_end(19.0) == sound.window_end(19.9) == newest  # the sound is late by up to a second
    assert sound.window_end(20.5) is None  # by more: it tells nothing about the frame
    # Sound came 4 s before its frames: the frame still hears its own time.
    assert sound.window_end(15.0) == int(5.48 * 100) // STEP_ROWS * STEP_ROWS
    assert sound.window_end(9.0) is None  # before any sound


def test_a_model_that_does_not_hear_needs_no_sound(make_config):
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(audio_input=False, query_embedding=True)).eval()
    with torch.inference_mode():
        assert SoundQueries(model).at(3.0).shape == (8, 16)


def test_memory_is_bounded(sound):
    with torch.inference_mode():
        for second in range(40):
            sound.memory.push(noise(1.0, seed=second), 16_000, float(second))
            sound.at(second + 0.9)
    assert len(sound._windows) <= 8 and len(sound._encoded) <= 64
    assert sound.memory.num_rows - sound.memory.first_row <= 1000
