"""`auss import` makes a data set of the user's own videos and labels, as Parquet shards that `auss train` reads.

OUT has the layout that `auss prepare` writes: README.md, the card, and `s4/SPLIT-00000-of-00001.parquet`. Beside them
lie `contact_sheet.png`, which shows the clips with their masks, and `import.json`, which says where each clip is from.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image
from tqdm import tqdm

from ...configuration.configuration_auss import IGNORED_LABEL
from ...files.errors import InputError
from ...files.file_names import fitting_name, printable
from ...files.new_contents import NewContents, entries
from ...files.outside_text import shell_word
from ...processing.drawing import contact_sheet
from ...train.composer.avsbench_writer import wav_bytes
from ...train.data.avsbench import SPLITS, rows_table
from ...train.data.avsbench_layouts import stored_row
from ...train.data.parquet_writer import CARD_FILE, SplitFacts, filled_card, write_shards
from ...train.recorded_results import is_made_by
from ..media.video_reader import VideoReader
from ..segment_folder import list_videos
from .arguments import CLIP_SECONDS, FRAME_SIDE, FRAMES_PER_SECOND, SPLIT_SHARES, UNLABELLED
from .clip_cutter import ClipCutter, ClipShape, CutClip
from .label_files import read_labels
from .labels import FrameLabels, Notes, chosen_regions
from .splits import same_videos, split_videos
from .video_names import Numbering, VideoNames, clip_name, moment_of_name

SUBSET = "s4"  # the name of subset under which `auss train` reads the set by default
SHEET_FILE, RECORD_FILE, SOURCE = "contact_sheet.png", "import.json", "auss import"
SHEET_CLIPS, SHEET_COLUMNS, SHEET_FRAMES = 24, 2, 5
MOST_SHARDS, CLIPS_OF_A_SHARD = 32, 16
# A mask that covers more than this share of the picture may have its inside and outside exchanged.
NEARLY_ALL = 0.97
LONGEST_TITLE = 60
OPTIONS = ("seconds", "fps", "size", "label_fps", "first_number", "sounding", "unlabelled", "split", "seed")
OPTIONS += ("skip_bad", "overwrite")
MADE_OF = "videos and labels of its maker's own"
LICENCE = "That of the videos. Share them with others only if you may."


@dataclass(frozen=True)
class ImportedClip:
    """A clip whose files are written: its row for the data set, and what `import.json` says about it."""

    row: dict[str, Any]
    facts: dict[str, Any]

    @property
    def video(self) -> str:
        return self.facts["video"]


@dataclass(frozen=True)
class ImportResult:
    """What `import_data_set` has written: the splits, the clips as in `import.json`, and the warnings."""

    splits: list[SplitFacts]
    clips: list[dict[str, Any]]
    warnings: list[str]


def is_imported(out: Path) -> bool:
    """Tells whether a file in the folder says that this command made the folder."""
    return is_made_by(SOURCE, out / RECORD_FILE)


def check_import_folder(out: Path, overwrite: bool) -> None:
    """Refuses a folder with files. A set that this command made may be replaced if `overwrite` is set."""
    if out.exists() and not out.is_dir():
        raise InputError(f"output must be a new or an empty folder, and {out} is a file; nothing was written")
    if not entries(out) or (overwrite and is_imported(out)):
        return
    hint = "--overwrite replaces a set that was imported before"
    if overwrite:
        hint = f"overwrite replaces only what `auss import` made, and it has no {RECORD_FILE} that says so"
    raise InputError(f"output must be a new or an empty folder, and {out} is not empty; nothing was written ({hint})")


def labels_by_video(
    frames: Sequence[FrameLabels], videos: VideoNames, numbering: Numbering, notes: Notes
) -> dict[str, list[FrameLabels]]:
    """Finds the video and the moment of every label. A label that names none is noted as a problem."""
    found: dict[str, list[FrameLabels]] = defaultdict(list)
    for one in frames:
        try:
            video, rest = videos.find([name for name in one.names if name])
            moment = one.moment if one.moment is not None else moment_of_name(rest, numbering)
        except InputError as error:
            notes.problem(f"{one.origin}: {error}")
            continue
        found[video].append(replace(one, moment=moment))
    without = [name for name in videos.names if name not in found]
    if without and found:
        notes.warn(f"{len(without)} videos have no label and are left out, such as {without[0]}")
    return found


def note_clip(video: str, clip: CutClip, has_audio: bool, notes: Notes) -> None:
    """Notes what is suspicious about a clip's masks and its sound."""
    marked = {index: float(mask.mean()) for index, mask in clip.masks.items()}
    if max(marked.values()) > 0 and not has_audio:
        notes.problem(
            f"{video}: it has no sound track, but masks of what sounds ({next(iter(clip.labels.values())).origin})"
        )
    elif max(marked.values()) > 0 and clip.silent:
        end = clip.start + clip.seconds
        notes.warn(f"{video}: it is silent from {clip.start:g} s to {end:g} s, but masks say that something sounds")
    full = [clip.labels[index].origin for index, share in marked.items() if share > NEARLY_ALL]
    if full:
        notes.warn(f"{full[0]}: the mask covers nearly the whole picture; are its inside and outside exchanged?")


def category_of(video: str, clip: CutClip) -> str:
    """Returns what sounds in a clip: its labels, or else the folder of its video, unless that is a split."""
    folders = [folder for folder in video.split("/")[:-1] if folder not in SPLITS]
    return "+".join(clip.label_names) or (folders[-1] if folders else "")


def write_staged_clip(folder: Path, video: str, clip: CutClip, clip_id: str) -> ImportedClip:
    """Writes the files of a clip, from which the shards are made, into a new folder."""
    folder.mkdir()
    frames, masks = [], {}
    for index, content in enumerate(clip.frames):
        frames.append(folder / f"frame_{index}.jpg")
        frames[-1].write_bytes(content)
    for index, mask in clip.masks.items():
        masks[index] = folder / f"mask_{index}.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(masks[index])
    (folder / "sound.wav").write_bytes(wav_bytes(np.clip(clip.waveform, -1, 1), clip.sampling_rate))
    category = category_of(video, clip)
    facts = {
        "clip_id": clip_id,
        "video": video,
        "start": clip.start,
        "seconds": round(clip.seconds, 3),
        "category": category,
        "frames": len(frames),
        "labelled": {str(index): printable(one.origin) for index, one in clip.labels.items()},
        "marked": {str(index): round(float(mask.mean()), 4) for index, mask in clip.masks.items()},
    }
    return ImportedClip(stored_row(clip_id, category, frames, masks, folder / "sound.wav"), facts)


def cut_video(
    folder: Path, videos: Path, video: str, labels: list[FrameLabels], shape: ClipShape, notes: Notes, taken: set[str]
) -> list[ImportedClip]:
    """Cuts a video and writes its clips. A video that cannot be used is noted as a problem."""
    before, clips = len(notes.problems), []
    try:
        reader = VideoReader(videos / video)
        cutter = ClipCutter(reader, labels, shape, notes)
        for clip in cutter.clips():
            note_clip(video, clip, reader.info.has_audio, notes)
            clip_id = unused_name(video, clip.number, taken)
            # The folder has a number as its name, since names of videos may be too long.
            clips.append(write_staged_clip(folder / str(len(taken)), video, clip, clip_id))
        damage = reader.problems()
    except (InputError, FileNotFoundError, IsADirectoryError, PermissionError) as error:
        notes.problem(error)
        return []
    if damage:
        notes.problem(f"{video}: it is damaged: {'; '.join(damage)}")
        return []
    for warning in reader.info.warnings:
        notes.warn(f"{video}: {warning}")
    if cutter.crowded:
        notes.warn(
            f"{video}: {cutter.crowded} labelled frames are not used, since a clip has {shape.fps:g} frames a second: "
            "a larger --fps takes more of them"
        )
    if clips and not any(share for clip in clips for share in clip.facts["marked"].values()):
        notes.warn(f"{video}: all of its masks are empty, so nothing sounds in it")
    silent = len(notes.problems) > before and not reader.info.has_audio
    return [] if silent else clips


def unused_name(video: str, number: int, taken: set[str]) -> str:
    """Returns a new name for a clip. Names of videos may differ only in characters that the names of clips lack."""
    wanted, copy = clip_name(video, number), 1
    name = fitting_name(wanted, ".parquet").removesuffix(".parquet")
    while name in taken:
        copy += 1
        name = fitting_name(f"{wanted}_{copy}", ".parquet").removesuffix(".parquet")
    taken.add(name)
    return name


def cut_videos(
    folder: Path, videos: Path, labels: dict[str, list[FrameLabels]], shape: ClipShape, notes: Notes
) -> dict[str, list[ImportedClip]]:
    """Cuts all videos that have labels, and writes their clips into a new folder. Leaves out videos without a clip."""
    folder.mkdir()
    clips, taken = {}, set()
    for video in tqdm(sorted(labels), "import", unit="video"):
        clips[video] = cut_video(folder, videos, video, labels[video], shape, notes, taken)
    return {video: cut for video, cut in clips.items() if cut}


def drawn_clip(clip: ImportedClip, split: str) -> dict[str, Any]:
    """Returns a clip for `contact_sheet`, read from its files."""
    frames = [np.asarray(Image.open(frame["path"], formats=["PNG", "JPEG"])) for frame in clip.row["frames"]]
    labels = np.full((len(frames), *frames[0].shape[:2]), IGNORED_LABEL, dtype=np.uint8)
    for index, mask in zip(clip.row["annotated_frames"], clip.row["masks"], strict=True):
        labels[index] = np.asarray(Image.open(mask["path"], formats=["PNG"])) >= 128
    title = f"{split}: {clip.row['clip_id']} {clip.row['category']}".strip()
    return {"title": printable(title)[:LONGEST_TITLE], "frames": np.stack(frames), "labels": labels}


def draw_label_sheet(clips: dict[str, list[ImportedClip]], path: Path) -> None:
    """Draws a contact sheet of clips that are spread evenly over all of them."""
    listed = [(split, clip) for split, found in clips.items() for clip in found]
    count = min(SHEET_CLIPS, len(listed))
    chosen = [listed[index * len(listed) // count] for index in range(count)]
    contact_sheet([drawn_clip(clip, split) for split, clip in chosen], path, SHEET_COLUMNS, max_frames=SHEET_FRAMES)


def write_imported_set(new: Path, title: str, clips: dict[str, list[ImportedClip]]) -> list[SplitFacts]:
    """Writes the shards, the card and the contact sheet into a new folder."""
    datasets.disable_progress_bars()
    (new / SUBSET).mkdir()
    splits = []
    for split, found in clips.items():
        table = rows_table([clip.row for clip in found], split)
        shards = min(MOST_SHARDS, max(1, len(found) // CLIPS_OF_A_SHARD))
        splits.append(write_shards(table, new / SUBSET, SUBSET, split, shards, num_labels=2))
    draw_label_sheet(clips, new / SHEET_FILE)
    card = filled_card(splits, title, SOURCE, MADE_OF, LICENCE)
    (new / CARD_FILE).write_text(card, encoding="utf-8")
    return splits


def clips_by_split(
    clips: dict[str, list[ImportedClip]], videos: Path, shares: Sequence[int], seed: int, notes: Notes
) -> dict[str, list[ImportedClip]]:
    """Shares the clips out over the splits, video by video."""
    categories = {
        video: Counter(clip.facts["category"] for clip in found).most_common(1)[0][0] for video, found in clips.items()
    }
    chosen = split_videos(same_videos(videos, sorted(clips), notes), categories, shares, seed)
    found = {
        split: [clip for video in sorted(clips) for clip in clips[video] if chosen[video] == split] for split in SPLITS
    }
    if not found["train"]:
        raise InputError("no video is left for train: put videos outside of the folders val and test")
    return {split: listed for split, listed in found.items() if listed}


def import_data_set(
    videos: str | Path,
    labels: Sequence[str | Path],
    out: str | Path,
    *,
    seconds: float = CLIP_SECONDS,
    fps: float = FRAMES_PER_SECOND,
    size: int = FRAME_SIDE,
    label_fps: float | None = None,
    first_number: int = 0,
    sounding: list[str] | None = None,
    unlabelled: str = UNLABELLED[0],
    split: Sequence[int] = SPLIT_SHARES,
    seed: int = 0,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> ImportResult:
    """Makes a data set of videos and labels. If the run is stopped, `out` stays unchanged.

    Args:
        videos: a folder of videos, searched with its subfolders.
        labels: folders of masks, and files of COCO, Label Studio and CVAT, as `read_labels` takes them.
        out: a new or an empty folder.
        seconds, fps: the length of a clip, and its frames a second. seconds x fps must be a whole number.
        size: frames are scaled down to this shorter side in pixels; 0 keeps every size.
        label_fps: the rate at which the labelled pictures were taken from the videos. None: the numbers in their names
            count the frames of the video.
        first_number: the number of the first picture.
        sounding: the labels that mark what sounds; None means all labels.
        unlabelled: "skip" leaves out a frame that a file lists without a label. "silent": nothing sounds in it.
        split, seed: the percentages of videos for train, val and test, and the seed of their choice.
        skip_bad: True leaves out what cannot be used, with a warning. False raises an error that lists it.
        overwrite: True replaces a set that was imported into `out` before.

    Raises:
        FileNotFoundError, NotADirectoryError: `videos` or a path of `labels` does not exist.
        ValueError: `out` has files; a label or a video cannot be used, and the error names each of them; no label is
            left; or there are too few videos to split. Nothing is written then.
    """
    videos, out, notes = Path(videos).expanduser(), Path(out).expanduser(), Notes()
    check_import_folder(out, overwrite)
    names = VideoNames(list_videos(videos, out))
    numbering, paths = Numbering(label_fps, first_number), [Path(path).expanduser() for path in labels]
    frames = chosen_regions(read_labels(paths, numbering, unlabelled == "silent", fps, notes), sounding)
    found = labels_by_video(frames, names, numbering, notes)
    notes.settle(skip_bad)
    with NewContents(out) as folder:
        staged = folder.new.with_name("staged")  # in the workspace, but outside of what is installed
        clips = cut_videos(staged, videos, found, ClipShape(seconds, fps, size), notes)
        notes.settle(skip_bad)
        if not clips:
            raise InputError(f"no label of {', '.join(map(str, paths))} is left for a clip; nothing was written")
        by_split = clips_by_split(clips, videos, split, seed, notes)
        splits = write_imported_set(folder.new, out.resolve().name, by_split)
        facts = [{**clip.facts, "split": name} for name, listed in by_split.items() for clip in listed]
        about = {"source": SOURCE, "seconds": seconds, "fps": fps, "size": size, "seed": seed}
        record = json.dumps({**about, "warnings": notes.warnings, "clips": facts}, ensure_ascii=False, indent=1)
        (folder.new / RECORD_FILE).write_text(record + "\n", encoding="utf-8", errors="backslashreplace")
        check_import_folder(out, overwrite)  # check again: another program may have written into the folder meanwhile
        folder.install(old=[SUBSET, SHEET_FILE, RECORD_FILE, CARD_FILE], last=[CARD_FILE])
    return ImportResult(splits, facts, notes.warnings)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    given = vars(arguments)
    options = {name: given[name] for name in OPTIONS}
    result = import_data_set(arguments.videos, arguments.labels, arguments.output, **options)
    for facts in result.splits:
        mine = [clip for clip in result.clips if clip["split"] == facts.split]
        labelled = sum(len(clip["labelled"]) for clip in mine)
        count = len({clip["video"] for clip in mine})
        print(f"{facts.split:6}{count:6} videos{facts.clips:7} clips{labelled:7} labelled frames")
    print(f"sheet  {printable(arguments.output / SHEET_FILE)}: look whether the masks lie on what sounds")
    if result.warnings:
        print(f"{len(result.warnings)} warnings; they also stand in {printable(arguments.output / RECORD_FILE)}")
    validated = any(facts.split == "val" for facts in result.splits)
    print(
        f"next   auss train --data {shell_word(arguments.output)} --output RUN{'' if validated else ' --eval-every 0'}"
    )
    return 0


__all__ = ["ImportResult", "import_data_set", "run"]
