"""Loads AVSBench (Zhou et al. 2022, 2023) from the layout of its authors as a checked `datasets.Dataset`."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import Audio, Dataset, Features, Image, List, Value
from datasets.table import InMemoryTable
from tqdm import tqdm

from ...files.errors import InputError
from .avsbench_layouts import LAYOUTS, find_layout, find_table, missing_file_hint, split_rows
from .avss_palette import LABEL_FILE, read_class_names
from .meta_tables import SPLITS, read_meta_table
from .parquet_shards import is_sharded, load_shards
from .stored_pictures import with_stored_pictures

FEATURES = Features(
    {
        "clip_id": Value("string"),
        "category": Value("string"),
        "frames": List(Image()),
        "masks": List(Image()),
        "annotated_frames": List(Value("int32")),
        "audio": Audio(decode=False),
    }
)


def absolute_root(root: str | os.PathLike) -> Path:
    """Returns the root folder as an absolute path, with a leading `~` expanded."""
    return Path(os.path.abspath(Path(root).expanduser()))


def splits_of(root: str | os.PathLike, name: str) -> list[str]:
    """Returns the splits of a subset that have a video. S4 and MS3 may also be parts of AVSS under `root`.

    Raises:
        FileNotFoundError: `root` has no table of this subset.
        ValueError: the table is malformed.
    """
    layout, table = find_layout(absolute_root(root), name)
    rows = read_meta_table(table, table.read_bytes(), layout.columns, layout.min_columns)
    used = {row.named["split"] for row in rows if layout.label in (None, row.named.get("label"))}
    return [split for split in SPLITS if split in used]


def subsets_of(root: str | os.PathLike) -> dict[str, list[str]]:
    """Returns the subsets whose table lies under `root`, by name, with their splits that have a video.

    Raises:
        ValueError: a table is malformed, or `root` has no table.
    """
    tables = {name: find_table(absolute_root(root), layout) for name, layout in LAYOUTS.items()}
    found = {name: splits_of(root, name) for name, table in tables.items() if table is not None}
    if not found:
        expected = ", ".join(os.path.join(layout.folders[0], layout.table_file) for layout in LAYOUTS.values())
        raise InputError(f"root must hold AVSBench, so one of {expected}; got {str(root)!r}")
    return found


def rows_table(rows: list[dict], split: str) -> Dataset:
    """The rows as a data set in memory.

    `Dataset.from_list` is not used: it would look into every value, and it needs torchcodec for the bare path of a
    sound.
    """
    extra = {name: Value("string") for name in rows[0] if name not in FEATURES}
    table = pa.Table.from_pylist(rows, schema=Features({**FEATURES, **extra}).arrow_schema)
    return Dataset(InMemoryTable(table), split=datasets.NamedSplit(split))


def _check_files(dataset: Dataset, name: str) -> None:
    """Raises FileNotFoundError for the first missing file, in the order of clips."""
    columns = dataset.data.select(["clip_id", "frames", "masks", "audio"])
    with tqdm(total=len(dataset), desc=f"checking {name}", unit="clip", delay=2, leave=False) as bar:
        for batch in columns.to_batches(max_chunksize=200):
            for row in batch.to_pylist():
                for kind in ("frames", "masks", "audio"):
                    for value in row[kind] if kind != "audio" else [row[kind]]:
                        if not os.path.isfile(value["path"]):
                            raise FileNotFoundError(
                                f"AVSBench {name} is missing {value['path']} ({kind} of clip {row['clip_id']!r})"
                                + missing_file_hint(value["path"], kind)
                            )
            bar.update(len(batch))


def load_avsbench(
    root: str | os.PathLike,
    name: str,
    split: str,
    cache_dir: str | os.PathLike | None = None,
    check_files: bool = True,
) -> Dataset:
    """Loads one split of AVSBench, of a data set in the same layout (such as the composer's), or of `auss prepare`'s
    shards.

    Nothing is decoded here. The pictures of a row are opened when the row is read, and `decode_clip` decodes the
    sound. The `.pkl` files that the authors also ship are never opened. docs/data.md describes the layouts.

    Args:
        root: the folder that holds `Single-source`, `Multi-sources` or, for avss, `metadata.csv`, or one of these
            folders itself. It may also be a folder that `auss prepare` made, or its copy on the Hub,
            `hf://datasets/OWNER/NAME`.
        name: "s4" (one sounding object, of a named category), "ms3" (several) or "avss" (71 classes). Where the root
            holds avss only, s4 and ms3 are the clips of avss with the labels v1s and v1m.
        split: "train", "val" or "test".
        cache_dir: the folder of the Arrow copy of shards. The default is `datasets`' own cache folder.
        check_files: True checks that every file of every clip exists. False saves this time on a slow network disk.

    Returns:
        A Dataset with the columns clip_id (string), category (string, "" in ms3), frames (pictures in time order),
        masks (pictures of the annotated frames), annotated_frames (their indices among the frames, from 0) and audio
        ({"path", "bytes"}, not decoded). Train clips of s4, and of avss' v1s, annotate their first frame only. Avss
        masks are pictures in the colours of `avss_palette`, or in grey levels that are class ids. If s4 and ms3 come
        out of avss, they have one more column, mask_kind, with the value "classes": their masks are such pictures, and
        every class but 0 sounds.

    Raises:
        ValueError: name or split is unknown. The meta file is malformed, has no video of this split, or has a name
            that leads out of the data set's folder. Reading a row also raises it for a damaged picture and names the
            file.
        FileNotFoundError: a file is missing. The error names the first missing path.
    """
    if name not in LAYOUTS:
        raise InputError(f"name must be one of {', '.join(LAYOUTS)}, got {name!r}")
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if is_sharded(root, name):
        return load_shards(root, name, split, cache_dir)
    root = absolute_root(root)
    rows = split_rows(root, name, split)
    if name == "avss":
        read_class_names(root)  # raises where label2idx.json is missing or wrong
    dataset = with_stored_pictures(rows_table(rows, split))
    if check_files:
        _check_files(dataset, name)
    return dataset


__all__ = ["FEATURES", "LABEL_FILE", "LAYOUTS", "SPLITS", "load_avsbench", "rows_table", "splits_of", "subsets_of"]
