"""The standard streams of a command: missing ones, full ones, and those that nobody reads any more."""

import contextlib
import os
import select
import sys

BROKEN_PIPE = 141  # a shell reports this status for a program that SIGPIPE ended
NOT_WRITTEN = 2  # the status of every error that the user can mend


def open_missing_streams() -> None:
    """
    Opens the standard streams that the caller has closed, on a device that swallows all.

    Otherwise the next file that is opened would get the number of the missing stream, and a library that writes
    messages to the standard streams would write them into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))


def say(words: str) -> None:
    """Prints a line to standard error. If nobody reads it any more, the exit status must do."""
    with contextlib.suppress(OSError):
        print(words, file=sys.stderr, flush=True)


def reader_is_gone() -> bool:
    """Tells whether standard output is a pipe whose reader has ended, as in `auss presets | head -1`."""
    if not hasattr(select, "poll"):  # on Windows
        return False
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def finish_output(command: str, status: int) -> int:
    """
    Writes out what has been printed, and returns the exit status.

    If the reader has ended, it has read all that it wanted. If the output cannot be written, for example to a file on
    a full disk, the results of the command are complete, but its words are lost.
    """
    try:
        sys.stdout.flush()
        return status
    except OSError as error:
        # Python would try to write the rest again when it ends, and complain.
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, 1)
        os.close(handle)
        if isinstance(error, BrokenPipeError):
            return status or BROKEN_PIPE
        say(f"{command}: standard output cannot be written: {error.strerror}")
        return status or NOT_WRITTEN


__all__ = ["BROKEN_PIPE", "finish_output", "open_missing_streams", "reader_is_gone", "say"]
