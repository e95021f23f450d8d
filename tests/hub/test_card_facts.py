"""The results on a card are those that the registered reader finds."""

import json

import pytest

from auss.hub import card_facts
from auss.hub.card_facts import CardFacts, Results, Score, TrainingRun, read_facts, register_results_reader

TRAINING = TrainingRun("clips", 400, 16, "auss-demo")
SCORES = [Score("clips", "test", "own", 0.5, 0.75)]


@pytest.fixture
def results(monkeypatch):
    """A dict of folder name -> the results that the reader finds in that folder."""
    monkeypatch.setattr(card_facts, "_reader", dict(card_facts._reader))
    found = {}
    register_results_reader(lambda folder: found.get(folder.name, Results()))
    return found


def test_nothing_is_known_of_an_empty_folder_or_where_nobody_has_handed_in_a_reader(tmp_path, monkeypatch):
    (tmp_path / "arguments.json").write_text("{}")
    monkeypatch.setattr(card_facts, "_reader", {"read": card_facts.no_results})
    assert read_facts(tmp_path, "someone/model", []) == CardFacts("someone/model")


def test_the_folders_own_results_come_first_and_missing_ones_from_the_other(tmp_path, results):
    results["own"] = Results(None, SCORES)
    results["other"] = Results(TRAINING, [Score("clips", "val", "own", 0.1, 0.2)])
    facts = read_facts(tmp_path / "own", "model", ["mine"], tmp_path / "other")
    assert (facts.training, facts.scores, facts.tags) == (TRAINING, SCORES, ["mine"])
    assert read_facts(tmp_path / "own", "model", []).training is None


def test_configuration_and_size_are_read_from_the_saved_files(tmp_path, tiny_config, tiny_processor, results):
    tiny_config.save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path, with_code=False)
    facts = read_facts(tmp_path, "model", [])
    assert facts.config is not None and facts.config["num_queries"] == tiny_config.num_queries
    assert facts.size == (32, 32)
    for damaged in ("", "[1]", json.dumps({"video_processor": {"size": {"height": "7", "width": 8}}})):
        (tmp_path / "processor_config.json").write_text(damaged)
        assert read_facts(tmp_path, "model", []).size is None
