"""A model is a folder here, or a repository of the Hub. The Hub is asked only for names that can be nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from auss.cli import main
from auss.hub.model_source import is_local, model_folder
from auss.hub.trained_model import load_trained
from auss.train.evaluation.evaluate import evaluate_folder


def lay_into_cache(folder: Path, cache: Path, repository: str) -> Path:
    """Lays a folder into a cache as huggingface_hub does, without the Hub. Returns the snapshot."""
    place = cache / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / f"{7:040x}"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(snapshot.name)
    return snapshot


@pytest.fixture
def offline(monkeypatch, tmp_path):
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def test_a_pushed_model_is_loaded_by_its_name_and_its_code_stays_there(at_hub, segmenter):
    segmenter.push_to_hub("someone/auss-test", token=at_hub.token)
    model, processor = load_trained("someone/auss-test")
    for name, value in segmenter.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    assert processor.video_processor.size["height"] == 32
    folder = model_folder(Path("someone/auss-test@main"))
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    asked = len(at_hub.requests)
    assert asked and not [request for request in at_hub.requests if request.startswith("GET") and ".py" in request]


def test_a_model_that_was_fetched_once_is_loaded_without_a_network(at_hub, segmenter, monkeypatch):
    segmenter.push_to_hub("someone/auss-test", token=at_hub.token)
    folder = model_folder("someone/auss-test")
    closed = "http://127.0.0.1:9"  # nothing listens at this port
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(at_hub.url, closed)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    assert model_folder("someone/auss-test") == folder
    with pytest.raises(FileNotFoundError, match="and the Hub cannot be reached"):
        model_folder("someone/other")


def test_the_command_segments_with_a_model_of_the_cache(offline, model_folder, make_video, tmp_path, capsys):
    lay_into_cache(model_folder, offline, "someone/my-model")
    path = make_video("clip.mp4", seconds=1.0)
    options = ["--fps", "1", "--masks", str(tmp_path / "masks.npz"), "--device", "cpu"]
    command = ["segment", str(path), "-o", str(tmp_path / "out.mp4"), "--model", "someone/my-model", *options]
    assert main(command) == 0, capsys.readouterr().err
    with np.load(tmp_path / "masks.npz") as arrays:
        assert arrays["masks"].shape == (1, 48, 64)
    folder = ["segment-folder", str(tmp_path), "-o", str(tmp_path / "out"), "--model", "someone/my-model"]
    assert main([*folder, "--fps", "1"]) == 0
    record = json.loads((tmp_path / "out" / "clip.mp4" / "record.json").read_text())
    assert len(record["weights"]) == 64


def test_a_folder_here_comes_before_the_hub(offline, model_folder, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    model_folder.rename(tmp_path / "runs" / "s4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("auss.hub.model_source.fetch", lambda *_: pytest.fail("the Hub was asked"))
    assert load_trained("runs/s4")[0].config.num_queries == 8


@pytest.mark.parametrize(
    "name", ["nowhere", "./a/b", "../a", "/a/b", "~/a", "a/b/c", "a/b/", "a\\b", "a b/c", "", "a\0/b"]
)
def test_what_can_be_no_repository_is_never_asked_for(name, monkeypatch):
    monkeypatch.setattr("auss.hub.model_source.fetch", lambda *_: pytest.fail("the Hub was asked"))
    assert is_local(name) and model_folder(name) == Path(name)


def test_what_is_neither_here_nor_there(offline, at_hub, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match="'runs/s5' is no folder here, and the Hugging Face Hub has no model runs"
    ):
        load_trained("runs/s5")
    at_hub.create("someone/empty")
    with pytest.raises(FileNotFoundError, match="the Hugging Face Hub has no model someone/empty, or none"):
        load_trained("someone/empty")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        FileNotFoundError, match="HF_HUB_OFFLINE is set. Where there is a network, run `hf download so"
    ):
        load_trained("someone/else")


def test_a_model_of_another_kind_is_refused_before_its_weights_are_fetched(at_hub):
    at_hub.create("someone/bert")
    at_hub.commits["someone/bert"][0] |= {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"large"}
    with pytest.raises(
        ValueError, match="someone/bert on the Hugging Face Hub must hold a model of type 'auss', got 'b"
    ):
        load_trained("someone/bert")
    assert not [request for request in at_hub.requests if "safetensors" in request]


def test_an_evaluation_needs_a_place(monkeypatch):
    monkeypatch.setattr("auss.hub.model_source.fetch", lambda *_: pytest.fail("the Hub was asked"))
    with pytest.raises(ValueError, match="--output must be given for a model of the Hub, someone/my-model"):
        evaluate_folder("someone/my-model", "data")
