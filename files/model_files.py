"""Checks the weight files of a model folder before they are loaded: each is in the folder, readable and complete."""

import hashlib
import json
import os
import re
from pathlib import Path

from .errors import InputError

INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
ANY_INDEX = "*.index*.json"  # includes the index of a variant, such as fp16
EXPORTED_FILES = ("*.onnx", "*.onnx.data", "*.pt2")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
# How the commands describe the model that they take; `hub/model_source.py` finds it.
MODEL_HELP = "a trained model's folder, or OWNER/NAME[@REVISION] of the Hugging Face Hub"
# OWNER/NAME or OWNER/NAME@REVISION, a repository of the Hub.
HUB_ID = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?")
LFS_POINTER = b"version https://git-lfs"
# The longest header, in bytes, that safetensors allows.
LARGEST_HEADER = 100_000_000


def shard_files(index: Path) -> list[Path]:
    """
    Returns the weight files that an index names. An index belongs to a model whose weights are in several files.

    Raises:
        ValueError: the index is damaged, or it names a file outside its folder.
    """
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{index} must be a JSON object with a weight_map of tensors to files: {error!r}") from error
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or any(mark in name for mark in "/\\:\0"):
            raise InputError(f"{index} names the weights file {name!r}, which is no file of its folder")
    return [index.parent / name for name in sorted(names)]


def check_safetensors(file: Path) -> None:
    """Raises ValueError unless the file has the header and the length that safetensors prescribes."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(size - 8, LARGEST_HEADER):
            raise InputError(f"{file} is damaged or cut off: it is no whole safetensors file")
        try:
            header = json.loads(opened.read(length))
            tensors = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            expected = 8 + length + max(tensors, default=0)
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(f"{file} is damaged: its safetensors header cannot be read: {error!r}") from error
    if size != expected:
        raise InputError(f"{file} is damaged or cut off: it has {size} bytes, its header says {expected}")


def check_weight_file(file: Path) -> None:
    """
    Checks that a weight file can be loaded.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: this user may not read the file.
        ValueError: the file is empty, a Git LFS pointer, or not a complete safetensors file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no weights file {file}")
    if not os.access(file, os.R_OK):
        raise PermissionError(f"the weights file {file} may not be read by this user: change its permissions")
    with file.open("rb") as opened:
        start = opened.read(len(LFS_POINTER))
    if not start:
        raise InputError(f"the weights file {file} is empty")
    if start == LFS_POINTER:
        raise InputError(f"{file} is a Git LFS pointer, not the weights themselves: run `git lfs pull` in its folder")
    if file.suffix == ".safetensors":
        check_safetensors(file)


def check_weight_files(folder: Path) -> list[Path]:
    """
    Checks and returns the weight files that Transformers would load from a model folder. The list is empty if the
    folder has no weight files with the usual names.

    Raises:
        The errors of `shard_files` and `check_weight_file`.
    """
    for index in sorted(folder.glob(ANY_INDEX)):
        shard_files(index)
    # Transformers looks in this order: one safetensors file, several safetensors files, one torch file, several ones.
    for weights, index in zip(WEIGHT_FILES, INDEX_FILES, strict=True):
        if os.path.lexists(folder / weights):
            files = [folder / weights]
        elif os.path.lexists(folder / index):
            files = shard_files(folder / index)
        else:
            continue
        for file in files:
            check_weight_file(file)
        return files
    return []


def weights_digest(folder: str | Path) -> str:
    """Returns a digest of the weights saved in `folder`, or of the graphs and their weights if `folder` is an export.
    An evaluation records this digest, which tells the weights that it measured."""
    digest = hashlib.sha256()
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        files = sorted(path for pattern in EXPORTED_FILES for path in Path(folder).glob(pattern))
    for path in files:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


__all__ = ["check_weight_file", "check_weight_files", "shard_files", "weights_digest"]
