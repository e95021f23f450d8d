"""Finds the files of AVSBench under a root folder, in each of the layouts in which people keep it.

The authors ship AVSBench-object as `Single-source` and `Multi-sources`. They ship AVSBench-semantic with one folder
for each clip.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...files.errors import InputError
from .avss_palette import AVSS_FOLDERS
from .meta_tables import MetaRow, checked_name, read_meta_table, rows_of_split

FRAMES_PER_CLIP = 5
# AVSS's folders and the frames of their clips: 5 s from S4 and MS3, 10 s newly collected.
AVSS_FRAMES = {"v1s": 5, "v1m": 5, "v2": 10}
# A row has this `mask_kind` if its masks hold classes but the task only asks for "sounding": every class but 0 sounds.
CLASS_MASKS = "classes"
# Copies of the data set hold frames with one of these suffixes. The first file of a split decides.
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
LABEL_FOLDERS = ("labels_rgb", "labels_semantic")


@dataclass(frozen=True)
class Place:
    """The place of a subset: its table, the folder of its files, and the variants of the files found there."""

    table: Path
    data: Path
    frame_suffix: str = ".png"
    label_folder: str = LABEL_FOLDERS[0]


@dataclass(frozen=True)
class Layout:
    """How a subset is found and read.

    Args:
        table_file: its csv.
        folders: the folders under the root that may hold the csv.
        data_folder: the folder beside the csv that holds the files. If this folder does not exist, the files lie
            beside the csv.
        columns: the column names that the csv must have.
        min_columns: the least number of columns of the csv.
        frame_suffix: the suffix of the authors' frames.
        make_row: makes a row from a place, a split and a line of the csv.
        label: if given, only lines with this `label` belong to the subset.
    """

    table_file: str
    folders: tuple[str, ...]
    data_folder: str
    columns: tuple[str, ...]
    min_columns: int
    frame_suffix: str
    make_row: Callable[[Place, str, MetaRow], dict]
    label: str | None = None


def stored_row(clip_id: str, category: str, frames: list[Path], masks: dict[int, Path], audio: Path) -> dict:
    """Makes a row of the files of a clip. `masks` has the mask of each annotated frame by the frame's index."""

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


def _s4_row(place: Place, split: str, meta: MetaRow) -> dict:
    clip = checked_name(meta.cells[0], "the video's name")
    category = checked_name(meta.named.get("category") or meta.cells[2], "the category")
    home = Path(split, category, clip)
    names = [f"{clip}_{number}" for number in range(1, FRAMES_PER_CLIP + 1)]
    annotated = names[:1] if split == "train" else names
    return stored_row(
        clip,
        category,
        frames=[place.data / "visual_frames" / home / f"{name}{place.frame_suffix}" for name in names],
        masks={index: place.data / "gt_masks" / home / f"{name}.png" for index, name in enumerate(annotated)},
        audio=place.data / "audio_wav" / split / category / f"{clip}.wav",
    )


def _ms3_row(place: Place, split: str, meta: MetaRow) -> dict:
    clip = checked_name(meta.cells[0], "the video's name")
    numbers = range(1, FRAMES_PER_CLIP + 1)
    return stored_row(
        clip,
        "",
        frames=[place.data / "visual_frames" / clip / f"{clip}.mp4_{n}{place.frame_suffix}" for n in numbers],
        masks={n - 1: place.data / "gt_masks" / split / clip / f"{clip}_{n}.png" for n in numbers},
        audio=place.data / "audio_wav" / split / f"{clip}.wav",
    )


def _avss_row(place: Place, split: str, meta: MetaRow) -> dict:
    clip, subset = checked_name(meta.named["uid"], "the uid"), meta.named["label"]
    if subset not in AVSS_FRAMES:
        raise InputError(f"label {subset!r}; expected one of {', '.join(AVSS_FRAMES)}")
    home = place.data / subset / clip
    count = AVSS_FRAMES[subset]
    annotated = 1 if (subset, split) == ("v1s", "train") else count
    return stored_row(
        clip,
        meta.named.get("a_obj", ""),
        frames=[home / "frames" / f"{index}{place.frame_suffix}" for index in range(count)],
        masks={index: home / place.label_folder / f"{index}.png" for index in range(annotated)},
        audio=home / "audio.wav",
    )


def _s4_of_avss_row(place: Place, split: str, meta: MetaRow) -> dict:
    return {**_avss_row(place, split, meta), "mask_kind": CLASS_MASKS}


def _ms3_of_avss_row(place: Place, split: str, meta: MetaRow) -> dict:
    return {**_s4_of_avss_row(place, split, meta), "category": ""}


def _object_folders(folder: str, data_folder: str) -> tuple[str, ...]:
    """Returns the folders that may hold the csv of S4 or MS3. The root may be `folder`, hold it, or hold all of
    AVSBench. The csv may also lie in the data folder."""
    above = ("AVSBench-object", "AVSBench_object", "avsbench_data")
    return (folder, "", f"{folder}/{data_folder}", data_folder, *(f"{name}/{folder}" for name in above))


LAYOUTS = {
    "s4": Layout(
        "s4_meta_data.csv", _object_folders("Single-source", "s4_data"), "s4_data", ("split",), 3, ".png", _s4_row
    ),
    "ms3": Layout(
        "ms3_meta_data.csv", _object_folders("Multi-sources", "ms3_data"), "ms3_data", ("split",), 2, ".png", _ms3_row
    ),
    "avss": Layout("metadata.csv", AVSS_FOLDERS, "", ("uid", "split", "label"), 3, ".jpg", _avss_row),
}
# AVSS holds the clips of S4 and MS3 too, with masks of classes.
OUT_OF_AVSS = {
    "s4": Layout("metadata.csv", AVSS_FOLDERS, "", ("uid", "split", "label"), 3, ".jpg", _s4_of_avss_row, "v1s"),
    "ms3": Layout("metadata.csv", AVSS_FOLDERS, "", ("uid", "split", "label"), 3, ".jpg", _ms3_of_avss_row, "v1m"),
}


def find_table(root: Path, layout: Layout) -> Path | None:
    """Returns the csv of a subset under `root`, or None. If the root is the data folder itself, the csv lies beside
    it."""
    folders = [root / folder for folder in layout.folders]
    if layout.data_folder and root.name == layout.data_folder:
        folders.append(root.parent)
    return next((folder / layout.table_file for folder in folders if (folder / layout.table_file).is_file()), None)


def find_layout(root: Path, name: str) -> tuple[Layout, Path]:
    """Returns the layout of a subset under `root`, and its csv.

    Raises:
        FileNotFoundError: there is no such csv.
    """
    candidates = [LAYOUTS[name], *([OUT_OF_AVSS[name]] if name in OUT_OF_AVSS else [])]
    for layout in candidates:
        table = find_table(root, layout)
        if table is not None:
            return layout, table
    expected = root / LAYOUTS[name].folders[0] / LAYOUTS[name].table_file
    others = [folder or "." for folder in LAYOUTS[name].folders[1:]]
    raise FileNotFoundError(
        f"AVSBench {name} is missing {expected} (root is {root}); it was looked for in {', '.join(others)} of the "
        "root too" + (", and so was metadata.csv of avss, which holds the same clips" if len(candidates) > 1 else "")
    )


def _place(layout: Layout, table: Path, split: str, first: MetaRow) -> Place:
    """Finds the files and their variant by looking at the files of the first clip."""
    data = table.parent / layout.data_folder
    if not data.is_dir() and (table.parent / "visual_frames").is_dir():
        data = table.parent
    place = Place(table, data, layout.frame_suffix)
    for suffix in (layout.frame_suffix, *FRAME_SUFFIXES):
        row = layout.make_row(Place(table, data, suffix), split, first)
        if row["frames"] and os.path.isfile(row["frames"][0]["path"]):
            place = Place(table, data, suffix)
            break
    for folder in LABEL_FOLDERS:
        row = layout.make_row(Place(table, data, place.frame_suffix, folder), split, first)
        if row["masks"] and os.path.isfile(row["masks"][0]["path"]):
            return Place(table, data, place.frame_suffix, folder)
    return place


def split_rows(root: Path, name: str, split: str) -> list[dict]:
    """Makes a row for each line of a split of a subset under `root`.

    Raises:
        FileNotFoundError: there is no csv of this subset.
        ValueError: the csv is malformed, has no video of this split, or leads out of the data set's folder. A cell
            that cannot become a path under the root, and an unknown label, are named by their line.
    """
    layout, table = find_layout(root, name)
    lines = read_meta_table(table, table.read_bytes(), layout.columns, layout.min_columns)
    if layout.label is not None:
        lines = [meta for meta in lines if meta.named["label"] == layout.label]
    lines = rows_of_split(table, lines, split)
    rows, meta = [], lines[0]
    try:
        place = _place(layout, table, split, meta)
        for meta in lines:
            rows.append(layout.make_row(place, split, meta))
    except InputError as error:
        raise InputError(f"{table} line {meta.line}: {error}") from error
    return rows


def missing_file_hint(path: str, kind: str) -> str:
    """Returns advice about a missing file if there is any, and "" otherwise.

    The authors ship log-mels as pickles, and some copies hold only the pickles. A pickle can run code when it is
    opened, so auss never opens one.
    """
    if kind == "masks" and "labels_rgb" in Path(path).parts:
        return "; labels_semantic was looked for too"
    if kind != "audio":
        return ""
    places = (path, path.replace("audio_wav", "audio_log_mel"))
    pickles = [place for place in (os.path.splitext(one)[0] + ".pkl" for one in places) if os.path.isfile(place)]
    if not pickles:
        return ""
    return (
        f". There is the log-mel pickle {pickles[0]}, but auss opens no pickles, since they can run code. Make the "
        f"wav from the clip's video, `ffmpeg -i VIDEO -vn -ar 16000 {os.path.basename(path)}`, or ask the authors of "
        "AVSBench for the sounds"
    )


__all__ = [
    "CLASS_MASKS",
    "LAYOUTS",
    "OUT_OF_AVSS",
    "Layout",
    "find_layout",
    "find_table",
    "missing_file_hint",
    "split_rows",
    "stored_row",
]
