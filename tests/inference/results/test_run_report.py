"""Tests of the words after a run: what was found, and the reasons to doubt it."""

from types import SimpleNamespace

from auss import summarise
from auss.inference.results.run_report import report_lines

from .results_by_hand import FOUR, frame, label_map, sounding

TWO_LABELS = {0: "silent", 1: "sounding"}


def lines(result, categories=None, id2label=None) -> list[str]:
    config = SimpleNamespace(id2label=id2label or TWO_LABELS, trained_categories=categories)
    return report_lines(summarise(result), config)


def test_a_sure_run_has_no_doubt():
    found = lines(sounding(0.9, 0.9, 0.8, 0), categories=["clock", "car"])
    assert found == [
        "something sounds in 75% of the time (0.6 of 0.8 s), on 8.3% of the picture; score 0.90 (0.80 to 0.90)",
        "the model was trained on clock, car: masks of anything else are doubtful",
    ]


def test_low_scores_are_doubtful():
    found = lines(sounding(0.9, 0.6, 0.6, 0.6))
    assert found[1].startswith("doubtful: in 75% of that time the model is unsure (its scores are below 0.7)")
    assert not [line for line in lines(sounding(0.9, 0.9, 0.9, 0.9, 0.6)) if line.startswith("doubtful")]


def test_sound_without_masks_is_doubtful():
    assert "for 0.6 s of them nothing was found" in lines(sounding(0, 0, 0, 0.9))[1]
    found = lines(sounding(0, 0))
    assert found[0] == "nothing was found to sound" and found[1].startswith("doubtful: there is sound for 0.4 s")


def test_silence_is_no_doubt():
    silent = [frame(time, label_map(), audible=False) for time in (0.0, 1.0)]
    found = lines(silent)
    assert found[0] == "there is no sound, so nothing sounds" and "doubtful:" not in " ".join(found)


def test_classes_have_their_seconds_and_are_what_the_model_knows():
    dog, drum = label_map((1, 0, 10, 0, 10)), label_map((3, 20, 40, 0, 30))
    found = lines([frame(0, dog, FOUR), frame(1, drum, FOUR), frame(2, drum, FOUR)], id2label=FOUR)
    assert found[1] == "drum 2.0 s, dog 1.0 s"
    assert found[-1] == "the model was trained on dog, car, drum: masks of anything else are doubtful"
    many = lines(sounding(0.9), categories=[f"kind {number}" for number in range(20)])[-1]
    assert "kind 11 and 8 more" in many and "kind 12" not in many


def test_names_from_a_model_are_printed_as_text():
    found = lines(sounding(0.9), categories=["dog\x1b[2J", "a\nb"])[-1]
    assert "\x1b" not in found and "\n" not in found and "dog" in found


def test_a_model_that_does_not_say_what_it_knows():
    assert lines(sounding(0.9))[-1].startswith("the model does not say what it was trained on")
    config = SimpleNamespace(id2label=TWO_LABELS)
    assert "was trained on cow, owl:" in report_lines(summarise(sounding(0.9)), config, ["cow", "owl"])[-1]
