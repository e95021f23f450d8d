"""Fixtures: the simulated Hub of the tests of `hub/`, and folders with published weights."""

import json

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from ...hub.conftest import at_hub, hub  # noqa: F401
from .published_networks import save_timm_folder, timm_network, transformers_network


@pytest.fixture
def resnet_folder(tmp_path):
    """A folder that `save_pretrained` writes for a network of two stages, the backbone of `tiny_config`."""
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    folder = tmp_path / "published" / "resnet"
    transformers_network(ResNetForImageClassification, config).save_pretrained(folder)
    return folder


@pytest.fixture
def timm_folder(tmp_path):
    folder = tmp_path / "published" / "timm"
    folder.mkdir(parents=True)
    return save_timm_folder(timm_network("test_convnext"), "test_convnext", folder)


@pytest.fixture
def put_on_hub(at_hub):  # noqa: F811
    """Puts the files of a folder into a repository of the simulated Hub."""

    def put(folder, repository):
        at_hub.create(repository)
        at_hub.commits[repository] = [{path.name: path.read_bytes() for path in folder.iterdir()}]
        return repository

    return put


def break_index(folder, shard):
    """Writes an index that says that all tensors are in `shard`. The weights file itself is not split."""
    (folder / "model.safetensors").rename(folder / "elsewhere.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a.weight": shard}}))


def write_torch(path, content):
    torch.save(content, path)
    return path
