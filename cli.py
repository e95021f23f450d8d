"""The command `auss`: one parser, a module for each command, and errors that fit on a line."""

import argparse
import errno
import importlib
import io
import logging
import re
import sys
from collections.abc import Sequence

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from . import __version__
from .files.file_names import printable
from .files.stopping import INTERRUPTED, Stopped, clean_stops

# Name -> (module with `add_arguments` and `run`, what it does). Modules are imported when their command is called.
COMMANDS = {
    "segment": ("inference.segment", "mark what sounds in a video"),
    "segment-folder": ("inference.segment_folder", "mark what sounds in every video of a folder"),
    "compose": ("train.composer.composer", "make a data set of cut-outs and sounds"),
    "prepare": ("train.data.parquet_writer", "write a data set as Parquet shards, to load, stream or push"),
    "train": ("train.loop.train", "train a model"),
    "evaluate": ("train.evaluation.evaluate", "score a model by the AVSBench protocol"),
    "reproduce": ("train.paper.reproduce", "train and test the rows of a table of the paper"),
    "figures": ("train.paper.figures", "draw what a model segments, and its queries by t-SNE"),
    "presets": ("inference.presets", "list the shipped networks and what they cost"),
    "convert-vggish": (
        "modeling_auss.published_weights.convert_vggish",
        "turn the public VGGish weights into safetensors",
    ),
    "export": ("inference.export", "write a model as an ONNX or torch.export graph"),
    "demo": ("demo.demo", "make a data set, train on it, evaluate, and segment a video"),
}
USAGE_ERROR = 2
# What the user can mend: arguments, files, a package that is not installed, a learning rate that is too high.
USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError, StrictDataclassError, SafetensorError)

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def load_command(name: str):
    """Imports the module of a command."""
    return importlib.import_module(f".{COMMANDS[name][0]}", __package__)


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
    """An error's message without line breaks, since Transformers', FFmpeg's and file names have some.

    Of an error in a data loader's worker, whose message is its whole traceback, the message itself is left.
    """
    text = str(error)
    if WORKER_ERROR.match(text):
        *_, text = ERROR_NAME.split(text)
    text = printable(" ".join(text.split())) or type(error).__name__
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        text += ": what was being written is removed, and what was there before is as it was"
    return text


def attach_values(argv: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Joins an option and its value, `-o` and `-x.mp4` to `-o-x.mp4`, where the value begins with a dash and is no
    option: argparse would take it for one, though the name of a file may begin so."""
    options: dict[str, argparse.Action] = dict(parser._option_string_actions)
    joined: list[str] = []
    waiting = iter(argv)
    for word in waiting:
        joined.append(word)
        if word == "--":
            return [*joined, *waiting]
        action = options.get(word)
        if action is None or action.nargs is not None or action.choices is not None or action.type in (int, float):
            continue
        value = next(waiting, None)
        if value is None:
            break
        if value.startswith("-") and value != "--" and value.partition("=")[0] not in options:
            joined[-1] = f"{word}={value}" if word.startswith("--") else f"{word}{value}"
        else:
            joined.append(value)
    return joined


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command, with its `run`."""
    called = next((argument for argument in argv if not argument.startswith("-")), None)
    parser = build_parser(called if called in COMMANDS else None)
    if called in COMMANDS:
        place = list(argv).index(called) + 1
        commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        argv = [*argv[:place], *attach_values(argv[place:], commands.choices[called])]
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit status: what the command says, 2 after an error that the user can mend, 130 after Ctrl-C, 143 after
        SIGTERM.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    # Names of files may have bytes that are no UTF-8, which standard output refuses to print.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    command = "auss"
    try:
        with clean_stops():
            arguments = parse(argv)
            command = f"auss {arguments.command}"
            logging.basicConfig(format="%(levelname)s: %(message)s")
            return run(arguments, command)
    except KeyboardInterrupt:
        print(f"{command}: stopped", file=sys.stderr)
        return INTERRUPTED
    except Stopped as stop:
        print(f"{command}: stopped by {stop.signal_name}", file=sys.stderr)
        return stop.status


def run(arguments: argparse.Namespace, command: str) -> int:
    """Runs a command and says on one line what went wrong."""
    try:
        return arguments.run(arguments)
    except USER_ERRORS as error:
        if arguments.traceback:
            raise
        print(f"{command}: {one_line(error)}", file=sys.stderr)
        return USAGE_ERROR


__all__ = ["COMMANDS", "build_parser", "main"]
