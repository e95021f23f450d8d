"""The command `auss`: one parser, a module for each command, and errors that fit on a line."""

import argparse
import importlib
import logging
import re
import sys
from collections.abc import Sequence

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from .. import __version__

# Name -> (module with `add_arguments` and `run`, what it does). Modules are imported when their command is called.
COMMANDS = {
    "segment": ("inference.segment", "mark what sounds in a video"),
    "segment-folder": ("inference.segment_folder", "mark what sounds in every video of a folder"),
    "compose": ("train.composer", "make a data set of cut-outs and sounds"),
    "prepare": ("train.parquet_writer", "write a data set as Parquet shards, to load, stream or push"),
    "train": ("train.train", "train a model"),
    "evaluate": ("train.evaluate", "score a model by the AVSBench protocol"),
    "reproduce": ("train.reproduce", "train and test the rows of a table of the paper"),
    "figures": ("train.figures", "draw what a model segments, and its queries by t-SNE"),
    "presets": ("inference.presets", "list the shipped networks and what they cost"),
    "convert-vggish": ("train.convert_vggish", "turn the public VGGish weights into safetensors"),
    "export": ("inference.export", "write a model as an ONNX or torch.export graph"),
    "demo": ("inference.demo", "make a data set, train on it, evaluate, and segment a video"),
}
USAGE_ERROR = 2
# What the user can mend: arguments, files, a package that is not installed, a learning rate that is too high.
USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError, StrictDataclassError, SafetensorError)
INTERRUPTED = 130  # what a shell reports for a program stopped by Ctrl-C


def load_command(name: str):
    """Imports the module of a command."""
    package = (__package__ or "").rpartition(".")[0]
    return importlib.import_module(f".{COMMANDS[name][0]}", package)


def build_parser(called: str | None = None) -> argparse.ArgumentParser:
    """The parser with all commands; only the one that is `called` is imported and has its own arguments."""
    parser = argparse.ArgumentParser(prog="auss", description="Audio-visual segmentation: what in a video sounds?")
    parser.add_argument("--version", action="version", version=f"auss {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if name == called:
            module = load_command(name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


WORKER_ERROR = re.compile(r"Caught \w+ in DataLoader worker process \d+\.")
ERROR_NAME = re.compile(r"^\w[\w.]*(?:Error|Exception): ", re.MULTILINE)


def one_line(error: Exception) -> str:
    """An error's message without line breaks, since Transformers' and FFmpeg's have some.

    Of an error in a data loader's worker, whose message is its whole traceback, the message itself is left.
    """
    text = str(error)
    if WORKER_ERROR.match(text):
        *_, text = ERROR_NAME.split(text)
    return " ".join(text.split()) or type(error).__name__


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit status: what the command says, 2 after an error that the user can mend, 130 after Ctrl-C.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    called = next((argument for argument in argv if not argument.startswith("-")), None)
    arguments = build_parser(called if called in COMMANDS else None).parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        return arguments.run(arguments)
    except USER_ERRORS as error:
        if arguments.traceback:
            raise
        print(f"auss {arguments.command}: {one_line(error)}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print(f"auss {arguments.command}: stopped", file=sys.stderr)
        return INTERRUPTED


__all__ = ["COMMANDS", "build_parser", "main"]
