"""Loads AVSBench from the Parquet shards of `auss prepare`: whole or as a stream, from a folder or from the Hub.

Shards may come from other people. They must hold the bytes of their files: if a row named a path, auss would open a
file of this machine. For the same reason the card of a folder must only name files of that folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, cast

import pyarrow as pa
from datasets import Audio, Dataset, Image, IterableDataset, List, Value, load_dataset
from datasets.exceptions import DatasetsError
from huggingface_hub import metadata_load

from ...files.errors import InputError
from .stored_pictures import with_stored_pictures

HUB_PREFIX = "hf://datasets/"
COLUMNS = ("clip_id", "category", "frames", "masks", "annotated_frames", "audio")
FILE_COLUMNS = ("frames", "masks", "audio")
CARD_FILE = "README.md"


def is_sharded(root: str | os.PathLike, name: str) -> bool:
    """Tells whether `root` holds this subset as Parquet shards. A data set on the Hub (`hf://datasets/...`) always
    consists of shards."""
    return str(root).startswith(HUB_PREFIX) or any(Path(root).expanduser().glob(f"{name}/*.parquet"))


def _source(root: str | os.PathLike) -> str:
    """Returns the name of the data set for `load_dataset`: the repository's name, or an absolute path."""
    if str(root).startswith(HUB_PREFIX):
        return str(root).removeprefix(HUB_PREFIX)
    return os.path.abspath(Path(root).expanduser())


def _check_columns(dataset: Dataset | IterableDataset, root: str | os.PathLike) -> None:
    missing = [name for name in COLUMNS if name not in (dataset.column_names or [])]
    if missing:
        raise InputError(f"data {str(root)!r} must have the columns that `auss prepare` writes, it lacks {missing}")
    # A column of plain texts would be taken for the paths of files of this machine.
    features: Any = dataset.features
    for name, is_right in _right_types(features).items():
        if not is_right:
            raise InputError(
                f"data {str(root)!r}: the column {name} must have the type that `auss prepare` writes, got "
                f"{features[name]}"
            )


def _right_types(features: Any) -> dict[str, bool]:
    """Tells of each column whether it has the type that `auss prepare` writes. A picture or a sound may also be a
    struct of bytes and path."""

    def is_file(feature: Any, decoder: type) -> bool:
        return isinstance(feature, decoder) or (isinstance(feature, dict) and feature.keys() == {"bytes", "path"})

    def is_value(feature: Any, kind: str) -> bool:
        return isinstance(feature, Value) and kind in feature.dtype

    lists = {name: getattr(features[name], "feature", None) for name in ("frames", "masks", "annotated_frames")}
    lists = {name: one if isinstance(features[name], List) else None for name, one in lists.items()}
    return {
        "clip_id": is_value(features["clip_id"], "string"),
        "category": is_value(features["category"], "string"),
        "frames": is_file(lists["frames"], Image),
        "masks": is_file(lists["masks"], Image),
        "annotated_frames": is_value(lists["annotated_frames"], "int"),
        "audio": is_file(features["audio"], Audio),
    }


def _strings(value: Any) -> Iterator[str]:
    """Yields all strings of a tree of mappings and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _check_card(root: str | os.PathLike) -> None:
    """Raises ValueError if the card of a folder names addresses, or files outside the folder."""
    card = Path(root).expanduser() / CARD_FILE
    if str(root).startswith(HUB_PREFIX) or not card.is_file():
        return
    try:
        configs = (metadata_load(card) or {}).get("configs")
    except Exception as error:  # the errors of YAML and of reading have no common class
        raise InputError(f"{card} must begin with the YAML that `auss prepare` writes: {error}") from error
    for text in _strings(configs):
        if "://" in text or "::" in text or PurePath(text).is_absolute() or ".." in PurePath(text).parts:
            raise InputError(f"{card} must name files of its own folder, got {text!r} in configs")


def check_holds_bytes(row: Mapping, root: str = "the data set") -> None:
    """Checks that a row of a shard holds the bytes of its files, not paths.

    Raises:
        ValueError: a picture or sound has no bytes. The error names the column and the clip.
    """
    for column in FILE_COLUMNS:
        values = row.get(column)
        for value in values if isinstance(values, list) else [values]:
            path = value.get("path") if isinstance(value, Mapping) else value
            if isinstance(value, str) or (isinstance(value, Mapping) and value.get("bytes") is None):
                raise InputError(
                    f"{column} of clip {row.get('clip_id', '')!r} in {root} must hold the bytes of files, got the "
                    f"path {path!r}, which auss does not open: `auss prepare` packs the files"
                )


def _check_bytes(dataset: Dataset, root: str | os.PathLike) -> None:
    """Applies `check_holds_bytes` to all rows. The contents of the columns are not read."""
    for column in FILE_COLUMNS:
        start = 0
        for chunk in dataset.data.column(column).chunks:
            values = chunk.flatten() if pa.types.is_list(chunk.type) else chunk
            field = values.type.get_field_index("bytes") if pa.types.is_struct(values.type) else -1
            if field >= 0 and values.flatten()[field].null_count:
                for row in dataset.data.slice(start, len(chunk)).to_pylist():
                    check_holds_bytes(row, str(root))
            start += len(chunk)


def _load(root: str | os.PathLike, name: str, split: str, **options: Any) -> Any:
    """Calls `load_dataset` and turns its errors and those of Arrow into an error of auss."""
    try:
        return load_dataset(_source(root), name, split=split, **options)
    except (ValueError, DatasetsError, pa.ArrowException) as error:
        raise InputError(f"data {str(root)!r}: {name} {split} cannot be loaded: {error}") from error


def load_shards(root: str | os.PathLike, name: str, split: str, cache_dir: str | os.PathLike | None = None) -> Dataset:
    """Loads a split for random access. `load_avsbench` returns it if `root` holds shards.

    Args:
        root: a folder that `auss prepare` made, or `hf://datasets/OWNER/NAME`.
        name, split: as `load_avsbench` takes them.
        cache_dir: the folder of the Arrow copy that `datasets` makes of the shards. The copy is as large as the
            shards.

    Raises:
        ValueError: the subset or split does not exist, a column is missing, a row holds paths instead of files, or the
            card names files outside its folder.
    """
    _check_card(root)
    cache = None if cache_dir is None else str(cache_dir)
    dataset = cast(Dataset, _load(root, name, split, cache_dir=cache))
    _check_columns(dataset, root)
    _check_bytes(dataset, root)
    return with_stored_pictures(dataset)


def stream_shards(root: str | os.PathLike, name: str, split: str) -> tuple[IterableDataset, int]:
    """Opens a split as a stream of rows and returns it with its number of rows. Pictures are not decoded, and nothing
    is copied to disk.

    Args:
        root, name, split: as `load_shards` takes them.

    Raises:
        ValueError: `root` holds no shards of this subset, its card does not tell the number of clips, or `load_shards`
            would raise an error.
    """
    if not is_sharded(root, name):
        raise InputError(
            f"data must hold Parquet shards of {name} to be streamed, got {str(root)!r}: `auss prepare {root} OUT` "
            "makes them"
        )
    _check_card(root)
    stream = cast(IterableDataset, _load(root, name, split, streaming=True))
    _check_columns(stream, root)
    known = (stream.info.splits or {}).get(split)
    if known is None or not known.num_examples:
        raise InputError(
            f"the card (README.md) of data {str(root)!r} must tell num_examples of {name} {split} in its "
            "dataset_info, as `auss prepare` and `push_to_hub` write it"
        )
    return stream.decode(False), known.num_examples


__all__ = ["HUB_PREFIX", "check_holds_bytes", "is_sharded", "load_shards", "stream_shards"]
