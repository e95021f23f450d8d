"""One input of the fuzzing test, and how its outcome is judged.

A trial calls auss with an input. The trial says whether the input is right, bad, or may be either, and which words a
clear error must contain one of: the name of the argument, or that of the file.
"""

import contextlib
import faulthandler
import io
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils.logging import warning_once

from auss import cli

SECONDS = 30.0  # of the processor: a trial that takes longer hangs; the slowest takes about a tenth of it
WAITING = 5  # times as long may pass in all, since other programs may use the processor, too


# What a caller of the Python interface gets; the command line makes one line of those that are auss's own.
NAMED_ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError, StrictDataclassError, SafetensorError)


class Outcome(Enum):
    """What came of an input; the value is the heading of the table's column."""

    WORKS = "works"
    TOLD = "result, and a warning"
    CLEAR = "clear error"
    UNNOTICEABLE = "damage that cannot be noticed"
    REFUSED = "right input refused"
    UNCLEAR = "unclear error"
    TRACEBACK = "traceback"
    SILENT = "silent wrong answer"
    HANG = "hang"
    LEFTOVER = "looks finished after an error"


FAULTS = (Outcome.REFUSED, Outcome.UNCLEAR, Outcome.TRACEBACK, Outcome.SILENT, Outcome.HANG, Outcome.LEFTOVER)
RIGHT, BAD, EITHER = "right", "bad", "either"


class Hang(BaseException):
    """Raised by the alarm. It is no `Exception`, so no code under test takes it for an error of its own."""


class Unnoticeable(Exception):
    """Raised by a check: the answer is wrong, and nothing in the input allows to notice it."""


@dataclass(frozen=True)
class Trial:
    """
    Args:
        area: the row of the table.
        name: the input in words; with the seed it says how to make the input again.
        act: calls auss with the input.
        subjects: a clear error contains one of these words.
        kind: RIGHT input must work, BAD input must be refused, EITHER may do both.
        wrong: takes what `act` returned and says what is wrong with it; None if nothing is.
        leftover: after an error, what looks as if there had been none; None if nothing does.
    """

    area: str
    name: str
    act: Callable[[], Any]
    subjects: tuple[str, ...]
    kind: str = EITHER
    wrong: Callable[[Any], str | None] = lambda result: None
    leftover: Callable[[], str | None] = lambda: None


@dataclass(frozen=True)
class Verdict:
    """The outcome of a trial, with the message or the fault in words."""

    trial: Trial
    outcome: Outcome
    words: str


@dataclass(frozen=True)
class Command:
    """What `auss ...` did in this process: its exit status, and what it wrote to the two streams."""

    status: int
    output: str
    errors: str

    def told(self, name: str) -> bool:
        """Whether the command said something about a file: in a warning or an error, not in its progress bar."""
        lines = self.errors.replace("\r", "\n").splitlines()
        return any(name in line and "%|" not in line for line in lines)


def call(*arguments: Any) -> Command:
    """Runs the command `auss` in this process. An exception that is not caught there is a traceback for the user."""
    output, errors = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(errors)
    # Transformers' own messages do not reach the root.
    loggers = [logging.getLogger(), logging.getLogger("transformers")]
    warning_once.cache_clear()  # what was said in an earlier trial is said again
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        for logger in loggers:
            logger.addHandler(handler)
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse refuses an argument
            status = stop.code if isinstance(stop.code, int) else 1
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
    return Command(int(status or 0), output.getvalue(), errors.getvalue())


@contextlib.contextmanager
def watched(seconds: float) -> Iterator[None]:
    """Raises `Hang` in the block after some seconds of the processor's time, or `WAITING` times as many on the clock.
    If a library does not return to Python even then, the process ends with the stack of every thread, since nothing
    else can be done."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("the fuzzing test must run in the main thread, where alarms arrive")

    def ring(number, frame):
        raise Hang

    alarms = {signal.SIGALRM: (signal.ITIMER_REAL, WAITING * seconds), signal.SIGPROF: (signal.ITIMER_PROF, seconds)}
    before = {number: signal.signal(number, ring) for number in alarms}
    faulthandler.dump_traceback_later(3 * WAITING * seconds, exit=True)
    for timer, limit in alarms.values():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, _ in alarms.values():
            signal.setitimer(timer, 0)
        faulthandler.cancel_dump_traceback_later()
        for number, handler in before.items():
            signal.signal(number, handler)


def judge_error(trial: Trial, message: str) -> tuple[Outcome, str]:
    """An error of a kind that auss raises: it must name the argument or the file."""
    if not any(subject in message for subject in trial.subjects):
        return Outcome.UNCLEAR, f"names none of {', '.join(trial.subjects)}: {message}"
    left = trial.leftover()
    if left is not None:
        return Outcome.LEFTOVER, f"{left}, after: {message}"
    return (Outcome.REFUSED if trial.kind == RIGHT else Outcome.CLEAR), message


def judge_result(trial: Trial, result: Any) -> tuple[Outcome, str]:
    """A result: it must be right, and may not come of a bad input."""
    try:
        fault = trial.wrong(result)
    except Unnoticeable as reason:
        return Outcome.UNNOTICEABLE, str(reason)
    if fault is not None:
        return Outcome.SILENT, fault
    return (Outcome.SILENT, "accepted") if trial.kind == BAD else (Outcome.WORKS, "")


def judge_command(trial: Trial, done: Command) -> tuple[Outcome, str]:
    """A command: after an error one line names what is wrong; 0 and 1 are results."""
    if "Traceback (most recent call last)" in done.errors:
        return Outcome.TRACEBACK, done.errors
    if done.status in (0, 1):
        outcome, words = judge_result(trial, done)
        told = outcome == Outcome.WORKS and any(done.told(subject) for subject in trial.subjects)
        return (Outcome.TOLD if told else outcome), words
    lines = [line for line in done.errors.splitlines() if line.startswith("auss ")]
    if done.status != cli.USAGE_ERROR or not lines:
        return Outcome.UNCLEAR, f"status {done.status} without a line that begins with 'auss': {done.errors}"
    return judge_error(trial, lines[-1])


def judge(trial: Trial, seconds: float = SECONDS) -> Verdict:
    """Runs a trial and judges what came of it."""
    try:
        with watched(seconds):
            result = trial.act()
            judged = (judge_command if isinstance(result, Command) else judge_result)(trial, result)
    except Hang:
        judged = Outcome.HANG, f"no answer after {seconds:g} s"
    except NAMED_ERRORS as error:
        judged = judge_error(trial, str(error))
    except Exception as error:
        judged = Outcome.TRACEBACK, f"{type(error).__name__}: {error}"
    return Verdict(trial, judged[0], " ".join(judged[1].split()))


__all__ = [
    "BAD",
    "EITHER",
    "FAULTS",
    "RIGHT",
    "Command",
    "Outcome",
    "Trial",
    "Unnoticeable",
    "Verdict",
    "call",
    "judge",
]
