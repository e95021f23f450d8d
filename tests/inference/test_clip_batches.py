"""Every frame is combined with its own windows, in passes of the wanted size. Silence does not run the network."""

import numpy as np
import pytest
import torch

from auss.inference.array_clip import ArrayClip
from auss.inference.clip_batches import clip_batches, frame_masks, predict
from auss.inference.media.video_reader import VideoReader
from auss.inference.sound_changes import SoundChanges
from auss.processing import video_frames

RATE = 16_000


def make_clip(num_frames=10, seconds=10.0, silent=()):
    """Makes a clip of noise frames and noise of changing loudness. The seconds (start, end) are silent."""
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
    noise = np.random.default_rng(0).normal(0, 0.1, (1, round(7.1 * 48_000))).astype(np.float32)
    reader = VideoReader(make_video("clip.mp4", seconds=7.1, waveform=noise))
    for batch in clip_batches(reader, tiny_processor, 5.0, 5.0, 2, 4):
        predict(red_sounds, batch)
    assert red_sounds.passes == [4, 4, 4, 3]
    assert red_sounds.heard == [[1] * 5] * 2  # the last window reaches back: no example is missing


def test_a_short_clip_is_heard_as_often_as_a_window_is_long(make_video, tiny_processor, red_sounds):
    noise = np.random.default_rng(0).normal(0, 0.1, (1, round(2.1 * 48_000))).astype(np.float32)
    reader = VideoReader(make_video("clip.mp4", seconds=2.1, waveform=noise))
    for batch in clip_batches(reader, tiny_processor, 5.0, 5.0, 2, 4):
        predict(red_sounds, batch)
    assert red_sounds.heard == [[1] * 5]


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


def changes_of(audio):
    """The times in seconds at which the sound changes. `test_sound_changes.py` tests that they are right."""
    read = lambda start, end: (audio[round(start * RATE) : round(end * RATE)], RATE)  # noqa: E731
    return SoundChanges(read, len(audio) / RATE).between(0, len(audio) / RATE)


def blend_oracle(model, processor, frames, audio, window, stride, length):
    """The oracle blends frame by frame and shares nothing. It cuts and encodes the sound of each window again."""
    pixels = processor(videos=list(frames), return_tensors="pt")["pixel_values"]
    edges = [0.0, *changes_of(audio), length]
    last = max(0, int(np.ceil((length - window) / stride - 1e-9)))
    blend = []
    for position, time in enumerate(np.arange(len(frames)) * length / len(frames)):
        due = time + 0.05
        since, until = max(edge for edge in edges if edge <= due), min(edge for edge in edges if edge > due)
        total, weights = 0, []
        for start in np.arange(last + 1) * stride:
            if not start - 1e-9 <= time < start + window - 1e-9:
                continue
            weights.append(max(1e-3, 1 - abs(time - (start + window / 2)) / (window / 2)))
            first = max(start, since)
            end = min(first + window, until)
            first = max(end - window, since)
            sound = audio[round(first * RATE) : round(end * RATE)]
            if not audio[round((since + 0.2) * RATE) : round((until - 0.2) * RATE)].any():
                scores = np.zeros(model.config.num_labels)[:, None, None]
                scores[0] = 1
            else:
                sound = np.tile(sound, 1 + round(window * RATE) // len(sound))[: round(window * RATE)]
                features = processor(audio=sound, sampling_rate=RATE, return_tensors="pt")
                with torch.no_grad():
                    scores = model(pixel_values=pixels[:, position : position + 1], **features).logits[0, 0].numpy()
            total = total + weights[-1] * scores
        blend.append(total / sum(weights))
    return np.stack(np.broadcast_arrays(*blend))


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
    assert changes_of(audio) == pytest.approx([edge for part in silent for edge in part], abs=0.05)
    expected = blend_oracle(model, tiny_processor, frames, audio, window, stride, seconds)
    outputs = [predict(model, batch) for batch in batches_of(frames, audio, tiny_processor, window, stride, 5)]
    shape = next(output["logits"].shape[1:] for output in outputs if output["logits"] is not None)
    nothing = torch.zeros(5, *shape).index_fill_(1, torch.tensor(0), 1.0)  # where no window of a batch is audible
    logits = torch.cat([nothing if output["logits"] is None else output["logits"] for output in outputs]).numpy()
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
    (change,) = changes_of(audio)
    # Windows start at 0, 3 and 6 s. The frame at 3 s is in two, but its own sound is silence.
    assert [one is None for one in queries] == [True] * 4 + [False] * 6
    pixels = tiny_processor(videos=list(frames), return_tensors="pt")["pixel_values"]
    for position, (start, end) in {
        4: (change, change + 4),
        5: (change, change + 4),
        6: (change, change + 4),
        7: (6, 10),
        9: (6, 10),
    }.items():
        sound = tiny_processor(
            audio=audio[round(start * RATE) : round(end * RATE)], sampling_rate=RATE, return_tensors="pt"
        )
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


@pytest.mark.parametrize(("stride", "batch_size"), [(1.0, 8), (1.0, 2), (2.5, 3)])
def test_a_frame_that_is_seen_with_several_windows_is_encoded_once(tiny_model, tiny_processor, stride, batch_size):
    frames, audio = make_clip(20)
    encoded, fused = [], []
    extractor, decoder = tiny_model.auss.image_embedding_extractor, tiny_model.auss.fusion_decoder
    hooks = [
        extractor.backbone.register_forward_pre_hook(lambda _, args: encoded.append(len(args[0]))),
        decoder.register_forward_pre_hook(lambda _, args: fused.append(len(args[0]))),
    ]
    batches = batches_of(frames, audio, tiny_processor, stride=stride, batch_size=batch_size)
    for batch in batches:
        predict(tiny_model, batch)
    for hook in hooks:
        hook.remove()
    assert sum(encoded) == 20
    assert sum(fused) == sum(len(views) for batch in batches for views in batch.views) >= 30
    # No pass is larger than the wanted size, unless one frame has more windows than that.
    most = max(len(views) for batch in batches for views in batch.views)
    assert max(fused) <= max(batch_size, most)


@pytest.mark.parametrize("stride", [5.0, 2.5])
def test_small_groups_of_frames_give_the_same_and_the_sound_is_encoded_once(
    tiny_model, tiny_processor, monkeypatch, stride
):
    batches = batches_of(*make_clip(), tiny_processor, stride=stride, batch_size=10)
    whole = [predict(tiny_model, batch, return_queries=True) for batch in batches]
    height, width = batches[0].pixel_values.shape[-2:]
    monkeypatch.setattr(video_frames, "CPU_PIXELS", 2 * height * width)
    passes, heard = [], []
    hooks = [
        tiny_model.auss.image_embedding_extractor.register_forward_pre_hook(
            lambda _, args: passes.append(len(args[0]))
        ),
        tiny_model.auss.audio_encoder.register_forward_hook(lambda *_: heard.append(1)),
    ]
    batches = batches_of(*make_clip(), tiny_processor, stride=stride, batch_size=10)
    groups = [predict(tiny_model, batch, return_queries=True) for batch in batches]
    for hook in hooks:
        hook.remove()
    assert max(passes) == 2 and sum(passes) == 10
    assert len(heard) == len({id(view.window) for batch in batches for views in batch.views for view in views})
    for found, expected in zip(groups, whole, strict=True):
        torch.testing.assert_close(found["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
        for one, other in zip(found["queries"], expected["queries"], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
