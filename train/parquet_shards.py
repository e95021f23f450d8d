"""AVSBench as Parquet shards, written by `auss prepare`: read whole or as a stream, from a folder or from the Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from datasets import Dataset, IterableDataset, load_dataset

HUB_PREFIX = "hf://datasets/"
COLUMNS = ("clip_id", "category", "frames", "masks", "annotated_frames", "audio")


def is_sharded(root: str | os.PathLike, name: str) -> bool:
    """Whether `root` holds this subset as Parquet shards. A data set on the Hub (`hf://datasets/...`) has no other
    form."""
    return str(root).startswith(HUB_PREFIX) or any(Path(root).expanduser().glob(f"{name}/*.parquet"))


def _source(root: str | os.PathLike) -> str:
    """What `load_dataset` calls it: the repository's name, or an absolute path."""
    if str(root).startswith(HUB_PREFIX):
        return str(root).removeprefix(HUB_PREFIX)
    return os.path.abspath(Path(root).expanduser())


def _check_columns(dataset: Dataset | IterableDataset, root: str | os.PathLike) -> None:
    missing = [name for name in COLUMNS if name not in (dataset.column_names or [])]
    if missing:
        raise ValueError(f"data {str(root)!r} must have the columns that `auss prepare` writes, it lacks {missing}")


def load_shards(root: str | os.PathLike, name: str, split: str, cache_dir: str | os.PathLike | None = None) -> Dataset:
    """A split for random access: what `load_avsbench` returns where `root` is sharded.

    Args:
        root: a folder that `auss prepare` made, or `hf://datasets/OWNER/NAME`.
        name, split: as `load_avsbench` takes them.
        cache_dir: where `datasets` keeps its Arrow copy of the shards, which is as large as they are.

    Raises:
        ValueError: there is no such subset or split, or a column is missing.
    """
    cache = None if cache_dir is None else str(cache_dir)
    dataset = cast(Dataset, load_dataset(_source(root), name, split=split, cache_dir=cache))
    _check_columns(dataset, root)
    return dataset


def stream_shards(root: str | os.PathLike, name: str, split: str) -> tuple[IterableDataset, int]:
    """A split as a stream of rows whose pictures are not decoded, and how many rows it has; nothing is copied to disk.

    Args:
        root, name, split: as `load_shards` takes them.

    Raises:
        ValueError: `root` holds no shards of this subset, its card does not tell the number of clips, and what
            `load_shards` raises.
    """
    if not is_sharded(root, name):
        raise ValueError(
            f"data must hold Parquet shards of {name} to be streamed, got {str(root)!r}: `auss prepare {root} OUT` "
            "makes them"
        )
    stream = cast(IterableDataset, load_dataset(_source(root), name, split=split, streaming=True))
    _check_columns(stream, root)
    known = (stream.info.splits or {}).get(split)
    if known is None or not known.num_examples:
        raise ValueError(
            f"the card (README.md) of data {str(root)!r} must tell num_examples of {name} {split} in its "
            "dataset_info, as `auss prepare` and `push_to_hub` write it"
        )
    return stream.decode(False), known.num_examples


__all__ = ["HUB_PREFIX", "is_sharded", "load_shards", "stream_shards"]
