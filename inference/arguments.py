"""The arguments of the commands in this folder. This module does not import torch or Transformers."""

import argparse
import re
from pathlib import Path
from typing import Any

from ..configuration.score_threshold import DEFAULT_THRESHOLD
from ..files.errors import InputError
from ..files.model_files import MODEL_HELP
from ..hub.network_options import add_model_option, add_network_options, check_threads
from .parameters import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_FPS,
    check_audio_track,
    check_batch_size,
    check_threshold,
)

# Names of the files that `auss segment-folder` writes for a video.
MARKED_FILE, MASKS_FOLDER, ERROR_SUFFIX = "marked.mp4", "masks", ".error.txt"
# The forms of `auss segment --timeline`: figures as JSON, or a picture.
TIMELINE_SUFFIXES = (".json", ".png", ".svg", ".pdf")
# The formats of `auss export`, each with the packages that it needs from the extra `export`.
FORMATS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torch-export": (),
    "int8": ("onnx", "onnxscript", "onnxruntime"),
}
DEFAULT_SIZE, LEAST_SIZE = 224, 16  # of the frames of `auss presets`, in pixels


def masks_per_second(text: str) -> float | None:
    """The value of --fps: a positive number, or None for "every"."""
    if text == "every":
        return None
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, or 'every', got {text!r}")
    return value


def add_mask_options(parser: argparse.ArgumentParser) -> None:
    """Adds --model and the options for making masks to the parser. `mask_options` reads the latter."""
    add_model_option(parser)
    parser.add_argument(
        "--fps",
        type=masks_per_second,
        default=DEFAULT_FPS,
        metavar="MASKS_PER_SECOND",
        help=f"how many masks are made for a second, each held until the next; 'every' for each frame "
        f"({DEFAULT_FPS:g})",
    )
    parser.add_argument(
        "--batch-size", type=int, default=DEFAULT_BATCH_SIZE, help=f"frames at once ({DEFAULT_BATCH_SIZE})"
    )
    parser.add_argument(
        "--window",
        type=float,
        metavar="SECONDS",
        help="sound that a frame is seen with, at most what the model takes, which is the default",
    )
    parser.add_argument(
        "--stride",
        type=float,
        metavar="SECONDS",
        help="from one window to the next; shorter than the window, windows overlap and are blended (as long as the "
        "window)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        metavar="SCORE",
        help=f"the score, 0 to 1, over which a pixel sounds ({DEFAULT_THRESHOLD:g})",
    )
    parser.add_argument(
        "--audio-track",
        type=int,
        metavar="N",
        help="the number of the sound track that is heard and kept, from 1 (the one that a player would choose; "
        "another one that sounds if that one is silent)",
    )
    add_network_options(parser)
    parser.set_defaults(check=check_mask_options)


def add_output(parser: argparse.ArgumentParser, overwritten: str, text: str) -> None:
    """Adds -o and --overwrite to the parser. `overwritten` says what the latter replaces, `text` what is written."""
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help=text)
    parser.add_argument("--overwrite", action="store_true", help=f"replace {overwritten}")


def mask_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options for making masks as arguments of `reader_masks`."""
    return {name: getattr(arguments, name) for name in ("fps", "batch_size", "window", "stride", "threshold")}


def check_mask_options(arguments: argparse.Namespace) -> None:
    """Raises ValueError for a number out of its range. --window and --stride are checked once the model is loaded."""
    check_batch_size(arguments.batch_size)
    check_threshold(arguments.threshold)
    check_audio_track(arguments.audio_track)
    check_threads(arguments.threads)


def check_segment_arguments(arguments: argparse.Namespace) -> None:
    """Raises ValueError for a number out of its range, or for objects that no file would show."""
    check_mask_options(arguments)
    if arguments.separate_objects and arguments.masks is None:
        raise InputError("--separate-objects needs --masks PATH, where the masks of the objects are saved")


def add_segment_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `auss segment` to the parser."""
    parser.add_argument(
        "video", metavar="VIDEO", help="an mp4, webm or mkv file with sound, of any length, or the http(s) URL of one"
    )
    add_output(
        parser,
        "OUT, earlier masks and timelines",
        "the video to write, with what sounds marked in it and the sound kept: .mp4, .mkv or .webm",
    )
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="PATH",
        help="also save the masks: in a folder, as mask_FRAME_SECONDSs.png, 255 where something sounds (with more "
        "than two labels: their ids), in the picture's own size; in a .json file, as COCO annotations with RLE masks; "
        "or in a .npz file of NumPy arrays",
    )
    parser.add_argument(
        "--separate-objects",
        action="store_true",
        help="save a mask for each separate object too: mask_FRAME_SECONDSs_objectN.png, an annotation each, or the "
        "array 'objects'. Parts smaller than 0.1 percent of the picture are left out",
    )
    parser.add_argument(
        "--timeline",
        action="append",
        type=Path,
        metavar="FILE",
        help="also save what sounded when: start, end, share of the picture and score of each stretch in a .json "
        "file, or drawn in a .png, .svg or .pdf file. The option may be given several times",
    )
    add_mask_options(parser)
    parser.add_argument("--device", default="auto", help="cpu, cuda, ...; auto takes a GPU if there is one (auto)")
    parser.set_defaults(check=check_segment_arguments)


def add_segment_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `auss segment-folder` to the parser."""
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="videos, also in folders in it, known by their endings"
    )
    add_output(
        parser,
        "results that were made with other options",
        f"folder for the results: OUT/NAME/{MARKED_FILE} for the video FOLDER/NAME. Videos that are done are "
        f"passed over; for one that fails OUT/NAME{ERROR_SUFFIX} says why, and it is tried again the next time",
    )
    parser.add_argument(
        "--write",
        nargs="+",
        choices=("video", "masks"),
        default=["video"],
        help=f"the video with what sounds marked in it, the masks as OUT/NAME/{MASKS_FOLDER}/mask_FRAME_SECONDSs.png, "
        "or both (video)",
    )
    parser.add_argument(
        "--shard",
        type=shard_of,
        default=(1, 1),
        metavar="I/N",
        help="do only share I of N of the videos, I from 1 to N, for jobs on several machines that all read and write "
        "the same folders. The shares are about equal in size (1/1)",
    )
    add_mask_options(parser)


def shard_of(text: str) -> tuple[int, int]:
    """Reads a share of the videos, such as 2/8, as (2, 8)."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    share, shares = (int(number) for number in match.groups()) if match else (0, 0)
    if not 1 <= share <= shares:
        raise argparse.ArgumentTypeError(f"must be a share I/N with I from 1 to N, such as 2/8, got {text!r}")
    return share, shares


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `auss export` to the parser."""
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("output", help="the folder to write")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="onnx",
        help="onnx, for ONNX Runtime and others; torch-export, for torch without the model's code; int8, onnx with "
        "8-bit matrix products (onnx)",
    )
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the frames; default the processor's")
    parser.add_argument("--frames", type=int, help="fix the graph to one clip of so many frames; default any number")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in OUTPUT")


def add_presets_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `auss presets` to the parser."""
    parser.add_argument("names", nargs="*", metavar="PRESET", help="a preset's name or a JSON file; default: all")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE, help=f"pixels of the square frames ({DEFAULT_SIZE})")
    parser.set_defaults(check=check_presets_arguments)


def check_presets_arguments(arguments: argparse.Namespace) -> None:
    """Raises ValueError for frames that are too small."""
    if arguments.size < LEAST_SIZE:
        raise InputError(f"--size must be at least {LEAST_SIZE} pixels, got {arguments.size}")


__all__ = [
    "ERROR_SUFFIX",
    "FORMATS",
    "MARKED_FILE",
    "MASKS_FOLDER",
    "TIMELINE_SUFFIXES",
    "add_export_arguments",
    "add_presets_arguments",
    "add_segment_arguments",
    "add_segment_folder_arguments",
    "mask_options",
]
