"""The arguments of the commands in this folder, without `auss train`, whose options are the fields of `arguments.py`.

The command line reads them without torch and Transformers.
"""

import argparse
import os
from pathlib import Path

from ..files.errors import InputError
from ..files.model_files import MODEL_HELP
from ..hub.network_options import add_network_options, check_threads
from .arguments import (
    SUBSETS,
    DataArguments,
    OptimArguments,
    RunArguments,
    add_training_arguments,
    from_namespace,
)
from .data.meta_tables import SPLITS

# The sounds with which `auss evaluate` scores a clip.
SOUNDS = ("own", "muted", "swapped")
# The sources of sounds by category for `auss pretrain-audio`: S4's clips, AVSS's label pictures, or a folder with a
# subfolder for each category.
SOUND_SOURCES = ("s4", "avss", "folder")
# The share of the clips of `auss compose --noises` with a sound from outside of the picture.
DEFAULT_NOISE_SHARE = 0.3
# The number of files of each split that `auss prepare` writes. With 8 processes of 4 workers each worker reads its own
# file.
DEFAULT_SHARDS = 32
# The paper's tables that `auss reproduce` knows.
TABLE_NUMBERS = range(2, 7)
REPRODUCE_DEFAULTS = {"output": "reproduction"}
# The number of clips of Fig. 7. A clip of AVSS has 10 frames of 300 x 256 numbers, which is 3 MB. More clips would
# fill the memory.
QUERY_CLIPS = 200


def add_compose_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the arguments of `auss compose`."""
    three = {"nargs": 3, "type": int, "metavar": ("TRAIN", "VAL", "TEST")}
    parser.add_argument("out", type=Path, metavar="OUT", help="a new or an empty folder")
    files = "CATEGORY/*.png (RGBA cut-outs) and CATEGORY/*.wav, .ogg or .flac"
    parser.add_argument("--objects", type=Path, metavar="DIR", help=f"{files}; without it, the composer's own")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="pictures; without it, drawn ones")
    parser.add_argument(
        "--noises",
        type=Path,
        metavar="DIR",
        help="sounds from outside of the picture, such as speech; they are mixed into some clips, never into a mask",
    )
    parser.add_argument(
        "--noise-share",
        type=float,
        default=DEFAULT_NOISE_SHARE,
        metavar="X",
        help=f"share of the clips, 0 to 1, with one of the noises ({DEFAULT_NOISE_SHARE:g})",
    )
    parser.add_argument(
        "--steady-share",
        type=float,
        default=0.0,
        metavar="X",
        help="share of the multi-source clips, 0 to 1, in which one object sounds all the time (0)",
    )
    parser.add_argument("--s4", default=[200, 40, 40], help="counts of single-source clips (200 40 40)", **three)
    parser.add_argument("--ms3", default=[100, 20, 20], help="counts of multi-source clips (100 20 20)", **three)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=224, help="side of a frame in pixels (224)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one a core)")
    parser.add_argument("--overwrite", action="store_true", help="replace a set that was composed into OUT before")


def add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the arguments of `auss prepare`."""
    parser.add_argument("root", metavar="ROOT", help="the data set's root folder, in the layout that its authors ship")
    parser.add_argument("out", metavar="OUT", help="a new or an empty folder")
    parser.add_argument(
        "--names", nargs="+", choices=sorted(SUBSETS), help="subsets of AVSBench; default all that ROOT has"
    )
    parser.add_argument(
        "--shards",
        type=int,
        default=DEFAULT_SHARDS,
        help=f"files of each split: a multiple of all workers of all processes ({DEFAULT_SHARDS})",
    )


def add_pretrain_audio_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the arguments of `auss pretrain-audio`."""
    parser.add_argument("--data", required=True, help="AVSBench's root, or a folder with a folder for each category")
    parser.add_argument("--name", choices=SOUND_SOURCES, default="s4", help="what the folder holds (default: s4)")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="the .safetensors file to write"
    )
    parser.add_argument(
        "--preset",
        default="auss-demo",
        help="the network that the encoder is for, or a JSON file (default: auss-demo)",
    )
    parser.add_argument(
        "--batch-norm",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="normalise after each layer (default); without it an encoder learns slowly from random weights",
    )
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="times that every sound is heard (20)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="sounds in one step (16)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, metavar="X", help="peak learning rate (0.001)")
    parser.add_argument(
        "--mixed-share",
        type=float,
        default=0.5,
        metavar="X",
        help="share of the sounds, 0 to 1, that are mixed with another one (0.5)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, order and augmentation (0)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the arguments of `auss evaluate`."""
    parser.add_argument("--model", required=True, help=f"{MODEL_HELP}, or what auss export wrote")
    parser.add_argument("--data", required=True, help="the data set's root folder")
    parser.add_argument("--name", choices=sorted(SUBSETS), default="s4", help="which subset of AVSBench it holds (s4)")
    parser.add_argument("--split", choices=SPLITS, default="test", help="which of its clips (test)")
    parser.add_argument(
        "--sound",
        choices=SOUNDS,
        default="own",
        help="each clip's own, silence, or that of another category's clip (own)",
    )
    parser.add_argument("--output", help="folder for the results; default MODEL/evaluation")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result of this split and sound")
    parser.add_argument("--batch-size", type=int, default=4, help="clips at once (4)")
    parser.add_argument("--workers", type=int, help="processes that decode clips; default by the machine")
    add_network_options(parser)
    parser.set_defaults(check=lambda arguments: check_threads(arguments.threads))


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the arguments of `auss reproduce`."""
    table = parser.add_argument_group("table")
    table.add_argument("--table", type=int, required=True, choices=TABLE_NUMBERS, help="which of the paper's tables")
    table.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, ... (3)")
    table.add_argument(
        "--rows", type=int, nargs="+", metavar="ROW", help="which rows, from 1, to share a table out; default all"
    )
    add_training_arguments(parser, REPRODUCE_DEFAULTS)
    parser.usage = "%(prog)s --table N --data DATA [options]"
    parser.set_defaults(check=reproduce_groups)


def reproduce_groups(arguments: argparse.Namespace) -> tuple[DataArguments, OptimArguments, RunArguments]:
    """Returns the arguments of every training run, before the table sets its own. Raises the errors of
    `from_namespace`."""
    return from_namespace(arguments, REPRODUCE_DEFAULTS)


def add_figures_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the arguments of `auss figures`."""
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument("--data", required=True, help="the data set's root folder")
    parser.add_argument("--name", choices=SUBSETS, default="ms3", help="which subset (ms3, as in the paper)")
    parser.add_argument("--split", choices=SPLITS, default="test", help="(test)")
    parser.add_argument("--output", default="figures", help="folder for the pictures (figures)")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures of an earlier call")
    parser.add_argument("--clips", type=int, default=8, help="clips in the sheet, evenly spread over the split (8)")
    parser.add_argument(
        "--query-clips",
        type=int,
        default=QUERY_CLIPS,
        help=f"clips at most whose queries are drawn, evenly spread; 1-3 MB of memory each ({QUERY_CLIPS})",
    )
    parser.add_argument("--batch-size", type=int, default=4, help="clips at once (4)")
    parser.add_argument("--workers", type=int, help="processes that decode clips; default by the machine")
    parser.set_defaults(check=check_figures_arguments)


def check_figures_arguments(arguments: argparse.Namespace) -> None:
    """Raises ValueError if there are too few clips."""
    if arguments.clips < 1:
        raise InputError(f"--clips must be at least 1, got {arguments.clips}")
    if arguments.query_clips < 3:
        raise InputError(f"--query-clips must be at least 3, got {arguments.query_clips}")


__all__ = [
    "DEFAULT_NOISE_SHARE",
    "DEFAULT_SHARDS",
    "QUERY_CLIPS",
    "REPRODUCE_DEFAULTS",
    "SOUNDS",
    "SOUND_SOURCES",
    "TABLE_NUMBERS",
    "add_compose_arguments",
    "add_evaluate_arguments",
    "add_figures_arguments",
    "add_prepare_arguments",
    "add_pretrain_audio_arguments",
    "add_reproduce_arguments",
    "reproduce_groups",
]
