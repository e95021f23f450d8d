"""Damaged weight files, and an index that names files outside the folder, are reported before anything is loaded."""

import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from auss.files.model_files import check_weight_file, check_weight_files, shard_files, weights_digest
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(6.0), "b": torch.ones(2, 3)}, file, metadata={"format": "pt"})
    return file


def write_index(folder, weight_map, name="model.safetensors.index.json"):
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map}))
    return folder / name


def test_whole_files_pass(weights, tmp_path):
    assert check_weight_files(tmp_path) == [weights]
    save_file({}, tmp_path / "empty.safetensors")
    check_weight_file(tmp_path / "empty.safetensors")


def test_every_cut_of_a_file_is_noticed(weights):
    content = weights.read_bytes()
    for length in range(len(content)):
        weights.write_bytes(content[:length])
        with pytest.raises(ValueError, match="model.safetensors"):
            check_weight_file(weights)
    weights.write_bytes(content + b"x")
    with pytest.raises(ValueError, match="its header says"):
        check_weight_file(weights)


@pytest.mark.parametrize("position", range(8))
def test_a_damaged_length_is_noticed(weights, position):
    content = bytearray(weights.read_bytes())
    content[position] ^= 0x81
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        check_weight_file(weights)


@pytest.mark.parametrize("header", [b"[]", b'{"a": 3}', b'{"a": {"data_offsets": "x"}}', b"\xff\xff", b"[" * 100_000])
def test_a_damaged_header_is_noticed(weights, header):
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="damaged"):
        check_weight_file(weights)


def test_files_that_are_no_weights_are_called_what_they_are(weights, tmp_path):
    weights.write_bytes(b"")
    with pytest.raises(ValueError, match="model.safetensors is empty"):
        check_weight_files(tmp_path)
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(ValueError, match="model.safetensors is a Git LFS pointer.*git lfs pull"):
        check_weight_files(tmp_path)
    weights.unlink()
    weights.symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="no weights file .*model.safetensors"):
        check_weight_files(tmp_path)


def test_a_file_of_another_user_is_called_that(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, who may read everything
    with pytest.raises(PermissionError, match="model.safetensors may not be read by this user"):
        check_weight_files(tmp_path)


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", 3, None, "c:x", "\\x"]
)
def test_an_index_that_leaves_its_folder_is_refused(tmp_path, name):
    index = write_index(tmp_path, {"a": name})
    with pytest.raises(ValueError, match="model.safetensors.index.json names the weights file"):
        shard_files(index)
    index.unlink()
    write_index(tmp_path, {"a": name}, "model.safetensors.index.fp16.json")
    with pytest.raises(ValueError, match="model.safetensors.index.fp16.json"):
        check_weight_files(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", '{"weight_map": 3}', '{"metadata": {}}', "[" * 100_000])
def test_a_damaged_index_is_named(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match="model.safetensors.index.json must be a JSON object with a weight_map"):
        check_weight_files(tmp_path)


def test_from_pretrained_opens_nothing_outside_the_folder(tiny_model, tmp_path):
    folder = tmp_path / "model"
    tiny_model.save_pretrained(folder)
    outside = tmp_path / "outside.safetensors"
    (folder / "model.safetensors").rename(outside)
    write_index(folder, dict.fromkeys(load_file(outside), "../outside.safetensors"))
    for model_class in (AussForAudioVisualSegmentation, type(tiny_model.auss)):
        with pytest.raises(ValueError, match="'../outside.safetensors', which is no file of its folder"):
            model_class.from_pretrained(folder)


def test_a_model_in_parts_loads(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(check_weight_files(tmp_path)) > 1
    loaded = AussForAudioVisualSegmentation.from_pretrained(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in tiny_model.state_dict().items())
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(FileNotFoundError, match="no weights file"):
        AussForAudioVisualSegmentation.from_pretrained(tmp_path)


def test_a_digest_tells_weights_from_others_and_sees_nothing_else(tmp_path):
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"a")
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"b" * 2**20 * 3)
    digest = weights_digest(tmp_path)
    assert digest == hashlib.sha256(b"a" + b"b" * 2**20 * 3).hexdigest()
    (tmp_path / "config.json").write_text("{}")
    assert weights_digest(str(tmp_path)) == digest
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"c")
    assert weights_digest(tmp_path) != digest
