"""AVSBench (Zhou et al. 2022, 2023) as a `datasets.Dataset`: the layout its authors ship, checked and cached."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import datasets.config
import pyarrow as pa
from datasets import Audio, Dataset, Features, Image, List, Value
from tqdm import tqdm

from ..files.file_rights import follow_umask
from .avss_palette import LABEL_FILE, read_class_names
from .parquet_shards import is_sharded, load_shards

SPLITS = ("train", "val", "test")
FRAMES_PER_CLIP = 5
# AVSS's folders and the frames of their clips: 5 s from S4 and MS3, 10 s newly collected.
AVSS_FRAMES = {"v1s": 5, "v1m": 5, "v2": 10}
# Part of the cache's key: raise it whenever a row comes to look otherwise.
ROWS_VERSION = 1

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


@dataclass(frozen=True)
class MetaRow:
    """A line of a meta file: its cells in order, and by the header's names."""

    line: int
    cells: list[str]
    named: dict[str, str]


def _row(clip_id: str, category: str, frames: list[Path], masks: dict[int, Path], audio: Path) -> dict:
    def stored(path: Path) -> dict:
        return {"bytes": None, "path": str(path)}

    return {
        "clip_id": clip_id,
        "category": category,
        "frames": [stored(path) for path in frames],
        "masks": [stored(path) for path in masks.values()],
        "annotated_frames": list(masks),
        "audio": stored(audio),
    }


def _s4_row(root: Path, split: str, meta: MetaRow) -> dict:
    clip, category = meta.cells[0], meta.named.get("category") or meta.cells[2]
    data = root / "Single-source" / "s4_data"
    home = Path(split, category, clip)
    names = [f"{clip}_{number}.png" for number in range(1, FRAMES_PER_CLIP + 1)]
    annotated = names[:1] if split == "train" else names
    return _row(
        clip,
        category,
        frames=[data / "visual_frames" / home / name for name in names],
        masks={index: data / "gt_masks" / home / name for index, name in enumerate(annotated)},
        audio=data / "audio_wav" / split / category / f"{clip}.wav",
    )


def _ms3_row(root: Path, split: str, meta: MetaRow) -> dict:
    clip = meta.cells[0]
    data = root / "Multi-sources" / "ms3_data"
    numbers = range(1, FRAMES_PER_CLIP + 1)
    return _row(
        clip,
        "",
        frames=[data / "visual_frames" / clip / f"{clip}.mp4_{number}.png" for number in numbers],
        masks={n - 1: data / "gt_masks" / split / clip / f"{clip}_{n}.png" for n in numbers},
        audio=data / "audio_wav" / split / f"{clip}.wav",
    )


def _avss_row(root: Path, split: str, meta: MetaRow) -> dict:
    clip, subset = meta.named["uid"], meta.named["label"]
    if subset not in AVSS_FRAMES:
        raise ValueError(f"label {subset!r}; expected one of {', '.join(AVSS_FRAMES)}")
    home = root / subset / clip
    count = AVSS_FRAMES[subset]
    annotated = 1 if (subset, split) == ("v1s", "train") else count
    return _row(
        clip,
        meta.named.get("a_obj", ""),
        frames=[home / "frames" / f"{index}.jpg" for index in range(count)],
        masks={index: home / "labels_rgb" / f"{index}.png" for index in range(annotated)},
        audio=home / "audio.wav",
    )


@dataclass(frozen=True)
class Layout:
    """Where a subset's table lies, which columns it must name, how many it must have, and how a line makes a row."""

    meta_file: str
    columns: tuple[str, ...]
    min_columns: int
    make_row: Callable[[Path, str, MetaRow], dict]


LAYOUTS = {
    "s4": Layout("Single-source/s4_meta_data.csv", ("split",), 3, _s4_row),
    "ms3": Layout("Multi-sources/ms3_meta_data.csv", ("split",), 2, _ms3_row),
    "avss": Layout("metadata.csv", ("uid", "split", "label"), 3, _avss_row),
}


def _read_meta(path: Path, content: bytes, layout: Layout) -> Iterator[MetaRow]:
    """The lines of a meta file after its header, checked."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a csv in UTF-8: {error}") from error
    reader = csv.reader(text.splitlines())
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in layout.columns if name not in header]
    if missing or len(header) < layout.min_columns:
        raise ValueError(
            f"{path} must begin with a header of at least {layout.min_columns} columns that names "
            f"{', '.join(layout.columns)}; got {header}"
        )
    for cells in reader:
        if not cells:
            continue
        cells = [cell.strip() for cell in cells]
        if len(cells) != len(header) or not cells[0]:
            raise ValueError(
                f"{path} line {reader.line_num} must have {len(header)} cells, a video name first; got {cells}"
            )
        row = MetaRow(reader.line_num, cells, dict(zip(header, cells, strict=True)))
        if row.named["split"] not in SPLITS:
            raise ValueError(
                f"{path} line {row.line}: split {row.named['split']!r}; expected one of {', '.join(SPLITS)}"
            )
        yield row


def _make_rows(root: Path, split: str, layout: Layout, content: bytes) -> list[dict]:
    path = root / layout.meta_file
    rows: list[dict] = []
    counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
    for meta in _read_meta(path, content, layout):
        counts[meta.named["split"]] += 1
        if meta.named["split"] == split:
            try:
                rows.append(layout.make_row(root, split, meta))
            except ValueError as error:
                raise ValueError(f"{path} line {meta.line}: {error}") from error
    if not rows:
        raise ValueError(f"{path} has no video of split {split!r}; it has {counts}")
    return rows


def subsets_of(root: str | os.PathLike) -> dict[str, list[str]]:
    """The subsets whose table lies under `root`, by name, and their splits that have a video.

    Raises:
        ValueError: a table is malformed, or there is none.
    """
    found = {}
    for name, layout in LAYOUTS.items():
        path = Path(root).expanduser() / layout.meta_file
        if path.is_file():
            used = {meta.named["split"] for meta in _read_meta(path, path.read_bytes(), layout)}
            found[name] = [split for split in SPLITS if split in used]
    if not found:
        tables = ", ".join(layout.meta_file for layout in LAYOUTS.values())
        raise ValueError(f"root must hold AVSBench, so one of {tables}; got {str(root)!r}")
    return found


def _write_table(rows: list[dict], path: Path) -> None:
    """Writes the rows as an Arrow stream, whole or not at all.

    Not `Dataset.from_generator`: encoding an Audio column there needs torchcodec even for a bare path.
    """
    table = pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)
        follow_umask([temporary])
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _check_files(dataset: Dataset, name: str) -> None:
    """Raises FileNotFoundError for the first file, in the order of clips, that is not there."""
    columns = dataset.data.select(["clip_id", "frames", "masks", "audio"])
    with tqdm(total=len(dataset), desc=f"checking {name}", unit="clip", delay=2, leave=False) as bar:
        for batch in columns.to_batches(max_chunksize=200):
            for row in batch.to_pylist():
                for kind in ("frames", "masks", "audio"):
                    for value in row[kind] if kind != "audio" else [row[kind]]:
                        if not os.path.isfile(value["path"]):
                            raise FileNotFoundError(
                                f"AVSBench {name} is missing {value['path']} ({kind} of clip {row['clip_id']!r})"
                            )
            bar.update(len(batch))


def load_avsbench(
    root: str | os.PathLike,
    name: str,
    split: str,
    cache_dir: str | os.PathLike | None = None,
    check_files: bool = True,
) -> Dataset:
    """One split of AVSBench, or of a data set in its layout such as the composer's, or of `auss prepare`'s shards.

    Nothing is decoded here: a row's pictures are opened when the row is read, its sound by `decode_clip`. The table
    of paths is cached as an Arrow file under the hash of root, name, split and the meta file's content. The `.pkl`
    files that the authors also ship are never opened.

    Args:
        root: the folder that holds `Single-source`, `Multi-sources` or, for avss, `metadata.csv`; or one that
            `auss prepare` made, or its copy on the Hub, `hf://datasets/OWNER/NAME`.
        name: "s4" (one sounding object, of a named category), "ms3" (several) or "avss" (71 classes).
        split: "train", "val" or "test".
        cache_dir: where the table, or the shards' Arrow copy, is kept; `datasets`' own cache folder unless told.
        check_files: look for every file of every clip. False saves the time on a slow network disk.

    Returns:
        A Dataset with the columns clip_id (string), category (string, "" in ms3), frames (pictures in time order),
        masks (pictures of the annotated frames), annotated_frames (their indices among the frames, from 0) and audio
        ({"path", "bytes"}, not decoded). Train clips of s4, and of avss' v1s, annotate their first frame only. Avss
        masks are pictures in the colours of `avss_palette`.

    Raises:
        ValueError: name or split is unknown, the meta file is malformed or has no video of this split.
        FileNotFoundError: the first missing file, by its path.
    """
    if name not in LAYOUTS:
        raise ValueError(f"name must be one of {', '.join(LAYOUTS)}, got {name!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if is_sharded(root, name):
        return load_shards(root, name, split, cache_dir)
    layout = LAYOUTS[name]
    root = Path(os.path.abspath(Path(root).expanduser()))
    meta_file = root / layout.meta_file
    if not meta_file.is_file():
        raise FileNotFoundError(f"AVSBench {name} is missing {meta_file} (root is {root})")
    if name == "avss":
        read_class_names(root)  # raises where label2idx.json is missing or wrong
    content = meta_file.read_bytes()

    key = json.dumps([ROWS_VERSION, str(root), name, split, hashlib.sha256(content).hexdigest()])
    cache_dir = Path(cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "auss_avsbench")
    cache_file = cache_dir / f"{name}-{split}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.arrow"
    if not cache_file.is_file():
        _write_table(_make_rows(root, split, layout, content), cache_file)
    dataset = Dataset.from_file(str(cache_file), split=datasets.NamedSplit(split))
    if check_files:
        _check_files(dataset, name)
    return dataset


__all__ = ["FEATURES", "LABEL_FILE", "LAYOUTS", "SPLITS", "load_avsbench", "subsets_of"]
