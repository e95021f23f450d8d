"""Tests of the model card: what it says, what it does not reveal, and when auss may replace it."""

import json

import pytest
from huggingface_hub import ModelCard

from auss.hub.model_card import CARD_FILE, is_untouched, renew_card, requirements, write_card

from ..recorded_runs import read_card, record_evaluation, record_training


@pytest.fixture
def folder(tmp_path, tiny_config):
    folder = tmp_path / "my-model"
    folder.mkdir()
    tiny_config.architectures = ["AussForAudioVisualSegmentation"]
    tiny_config.save_pretrained(folder)
    return folder


@pytest.fixture
def trained(folder):
    return record_training(folder)


def test_a_card_without_known_figures(folder):
    write_card(folder)
    card = ModelCard(read_card(folder))
    assert card.data.pipeline_tag == "audio-visual-segmentation" and card.data.library_name == "transformers"
    assert card.data.license == "apache-2.0" and {"audio-visual-segmentation", "auss"} <= set(card.data.tags)
    assert card.data.eval_results is None and "Results" not in card.text and "trained on" not in card.text
    assert 'pipeline("audio-visual-segmentation", model="my-model", trust_remote_code=True)' in card.text
    assert "| labels | silent, sounding |" in card.text and "| backbone | resnet |" in card.text


def test_a_trained_models_card_tells_the_validation_until_it_is_evaluated(trained):
    write_card(trained)
    (jaccard, f_score) = ModelCard(read_card(trained)).data.eval_results
    assert (jaccard.metric_type, jaccard.metric_value, jaccard.dataset_split) == ("M_J", 0.5, "val")
    assert (f_score.metric_type, f_score.metric_value) == ("M_F", 0.625)
    assert "| steps | 400 of 16 clips |" in read_card(trained) and "| preset | auss-demo |" in read_card(trained)

    record_evaluation(trained)
    record_evaluation(trained, "swapped", 0.09)
    write_card(trained, "someone/else", tags=["mine"])
    card = ModelCard(read_card(trained))
    assert [result.metric_value for result in card.data.eval_results] == [0.7272, 0.85]
    assert {result.dataset_split for result in card.data.eval_results} == {"test"} and "mine" in card.data.tags
    assert "| test | own | 0.727 | 0.850 |" in card.text and "| test | swapped | 0.090 | 0.850 |" in card.text
    assert 'model="someone/else"' in card.text and card.data.model_name == "else"


def test_the_card_says_what_is_heard_and_what_is_known(folder, tiny_config):
    tiny_config.trained_categories = ["dog", "car | van"]
    tiny_config.save_pretrained(folder)
    write_card(folder)
    assert "| sound at once | 4.8 s (5 examples of 0.96 s) |" in read_card(folder)
    assert "| trained to recognise | dog, car \\| van |" in read_card(folder)


def test_a_card_is_renewed_where_there_is_one(trained):
    renew_card(trained)
    assert not (trained / CARD_FILE).exists()
    write_card(trained)
    record_evaluation(trained)
    renew_card(trained)
    assert "| test | own | 0.727 | 0.850 |" in read_card(trained)


def test_figures_may_lie_elsewhere(trained, tmp_path):
    (trained / "arguments.json").rename(tmp_path / "arguments.json")
    (trained / "history.json").rename(tmp_path / "history.json")
    write_card(trained, results=tmp_path)
    assert "| data in the layout of AVSBench S4 | val | own | 0.500 | 0.625 |" in read_card(trained)


def test_the_size_is_the_processors(trained, tmp_path):
    write_card(trained)
    assert "| frames |" not in read_card(trained)
    for size, row in (
        ({"height": 112, "width": 160}, "| frames | 112 x 160 pixels (height x width) |"),
        ({"shortest_edge": 112}, None),
        (112, None),
    ):
        (trained / "processor_config.json").write_text(json.dumps({"video_processor": {"size": size}}))
        write_card(trained)
        assert row in read_card(trained) if row else "| frames |" not in read_card(trained)
    (trained / "processor_config.json").write_text("[1]")
    (tmp_path / "processor_config.json").write_text('{"video_processor": {"size": {"height": 7, "width": 8}}}')
    write_card(trained, results=tmp_path)
    assert "| frames | 7 x 8 pixels" in read_card(trained)


def test_an_edited_card_stays_as_it_is(trained):
    write_card(trained)
    assert is_untouched(read_card(trained))
    for edited in ("# My own\n", read_card(trained).replace("Apache 2.0", "MIT"), read_card(trained) + "More.\n", ""):
        (trained / CARD_FILE).write_text(edited, encoding="utf-8")
        write_card(trained, "another/name")
        assert read_card(trained) == edited and not is_untouched(edited)


def test_the_example_fits_what_is_there(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["AussModel"]}))
    write_card(folder)
    assert 'AutoModel.from_pretrained("my-model", trust_remote_code=True)' in read_card(folder)
    (folder / "config.json").unlink()
    write_card(folder)
    card = ModelCard(read_card(folder))
    assert 'AutoProcessor.from_pretrained("my-model", trust_remote_code=True)' in card.text
    assert card.data.pipeline_tag is None and "## Model" not in card.text


def test_timm_is_required_where_the_backbone_is_of_timm():
    assert not any(package.startswith("timm") for package in requirements({"backbone_config": {"model_type": "swin"}}))
    assert requirements({"backbone_config": {"model_type": "timm_backbone"}})[-1].startswith("timm>=")
