"""The Transformers pipeline gives the masks of `auss segment`, from a file and from arrays."""

import numpy as np
import pytest
from transformers import pipeline

from auss.inference.pipeline import TASK, AudioVisualSegmentationPipeline, register_pipeline
from auss.inference.segment import segment_video


@pytest.fixture
def segmenter(tiny_model, tiny_processor):
    return AudioVisualSegmentationPipeline(model=tiny_model, processor=tiny_processor, task=TASK, device=-1)


def test_loads_through_transformers(model_folder):
    register_pipeline()
    register_pipeline()
    loaded = pipeline(TASK, model=str(model_folder), device=-1)
    assert isinstance(loaded, AudioVisualSegmentationPipeline)
    assert type(loaded.processor).__name__ == "AussProcessor"


def test_file(segmenter, make_video, tiny_processor):
    path = make_video("clip.mp4", seconds=6.0)
    frames = segmenter(str(path), fps=2, frames_per_pass=3)
    masks = list(segment_video(path, segmenter.model, tiny_processor, fps=2, batch_size=3))
    assert len(frames) == len(masks) == 12
    for (segment,), mask in zip(frames, masks, strict=True):
        assert segment["label"] == "sounding" and segment["timestamp"] == mask.time
        assert segment["mask"].mode == "L" and segment["mask"].size == (64, 48)
        np.testing.assert_array_equal(np.asarray(segment["mask"]) > 0, mask.segmentation == 1)


def test_score_and_mask_of_a_known_answer(segmenter, make_video, red_sounds, monkeypatch):
    monkeypatch.setattr(segmenter, "model", red_sounds)
    (segment,) = segmenter(make_video("clip.mp4", seconds=1.0), fps=1)[0]
    mask = np.asarray(segment["mask"])
    assert set(np.unique(mask)) == {0, 255} and mask[30:, :28].all() and not mask[:18].any()
    assert 0.9 < segment["score"] <= 1
    (nothing,) = segmenter(make_video("mute.mp4", seconds=1.0, sound=False), fps=1)[0]
    assert nothing["score"] == 0 and not np.asarray(nothing["mask"]).any()


def test_arrays_and_lists(segmenter):
    frames = np.random.default_rng(0).integers(0, 255, (7, 24, 32, 3), dtype=np.uint8)
    clip = {"frames": frames, "audio": np.ones(7 * 8000, np.float32), "sampling_rate": 8000}
    results = segmenter([clip, {**clip, "timestamps": [0, 1, 2, 3, 4, 11, 12.5]}])
    assert [len(result) for result in results] == [7, 7]
    assert [result[5][0]["timestamp"] for result in results] == [5, 11]
    assert segmenter(clip)[0][0]["mask"].size == (32, 24)


def test_more_labels(segmenter, make_video, monkeypatch, red_sounds):
    red_sounds.config.id2label = {0: "silent", 1: "dog", 2: "guitar"}
    monkeypatch.setattr(segmenter, "model", red_sounds)
    assert [[s["label"] for s in frame] for frame in segmenter(make_video("clip.mp4"), fps=1)] == [["dog"]] * 3
    assert segmenter(make_video("mute.mp4", sound=False), fps=1) == [[], [], []]


def test_refusals(segmenter, tmp_path):
    with pytest.raises(ValueError, match=r"got none for \['audio', 'sampling_rate'\]"):
        segmenter({"frames": []})
    with pytest.raises(ValueError, match="must be a video's path"):
        segmenter(3.5)
    with pytest.raises(FileNotFoundError, match="no such file"):
        segmenter(str(tmp_path / "nowhere.mp4"))
    with pytest.raises(ValueError, match="takes fps and frames_per_pass, got top_k"):
        segmenter("x.mp4", top_k=3)
