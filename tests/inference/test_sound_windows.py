"""The windows for each frame, the sound that they hear, and their weights."""

import numpy as np
import pytest
import torch

from auss.inference.array_clip import ArrayClip
from auss.inference.sound_windows import SoundWindows, window_seconds
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation

RATE = 16_000
PICTURE = np.zeros((1, 8, 8, 3), np.uint8)


@pytest.fixture
def make_windows(tiny_processor):
    """The windows of a sound whose samples tell their own time, and a list of the stretches that were read."""

    def make(seconds, window=5.0, stride=5.0, waveform=None):
        ramp = (np.arange(round(seconds * RATE)) / RATE / 100).astype(np.float32)
        clip = ArrayClip(PICTURE, ramp if waveform is None else waveform, RATE)
        read, original = [], clip.waveform
        clip.waveform = lambda start, end: read.append((start, end)) or original(start, end)
        return SoundWindows(clip, tiny_processor, window, stride), read

    return make


def seen(windows, times):
    """The numbers and the weights of the windows for each time."""
    return {time: {view.window.index: view.weight for view in windows.around(time)} for time in times}


def heard(windows, times):
    """The start and the end of the sound of each window, in order."""
    parts = [(view.window.start, view.window.end) for time in times for view in windows.around(time)]
    return sorted(set(parts))


def pulses(seconds, pitch):
    """A tone struck every 0.4 s, with a little noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(round(pitch)).normal(0, 1e-3, len(time))
    return (0.3 * np.sin(2 * np.pi * pitch * time) * np.exp(-5 * (time % 0.4)) + noise).astype(np.float32)


def joined(*parts):
    return np.concatenate([pulses(*part) for part in parts])


def test_windows_follow_one_another(make_windows):
    windows, read = make_windows(15.0)
    times = [0, 4.999, 5, 9.9, 10, 14.9]
    assert seen(windows, times) == {
        0: {0: 1},
        4.999: {0: 1},
        5: {1: 1},
        9.9: {1: 1},
        10: {2: 1},
        14.9: {2: 1},
    }
    assert [end for _, end in read[:-1]] == [start for start, _ in read[1:]]  # each moment is read once
    windows, _ = make_windows(15.0)
    assert heard(windows, times) == [(0, 5), (5, 10), (10, 15)]


def test_windows_without_frames_are_not_read(make_windows):
    windows, read = make_windows(60.0)
    assert heard(windows, [12.0, 47.0]) == [(10, 15), (45, 50)]
    # A window is moved by its own length at most, and the sound around shows whether it changes.
    assert not [(start, end) for start, end in read if end > 26 and start < 30]


def test_the_last_window_reaches_back_from_the_end(make_windows):
    windows, _ = make_windows(7.1)
    assert seen(windows, [4.0, 5.0, 7.0]) == {4.0: {0: 1}, 5.0: {1: 1}, 7.0: {1: 1}}
    assert heard(make_windows(7.1)[0], [4.0, 7.0]) == [(0, 5), (pytest.approx(2.1), pytest.approx(7.1))]


def test_a_short_clip_has_one_window_of_its_length(make_windows):
    windows, read = make_windows(1.3)
    (view,) = windows.around(1.2)
    assert read == [(0, 1.3)] and view.weight == 1
    assert (view.window.start, view.window.end) == (0, 1.3)


def test_a_short_sound_is_repeated(make_windows, tiny_processor):
    waveform = pulses(1.3, 300)
    (view,) = make_windows(1.3, waveform=waveform)[0].around(1.2)
    expected = tiny_processor(audio=np.tile(waveform, 4)[: 5 * RATE], sampling_rate=RATE, return_tensors="pt")
    assert view.window.inputs["input_features_mask"].tolist() == [[1] * 5]
    torch.testing.assert_close(view.window.inputs["input_features"], expected["input_features"])


def test_overlapping_windows_weigh_by_the_distance_from_their_edges(make_windows):
    windows, read = make_windows(10.0, stride=2.5)
    weights = seen(windows, [0.0, 2.0, 3.0, 5.0, 7.4, 7.6, 9.9])
    assert weights[0.0] == {0: 1} and weights[2.0] == {0: 1}  # the only window
    assert weights[3.0] == pytest.approx({0: 0.8, 1: 0.2})
    assert weights[5.0] == pytest.approx({1: 1, 2: 0}, abs=2e-3)
    assert weights[7.4] == pytest.approx({1: 0.04, 2: 0.96})
    assert weights[7.6] == weights[9.9] == {2: 1}
    assert heard(make_windows(10.0, stride=2.5)[0], list(weights)) == [(0, 5), (2.5, 7.5), (5, 10)]


def test_no_window_beside_that_which_reaches_the_end(make_windows):
    """A window from 5 s on would hear nothing new beside the window before it."""
    windows, _ = make_windows(7.1, stride=2.5)
    assert seen(windows, [6.0, 7.0]) == {6.0: {1: 1}, 7.0: {1: 1}}
    assert heard(make_windows(7.1, stride=2.5)[0], [6.0, 7.0]) == [(pytest.approx(2.1), pytest.approx(7.1))]


def test_weights_add_up_and_change_smoothly(make_windows):
    windows, _ = make_windows(30.0, window=4.0, stride=0.7)
    weights = seen(windows, np.arange(0, 30, 0.05).tolist())
    for time, around in weights.items():
        assert sum(around.values()) == pytest.approx(1)
        assert all(index * 0.7 - 1e-6 <= time < index * 0.7 + 4 for index in around)
    values = list(weights.values())
    for before, after in zip(values, values[1:], strict=False):
        assert max(abs(before.get(index, 0) - after.get(index, 0)) for index in {*before, *after}) < 0.1


def test_frames_after_the_declared_end_still_have_a_window(make_windows):
    windows, _ = make_windows(10.0)
    assert seen(windows, [9.0, 13.0, 31.0]) == {9.0: {1: 1}, 13.0: {2: 1}, 31.0: {6: 1}}
    assert heard(make_windows(10.0)[0], [9.0, 13.0, 31.0]) == [(5, 10), (10, 15), (30, 35)]


def test_what_is_forgotten(make_windows):
    windows, _ = make_windows(60.0, window=5.0, stride=1.0)
    for time in np.arange(0, 60, 0.5):
        windows.around(time)
        assert len(windows._heard) <= 6


def test_silence_is_not_prepared(make_windows):
    waveform = np.zeros(10 * RATE, np.float32)
    waveform[7 * RATE] = 0.5
    windows, _ = make_windows(10.0, waveform=waveform)
    (first,), (second,) = windows.around(0.0), windows.around(5.0)
    assert not first.window.audible and first.window.inputs is None
    assert second.window.audible and second.window.inputs["input_features"].shape == (1, 5, 96, 64)


def test_a_silent_end_is_silent_although_its_window_reaches_back(make_windows):
    waveform = np.zeros(12 * RATE, np.float32)
    waveform[: 10 * RATE] = 0.5
    windows, read = make_windows(12.0, waveform=waveform)
    assert [windows.around(time)[0].window.audible for time in (4.0, 9.0, 11.0)] == [True, True, False]
    assert windows.around(11.5)[0].window.end == 12


def test_where_the_sound_changes_windows_hear_one_side(make_windows):
    waveform = joined((7.0, 300), (6.0, 1500))
    close = lambda value: pytest.approx(value, abs=0.06)  # noqa: E731
    for stride, expected in (
        (
            5.0,
            {
                0.0: [(0, 5)],
                4.8: [(0, 5)],
                5.0: [(2, 7)],
                6.8: [(2, 7)],
                7.0: [(7, 12)],
                9.8: [(7, 12)],
                12.8: [(8, 13)],
            },
        ),
        (2.5, {3.0: [(0, 5), (2, 7)], 6.0: [(2, 7)], 8.0: [(7, 12), (7.5, 12.5)], 12.0: [(7.5, 12.5), (8, 13)]}),
    ):
        windows, read = make_windows(13.0, stride=stride, waveform=waveform)
        for time, parts in expected.items():
            found = [(view.window.start, view.window.end) for view in windows.around(time)]
            assert found == [(close(start), close(end)) for start, end in parts]
            assert sum(view.weight for view in windows.around(time)) == pytest.approx(1)
        assert [start for start, _ in read] == sorted(start for start, _ in read)


def test_a_sound_that_is_shorter_than_a_window_is_heard_alone(make_windows, tiny_processor):
    waveform = joined((4.0, 300), (2.0, 1500), (6.0, 600))
    windows, _ = make_windows(12.0, waveform=waveform)
    (view,) = windows.around(4.5)
    start, end = view.window.start, view.window.end
    assert (start, end) == (pytest.approx(4, abs=0.06), pytest.approx(6, abs=0.06))
    own = waveform[round(start * RATE) : round(end * RATE)]
    expected = tiny_processor(audio=np.tile(own, 3)[: 5 * RATE], sampling_rate=RATE, return_tensors="pt")
    torch.testing.assert_close(view.window.inputs["input_features"], expected["input_features"])
    assert windows.around(5.5)[0].window is view.window  # although that is in the next window of the grid


def test_a_frame_just_before_a_change_shows_what_sounds_next(make_windows):
    waveform = joined((5.0, 300), (5.0, 1500))
    windows, _ = make_windows(10.0, waveform=waveform)
    (view,) = windows.around(4.98)
    assert view.window.start == pytest.approx(5, abs=0.06) and view.window.audible


def test_a_model_that_hears_nothing_has_the_plain_windows(tiny_processor):
    clip = ArrayClip(PICTURE, joined((7.0, 300), (6.0, 1500)), RATE)
    windows = SoundWindows(clip, tiny_processor, 5.0, 5.0, hears=False)
    assert heard(windows, [0.0, 6.0, 8.0, 12.0]) == [(0, 5), (5, 10), (8, 13)]


def test_the_sound_is_encoded_once_a_window(make_windows, tiny_model, monkeypatch):
    windows, _ = make_windows(10.0)
    calls = []
    original = tiny_model.auss.audio_encoder.forward
    monkeypatch.setattr(tiny_model.auss.audio_encoder, "forward", lambda *args: calls.append(0) or original(*args))
    with torch.no_grad():
        queries = [windows.around(time)[0].window.queries(tiny_model, time) for time in (0.0, 2.0, 4.9, 5.0, 9.0)]
        window = windows.around(9.0)[0].window
        expected = tiny_model.auss.audio_queries(**window.inputs)[0]
    assert len(calls) == 2 + 1  # two windows, and the comparison
    torch.testing.assert_close(queries[0], queries[2], rtol=0, atol=0)
    torch.testing.assert_close(queries[4], expected, rtol=0, atol=1e-6)
    assert not torch.equal(queries[2], queries[3])


def test_conditioned_queries_are_those_of_the_frames_moment(make_windows, make_config):
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(frame_conditioned_queries=True)).eval()
    windows, _ = make_windows(7.1)
    (view,) = windows.around(6.0)  # hears 2.1 s ... 7.1 s, so the frame is shown 3.9 s in: in the fifth example
    with torch.no_grad():
        examples = torch.tensor([[4, 3]])
        expected = model.auss.frame_queries(2, **view.window.inputs, frame_examples=examples)[1][0]
        torch.testing.assert_close(view.window.queries(model, 6.0), expected[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(view.window.queries(model, 5.9), expected[1], rtol=0, atol=1e-6)
        # Rounding aside, no frame lies outside of its window; if one did, the nearest example would be taken.
        torch.testing.assert_close(view.window.queries(model, 99.0), expected[0], rtol=0, atol=1e-6)


def test_window_seconds(tiny_model):
    assert window_seconds(tiny_model) == 5.0
