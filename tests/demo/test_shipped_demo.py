"""The quick road of the demo, with a random model and things that are drawn for the test."""

import argparse
import json

import numpy as np
import pytest
import soundfile

import auss
from auss.demo import demo, shipped_demo
from auss.demo.arguments import add_demo_arguments
from auss.hub import shipped_model
from auss.hub.half_precision import write_half_precision
from auss.train.composer.drawn_objects import draw_object
from auss.train.composer.synthesised_sounds import SAMPLING_RATE, synthesise

THINGS = ("bell", "car", "drum")


def parse(*options):
    parser = argparse.ArgumentParser()
    add_demo_arguments(parser)
    return parser.parse_args(options)


@pytest.fixture
def shipped(tiny_model, tiny_processor, tmp_path, monkeypatch):
    tiny_model.save_pretrained(tmp_path / "trained", with_code=False)
    tiny_processor.save_pretrained(tmp_path / "trained", with_code=False)
    folder = write_half_precision(tmp_path / "trained", tmp_path / "shipped")
    (folder / "categories.json").write_text(json.dumps(THINGS))
    for name in THINGS:
        rng = np.random.default_rng(0)
        (tmp_path / "things" / name).mkdir(parents=True)
        draw_object(name, rng, 60).save(tmp_path / "things" / name / "one.png")
        soundfile.write(tmp_path / "things" / name / "one.wav", synthesise(name, rng, 1.0), SAMPLING_RATE)
    monkeypatch.setattr(shipped_model, "SHIPPED_FOLDER", folder)
    monkeypatch.setattr(shipped_demo, "THINGS_FOLDER", tmp_path / "things")
    return folder


@pytest.mark.parametrize(
    ("options", "trains"),
    [
        ((), False),
        (("--seconds", "6"), False),
        (("--train",), True),
        (("--steps", "9"), True),
        (("--clips", "9", "1", "1"), True),
    ],
)
def test_it_trains_only_where_it_is_asked_to(shipped, options, trains):
    assert demo.trains(parse(*options)) == trains


def test_it_trains_where_no_model_is_shipped(tmp_path, monkeypatch, shipped):
    monkeypatch.setattr(shipped_demo, "THINGS_FOLDER", tmp_path / "no things")
    assert demo.trains(parse())
    monkeypatch.setattr(shipped_demo, "THINGS_FOLDER", tmp_path / "things")
    monkeypatch.setattr(shipped_model, "SHIPPED_FOLDER", tmp_path / "none")
    assert demo.trains(parse())


def test_the_quick_demo_shows_overlay_masks_sheet_and_table(shipped, tmp_path, capsys):
    folder = tmp_path / "demo"
    assert demo.run(parse("--output", str(folder), "--seconds", "0.8")) == 0
    told = capsys.readouterr().out
    for name in ("overlay.mp4", "contact_sheet.png", "scores.md", "overlay_masks"):
        assert (folder / name).exists() and str(folder / name) in told
    rows = (folder / "scores.md").read_text().splitlines()
    assert len(rows) == 3 and rows[2].startswith("| 0 to 1 | ") and rows[2].split(" | ")[1] in THINGS
    assert len(list((folder / "overlay_masks").iterdir())) == 4


def test_a_sample_video_is_of_the_shipped_things_or_of_drawings(shipped, tmp_path):
    known = auss.sample_video(tmp_path / "known.mp4", seconds=0.2, fps=5, size=(64, 96))
    assert sorted(known.categories) == sorted(THINGS) and known.mask(0.1).shape == (64, 96)
    drawn = auss.sample_video(tmp_path / "drawn.mp4", 1, 0.2, 5, (64, 96), things=["robot", "clock"], drawn=True)
    assert sorted(drawn.categories) == ["clock", "robot"] and drawn.turns == [(0.0, 0.2, 0)]
    assert drawn.mask(0.1).any() and auss.VideoReader(drawn.path).info.has_audio


def test_a_sample_video_refuses_unknown_things_and_says_what_is_missing(shipped, tmp_path, monkeypatch):
    for things in (["robot", "clock"], ["bell", "bell"], "bell"):
        with pytest.raises(ValueError, match="things must be two or more of bell, car, drum, got "):
            auss.sample_video(tmp_path / "video.mp4", things=things)
    monkeypatch.setattr(shipped_demo, "THINGS_FOLDER", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no photographs and recordings at .*none: pass drawn=True"):
        auss.sample_video(tmp_path / "video.mp4")
    assert not (tmp_path / "video.mp4").exists()


class StandInVideo:
    """A video in which the left half sounds for five seconds, and then the right half."""

    turns = [(0.0, 5.0, 0), (5.0, 10.0, 1)]
    categories = ["big_drum", "cat"]

    def mask(self, time):
        mask = np.zeros((4, 8), bool)
        mask[:, slice(0, 4) if time < 5 else slice(4, 8)] = True
        return mask


def test_the_table_scores_each_turn_away_from_its_ends():
    video = StandInVideo()
    left, nothing = video.mask(0), np.zeros((4, 8), bool)
    masks = [(0.0, nothing), (1.0, left), (3.0, left), (4.8, nothing), (5.0, left), (7.0, video.mask(7)), (8.0, left)]
    rows = shipped_demo.turns_table(video, masks).splitlines()
    assert rows[2] == "| 0 to 5 | big drum | 1.00 | 50% |"
    assert rows[3] == "| 5 to 10 | cat | 0.50 | 50% |"


def test_overlap_of_empty_masks_is_whole():
    empty, full = np.zeros((2, 2), bool), np.ones((2, 2), bool)
    assert shipped_demo.overlap(empty, empty) == 1 and shipped_demo.overlap(empty, full) == 0
