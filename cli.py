"""The command `auss`: one parser, a command's arguments before its other imports, and errors that fit on a line."""

import argparse
import errno
import importlib
import io
import logging
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from . import __version__, _register
from .files.errors import AussError
from .files.file_names import printable
from .files.stopping import INTERRUPTED, Stopped, clean_stops


class Command(NamedTuple):
    """Where a command stands, and what it does."""

    # Has `add_NAME_arguments`, and imports neither torch nor Transformers.
    arguments: str
    # Has `run`, and is imported when the arguments have proven good.
    module: str
    purpose: str


COMMANDS = {
    "segment": Command("inference.arguments", "inference.segment", "mark what sounds in a video"),
    "segment-folder": Command(
        "inference.arguments", "inference.segment_folder", "mark what sounds in every video of a folder"
    ),
    "compose": Command("train.command_arguments", "train.composer.composer", "make a data set of cut-outs and sounds"),
    "prepare": Command(
        "train.command_arguments",
        "train.data.parquet_writer",
        "write a data set as Parquet shards, to load, stream or push",
    ),
    "train": Command("train.arguments", "train.loop.train", "train a model"),
    "pretrain-audio": Command(
        "train.command_arguments", "train.audio.pretraining", "train the audio encoder alone, on sounds by category"
    ),
    "evaluate": Command(
        "train.command_arguments", "train.evaluation.evaluate", "score a model by the AVSBench protocol"
    ),
    "reproduce": Command(
        "train.command_arguments", "train.paper.reproduce", "train and test the rows of a table of the paper"
    ),
    "figures": Command(
        "train.command_arguments", "train.paper.figures", "draw what a model segments, and its queries by t-SNE"
    ),
    "presets": Command("inference.arguments", "inference.presets", "list the shipped networks and what they cost"),
    "convert-vggish": Command(
        "train.audio.convert_vggish",
        "train.audio.convert_vggish",
        "turn the public VGGish weights into safetensors",
    ),
    "export": Command("inference.arguments", "inference.export", "write a model as an ONNX or torch.export graph"),
    "demo": Command("demo.arguments", "demo.demo", "make a data set, train on it, evaluate, and segment a video"),
}
USAGE_ERROR = 2
INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
# What the user can mend: auss names it by errors of its own, and the system has its own for files and addresses.
USER_ERRORS = (AussError, OSError)

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def load_command(name: str):
    """Imports the module of a command, with torch, Transformers and whatever else it needs."""
    _register()
    return importlib.import_module(f".{COMMANDS[name].module}", __package__)


def arguments_adder(name: str) -> Callable[[argparse.ArgumentParser], None]:
    """The function that gives a parser the arguments of a command."""
    module = importlib.import_module(f".{COMMANDS[name].arguments}", __package__)
    return getattr(module, f"add_{name.replace('-', '_')}_arguments")


def add_traceback(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the option that every command has, wherever it stands on the command line."""
    # Without a default: that of the command would replace what was given before it.
    parser.add_argument(
        "--traceback", action="store_true", default=argparse.SUPPRESS, help="show where an error came from"
    )


def build_parser(called: str | None = None) -> argparse.ArgumentParser:
    """The parser with all commands, of which only the one that is `called` has its own arguments."""
    parser = argparse.ArgumentParser(prog="auss", description="Audio-visual segmentation: what in a video sounds?")
    parser.add_argument("--version", action="version", version=f"auss {__version__}")
    add_traceback(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, _, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if name == called:
            arguments_adder(name)(command)
            add_traceback(command)
    return parser


class OptionNotes:
    """Takes a command's arguments as a parser does, and only notes its options."""

    def __init__(self):
        # Option -> whether it takes one value, which may be any text. argparse adds the help by itself.
        self.takes_text = {"-h": False, "--help": False}

    def add_argument(self, *names: str, **settings: Any) -> None:
        takes_text = not settings.keys() & {"action", "nargs", "choices"} and settings.get("type") not in (int, float)
        self.takes_text |= {name: takes_text for name in names if name.startswith("-")}

    def add_argument_group(self, *_, **__) -> "OptionNotes":
        return self

    def set_defaults(self, **_) -> None:
        pass


def attach_values(words: Sequence[str], takes_text: dict[str, bool]) -> list[str]:
    """
    Joins an option and its value, `-o` and `-x.mp4` to `-o-x.mp4`, if the value begins with a dash and is no option.
    argparse would take it for an option, but the name of a file may begin with a dash.

    Args:
        words: those of the command line that follow the command.
        takes_text: the command's options, as `OptionNotes` has them.
    """
    joined: list[str] = []
    waiting = iter(words)
    for word in waiting:
        joined.append(word)
        if word == "--":
            return [*joined, *waiting]
        if not takes_text.get(word):
            continue
        value = next(waiting, None)
        if value is None:
            break
        if value.startswith("-") and value != "--" and value.partition("=")[0] not in takes_text:
            joined[-1] = f"{word}={value}" if word.startswith("--") else f"{word}{value}"
        else:
            joined.append(value)
    return joined


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command, and `traceback`."""
    called = next((argument for argument in argv if not argument.startswith("-")), None)
    if called in COMMANDS:
        notes = OptionNotes()
        for add in (arguments_adder(called), add_traceback):
            add(cast(argparse.ArgumentParser, notes))
        place = list(argv).index(called) + 1
        argv = [*argv[:place], *attach_values(argv[place:], notes.takes_text)]
        parser = build_parser(called)
    else:
        parser = build_parser()
    return parser.parse_args(argv, argparse.Namespace(traceback=False))


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


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit status: what the command says, 2 after an error that the user can mend, 70 after a fault of auss, 130
        after Ctrl-C, 143 after SIGTERM.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    # Names of files may have bytes that are no UTF-8, which standard output refuses to print.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    command = "auss"
    try:
        with clean_stops():
            arguments = parse_arguments(argv)
            command = f"auss {arguments.command}"
            logging.basicConfig(format="%(levelname)s: %(message)s")
            return run_command(arguments, command)
    except KeyboardInterrupt:
        print(f"{command}: stopped", file=sys.stderr)
        return INTERRUPTED
    except Stopped as stop:
        print(f"{command}: stopped by {stop.signal_name}", file=sys.stderr)
        return stop.status


def run_command(arguments: argparse.Namespace, command: str) -> int:
    """Runs a command. An error that the user can mend is told on one line, any other with its traceback."""
    try:
        # Looked at first: a number out of its range is refused before torch is imported.
        if "check" in arguments:
            arguments.check(arguments)
        return load_command(arguments.command).run(arguments)
    except USER_ERRORS as error:
        if arguments.traceback:
            raise
        print(f"{command}: {one_line(error)}", file=sys.stderr)
        return USAGE_ERROR
    except Exception:
        if arguments.traceback:
            raise
        traceback.print_exc()
        print(
            f"{command}: this is a fault of auss {__version__}, not of your files or options: please report it, with "
            "the lines above",
            file=sys.stderr,
        )
        return INTERNAL_ERROR


__all__ = ["COMMANDS", "build_parser", "main"]
