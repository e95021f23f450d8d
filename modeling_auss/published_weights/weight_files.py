"""Reads the tensors of a published weights file. It never unpickles anything but tensors."""

import argparse
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...files.errors import InputError

# Published checkpoints may store their tensors under one of these keys, next to optimisers and settings. The order is
# the order of preference. Averaged weights (EMA) come first, as in timm's `load_state_dict`. DINO's teacher comes
# before its student, because the authors publish the teacher.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "params_ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "teacher",
    "student",
    "module",
    "net",
    "params",
    "weights",
)
# Files that a failed download or a wrong link leaves in place of weights: the first bytes and a description.
FOREIGN_CONTENTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull` in its repository"),
    (b"<!doctype", "a web page: its link leads to a page, not to the file"),
    (b"<html", "a web page: its link leads to a page, not to the file"),
    (b"<?xml", "an XML document, such as a storage server's error message"),
    (b"\x89hdf", "an HDF5 file, as Keras writes it: convert it to PyTorch first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"{", "JSON text, not weights"),
)


def check_is_weights(path: Path) -> None:
    """
    Checks the first bytes of a weights file.

    Raises:
        FileNotFoundError: there is no such file, or it is a link to a file that does not exist.
        PermissionError: the file may not be read.
        ValueError: the file is empty or is not a weights file. The message says what it is.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError:
        link = f", it is a link to {str(path.readlink())!r}, which is not there" if path.is_symlink() else ""
        raise FileNotFoundError(f"there is no weights file at {str(path)!r}{link}") from None
    except PermissionError:
        raise PermissionError(
            f"the weights file {str(path)!r} may not be read by this user: change its permissions (chmod a+r)"
        ) from None
    if not start:
        raise InputError(f"the weights file {str(path)!r} is empty")
    for signature, kind in FOREIGN_CONTENTS:
        if start.lstrip().lower().startswith(signature):
            raise InputError(f"the weights file {str(path)!r} is {kind}")


def is_safetensors(path: Path) -> bool:
    """
    Whether a file is in the safetensors format.

    Such a file begins with eight bytes of length, followed by JSON. If the first bytes fit no known format, the suffix
    of the file decides.
    """
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" or (path.suffix == ".safetensors" and not start.startswith((b"PK", b"\x80")))


def pickled_objects(path: Path) -> str:
    """Returns the names of the pickled objects in a file that are not tensors, for an error message."""
    try:
        with path.open("rb") as file:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # torch cannot list the objects of its old file format
        names = []
    return f" ({', '.join(sorted(names))})" if names else ""


def short_reason(error: Exception) -> str:
    """
    Returns the reason why a file cannot be read, without torch's advice.

    torch advises to unpickle the file anyway, which could run code, or to report a bug in torch.
    """
    if isinstance(error, pickle.UnpicklingError):
        return "torch.save did not write it, or not all of it is there"
    text = str(error).partition(". ")[0] if isinstance(error, RuntimeError) else str(error)
    return text.strip() or type(error).__name__


def read_file(path: Path) -> Any:
    """
    Reads a weights file: a dictionary of tensors by name, or a dictionary that contains such a dictionary.

    Raises:
        FileNotFoundError, PermissionError: see `check_is_weights`.
        ValueError: see `check_is_weights`; or the file is truncated, damaged or a TorchScript program, or it has
            pickled objects.
    """
    check_is_weights(path)
    try:
        if is_safetensors(path):
            return load_file(path)
        # timm's training checkpoints store their arguments as an `argparse.Namespace`. It contains no code, so it is
        # safe to unpickle.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'torch.load' received a zip file that looks like a TorchScript archive")
            with path.open("rb") as file:  # if torch gets a path, it looks at the suffix
                return torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError(f"the weights file {str(path)!r} is truncated or damaged: {error}") from error
    except pickle.UnpicklingError as error:
        found = pickled_objects(path)
        if found or "global" in str(error).lower():
            raise InputError(
                f"the weights file {str(path)!r} has pickled objects{found} beside its tensors. Unpickling could "
                "run code, so auss does not. Save its tensors alone: safetensors.torch.save_file(state_dict, ...)"
            ) from error
        raise InputError(
            f"the weights file {str(path)!r} is damaged or no PyTorch file: {short_reason(error)}"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # for damaged bytes, torch's unpickler raises many error types, such as IndexError
        if "TorchScript" in str(error):
            raise InputError(
                f"the weights file {str(path)!r} is a TorchScript program, which is code: save its state_dict instead"
            ) from error
        raise InputError(f"the weights file {str(path)!r} is truncated or damaged: {short_reason(error)}") from error


def unwrap(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """
    Finds the tensors in the result of `read_file`, inside the dictionaries that training code puts around them.

    Raises:
        ValueError: there are no tensors, or it is unclear which tensors are the weights.
    """
    place, inner = f"the weights file {str(path)!r}", content
    while isinstance(inner, dict):
        wrapper = next((name for name in WRAPPERS if isinstance(inner.get(name), dict)), None)
        if wrapper is None:
            break
        inner = inner[wrapper]
    tensors = {name: value for name, value in inner.items() if isinstance(value, torch.Tensor)} if inner else {}
    if not isinstance(inner, dict) or not tensors or any(isinstance(value, dict) for value in inner.values()):
        keys = ", ".join(map(repr, list(inner)[:8])) if isinstance(inner, dict) else type(inner).__name__
        raise InputError(f"{place} has no tensors by name where weights files keep them; it has {keys}")
    return tensors


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """
    Reads the tensors of a `.safetensors` or PyTorch file by name, without the dictionaries of training code.

    Raises:
        The errors of `read_file` and `unwrap`. ValueError if the file does not hold a dictionary.
    """
    content = read_file(path)
    if not isinstance(content, dict):
        raise InputError(f"the weights file {str(path)!r} must hold tensors by name, got {type(content).__name__}")
    return unwrap(content, path)


def read_json_file(path: Path) -> dict[str, Any]:
    """
    Reads a JSON object.

    Raises:
        ValueError: the file is not JSON, or not a JSON object.
        OSError: the file cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:  # not UTF-8, not JSON, or nested too deeply
        raise InputError(f"{str(path)!r} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{str(path)!r} must be a JSON object, got {type(content).__name__}")
    return content


def shard_names(index: Path) -> list[str]:
    """
    Returns the names of the weights files that an index file of Transformers lists.

    Raises:
        ValueError: the index is damaged, or it names a file outside its own folder.
    """
    weight_map = read_json_file(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{str(index)!r} has no weight_map, which says which file holds a tensor")
    names = sorted(set(weight_map.values()), key=str)
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise InputError(f"{str(index)!r} names {name!r}: weights must lie in the folder of their index")
    return names


__all__ = ["check_is_weights", "read_json_file", "read_tensors", "shard_names", "short_reason", "unwrap"]
