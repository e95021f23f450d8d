"""`auss prepare` writes AVSBench as Parquet shards with a data set card, ready to be loaded, streamed or pushed to the
Hub.

OUT has the layout of a data repository of the Hub: README.md, the card, names the shards of each subset and split, and
the shards are `SUBSET/SPLIT-00000-of-00032.parquet`. Frames, masks and sounds keep the bytes of their files. They are
not encoded again.
"""

import argparse
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import datasets
import pyarrow as pa
from datasets.table import embed_table_storage
from huggingface_hub import DatasetCardData
from tqdm import tqdm

from ...files.errors import InputError
from ...files.new_contents import NewContents, entries
from ...files.outside_text import markdown_text, python_string, shell_word
from ...hub.model_card import TASK
from ..command_arguments import DEFAULT_SHARDS
from ..recorded_results import data_name
from .avsbench import LABEL_FILE, load_avsbench, splits_of, subsets_of
from .avsbench_layouts import OUT_OF_AVSS, find_layout
from .avss_palette import read_class_names
from .clips import decode_clip

logger = logging.getLogger(__name__)

SCRATCH = ".preparing-"  # earlier releases left such folders in OUT when they were killed
CARD_FILE = "README.md"
SHUFFLE_SEED = 0
# A reader holds this much of each open shard in memory. Each worker opens up to ten shards at once.
ROW_GROUP_BYTES = 16 * 2**20
COLUMNS = {
    "clip_id": "the video's name",
    "category": 'what sounds; "" in MS3',
    "frames": "the pictures of the clip, in time order",
    "masks": "the pictures of the annotated frames' masks",
    "annotated_frames": "their indices among the frames, from 0",
    "audio": "the sound file, not decoded",
}

CARD_TEXT = """
# {title}

Audio-visual segmentation: short videos with their sound, and masks of what is making it. Written by `{command}`
from {origin}.

| subset | split | clips | shards | MB |
| --- | --- | ---: | ---: | ---: |
{table}

## Columns

| column | what it holds |
| --- | --- |
{columns}

The clips of `train` stand in random order, those of the other splits in that of the source.

## Use

```python
from datasets import load_dataset

# This folder, or OWNER/NAME on the Hub
clips = load_dataset({code_title}, "{subset}", split="{split}", streaming=True)
clips = load_dataset("parquet", data_files={code_files}, split="train")  # its files
```

```bash
auss train --data {shell_title} --name {subset} --streaming --output RUN
```

## Licence

{licence}
"""
PREPARED_LICENCE = (
    "That of the source. The authors of AVSBench send it on request: share a copy of it with others only if they "
    "allow it."
)


@dataclass(frozen=True)
class SplitFacts:
    """The facts about a split for the card. Bytes are counted in memory, which is about the size on disk."""

    name: str
    split: str
    clips: int
    shards: int
    num_bytes: int


def check_shards_folder(out: Path) -> None:
    """Raises ValueError unless `out` is new or empty. Folders that a killed run left do not count."""
    if out.exists() and not out.is_dir():
        raise InputError(f"out must be a new or an empty folder, and {out} is a file; nothing was written")
    if any(not path.name.startswith(SCRATCH) for path in entries(out)):
        raise InputError(f"out must be a new or an empty folder, and {out} has files; nothing was written")


def warn_of_outside_files(dataset: datasets.Dataset, root: Path, name: str) -> None:
    """Warns if links lead out of the root folder: their files are packed as well, and may be shared with others."""
    inside = os.path.realpath(root) + os.sep
    folders: dict[str, str] = {}
    outside = []
    table = cast(pa.Table, dataset.select_columns(["frames", "masks", "audio"]).with_format("arrow")[:])
    for columns in table.to_pylist():
        for value in (*columns["frames"], *columns["masks"], columns["audio"]):
            folder, file = os.path.split(value["path"])
            folder = folders.setdefault(folder, os.path.realpath(folder))
            target = os.path.join(folder, file)
            target = os.path.realpath(target) if os.path.islink(target) else target
            if not target.startswith(inside):
                outside.append((value["path"], target))
    if outside:
        logger.warning(
            "%s: %d files are links that lead out of %s, as %s to %s. They are packed like all others: look at them "
            "before you share the shards",
            name,
            len(outside),
            root,
            *outside[0],
        )


def checked_shard(shard: datasets.Dataset, num_labels: int) -> datasets.Dataset:
    """Returns a shard with the bytes of its files. Each file is decoded once to check it.

    Raises:
        ValueError: a picture, mask or sound is damaged, empty or unfit. The error names the clip and the file.
    """
    for index in range(len(shard)):
        decode_clip(shard[index], num_labels=num_labels)
    return shard.map(embed_table_storage, batched=True, batch_size=len(shard), keep_in_memory=True)


def write_split(root: Path, folder: Path, name: str, split: str, shards: int) -> SplitFacts:
    """Writes the shards of a split of AVSBench into `folder`."""
    dataset = load_avsbench(root, name, split)
    warn_of_outside_files(dataset, root, name)
    num_labels = len(read_class_names(root)) if name == "avss" else 2
    return write_shards(dataset, folder, name, split, shards, num_labels)


def write_shards(
    dataset: datasets.Dataset, folder: Path, name: str, split: str, shards: int, num_labels: int
) -> SplitFacts:
    """Writes the shards of a split into `folder`: `shards` of them, but not more than the split has clips.

    Args:
        dataset: rows as `load_avsbench` returns them.
        folder: the existing folder of the subset.
        name, split: what the rows are, for the names of the files.
        num_labels: the number of labels of the masks.

    Raises:
        ValueError: a file of a clip cannot be decoded. The error names the clip and the file.
    """
    if split == "train":
        # Shuffle here, because a stream is only shuffled among neighbours and tables are often sorted by category.
        dataset = dataset.shuffle(seed=SHUFFLE_SEED)
    shards = min(shards, len(dataset))
    total = 0
    with tqdm(total=len(dataset), desc=f"{name} {split}", unit="clip") as bar:
        for index in range(shards):
            shard = checked_shard(dataset.shard(shards, index, contiguous=True).with_format("arrow"), num_labels)
            size = shard.data.nbytes
            path = folder / f"{split}-{index:05d}-of-{shards:05d}.parquet"
            shard.to_parquet(path, batch_size=max(1, len(shard) * ROW_GROUP_BYTES // size))
            total += size
            bar.update(len(shard))
    return SplitFacts(name, split, len(dataset), shards, total)


def card_metadata(splits: Sequence[SplitFacts]) -> str:
    """Returns the YAML head of the card. `load_dataset` finds the shards and their number of clips by it."""
    configs, info = [], []
    for name in dict.fromkeys(facts.name for facts in splits):
        mine = [facts for facts in splits if facts.name == name]
        files = [{"split": facts.split, "path": f"{name}/{facts.split}-*.parquet"} for facts in mine]
        configs.append({"config_name": name, "data_files": files})
        counts = [{"name": facts.split, "num_bytes": facts.num_bytes, "num_examples": facts.clips} for facts in mine]
        info.append({"config_name": name, "splits": counts})
    data = DatasetCardData(tags=[TASK, "auss", "video", "audio"], configs=configs, dataset_info=info)
    return f"---\n{data.to_yaml()}\n---\n"


def data_card_text(splits: Sequence[SplitFacts], root: str | Path, title: str) -> str:
    """Returns the whole card of `auss prepare`. `root` is the source of the clips."""
    origins = dict.fromkeys(data_name(facts.name, str(root)) for facts in splits)
    return filled_card(splits, title, "auss prepare", "; ".join(origins), PREPARED_LICENCE)


def filled_card(splits: Sequence[SplitFacts], title: str, command: str, origin: str, licence: str) -> str:
    """Returns the whole card of a data set of shards.

    Args:
        splits: the facts about the splits.
        title: the name of the data set.
        command: the command that wrote it.
        origin: where the clips are from, in words that end the sentence "Written by ... from".
        licence: the sentences about the licence.
    """
    table = [
        f"| {facts.name} | {facts.split} | {facts.clips} | {facts.shards} | {facts.num_bytes / 1e6:.0f} |"
        for facts in splits
    ]
    columns = [f"| {name} | {meaning} |" for name, meaning in COLUMNS.items()]
    text = CARD_TEXT.format(
        title=markdown_text(title),
        code_title=python_string(title),
        code_files=python_string(f"{title}/{splits[0].name}/{splits[0].split}-*.parquet"),
        shell_title=shell_word(title),
        command=command,
        origin=origin,
        licence=licence,
        table="\n".join(table),
        columns="\n".join(columns),
        subset=splits[0].name,
        split=splits[0].split,
    )
    return card_metadata(splits) + text


def prepare_data_set(
    root: str | Path, out: str | Path, names: Sequence[str] | None = None, shards: int = DEFAULT_SHARDS
) -> list[SplitFacts]:
    """Writes AVSBench, or a data set in its layout, as Parquet shards with a card. If the run is stopped, `out` stays
    unchanged. Every file is decoded once, so a damaged file raises an error here and not during training.

    Args:
        root: the folder that `load_avsbench` reads.
        out: a new or an empty folder.
        names: subsets among "s4", "ms3" and "avss". The default is every subset that `root` has.
        shards: the number of files of each split, at least 1. A split with fewer clips has one file for each clip.
            Processes and workers share the files, so the number should be a multiple of the number of all workers.

    Returns:
        The number of clips, shards and bytes of each split that has clips.

    Raises:
        FileExistsError: another process is preparing into `out`.
        ValueError: `out` has files, `shards` is less than 1, `root` lacks a subset of `names` or is malformed, or a
            file cannot be decoded. The error names the clip and the file.
        FileNotFoundError: a file of a clip is missing. The error names the first one.
    """
    root, out = Path(root).expanduser(), Path(out).expanduser()
    if shards < 1:
        raise InputError(f"shards must be at least 1, got {shards}")
    check_shards_folder(out)
    found = subsets_of(root)
    wanted = list(found) if names is None else list(dict.fromkeys(names))
    # AVSS also holds the clips of S4 and MS3; they are only packed separately if the caller asks for them
    if "avss" in found:
        found |= {name: splits_of(root, name) for name in wanted if name in OUT_OF_AVSS and name not in found}
    lacking = [name for name in wanted if name not in found]
    if lacking or not wanted:
        raise InputError(f"names must be of those that {root} has, {', '.join(found)}; got {wanted}")
    datasets.disable_progress_bars()
    with NewContents(out) as folder:
        splits = []
        for name in wanted:
            (folder.new / name).mkdir()
            splits += [write_split(root, folder.new / name, name, split, shards) for split in found[name]]
        if "avss" in wanted:
            shutil.copyfile(find_layout(root, "avss")[1].with_name(LABEL_FILE), folder.new / LABEL_FILE)
        (folder.new / CARD_FILE).write_text(data_card_text(splits, root, out.resolve().name), encoding="utf-8")
        check_shards_folder(out)  # check again: another program may have written into the folder meanwhile
        folder.install(last=[CARD_FILE])  # the card comes last and marks the set as complete
    return splits


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    splits = prepare_data_set(arguments.root, arguments.out, arguments.names, arguments.shards)
    for facts in splits:
        size = facts.num_bytes / 1e6
        print(f"{facts.name:5}{facts.split:6}{facts.clips:7} clips{facts.shards:5} shards{size:9.1f} MB")
    print(f"card  {Path(arguments.out) / CARD_FILE}")
    return 0


__all__ = ["CARD_FILE", "SplitFacts", "filled_card", "prepare_data_set", "run", "write_shards"]
