"""Every frame meets the sound of its own window, in passes of the size asked for; silence needs no network."""

import numpy as np
import pytest
import torch
from PIL import Image

from auss.inference.clip_batches import array_windows, clip_batches, frame_masks, predict, window_seconds
from auss.inference.video_reader import VideoReader

RATE = 16_000


def make_arrays(num_frames=10, seconds=10.0):
    frames = np.random.default_rng(0).integers(0, 255, (num_frames, 24, 32, 3), dtype=np.uint8)
    audio = np.sin(np.arange(round(seconds * RATE)) / 5).astype(np.float32)
    return frames, audio


def test_array_windows():
    frames, audio = make_arrays()
    windows = [(w.start, w.end, w.waveform, list(w.frames)) for w in array_windows(frames, audio, RATE)]
    assert [(start, end) for start, end, _, _ in windows] == [(0, 5), (5, 10)]
    np.testing.assert_array_equal(windows[1][2][0], audio[5 * RATE :])
    assert [frame.index for frame in windows[1][3]] == [5, 6, 7, 8, 9]
    assert [frame.time for frame in windows[0][3]] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(windows[1][3][0].picture, frames[5])


def test_array_windows_with_times_and_pictures():
    frames, audio = make_arrays(3, seconds=6.0)
    pictures = [Image.fromarray(frame) for frame in frames]
    pcm = (audio * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
    windows = [
        (w.index, w.waveform, [frame.time for frame in w.frames])
        for w in array_windows(pictures, np.stack([pcm, pcm]), RATE, timestamps=[0.5, 7.0, 21.0])
    ]
    assert [(index, times) for index, _, times in windows] == [(0, [0.5]), (1, [7.0]), (4, [21.0])]
    np.testing.assert_allclose(windows[0][1], [audio[: 5 * RATE]], atol=1e-4)
    assert windows[1][1].shape == (1, RATE) and not windows[2][1].any()


@pytest.mark.parametrize(
    "form",
    [
        lambda audio: np.stack([audio, audio], axis=1),  # as soundfile.read gives it
        lambda audio: (audio.astype(np.float64) * (2**31 - 1)).astype(np.int32),
        torch.from_numpy,
    ],
)
def test_array_windows_take_sound_as_the_processor_does(form):
    frames, audio = make_arrays()
    plain = [(w.waveform, [frame.time for frame in w.frames]) for w in array_windows(frames, audio, RATE)]
    formed = [(w.waveform, [frame.time for frame in w.frames]) for w in array_windows(frames, form(audio), RATE)]
    assert len(plain) == len(formed) == 2
    for (expected, times), (waveform, formed_times) in zip(plain, formed, strict=True):
        np.testing.assert_allclose(waveform, expected, atol=1e-6)
        assert formed_times == times


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frames": []}, "frames must hold at least one picture"),
        ({"audio": np.zeros(0)}, "audio has no samples"),
        ({"audio": np.zeros((1, 2, 3))}, "audio must be"),
        ({"audio": np.array([0.0, np.nan])}, "audio must be finite"),
        ({"sampling_rate": 0}, "sampling_rate must be"),
        ({"timestamps": [0.0, 1.0]}, "timestamps must be a time in seconds for each of the 10 frames"),
        ({"timestamps": list(range(10))[::-1]}, "timestamps must be"),
    ],
)
def test_array_windows_refuses(changed, message):
    frames, audio = make_arrays()
    with pytest.raises(ValueError, match=message):
        list(array_windows(**{"frames": frames, "audio": audio, "sampling_rate": RATE, **changed}))


def test_batches_hold_what_the_processor_makes(tiny_processor):
    frames, audio = make_arrays()
    batches = list(clip_batches(array_windows(frames, audio, RATE), tiny_processor, 3))
    assert [batch["indices"] for batch in batches] == [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9]]
    assert all(batch["size"] == (24, 32) for batch in batches)
    expected = tiny_processor(
        videos=list(frames[5:8]), audio=audio[5 * RATE :], sampling_rate=RATE, return_tensors="pt"
    )
    assert batches[2]["inputs"].keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(batches[2]["inputs"][name], value)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        next(clip_batches(array_windows(frames, audio, RATE), tiny_processor, 0))


def test_last_window_masks_the_sound_that_is_not_there(make_video, tiny_processor, red_sounds):
    reader = VideoReader(make_video("clip.mp4", seconds=7.1))
    for batch in clip_batches(reader.windows(window_seconds(red_sounds), fps=2), tiny_processor, 4):
        predict(red_sounds, batch)
    # 2.1 s of sound are two examples of 0.96 s.
    assert red_sounds.calls == [(4, [1] * 5), (4, [1] * 5), (2, [1] * 5), (4, [1] * 2), (1, [1] * 2)]


def test_silence_is_not_asked_of_the_network(tiny_processor, red_sounds):
    frames, audio = make_arrays()
    audio[: 5 * RATE] = 1e-6
    batches = list(clip_batches(array_windows(frames, audio, RATE), tiny_processor, 5))
    assert [batch["inputs"] is None for batch in batches] == [True, False]
    masks = list(frame_masks(tiny_processor, batches[0], predict(red_sounds, batches[0])))
    assert [mask.index for mask in masks] == [0, 1, 2, 3, 4] and red_sounds.calls == []
    assert not any(mask.segmentation.any() or mask.scores.any() for mask in masks)
    assert masks[0].segmentation.shape == masks[0].scores.shape == (24, 32)


def test_frame_masks_are_those_of_the_processor(tiny_processor, tiny_model):
    frames, audio = make_arrays()
    batch = next(clip_batches(array_windows(frames, audio, RATE), tiny_processor, 5))
    logits = predict(tiny_model, batch)
    assert logits.shape == (5, 2, 16, 16)
    logits = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0))
    masks = list(frame_masks(tiny_processor, batch, logits))

    class Output:
        pass

    output = Output()
    output.logits = logits[None]
    expected = tiny_processor.post_process_audio_visual_segmentation(output, [(24, 32)])[0]
    np.testing.assert_array_equal([mask.segmentation for mask in masks], expected["segmentation"])
    np.testing.assert_allclose([mask.scores for mask in masks], expected["scores"])
    assert masks[0].segmentation.any() and not masks[0].segmentation.all()
