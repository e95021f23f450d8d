"""Tests `auss reproduce` on the tiny network: rows and seeds, the table, resuming after a stop, two-stage rows."""

import json
import os
import shutil
from pathlib import Path

import pytest

from auss import cli
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.processing_auss import AussProcessor
from auss.train.arguments import DataArguments, OptimArguments, RunArguments
from auss.train.evaluation.evaluate import evaluate_folder
from auss.train.paper import reproduce as reproduce_module
from auss.train.paper.paper_tables import TABLES
from auss.train.paper.reproduce import (
    check_settings,
    format_comparison,
    mean_and_deviation,
    reproduce,
    row_groups,
    run_row,
)

from ..conftest import make_ms3, make_s4


@pytest.fixture
def root(tmp_path):
    return make_ms3(make_s4(tmp_path / "avsbench"), splits=("train", "val", "test"))


@pytest.fixture
def groups(root, tiny_preset, tmp_path):
    def make(**options):
        return (
            DataArguments(data=str(root), batch_size=2, image_size=32, workers=0, **options.pop("data", {})),
            OptimArguments(steps=1, **options.pop("optim", {})),
            RunArguments(output=str(tmp_path / "out"), preset=tiny_preset, eval_every=0, **options),
        )

    return make


@pytest.fixture
def trained(monkeypatch):
    """Returns the (output folder, seed) of every training that really ran."""
    calls = []
    train = reproduce_module.train

    def recorded(data, optim, run):
        calls.append((run.output, run.seed))
        return train(data, optim, run)

    monkeypatch.setattr(reproduce_module, "train", recorded)
    return calls


def test_table_6_trains_from_scratch_and_from_s4_with_every_seed(groups, trained, tmp_path):
    text = reproduce(6, groups(), seeds=2)
    out = tmp_path / "out"
    names = [f"{name}-seed{seed}" for seed in (0, 1) for name in ("ours-ms3-scratch", "ours", "ours-ms3-pretrained")]
    assert trained == [(str(out / "runs" / name / "model"), int(name[-1])) for name in names]
    arguments = json.loads((out / "runs" / "ours-ms3-pretrained-seed1" / "model" / "arguments.json").read_text())
    assert arguments["init_from"] == str(out / "runs" / "ours-seed1" / "model") and arguments["name"] == "ms3"
    lines = text.splitlines()
    assert lines[-2].startswith("| From scratch | 0.408 | 0.610 | 0.") and lines[-2].endswith("| 2 |")
    assert (out / "table6.md").read_text() == text
    record = json.loads((out / "table6.json").read_text())
    measured = [run["M_J"] for run in record[0]["runs"]]
    assert len(measured) == 2 and f"| {mean_and_deviation(measured)} |" in lines[-2]
    results = json.loads(
        (out / "runs" / "ours-ms3-scratch-seed0" / "model" / "evaluation" / "ms3-test-own.json").read_text()
    )
    assert measured[0] == results["M_J"]


@pytest.mark.slow
def test_a_stopped_table_goes_on_and_tables_share_rows(groups, trained, monkeypatch):
    evaluate = reproduce_module.evaluate_folder
    done = []

    def stopping(*args, **kwargs):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(args)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(reproduce_module, "evaluate_folder", stopping)
    with pytest.raises(KeyboardInterrupt):
        reproduce(5, groups(), seeds=1)
    assert len(trained) == 3
    monkeypatch.setattr(reproduce_module, "evaluate_folder", evaluate)
    text = reproduce(5, groups(), seeds=1)
    assert len(trained) == 6  # the third row had been trained before and was only evaluated
    assert len(text.splitlines()) == 8 + 6
    reproduce(2, groups(), seeds=1)
    assert [folder.split("/")[-2] for folder, _ in trained[6:]] == ["ours-ms3-pretrained-seed0"]
    assert reproduce(5, groups(), seeds=1) == text
    assert len(trained) == 7


@pytest.mark.parametrize("stage", ["processor", "model", "truncated"])
def test_a_model_that_was_not_saved_whole_is_saved_again(groups, trained, monkeypatch, tmp_path, stage):
    row, output = TABLES[5][0], tmp_path / "out"
    weights = output / "runs" / f"{row.run}-seed0" / "model" / "model.safetensors"
    stopped_class = AussProcessor if stage == "processor" else AussForAudioVisualSegmentation
    save = stopped_class.save_pretrained

    def stopped(self, *arguments, **options):
        if stage != "processor":
            save(self, *arguments, **options)
        if stage == "truncated":
            written = Path(arguments[0]) / weights.name  # the file is written in a temporary folder first
            written.write_bytes(written.read_bytes()[:-1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stopped_class, "save_pretrained", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_row(groups(), row, 0, output)
    results = run_row(groups(), row, 0, output)
    assert len(trained) == 2
    assert evaluate_folder(str(weights.parent), groups()[0].data, workers=0, overwrite=True)["M_J"] == results["M_J"]
    assert not list(output.rglob("*.unfinished"))


def test_only_rows_that_hear_get_the_weights_of_the_audio_encoder(groups, tmp_path):
    given = groups(audio_weights="audio.safetensors", freeze_audio=True)
    for row in TABLES[3]:
        run = row_groups(given, row, 0, tmp_path / row.run, None)[2]
        hears = row.label.startswith("w/ audio input")
        assert (run.audio_weights, run.freeze_audio) == (("audio.safetensors", True) if hears else (None, None))


def test_machines_may_share_the_rows_of_a_table(groups, trained):
    first = reproduce(6, groups(), seeds=1, only=[1]).splitlines()
    assert [call[0].split("/")[-2] for call in trained] == ["ours-ms3-scratch-seed0"]
    assert first[-2].endswith("| 1 |") and first[-1].endswith("| – | – | 0 |")
    whole = reproduce(6, groups(), seeds=1, only=[2]).splitlines()
    assert whole[-2] == first[-2] and whole[-1].endswith("| 1 |")


def test_results_that_cannot_be_read_are_measured_again(groups, trained, tmp_path):
    row, output = TABLES[5][0], tmp_path / "out"
    results = run_row(groups(), row, 0, output)
    for content in ("", '{"M_J": 0.', '{"M_J": 0.5}', "[]"):
        (output / "runs" / f"{row.run}-seed0" / "results.json").write_text(content)
        assert run_row(groups(), row, 0, output) == results
    assert len(trained) == 1


@pytest.mark.slow
def test_two_processes_make_a_table_together(root, tiny_preset, tmp_path, in_two_processes):
    options = ["--table", "2", "--seeds", "1", "--data", str(root), "--preset", tiny_preset, "--steps", "1"]
    options += ["--batch-size", "2", "--image-size", "32", "--workers", "0", "--eval-every", "0"]
    text = in_two_processes("reproduce", *options, "--output", str(tmp_path / "two"))
    assert text.count("table 2, seed 1 of 1, row 1 of 2: Ours\n") == 1
    for row in json.loads((tmp_path / "two" / "table2.json").read_text()):
        folder = tmp_path / "two" / "runs" / f"{row['run']}-seed0" / "model"
        scores = evaluate_folder(str(folder), str(root), row["name"], workers=0, overwrite=True)
        assert row["runs"] == [pytest.approx({name: scores[name] for name in ("M_J", "M_F")}, abs=1e-6)]


def test_other_settings_in_the_same_folder_are_refused(groups):
    reproduce(2, groups(), seeds=1)
    with pytest.raises(ValueError, match="has runs with another learning_rate"):
        reproduce(2, groups(optim={"learning_rate": 1.0}), seeds=1)


def test_the_same_settings_spelled_otherwise_are_accepted(root, tiny_preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_preset, "weights.pth")
    for data, preset, weights, checkpoint_every in (
        (str(root), tiny_preset, str(tmp_path / "weights.pth"), 1),
        (root.name, os.path.relpath(tiny_preset), "./weights.pth", 2),
    ):
        run = RunArguments("out", preset, audio_weights=weights, checkpoint_every=checkpoint_every)
        check_settings((DataArguments(data, workers=checkpoint_every), OptimArguments(), run), tmp_path / "out")


def test_the_default_preset_is_one_setting_with_its_name(tmp_path):
    for preset in (None, "auss-resnet101"):
        check_settings((DataArguments("data"), OptimArguments(), RunArguments("out", preset)), tmp_path)
    with pytest.raises(ValueError, match="has runs with another preset"):
        check_settings((DataArguments("data"), OptimArguments(), RunArguments("out", "auss-demo")), tmp_path)


@pytest.mark.parametrize(
    "table, seeds, options, message",
    [
        (7, 1, {}, "table must be one of 2, 3, 4, 5, 6, got 7"),
        (5, 0, {}, "seeds must be at least 1, got 0"),
        (5, 1, {"seed": 3}, "seed: the table decides"),
        (5, 1, {"data": {"name": "ms3"}}, "name: the table decides"),
        (5, 1, {"resume": True}, "resume: the table decides"),
    ],
)
def test_what_the_table_decides_is_refused(groups, trained, table, seeds, options, message):
    with pytest.raises(ValueError, match=message):
        reproduce(table, groups(**options), seeds)
    assert not trained


def test_a_row_that_the_table_does_not_have_is_refused(groups, trained):
    with pytest.raises(ValueError, match="rows must be 1 ... 2 for table 6, got 3"):
        reproduce(6, groups(), seeds=1, only=[1, 3])
    assert not trained


def test_mean_and_sample_deviation():
    assert mean_and_deviation([0.6]) == "0.600"
    assert mean_and_deviation([0.6, 0.7, 0.8]) == "0.700 ± 0.100"


@pytest.mark.parametrize("table, backbone", [(3, "Swin-B"), (5, "ResNet-101")])
def test_markdown_says_which_backbone_the_paper_has(table, backbone):
    lines = format_comparison(table, TABLES[table], [[] for _ in TABLES[table]], "settings").splitlines()
    assert lines[:6] == [f"# Table {table}", "", "settings", "", f"The paper's figures are {backbone}'s.", ""]


def test_command(root, tiny_preset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--table", "2", "--seeds", "1", "--data", str(root), "--preset", tiny_preset, "--steps", "1"]
    options += ["--batch-size", "2", "--image-size", "32", "--workers", "0", "--eval-every", "0"]
    assert cli.main(["reproduce", *options]) == 0
    out = capsys.readouterr().out
    assert "table 2, seed 1 of 1, row 2 of 2: Ours, pretrained on single-source" in out
    assert "| Ours | 0.831 | 0.906 |" in out and (tmp_path / "reproduction" / "table2.md").is_file()
