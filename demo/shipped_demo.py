"""The quick road of `auss demo`: the model that the package ships segments a video that is composed on the spot."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..files.errors import InputError
from ..files.whole_files import write_whole
from ..hub.shipped_model import has_default_model
from ..inference import segment
from ..inference.arguments import add_segment_arguments
from ..processing.drawing import contact_sheet
from ..train.composer.composed_video import ComposedVideo, compose_video
from ..train.composer.object_library import ObjectLibrary

# Cut-out photographs and recordings: CATEGORY/*.png and CATEGORY/*.ogg.
THINGS_FOLDER = Path(__file__).with_name("things")
NUM_OBJECTS = 3
MASKS_FOLDER = "overlay_masks"
CLEAR_OF_CHANGE = 0.4  # seconds beside a change of the sound that are not scored: a mask is held until the next one
SHEET_FRAMES = 9


def can_show() -> bool:
    """Whether this installation has the shipped model and the things for its video."""
    return has_default_model() and THINGS_FOLDER.is_dir()


def read_masks(folder: Path) -> list[tuple[float, np.ndarray]]:
    """Reads the masks that `auss segment` wrote: the time in seconds, and (height, width) bool."""
    paths = sorted(folder.glob("mask_*.png"))
    return [
        (float(path.stem.rpartition("_")[2].removesuffix("s")), np.asarray(Image.open(path, formats=["PNG"])) > 0)
        for path in paths
    ]


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    """Returns the intersection over union of two masks, 1 if both are empty."""
    union = (found | true).sum()
    return float((found & true).sum() / union) if union else 1.0


def turns_table(video: ComposedVideo, masks: list[tuple[float, np.ndarray]]) -> str:
    """Returns the Markdown table of what sounds when, and how much of it was found."""
    lines = ["| seconds | what sounds | marked: intersection over union | share of the picture |"]
    lines.append("| --- | --- | ---: | ---: |")
    for start, stop, index in video.turns:
        inside = [one for one in masks if start + CLEAR_OF_CHANGE <= one[0] < stop - CLEAR_OF_CHANGE]
        inside = inside or [one for one in masks if start <= one[0] < stop]
        figures = [(overlap(mask, video.mask(time)), mask.mean()) for time, mask in inside]
        found, share = np.mean(figures, axis=0) if figures else (0.0, 0.0)
        name = video.categories[index].replace("_", " ")
        lines.append(f"| {start:.0f} to {stop:.0f} | {name} | {found:.2f} | {share:.0%} |")
    return "\n".join(lines) + "\n"


def draw_turns(video: ComposedVideo, masks: list[tuple[float, np.ndarray]], path: Path) -> None:
    """Draws frames of the video with what sounds and what was marked."""
    chosen = [
        masks[index] for index in np.linspace(0, len(masks) - 1, min(SHEET_FRAMES, len(masks))).round().astype(int)
    ]
    names = ", ".join(video.categories[index].replace("_", " ") for _, _, index in video.turns)
    clip = {
        "title": f"sounds in turn: {names}",
        "frames": np.stack([video.scene.frame(time / video.seconds) for time, _ in chosen]),
        "labels": np.stack([video.mask(time).astype(np.int64) for time, _ in chosen]),
        "scores": np.stack([mask.astype(np.float32) for _, mask in chosen]),
    }
    contact_sheet([clip], path)


def things_library(things: Sequence[str] | None, drawn: bool) -> ObjectLibrary:
    """
    Returns the shipped photographs and recordings, or drawings with synthesised sounds. Only `things` sound.

    Raises:
        FileNotFoundError: this installation has no photographs and recordings.
        ValueError: a name of `things` is none of the categories.
    """
    if not drawn and not THINGS_FOLDER.is_dir():
        raise FileNotFoundError(
            f"this installation of auss has no photographs and recordings at {THINGS_FOLDER}: pass drawn=True, or "
            "install auss anew"
        )
    library = ObjectLibrary(None if drawn else THINGS_FOLDER)
    if things is not None:
        if isinstance(things, str) or len(set(things)) < 2 or not set(things) <= set(library.sounding):
            raise InputError(f"things must be two or more of {', '.join(library.sounding)}, got {things!r}")
        library.sounding = tuple(dict.fromkeys(things))
    return library


def sample_video(
    path: str | Path,
    seed: int = 0,
    seconds: float = 15.0,
    fps: int = 25,
    size: tuple[int, int] = (360, 640),
    *,
    things: Sequence[str] | None = None,
    drawn: bool = False,
    overwrite: bool = False,
) -> ComposedVideo:
    """Composes a video of which it is known what sounds. Some things are visible all the time and take turns to sound,
    for five seconds each.

    Args:
        path: the file to write, .mp4 or .mkv.
        seed: 0 or more. Another seed gives another video.
        seconds: the length of the video, more than 0.
        fps: frames per second, 1 or more.
        size: height and width in pixels, even numbers of 64 or more.
        things: the names of the things, at least two. None lets the seed choose three.
        drawn: False takes cut-out photographs and recordings, which come with auss and which its model knows. True
            takes drawings with synthesised sounds, which its model does not know.
        overwrite: True replaces an existing file.

    Returns:
        An object with the attributes `path`, `categories` (the names of the things), and `turns`, a list of (start,
        stop, index of the category that sounds) in seconds. Its method `mask(time)` returns what sounds at a time in
        seconds, (height, width) bool.

    Raises:
        ValueError: an argument is outside of its range, or `path` exists and `overwrite` is False.
        FileNotFoundError: this installation of auss has no photographs and recordings.
    """
    library = things_library(things, drawn)
    count = NUM_OBJECTS if things is None else len(library.sounding)
    return compose_video(path, seed, seconds, fps, size, count=count, library=library, overwrite=overwrite)


def show_shipped_model(folder: Path, seed: int, seconds: float) -> int:
    """
    Composes a video in which things take turns to sound, marks what sounds, and prints what was found.

    Args:
        folder: the folder for the results. It exists, without results of an earlier demo.
        seed: 0 or more. Another seed gives another video.
        seconds: the length of the video. Each sound lasts five seconds.

    Returns:
        The exit status.
    """
    began = time.monotonic()
    print(
        "1/3  composing a video of photographs and recordings: three things take turns to sound, the others are silent"
    )
    video = sample_video(folder / "video.mp4", seed, seconds)

    print("2/3  marking what sounds, with the model that comes with auss")
    overlay, masks = folder / "overlay.mp4", folder / MASKS_FOLDER
    parser = argparse.ArgumentParser()
    add_segment_arguments(parser)
    words = [f"--output={overlay}", f"--masks={masks}", "--", str(video.path)]
    status = segment.run(parser.parse_args(words))

    print("3/3  comparing the masks with what really sounds")
    found = read_masks(masks)
    table, sheet = folder / "scores.md", folder / "contact_sheet.png"
    write_whole(table, turns_table(video, found))
    draw_turns(video, found, sheet)

    print(f"\n{turns_table(video, found)}")
    print(f"overlay video  {overlay}")
    print(f"masks          {masks}")
    print(f"contact sheet  {sheet}")
    print(f"table          {table}")
    print(f"done in {time.monotonic() - began:.0f} seconds")
    print(f"\nYour own video: auss segment VIDEO -o OUT.mp4\nAnother video:  auss demo --seed {seed + 1}")
    return status


__all__ = ["MASKS_FOLDER", "can_show", "sample_video", "show_shipped_model"]
