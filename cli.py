"""The command line `auss`.

All commands share one parser. A command's arguments are parsed before the command's heavy packages are imported. An
error that the user can mend is printed on one line.
"""

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
from .files.standard_streams import BROKEN_PIPE, finish_output, open_missing_streams, reader_is_gone, say
from .files.stopping import INTERRUPTED, Stopped, clean_stops


class Command(NamedTuple):
    """The modules of a command, and its purpose in a few words."""

    # The module that defines `add_NAME_arguments`. This module imports neither torch nor Transformers.
    arguments: str
    # The module that defines `run`. This module is imported after the arguments have been checked.
    module: str
    purpose: str


COMMANDS = {
    "segment": Command("inference.arguments", "inference.segment", "mark what sounds in a video"),
    "segment-folder": Command(
        "inference.arguments", "inference.segment_folder", "mark what sounds in every video of a folder"
    ),
    "live": Command("inference.live.arguments", "inference.live.live", "mark what sounds in a camera or a stream"),
    "web": Command("web.arguments", "web.server", "serve a page that marks what sounds in videos of its visitors"),
    "compose": Command("train.command_arguments", "train.composer.composer", "make a data set of cut-outs and sounds"),
    "import": Command(
        "inference.importing.arguments",
        "inference.importing.importer",
        "make a data set of your own videos and their masks or labels",
    ),
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
    "demo": Command(
        "demo.arguments", "demo.demo", "segment a video composed on the spot; --train also trains a model"
    ),
}
USAGE_ERROR = 2
INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
# Errors that the user can mend: auss's own error classes, and the operating system's errors for files and addresses.
USER_ERRORS = (AussError, OSError)

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def load_command(name: str):
    """Registers auss with Transformers and imports the module of a command. Both steps import heavy packages."""
    _register()
    return importlib.import_module(f".{COMMANDS[name].module}", __package__)


def arguments_adder(name: str) -> Callable[[argparse.ArgumentParser], None]:
    """Returns the function that adds a command's arguments to a parser."""
    module = importlib.import_module(f".{COMMANDS[name].arguments}", __package__)
    return getattr(module, f"add_{name.replace('-', '_')}_arguments")


def add_traceback(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--traceback`, which every command has. It may stand anywhere on the command line."""
    # The option has no default, because the command's default would overwrite an option given before the command.
    parser.add_argument(
        "--traceback", action="store_true", default=argparse.SUPPRESS, help="show where an error came from"
    )


def build_parser(called: str | None = None) -> argparse.ArgumentParser:
    """Builds the parser with all commands. Only the command named `called` gets its own arguments."""
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
    """A stand-in for a parser: it accepts a command's arguments as a parser does, but only notes the options."""

    def __init__(self):
        # The keys are options. The values say whether the option takes one value of any text. argparse adds the help
        # options by itself.
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
    Joins an option and its value if the value begins with a dash and is not an option itself: `-o` and `-x.mp4` become
    `-o-x.mp4`. The name of a file may begin with a dash, and argparse would take such a name for an option.

    Args:
        words: the words of the command line after the command's name.
        takes_text: the command's options, as in `OptionNotes.takes_text`.
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
    """Parses a command line. The result holds the command's name, its arguments and `traceback`."""
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


# torch's messages for a worker process of a data loader that was ended from outside, or that cannot share its batch.
WORKER_END = re.compile(r"DataLoader worker \(pid|unable to \w+ shared memory|received 0 items of ancdata")


def one_line(error: Exception) -> str:
    """Returns an error's message on one line. Messages of Transformers and FFmpeg and file names have line breaks.

    An error from a data loader's worker process carries the worker's whole traceback as its message. Only the message
    of the original error is kept.
    """
    text = str(error)
    if WORKER_ERROR.match(text):
        *_, text = ERROR_NAME.split(text)
    text = printable(" ".join(text.split())) or type(error).__name__
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        text += ": the unfinished output is removed, and earlier files are unchanged"
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit status: the status that the command returns, 2 after an error that the user can mend, 70 after a fault
        of auss, 130 after Ctrl-C, 143 after SIGTERM, 141 if the reader of standard output has ended.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    open_missing_streams()
    # A file name may hold bytes that are not UTF-8. Without this setting, printing such a name raises an error.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    command = "auss"
    try:
        with clean_stops():
            arguments = parse_arguments(argv)
            command = f"auss {arguments.command}"
            logging.basicConfig(format="%(levelname)s: %(message)s")
            return finish_output(command, run_command(arguments, command))
    except KeyboardInterrupt:
        say(f"{command}: stopped")
        return finish_output(command, INTERRUPTED)
    except Stopped as stop:
        say(f"{command}: stopped by {stop.signal_name}")
        return finish_output(command, stop.status)
    except SystemExit as end:  # argparse has printed the help, or an error
        end.code = finish_output(command, end.code) if isinstance(end.code, int) else end.code
        raise


def run_command(arguments: argparse.Namespace, command: str) -> int:
    """Runs a command. An error that the user can mend is printed on one line, any other error with its traceback."""
    try:
        # Check the arguments first, so that a number out of its range is refused before torch is imported.
        if "check" in arguments:
            arguments.check(arguments)
        return load_command(arguments.command).run(arguments)
    except USER_ERRORS as error:
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            return BROKEN_PIPE
        if arguments.traceback:
            raise
        say(f"{command}: {one_line(error)}")
        return USAGE_ERROR
    except Exception as error:
        if arguments.traceback:
            raise
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the latter is torch's
            say(
                f"{command}: there is not enough memory: {one_line(error)}. A smaller batch, image size or window "
                "takes less"
            )
            return USAGE_ERROR
        if isinstance(error, RuntimeError) and WORKER_END.search(str(error)):
            say(
                f"{command}: a process that loads clips was ended from outside, as where memory or shared memory is "
                f"short: {one_line(error)}. Fewer --workers take less"
            )
            return USAGE_ERROR
        say(traceback.format_exc().rstrip())
        say(
            f"{command}: this is a fault of auss {__version__}, not of your files or options: please report it, with "
            "the lines above"
        )
        return INTERNAL_ERROR


__all__ = ["COMMANDS", "build_parser", "main"]
