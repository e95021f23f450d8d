"""Tests of reading what a user passes as a result."""

import numpy as np
import pytest
import torch

from auss.inference.results.read_results import read_frames

from .results_by_hand import FOUR, SIZE, frame, label_map, sounding


def test_the_pipelines_result():
    labels = label_map((2, 5, 15, 5, 15), (3, 5, 15, 15, 25))
    frames = read_frames(iter([frame(0.4, labels, FOUR, index=12), frame(0.6, label_map(), FOUR)]))
    assert [(one.index, one.time, one.size) for one in frames] == [(12, 0.4, SIZE), (6, 0.6, SIZE)]
    np.testing.assert_array_equal(frames[0].label_map(), labels)
    assert not frames[1].label_map().any()


def test_plain_lists_get_ids_for_their_labels():
    """A user may filter the segments, or read them from a file."""
    car, drum = frame(0.0, label_map((2, 5, 15, 5, 15), (3, 5, 15, 15, 25)), FOUR)
    frames = read_frames([[dict(car)], [dict(car), {"label": "drum", "mask": np.asarray(drum["mask"])}], []])
    assert frames[1].label_ids == {"car": 1, "drum": 2}
    assert [one.time for one in frames] == [0.0, 0.0, None] and frames[2].size is None
    assert frames[2].label_map() is None


@pytest.mark.parametrize("tensors", [True, False])
def test_the_processors_result(tensors):
    labels = np.stack([label_map((1, 5, 15, 5, 15)), label_map()]).astype(np.int64)
    clip = {"segmentation": labels, "scores": np.where(labels, 0.75, 0.1)}
    if tensors:
        clip = {name: torch.from_numpy(values) for name, values in clip.items()}
    frames = read_frames(clip)
    assert [len(one.segments) for one in frames] == [1, 0] and frames[0].time is None
    label, score, mask = frames[0].segments[0]
    assert (label, score) == ("sounding", 0.75)
    np.testing.assert_array_equal(mask, labels[0] == 1)
    labels = 3 * labels
    assert read_frames({"segmentation": labels})[0].segments[0][0] == "3"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([sounding(0.9)], r"got a list in place of a segment: pass result\[0\]"),
        (sounding(0.9)[0], "got a dict in place of a frame: pass a whole result"),
        ({"scores": 1}, "got a dict of scores"),
        ({"segmentation": np.zeros((4, 4))}, r"must both be \(F, h, w\)"),
        (7, "result must be what the pipeline returns for one input, .* got int"),
        ("street.mp4", "got str"),
        ([["mask"]], "got a str in place of a segment"),
        ([[{"label": "dog", "mask": np.zeros((4, 4, 3), np.uint8)}]], r"mode L or \(H, W\), got shape \(4, 4, 3\)"),
        ([[{"label": "dog", "mask": np.zeros((4, size), bool)} for size in (4, 5)]], "must have one size"),
    ],
)
def test_anything_else_is_refused(result, message):
    with pytest.raises(ValueError, match=message):
        read_frames(result)
