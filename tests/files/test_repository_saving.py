"""The classes that can be saved call the registered writer. The tests in tests/hub check what the writer writes."""

import inspect
from pathlib import Path

import pytest

import auss
from auss.files import repository_saving
from auss.files.repository_saving import PartRepositoryMixin, RepositoryMixin, register_repository_writer
from auss.hub.repository import push_repository
from auss.inference.pipeline import AudioVisualSegmentationPipeline


class Base:
    def save_pretrained(self, folder, **kwargs):
        return ["saved", folder, kwargs]

    @classmethod
    def from_dict(cls, values, **kwargs):
        return values, kwargs


class Saved(PartRepositoryMixin, Base):
    pass


@pytest.fixture
def calls(monkeypatch):
    """A list of the writer's calls. The writer of this fixture only saves as the class itself does."""
    monkeypatch.setattr(repository_saving, "_writer", {})
    calls = []

    def save(saved, save_itself, folder, **kwargs):
        calls.append(("save", saved, folder, kwargs))
        return save_itself(folder, other=1)

    def push(saved, repo_id, **kwargs):
        calls.append(("push", saved, repo_id, kwargs))

    register_repository_writer(save, push)
    return calls


def test_the_writer_gets_the_object_its_own_way_of_saving_and_the_arguments(calls):
    saved = Saved()
    assert saved.save_pretrained("folder", with_code=False, variant="fp16") == ["saved", Path("folder"), {"other": 1}]
    arguments = {"push_to_hub": False, "with_code": False, "variant": "fp16"}
    assert calls == [("save", saved, Path("folder"), arguments)]
    saved.push_to_hub("someone/model", revision="v2")
    kind, pushed, repo_id, arguments = calls[1]
    assert (kind, pushed, repo_id, arguments["revision"]) == ("push", saved, "someone/model", "v2")


def test_the_pushing_writer_takes_every_argument():
    offered = inspect.signature(RepositoryMixin.push_to_hub).parameters.keys() - {"self"}
    assert inspect.signature(push_repository).parameters.keys() - {"saved"} == offered


def test_a_part_forgets_where_its_file_said_that_code_lies():
    assert Saved.from_dict({"size": 1, "auto_map": {}}, a=2) == ({"size": 1}, {"a": 2})


def test_all_that_can_be_saved_is_saved_this_way():
    for name in ("AussModel", "AussForAudioVisualSegmentation", "AussProcessor"):
        assert issubclass(getattr(auss, name), RepositoryMixin)
    for name in ("AussFeatureExtractor", "AussVideoProcessor"):
        assert issubclass(getattr(auss, name), PartRepositoryMixin)
    assert issubclass(AudioVisualSegmentationPipeline, RepositoryMixin)
    assert repository_saving._writer.keys() == {"save", "push"}
