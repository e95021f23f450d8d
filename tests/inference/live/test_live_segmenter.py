"""`LiveSegmenter` gives the offline masks for the same window, at once, whatever comes in which order."""

import numpy as np
import pytest
import torch

from auss import LiveSegmenter
from auss.files.errors import InputError
from auss.inference.live.live_segmenter import labels_of
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.post_processing_auss import segment_frames


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000))


def picture(size=(48, 64), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


RED_LEFT = np.zeros((48, 64, 3), np.uint8)
RED_LEFT[:, :32] = (200, 30, 30)


@torch.inference_mode()
def offline(model, processor, waveform, picture, threshold=0.5):
    """The mask of a picture that is shown in the last second of a window of sound."""
    inputs = processor(videos=picture[None], audio=waveform, sampling_rate=16_000, return_tensors="pt")
    outputs = model(**inputs, frame_examples=torch.full((1, 1), 4))
    (clip,) = processor.post_process_audio_visual_segmentation(outputs, [picture.shape[:2]], threshold)
    return clip["segmentation"][0].numpy(), clip["scores"][0].numpy()


@pytest.mark.parametrize("num_labels, threshold", [(2, 0.5), (2, 0.45), (4, 0.5)])
def test_masks_are_the_offline_masks_of_the_same_window(make_config, tiny_processor, num_labels, threshold):
    torch.manual_seed(3)
    labels = {index: f"label {index}" for index in range(num_labels)}
    config = make_config(
        id2label=labels, label2id={name: index for index, name in labels.items()}, frame_conditioned_queries=True
    )
    model = AussForAudioVisualSegmentation(config).eval()
    live = LiveSegmenter(model, tiny_processor, threshold)
    waveform = noise(5.0)
    live.push_audio(waveform, 16_000, time=0.0)
    last = live.sound.window_end(4.6)
    end = (last - 1) * 160 + 400
    differ = 0
    for seed in range(4):
        mask = live.push_frame(picture(seed=seed), 4.6)
        expected, scores = offline(model, tiny_processor, waveform[end - 77_040 : end], picture(seed=seed), threshold)
        np.testing.assert_allclose(mask.scores, scores, atol=1e-3)
        differ += (mask.segmentation != expected).sum()
        assert mask.segmentation.shape == (48, 64) and mask.segmentation.dtype == np.uint8
        assert (mask.index, mask.time, mask.sound_end) == (seed, 4.6, pytest.approx(5.0))
    assert differ <= 4 * 48 * 64 * 0.001  # pixels whose labels tie


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9])
def test_labels_are_those_of_the_processor(tiny_processor, threshold):
    logits = torch.rand(1, 1, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    for size in ((7, 9), (50, 41)):
        expected, _ = segment_frames(logits[0], size, threshold)
        assert (labels_of(logits, size, threshold, tiny_processor) == expected[0].numpy()).mean() > 0.999
    with pytest.raises(InputError, match="NaN"):
        labels_of(logits * torch.nan, (7, 9), threshold, tiny_processor)


def test_masks_follow_sound_and_picture(red_sounds, tiny_processor):
    live = LiveSegmenter(red_sounds, tiny_processor)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * 16_000) / 16_000)
    sounding = []
    for index, (start, waveform) in enumerate(((0.0, tone), (3.0, np.zeros(3 * 16_000)), (6.0, tone))):
        live.push_audio(waveform, 16_000, start)
        mask = live.push_frame(RED_LEFT, start + 2.9)
        sounding.append(bool(mask.segmentation.any()))
        assert mask.index == index and mask.scores.shape == (48, 64)
        if sounding[-1]:
            assert mask.segmentation[:, 2:30].all() and not mask.segmentation[:, 34:].any()
    assert sounding == [True, False, True]


def test_without_sound_nothing_sounds_and_the_network_does_not_run(red_sounds, tiny_processor):
    live = LiveSegmenter(red_sounds, tiny_processor)
    masks = [live.push_frame(RED_LEFT, time) for time in (0.0, 1.0)]
    assert not any(mask.segmentation.any() or mask.scores.any() for mask in masks)
    assert masks[0].sound_end is None and red_sounds.passes == []


def test_sound_that_stops_coming_counts_as_silence_after_a_second_and_may_come_back(red_sounds, tiny_processor):
    live = LiveSegmenter(red_sounds, tiny_processor)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000 * 2) / 16_000)
    live.push_audio(tone, 16_000, 0.0)
    assert [live.push_frame(RED_LEFT, time).segmentation.any() for time in (2.5, 3.5)] == [True, False]
    live.push_audio(tone, 16_000, 4.0)
    assert live.push_frame(RED_LEFT, 5.9).segmentation.any()


def test_the_result_of_a_frame_depends_only_on_what_came_before_it(tiny_model, tiny_processor):
    waveform = noise(4.0)
    one, two = (LiveSegmenter(tiny_model, tiny_processor) for _ in range(2))
    first, second = [], []
    for index in range(20):  # frames and sound in step
        one.push_audio(waveform[index * 3200 : (index + 1) * 3200], 16_000, index / 5)
        first.append(one.push_frame(picture(seed=index), index / 5).scores)
    for index in range(20):  # other pieces of sound, and frames that other frames between them do not change
        for start in range(index * 3200, (index + 1) * 3200, 400):
            two.push_audio(waveform[start : start + 400], 16_000)
        if index % 2:
            two.push_frame(picture(seed=99), index / 5 - 0.1)
        second.append(two.push_frame(picture(seed=index), index / 5).scores)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_only_the_frame_side_runs_for_a_frame(tiny_model, tiny_processor, monkeypatch):
    calls = []
    for part in ("audio_encoder", "audio_query_generator"):
        module = getattr(tiny_model.auss, part)
        original = module.forward
        monkeypatch.setattr(
            module, "forward", lambda *args, original=original, part=part: calls.append(part) or original(*args)
        )
    live = LiveSegmenter(tiny_model, tiny_processor)
    live.push_audio(noise(5.0), 16_000, 0.0)
    for index in range(10):
        live.push_frame(picture(), 4.5 + index / 1000)
    assert calls.count("audio_query_generator") == 1 and calls.count("audio_encoder") == 5


def test_frames_may_change_their_size_and_their_kind(tiny_model, tiny_processor):
    from PIL import Image

    live = LiveSegmenter(tiny_model, tiny_processor)
    live.push_audio(noise(2.0), 16_000, 0.0)
    for size in ((48, 64), (30, 90), (48, 64)):
        assert live.push_frame(picture(size), 1.0).segmentation.shape == size
    same = [live.push_frame(kind, 1.0).scores for kind in (picture(), Image.fromarray(picture()))]
    np.testing.assert_allclose(*same, atol=1e-6)


def test_warming_up_changes_nothing(tiny_model, tiny_processor):
    live = LiveSegmenter(tiny_model, tiny_processor)
    live.warm_up((48, 64))
    assert live.sound.memory.end is None and live.push_frame(picture(), 0.0).index == 0
    assert len(live._network._graphs) == 1


def test_bad_values_are_refused_by_name(tiny_model, tiny_processor):
    with pytest.raises(InputError, match="threshold"):
        LiveSegmenter(tiny_model, tiny_processor, threshold=2.0)
    live = LiveSegmenter(tiny_model, tiny_processor)
    with pytest.raises(InputError, match="time"):
        live.push_frame(picture(), float("nan"))
    with pytest.raises(InputError, match="picture"):
        live.push_frame("frame.png", 0.0)
