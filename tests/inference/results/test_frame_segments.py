"""Tests of the segments of one frame, and of the pipeline's separate objects."""

import copy
import pickle

import numpy as np
import pytest

from .results_by_hand import FOUR, SIZE, frame, label_map


def test_two_labels_give_one_segment_and_objects_give_many():
    labels = label_map((1, 5, 15, 5, 15), (1, 20, 40, 30, 60), (1, 1, 2, 50, 51))
    (whole,) = frame(0.2, labels)
    objects = frame(0.2, labels, separate=True, min_area=0.001)
    assert [np.asarray(one["mask"]).sum() // 255 for one in objects] == [600, 100]
    assert {one["label"] for one in objects} == {"sounding"} and objects[0]["score"] == pytest.approx(0.9)
    np.testing.assert_array_equal(np.asarray(whole["mask"]) > 0, labels > 0)
    nothing = label_map()
    assert len(frame(0.2, nothing)) == 1 and frame(0.2, nothing, separate=True) == []


def test_objects_are_split_for_each_class():
    labels = label_map((2, 5, 15, 5, 15), (3, 5, 15, 15, 25), (3, 30, 35, 5, 10))
    assert [one["label"] for one in frame(0.0, labels, FOUR)] == ["car", "drum"]
    assert [one["label"] for one in frame(0.0, labels, FOUR, separate=True)] == ["car", "drum", "drum"]


def test_an_empty_list_still_knows_its_frame():
    empty = frame(1.4, label_map(), FOUR, audible=False)
    for one in (empty, copy.deepcopy(empty), pickle.loads(pickle.dumps(empty))):
        assert one == [] and isinstance(one, list)
        assert (one.timestamp, one.frame_index, one.size, one.audible) == (1.4, 14, SIZE, False)
        assert one.label_ids["drum"] == 3


def test_the_pipeline_gives_separate_objects(make_video, red_sounds, tiny_processor):
    from auss.inference.pipeline import AudioVisualSegmentationPipeline

    segmenter = AudioVisualSegmentationPipeline(model=red_sounds, processor=tiny_processor, device=-1)
    path = make_video("clip.mp4", seconds=1.0)
    ((whole,),) = segmenter(path, fps=1)
    (objects,) = segmenter(path, fps=1, separate_objects=True, min_area=0.0)
    np.testing.assert_array_equal(
        np.sum([np.asarray(one["mask"]) for one in objects], axis=0), np.asarray(whole["mask"])
    )
    assert objects.timestamp == whole["timestamp"] and objects.size == (48, 64)
    (silent,) = segmenter(make_video("mute.mp4", seconds=1.0, sound=False), fps=1, separate_objects=True)
    assert silent == [] and silent.timestamp == 0 and not silent.audible
    with pytest.raises(ValueError, match="min_area must be"):
        segmenter(path, min_area=2)
    with pytest.raises(ValueError, match="separate_objects must be True or False"):
        segmenter(path, separate_objects=1)
