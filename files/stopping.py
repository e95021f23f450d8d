"""How a command stops: SIGTERM and SIGHUP unwind it as Ctrl-C does, a step that must not be halved is let finish, and
worker processes do not outlive the process that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 128 + signal.SIGINT  # what a shell reports for a program that Ctrl-C stopped
# SIGHUP comes when a terminal is closed. Windows has no such signal.
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(SystemExit):
    """A signal asked the process to end; the status is the one that a shell reports for the signal."""

    def __init__(self, number: int):
        self.status = 128 + number
        super().__init__(self.status)
        self.signal_name = signal.Signals(number).name


def is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def clean_stops() -> Iterator[None]:
    """A context in which SIGTERM and SIGHUP raise `Stopped`, so that everything on the way out tidies up.

    Signals that the process ignores or handles already stay as they are; in a thread other than the main one nothing
    changes, since Python takes signal handlers only there. After the first signal further ones are ignored, because
    they would interrupt the tidying up.
    """
    if not is_main_thread():
        yield
        return
    handled = [number for number in ENDING_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]

    def stop(number: int, _) -> None:
        for one in handled:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(number)

    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def stops_deferred() -> Iterator[None]:
    """A context of a few quick steps that belong together: a signal that comes meanwhile takes effect after them."""
    if not is_main_thread():  # where no signal handler runs
        yield
        return
    noted: list[int] = []
    previous = {}
    for number in (signal.SIGINT, *ENDING_SIGNALS):
        handler = signal.getsignal(number)
        if handler is not None and handler is not signal.SIG_IGN:
            previous[number] = signal.signal(number, lambda came, _: noted.append(came))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for number in noted[:1]:
            signal.raise_signal(number)


def end_with_parent() -> None:
    """To be called in a worker process of `multiprocessing`: ends the process as soon as its parent has ended, also
    where the parent was killed and could tell nobody. In a process that is no worker it does nothing."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def leave_signals_to_parent() -> None:
    """To be called in a worker process: Ctrl-C, which reaches all processes of a terminal, is left to the parent, and
    SIGTERM ends the worker at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


__all__ = [
    "INTERRUPTED",
    "Stopped",
    "clean_stops",
    "end_with_parent",
    "leave_signals_to_parent",
    "stops_deferred",
]
