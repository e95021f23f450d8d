"""Every frame meets the sound of its own windows, in passes of the size asked for; silence needs no network."""

import numpy as np
import pytest
import torch

from auss.inference.array_clip import ArrayClip
from auss.inference.clip_batches import clip_batches, frame_masks, predict
from auss.inference.video_reader import VideoReader

RATE = 16_000


def make_clip(num_frames=10, seconds=10.0, silent=()):
    """Noise of changing loudness, but for the seconds (start, end) that are silent; frames of noise."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 255, (num_frames, 24, 32, 3), dtype=np.uint8)
    audio = generator.normal(0, 0.1, round(seconds * RATE)) * np.linspace(0.2, 1, round(seconds * RATE))
    for start, end in silent:
        audio[round(start * RATE) : round(end * RATE)] = 0
    return frames, audio.astype(np.float32)


def batches_of(frames, audio, processor, window=5.0, stride=5.0, batch_size=3):
    return list(clip_batches(ArrayClip(frames, audio, RATE), processor, window, stride, None, batch_size))


def test_batches_hold_what_the_processor_makes(tiny_processor):
    frames, audio = make_clip()
    batches = batches_of(frames, audio, tiny_processor)
    assert [[frame.index for frame in batch.frames] for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    windows = [[view.window.index for (view,) in batch.views] for batch in batches]
    assert windows == [[0, 0, 0], [0, 0, 1], [1, 1, 1], [1]]
    assert all(batch.size == (24, 32) and batch.frames_per_pass == 3 for batch in batches)
    expected = tiny_processor(
        videos=list(frames[6:9]), audio=audio[5 * RATE :], sampling_rate=RATE, return_tensors="pt"
    )
    torch.testing.assert_close(batches[2].pixel_values, expected.pop("pixel_values")[0])
    inputs = batches[2].views[0][0].window.inputs
    assert inputs.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(inputs[name], value)


def test_frames_of_any_form_that_the_processor_takes(tiny_processor):
    frames, audio = make_clip()
    (expected,) = batches_of(frames, audio, tiny_processor, batch_size=10)
    for form in (torch.from_numpy(frames).permute(0, 3, 1, 2), list(frames.astype(np.float32))):
        (batch,) = batches_of(form, audio, tiny_processor, batch_size=10)
        assert batch.size == (24, 32)
        torch.testing.assert_close(batch.pixel_values, expected.pixel_values, rtol=0, atol=0.02)


def test_frames_of_unequal_size_are_refused_also_in_different_batches(tiny_processor):
    frames, audio = make_clip()
    mixed = [*frames[:3], *frames[3:, :12]]
    with pytest.raises(ValueError, match=r"frames must be of equal size .*, got \(24, 32\) and \(12, 32\)"):
        batches_of(mixed, audio, tiny_processor)
    with pytest.raises(ValueError, match="frames has frames of unequal size"):
        batches_of(mixed, audio, tiny_processor, batch_size=5)


def test_passes_are_filled_across_windows(make_video, tiny_processor, red_sounds):
    reader = VideoReader(make_video("clip.mp4", seconds=7.1))
    for batch in clip_batches(reader, tiny_processor, 5.0, 5.0, 2, 4):
        predict(red_sounds, batch)
    assert red_sounds.passes == [4, 4, 4, 3]
    assert red_sounds.heard == [[1] * 5] * 2  # the last window reaches back: no example is missing


def test_a_short_clip_masks_the_sound_that_is_not_there(make_video, tiny_processor, red_sounds):
    reader = VideoReader(make_video("clip.mp4", seconds=2.1))
    for batch in clip_batches(reader, tiny_processor, 5.0, 5.0, 2, 4):
        predict(red_sounds, batch)
    assert red_sounds.heard == [[1, 1]]  # 2.1 s of sound are two examples of 0.96 s


def test_silence_is_not_asked_of_the_network(tiny_processor, red_sounds):
    frames, audio = make_clip()
    audio[: 5 * RATE] = 1e-6
    batches = batches_of(frames, audio, tiny_processor, batch_size=4)
    assert [batch.pixel_values is None for batch in batches] == [True, False, False]
    (silent, mixed, _) = batches
    outputs = predict(red_sounds, silent)
    assert outputs == {"logits": None, "queries": None} and red_sounds.passes == []
    masks = list(frame_masks(tiny_processor, silent, **outputs))
    assert [mask.index for mask in masks] == [0, 1, 2, 3]
    assert not any(mask.segmentation.any() or mask.scores.any() for mask in masks)
    assert masks[0].segmentation.shape == masks[0].scores.shape == (24, 32)
    masks = list(frame_masks(tiny_processor, mixed, **predict(red_sounds, mixed)))
    assert red_sounds.passes == [3]  # frames 5, 6 and 7
    assert [bool(mask.scores.any()) for mask in masks] == [False, True, True, True]


def blend_oracle(model, processor, frames, audio, window, stride, length):
    """The blend with whole arrays: every window's logits of every frame, and a weight for each, mostly 0."""
    pixels = processor(videos=list(frames), return_tensors="pt")["pixel_values"]
    times = np.arange(len(frames)) * length / len(frames)
    count = 1 + int(np.ceil(max(0.0, length - window) / stride - 1e-9))
    logits, weights = [], []
    for index in range(count):
        start = index * stride
        heard = max(0.0, length - window) if index == count - 1 else start
        sound = audio[round(heard * RATE) : round(min(heard + window, length) * RATE)]
        if np.abs(sound).max() > 0:
            features = processor(audio=sound, sampling_rate=RATE, return_tensors="pt")
            with torch.no_grad():
                logits.append(model(pixel_values=pixels, **features).logits[0].numpy())
        else:
            one_hot = np.zeros_like(logits[-1])
            one_hot[:, 0] = 1
            logits.append(one_hot)
        half = window / 2
        triangle = np.maximum(1e-3, 1 - np.abs(times - (start + half)) / half)
        weights.append(np.where((times >= start - 1e-9) & (times < start + window - 1e-9), triangle, 0))
    logits, weights = np.stack(logits), np.stack(weights)
    return np.einsum("wf,wfkyx->fkyx", weights / weights.sum(0), logits)


@pytest.mark.parametrize(
    ("window", "stride", "seconds", "silent"),
    [
        (5.0, 5.0, 10.0, []),
        (5.0, 2.5, 10.0, []),
        (5.0, 1.0, 8.3, []),
        (3.0, 0.9, 12.0, [(5.0, 9.0)]),
        (4.0, 2.0, 3.0, []),
    ],
)
@pytest.mark.parametrize("num_labels", [2, 4])
def test_overlapping_windows_are_blended(make_config, tiny_processor, window, stride, seconds, silent, num_labels):
    from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation

    torch.manual_seed(3)
    model = AussForAudioVisualSegmentation(make_config(num_labels=num_labels)).eval()
    frames, audio = make_clip(24, seconds, silent)
    expected = blend_oracle(model, tiny_processor, frames, audio, window, stride, seconds)
    outputs = [predict(model, batch) for batch in batches_of(frames, audio, tiny_processor, window, stride, 5)]
    logits = torch.cat([output["logits"] for output in outputs]).numpy()
    assert logits.shape == expected.shape and np.ptp(expected) > 0.1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_blending_what_is_equal_changes_nothing(tiny_processor, red_sounds):
    frames, audio = make_clip(20)
    plain = [predict(red_sounds, batch)["logits"] for batch in batches_of(frames, audio, tiny_processor)]
    blended = [predict(red_sounds, batch)["logits"] for batch in batches_of(frames, audio, tiny_processor, stride=0.7)]
    torch.testing.assert_close(torch.cat(plain), torch.cat(blended), rtol=0, atol=1e-6)


def test_queries_on_request(tiny_model, tiny_processor):
    frames, audio = make_clip(10, silent=[(0, 4.0)])
    batches = batches_of(frames, audio, tiny_processor, window=4.0, stride=3.0, batch_size=4)
    queries = [one for batch in batches for one in predict(tiny_model, batch, return_queries=True)["queries"]]
    # Windows start at 0 (silent), 3 and 6 s. The frame at 3 s is in two, of which only the second is audible.
    assert [one is None for one in queries] == [True] * 3 + [False] * 7
    pixels = tiny_processor(videos=list(frames), return_tensors="pt")["pixel_values"]
    for position, (start, end) in {3: (3, 7), 5: (3, 7), 6: (3, 7), 7: (6, 10), 9: (6, 10)}.items():
        sound = tiny_processor(audio=audio[start * RATE : end * RATE], sampling_rate=RATE, return_tensors="pt")
        with torch.no_grad():
            outputs = tiny_model(pixel_values=pixels[:, position : position + 1], **sound)
        found = queries[position]
        torch.testing.assert_close(found["audio_queries"], outputs.audio_queries[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(found["fused_queries"], outputs.fused_queries[0, 0], rtol=0, atol=1e-4)
        expected = outputs.class_queries_logits[0, 0].softmax(-1)
        torch.testing.assert_close(found["class_scores"], expected, rtol=0, atol=1e-5)
    assert queries[9]["fused_queries"].untyped_storage().nbytes() == 8 * 16 * 4  # keeps nothing else alive


def test_frame_masks_are_those_of_the_processor(tiny_processor, tiny_model):
    frames, audio = make_clip()
    batch = batches_of(frames, audio, tiny_processor, batch_size=5)[0]
    logits = predict(tiny_model, batch)["logits"]
    assert logits.shape == (5, 2, 16, 16)
    logits = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0))

    class Output:
        pass

    output = Output()
    output.logits = logits[None]
    for threshold in (0.5, 0.8):
        masks = list(frame_masks(tiny_processor, batch, logits, threshold=threshold))
        expected = tiny_processor.post_process_audio_visual_segmentation(output, [(24, 32)], threshold)[0]
        np.testing.assert_array_equal([mask.segmentation for mask in masks], expected["segmentation"])
        np.testing.assert_allclose([mask.scores for mask in masks], expected["scores"])
        assert masks[0].segmentation.any() and not masks[0].segmentation.all()
