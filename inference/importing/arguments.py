"""The arguments of `auss import`. This module does not import torch or Transformers."""

import argparse
import math
from pathlib import Path

from ...files.errors import InputError

# AVSBench cuts clips of five seconds and takes a frame a second.
CLIP_SECONDS, FRAMES_PER_SECOND = 5.0, 1.0
# The shorter side of a frame. The networks see 224 pixels, and scaling and cropping during training need some more.
FRAME_SIDE = 512
LEAST_SIDE = 32
SPLIT_SHARES = (80, 10, 10)
# What a listed frame without a label means.
UNLABELLED = ("skip", "silent")


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the arguments of `auss import`."""
    parser.add_argument("videos", type=Path, metavar="VIDEOS", help="the folder of the videos, with its subfolders")
    parser.add_argument(
        "labels",
        type=Path,
        nargs="+",
        metavar="LABELS",
        help="a folder of mask pictures or mask videos; a COCO or Label Studio .json; a CVAT .xml; a .zip of these",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="a new or an empty folder")
    parser.add_argument(
        "--seconds",
        type=float,
        default=CLIP_SECONDS,
        help=f"the length of a clip; the presets hear 5 s ({CLIP_SECONDS:g})",
    )
    parser.add_argument(
        "--fps", type=float, default=FRAMES_PER_SECOND, help=f"the frames a second of a clip ({FRAMES_PER_SECOND:g})"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=FRAME_SIDE,
        metavar="PIXELS",
        help=f"larger frames are scaled down to this shorter side; 0 keeps every size ({FRAME_SIDE})",
    )
    parser.add_argument(
        "--label-fps",
        type=float,
        metavar="RATE",
        help="pictures were taken from the videos at this rate, such as 1 for one a second; by default the numbers in "
        "their names count the frames of the video",
    )
    parser.add_argument(
        "--first-number", type=int, default=0, metavar="N", help="the number of the first picture: 0 or 1 (0)"
    )
    parser.add_argument(
        "--sounding", nargs="+", metavar="LABEL", help="the labels that mark what sounds; default all labels"
    )
    parser.add_argument(
        "--unlabelled",
        choices=UNLABELLED,
        default=UNLABELLED[0],
        help="frames that a label file lists without any label: skip them, or nothing sounds there (skip)",
    )
    parser.add_argument(
        "--split",
        type=int,
        nargs=3,
        default=list(SPLIT_SHARES),
        metavar=("TRAIN", "VAL", "TEST"),
        help="percent of the videos; folders train, val and test in VIDEOS come first (80 10 10)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (0)")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out the videos and labels that cannot be used, with a warning"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a set that was imported into OUT before")
    parser.set_defaults(check=check_import_arguments)


def check_import_arguments(arguments: argparse.Namespace) -> None:
    """Raises ValueError if an option is out of its range."""
    for name in ("seconds", "fps", "label_fps"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"--{name.replace('_', '-')} must be a positive number, got {value}")
    slots = arguments.seconds * arguments.fps
    if slots < 1 or abs(slots - round(slots)) > 1e-6:
        raise InputError(
            f"--seconds times --fps must be a whole number of frames, at least 1, got {arguments.seconds:g} x "
            f"{arguments.fps:g}"
        )
    if arguments.size != 0 and arguments.size < LEAST_SIDE:
        raise InputError(f"--size must be 0 or at least {LEAST_SIDE}, got {arguments.size}")
    if arguments.first_number < 0:
        raise InputError(f"--first-number must be at least 0, got {arguments.first_number}")
    if min(arguments.split) < 0 or sum(arguments.split) != 100 or arguments.split[0] == 0:
        raise InputError(
            f"--split must be three percentages that add up to 100, the first one above 0, got {arguments.split}"
        )


__all__ = ["CLIP_SECONDS", "FRAMES_PER_SECOND", "FRAME_SIDE", "SPLIT_SHARES", "UNLABELLED", "add_import_arguments"]
