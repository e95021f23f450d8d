"""Tests of the summary: what sounded when, for how long, how large and how surely."""

import json

import pytest

from auss import summarise

from .results_by_hand import FOUR, frame, label_map, sounding

SHARE = 200 / 2400  # of the rectangle that `sounding` marks


def test_stretches_and_their_figures():
    summary = summarise(sounding(0, 0.9, 0.8, 0, 0, 0, 0.6, 0.6, 0.6, 0), longest_gap=0.1)
    assert summary["segments"] == [
        {"label": "sounding", "start": 0.2, "end": 0.6, "share": round(SHARE, 4), "score": 0.85},
        {"label": "sounding", "start": 1.2, "end": 1.8, "share": round(SHARE, 4), "score": 0.6},
    ]
    assert summary["seconds"] == 2.0 and summary["masks"] == 10
    assert summary["sounding_seconds"] == 1.0 and summary["unsure_seconds"] == 0.6
    assert summary["heard_seconds"] == 2.0 and summary["share"] == round(SHARE, 4)
    assert summary["score"] == {"low": 0.6, "median": 0.6, "high": 0.9}
    assert json.loads(json.dumps(summary)) == summary


def test_short_gaps_are_bridged_and_do_not_count():
    scores = (0.9, 0, 0, 0.9, 0.9, 0, 0, 0, 0.9)  # gaps of 0.4 s and of 0.6 s
    summary = summarise(sounding(*scores))
    assert [(one["start"], one["end"]) for one in summary["segments"]] == [(0.0, 1.0), (1.6, 1.8)]
    assert summary["sounding_seconds"] == pytest.approx(0.8) and summary["segments"][0]["score"] == 0.9
    assert len(summarise(sounding(*scores), longest_gap=0)["segments"]) == 3
    assert len(summarise(sounding(*scores), longest_gap=0.6)["segments"]) == 1


def test_the_last_mask_counts_until_the_end():
    assert summarise(sounding(0, 0.9))["segments"][0]["end"] == 0.4
    assert summarise(sounding(0, 0.9), end=3)["segments"][0]["end"] == 3
    assert summarise(sounding(0.9))["seconds"] == 0.2  # of a single mask nothing else is known
    assert summarise(sounding(0.9, 0.9), end=0.1)["seconds"] == 0.2  # no negative times


def test_every_label_has_its_own_stretches():
    dog, both = label_map((1, 0, 10, 0, 10)), label_map((1, 0, 10, 0, 10), (3, 20, 40, 0, 30))
    result = [frame(0, dog, FOUR), frame(1, both, FOUR), frame(2, label_map(), FOUR), frame(3, dog, FOUR)]
    summary = summarise(result, end=4)
    assert [(one["label"], one["start"], one["end"]) for one in summary["segments"]] == [
        ("dog", 0, 2),
        ("drum", 1, 2),
        ("dog", 3, 4),
    ]
    assert summary["label_ids"] == {"dog": 1, "drum": 3}
    assert summary["segments"][1]["share"] == 0.25


def test_objects_of_a_label_count_as_one():
    labels = label_map((1, 5, 15, 5, 15), (1, 20, 40, 30, 60))
    whole, objects = ([frame(0, labels, separate=separate)] for separate in (False, True))
    assert len(objects[0]) == 2
    assert summarise(objects) == summarise(whole)


def test_specks_and_silence():
    speck = [frame(0, label_map((1, 0, 1, 0, 2)), audible=False), frame(1, label_map(), audible=True)]
    summary = summarise(speck)
    assert summary["segments"] == [] and summary["score"] is None and summary["sounding_seconds"] == 0
    assert summary["seconds"] == 2 and summary["heard_seconds"] == 1
    assert summarise([])["segments"] == [] and summarise([])["seconds"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"end": 0}, "end must be a positive number of seconds or None, got 0"),
        ({"longest_gap": -1}, "longest_gap must be a number of seconds, 0 or more, got -1"),
        ({"result": sounding(0.9, 0.9)[::-1]}, "a timestamp for each frame, in order, got 0.0 after 0.2"),
        ({"result": [[]]}, "a timestamp for each frame, in order, got None"),
    ],
)
def test_other_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        summarise(**{"result": sounding(0.9), **arguments})
