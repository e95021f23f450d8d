"""Weights files are read, and the error for any other file says what the file is."""

import io
import os
import pickle
import random
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from auss.modeling_auss.published_weights.weight_files import read_tensors

TENSORS = {"a.weight": torch.arange(600.0), "b.bias": torch.ones(2)}


class Config:
    """An object with code, which a training script may pickle together with its tensors."""


def torch_bytes(content, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def safetensors_bytes(tmp_path) -> bytes:
    save_file(TENSORS, tmp_path / "whole.safetensors")
    return (tmp_path / "whole.safetensors").read_bytes()


def same(tensors) -> bool:
    return tensors.keys() == TENSORS.keys() and all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_the_content_decides_and_not_the_suffix(tmp_path):
    (tmp_path / "a.pth").write_bytes(safetensors_bytes(tmp_path))
    (tmp_path / "a.weights").write_bytes(torch_bytes(TENSORS))
    (tmp_path / "old.pth").write_bytes(torch_bytes(TENSORS, _use_new_zipfile_serialization=False))
    assert all(same(read_tensors(tmp_path / name)) for name in ("a.pth", "a.weights", "old.pth"))


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "module"])
def test_wrappers_are_taken_off(tmp_path, wrapper):
    path = tmp_path / "a.pth"
    path.write_bytes(torch_bytes({wrapper: TENSORS, "optimizer": {"state": {}}, "epoch": 3}))
    assert same(read_tensors(path))
    path.write_bytes(torch_bytes({"model": {wrapper: TENSORS}}))
    assert same(read_tensors(path))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 102\n"
FOREIGN = {
    "empty": (b"", "is empty"),
    "LFS": (LFS, "is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    "web page": (b"\n<!DOCTYPE html><html></html>", "is a web page"),
    "error page": (b"<?xml version='1.0'?><Error/>", "is an XML document"),
    "JSON": (b'{"error": "not found"}', "is JSON text"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "is an HDF5 file"),
    "archive": (b"\x1f\x8b\x08" + b"\0" * 64, "is a gzip archive"),
    "text": (b"weights, please\n" * 8, "is (truncated or damaged|damaged or no PyTorch file)"),
    "one tensor": (torch_bytes(torch.zeros(2)), "must hold tensors by name, got Tensor"),
    "no tensors": (torch_bytes({"epoch": 3, "lr": 0.1}), "has no tensors by name.*'epoch', 'lr'"),
    "pickled objects": (torch_bytes({"model": TENSORS, "config": Config()}), "has pickled objects.*Config.*run code"),
    "a pickled module": (torch_bytes(torch.nn.Linear(2, 2)), "has pickled objects.*Linear"),
    "a plain pickle": (
        pickle.dumps({"model": Config()}),
        "is damaged or no PyTorch file: torch.save did not write it",
    ),
    "truncated zip": (torch_bytes(TENSORS)[:-700], "is truncated or damaged"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_no_weights_file_is_called_what_it_is(tmp_path, kind, suffix):
    content, message = FOREIGN[kind]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"weights{suffix}'.*{message}") as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)  # without torch's advice


@pytest.mark.parametrize("kept", [4, 60, 2000])
def test_a_truncated_safetensors_file(tmp_path, kept):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(safetensors_bytes(tmp_path)[:kept])
    with pytest.raises(ValueError, match="cut.safetensors' is truncated or damaged"):
        read_tensors(path)


def test_a_truncated_file_of_the_older_format(tmp_path):
    (tmp_path / "cut.pth").write_bytes(torch_bytes(TENSORS, _use_new_zipfile_serialization=False)[:-30])
    with pytest.raises(ValueError, match=r"cut.pth' is truncated or damaged: \w+"):
        read_tensors(tmp_path / "cut.pth")


@pytest.mark.parametrize("start", [b"", b"\x80\x02"])
def test_bytes_at_random_never_end_in_an_error_of_the_unpicklers_own(tmp_path, start):
    generator = random.Random(0)
    path = tmp_path / "noise.pth"
    for length in range(1, 201):
        path.write_bytes(start + generator.randbytes(length))
        with pytest.raises(ValueError, match="noise.pth' (is|must|has)"):
            read_tensors(path)
    path.write_bytes(b"\x80\x02.")  # the file ends while the unpickler's stack is empty
    with pytest.raises(ValueError, match="noise.pth' is truncated or damaged: pop from empty list"):
        read_tensors(path)


def test_a_torchscript_program(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    with pytest.raises(ValueError, match="program.pt' is a TorchScript program"):
        read_tensors(tmp_path / "program.pt")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    path.write_bytes(torch_bytes(TENSORS))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read every file
        opened = type(path).open

        def refuse(self, *args, **kwargs):
            if self == path:
                raise PermissionError(13, "Permission denied")
            return opened(self, *args, **kwargs)

        monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(PermissionError, match="a.pth' may not be read by this user.*chmod"):
        read_tensors(path)


def test_a_link_to_nothing(tmp_path):
    (tmp_path / "a.pth").symlink_to(tmp_path / "gone.pth")
    with pytest.raises(FileNotFoundError, match="a.pth', it is a link to .*gone.pth', which is not there"):
        read_tensors(tmp_path / "a.pth")


def test_an_ordinary_zip_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("readme.txt", "weights are elsewhere")
    with pytest.raises(ValueError, match="a.pth' is truncated or damaged"):
        read_tensors(tmp_path / "a.pth")
