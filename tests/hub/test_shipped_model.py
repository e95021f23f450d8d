"""The model that comes with auss: commands and the pipeline take it where none is given, offline, and say so."""

import json
import logging

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import pipeline

import auss
from auss import cli
from auss.hub import shipped_model
from auss.hub.half_precision import write_half_precision
from auss.hub.model_card import TASK
from auss.hub.trained_model import load_trained

THINGS = ["big_drum", "cat"]


@pytest.fixture
def shipped(tiny_model, tiny_processor, tmp_path, monkeypatch):
    """A small random model in the place of the shipped one."""
    tiny_model.save_pretrained(tmp_path / "trained", with_code=False)
    tiny_processor.save_pretrained(tmp_path / "trained", with_code=False)
    folder = write_half_precision(tmp_path / "trained", tmp_path / "shipped")
    (folder / "categories.json").write_text(json.dumps(THINGS))
    monkeypatch.setattr(shipped_model, "SHIPPED_FOLDER", folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


def test_a_given_folder_is_taken_without_a_word(tmp_path, caplog):
    assert shipped_model.chosen_model(tmp_path) == tmp_path
    assert not caplog.records


def test_the_notice_is_one_line_with_what_the_model_knows(shipped, caplog):
    assert shipped_model.chosen_model(None) == shipped_model.default_model() == shipped
    (record,) = caplog.records
    assert "auss-stamps is used" in record.getMessage() and "knows 2 things" in record.getMessage()
    assert record.getMessage().endswith("big drum, cat") and "\n" not in record.getMessage()
    caplog.clear()
    assert shipped_model.chosen_model(None, quiet=True) == shipped and not caplog.records


def test_the_pipeline_takes_it_in_single_precision(shipped, tiny_model, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)  # so that caplog sees its notices
    segmenter = pipeline(TASK, device=-1)
    assert "auss-stamps is used" in caplog.text and "No model was supplied" not in caplog.text
    assert not logging.getLogger("transformers.pipelines").filters
    assert segmenter.model.name_or_path == str(shipped)
    assert {value.dtype for value in segmenter.model.parameters()} == {torch.float32}
    assert any("big drum, cat" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("command", ["segment", "segment-folder"])
def test_commands_take_it(shipped, make_video, tmp_path, command, caplog):
    (tmp_path / "videos").mkdir()
    video = make_video("clip.mp4", seconds=1.0).rename(tmp_path / "videos" / "clip.mp4")
    words = [command, str(video if command == "segment" else video.parent), "-o", str(tmp_path / "out.mp4")]
    assert cli.main([*words, "--fps", "1"]) == 0
    assert (tmp_path / "out.mp4").exists()
    assert "big drum, cat" in caplog.text


def test_an_installation_without_it_says_so(tmp_path, monkeypatch, make_video, capsys):
    monkeypatch.setattr(shipped_model, "SHIPPED_FOLDER", tmp_path / "none")
    assert not shipped_model.has_default_model()
    with pytest.raises(FileNotFoundError, match="no model was given, and this installation of auss has none"):
        pipeline(TASK, device=-1)
    video = make_video("clip.mp4", seconds=1.0)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["segment", str(video), "-o", str(tmp_path / "out.mp4")])
    assert stopped.value.code == 2 and "required: --model" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_what_ships_fits_the_package_and_is_whole():
    folder = shipped_model.default_model()
    assert (folder / "model.safetensors").stat().st_size <= 12_000_000
    assert len(shipped_model.known_categories()) > 50
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert all(name.replace("_", " ") in card for name in shipped_model.known_categories())
    model, processor = load_trained(folder)
    assert next(model.parameters()).dtype == torch.float32
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert len(weights.keys()) == len(model.state_dict())


def test_what_ships_marks_what_sounds_and_follows_its_changes(tmp_path):
    """A fresh composition of photographs: in each turn most of the right thing is marked, and little of the others."""
    video = auss.sample_video(tmp_path / "video.mp4", seed=0, seconds=15.0, fps=2, size=(180, 320))
    overlaps, with_another = [], []
    for (segment,) in pipeline(TASK)(video.path, fps=1):
        mask = np.asarray(segment["mask"]) > 0
        start, stop, sounding = next(turn for turn in video.turns if turn[0] <= segment["timestamp"] < turn[1])
        if start + 1 <= segment["timestamp"] < stop - 1:
            now, before = (video.mask(time) for time in (segment["timestamp"], (start - 2.5) % 15))
            overlaps.append((mask & now).sum() / (mask | now).sum())
            with_another.append((mask & before).sum() / (mask | before).sum())
    assert len(overlaps) == 9 and np.mean(overlaps) > 0.5 and np.mean(with_another) < 0.2
