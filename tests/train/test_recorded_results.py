"""Tests that the card shows the results of `auss train` and `auss evaluate`, and that files of others are skipped."""

import json
from pathlib import Path

import pytest

import auss.hub
from auss.files.model_files import weights_digest
from auss.hub.card_facts import Results, Score, TrainingRun
from auss.hub.model_card import write_card
from auss.train import recorded_results
from auss.train.recorded_results import data_name, read_recorded_results, record_data

from ..recorded_runs import ARGUMENTS, read_card, record_evaluation, record_training

DATA = "data in the layout of AVSBench S4"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    return folder


@pytest.fixture
def trained(folder):
    return record_training(folder)


def test_a_folder_of_others_has_no_results(folder):
    assert read_recorded_results(folder) == read_recorded_results(folder / "missing") == Results()


def test_the_last_validation_counts_until_there_is_an_evaluation(trained):
    training = TrainingRun(DATA, 400, 16, "auss-demo")
    assert read_recorded_results(trained) == Results(training, [Score(DATA, "val", "own", 0.5, 0.625)])
    record_evaluation(trained)
    record_evaluation(trained, "muted", 0.01)
    scores = [Score(DATA, "test", "muted", 0.01, 0.85), Score(DATA, "test", "own", 0.72725, 0.85)]
    assert read_recorded_results(trained) == Results(training, scores)
    (trained / "arguments.json").unlink()
    assert read_recorded_results(trained) == Results(None, scores)


def test_only_this_module_knows_the_names_of_the_files():
    (hub,) = auss.hub.__path__
    names = (recorded_results.ARGUMENTS_FILE, recorded_results.HISTORY_FILE, recorded_results.COMPOSED_FILE)
    for path in Path(hub).glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not [name for name in names if name in source], path


def test_the_data_are_named_and_their_place_is_not(trained, tmp_path):
    record_evaluation(trained)
    write_card(trained)
    assert "data in the layout of AVSBench S4" in read_card(trained) and "secret" not in read_card(trained)
    (tmp_path / "annotations.json").write_text("{}")
    (trained / "arguments.json").write_text(json.dumps({**ARGUMENTS, "data": str(tmp_path), "name": "ms3"}))
    write_card(trained)
    assert "| trained on | clips composed by `auss compose`, in the layout of AVSBench MS3 |" in read_card(trained)


def test_the_card_does_not_depend_on_the_working_directory(trained, tmp_path, monkeypatch):
    composed = tmp_path / "work" / "data"
    composed.mkdir(parents=True)
    (composed / "annotations.json").write_text("{}")
    (trained / "arguments.json").write_text(json.dumps({**ARGUMENTS, "data": "data"}))
    record_evaluation(trained, data="data")
    cards = []
    for folder in (tmp_path / "work", tmp_path):
        monkeypatch.chdir(folder)
        write_card(trained)
        cards.append(read_card(trained))
    assert cards[0] == cards[1] and "data in the layout of AVSBench S4" in cards[0]  # nothing was recorded then
    monkeypatch.chdir(tmp_path / "work")
    record_data(trained, "s4", "data")  # as `auss train` does where it runs
    name = data_name("s4", "data")
    record_evaluation(trained, data="data", data_name=name)
    cards = []
    for folder in (tmp_path / "work", tmp_path):
        monkeypatch.chdir(folder)
        write_card(trained)
        cards.append(read_card(trained))
    assert cards[0] == cards[1] and f"| trained on | {name} |" in cards[0] and f"| {name} | test |" in cards[0]
    assert "composed" in name


def test_an_evaluation_of_other_weights_is_not_told(trained):
    (trained / "model.safetensors").write_bytes(b"before")
    record_evaluation(trained, weights=weights_digest(trained))
    write_card(trained)
    assert "| test | own | 0.727 | 0.850 |" in read_card(trained)
    (trained / "model.safetensors").write_bytes(b"after")
    write_card(trained)
    assert "| val | own | 0.500 | 0.625 |" in read_card(trained) and "| test |" not in read_card(trained)


@pytest.mark.parametrize("content", ["", "[1]", '{"name": "s4"}'])
def test_other_files_of_these_names_are_passed_over(folder, content):
    (folder / "arguments.json").write_text(content)
    (folder / "history.json").write_text("{")
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "mine.json").write_text(content)
    write_card(folder)
    assert "Results" not in read_card(folder) and "trained on" not in read_card(folder)


@pytest.mark.parametrize(
    "content",
    [
        [0.5, 0.4],
        {"validation_M_J": 0.5},
        "validation_M_J",
        [{"validation_M_J": 0.5}],
        [{"validation_M_J": [0.5], "validation_M_F": None}],
    ],
)
def test_a_history_of_another_form_is_passed_over(trained, content):
    (trained / "history.json").write_text(json.dumps(content))
    write_card(trained)
    assert "Results" not in read_card(trained) and "| steps | 400 of 16 clips |" in read_card(trained)


@pytest.mark.parametrize(
    "values", [{"data": 1}, {"name": ["s4"]}, {"name": "mine"}, {"split": None}, {"M_J": "0.7"}, {"M_F": [0.5, 0.4]}]
)
def test_evaluations_of_another_form_are_passed_over(trained, values):
    record_evaluation(trained, **values)
    record_evaluation(trained, "muted", 0.01)
    (trained / "evaluation" / "list.json").write_text("[0.5, 0.4]")
    write_card(trained)
    assert read_card(trained).count("| test | ") == 1 and "| test | muted | 0.010 | 0.850 |" in read_card(trained)


@pytest.mark.parametrize("preset", ["/home/me/secret/mine.json", "secret.json", "../secret", "C:\\me\\secret", None])
def test_a_preset_of_the_users_is_not_told(trained, preset):
    (trained / "arguments.json").write_text(json.dumps({**ARGUMENTS, "preset": preset}))
    write_card(trained)
    assert "secret" not in read_card(trained) and "| preset |" not in read_card(trained)
