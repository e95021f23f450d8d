"""How a command stops.

SIGTERM and SIGHUP raise an exception as Ctrl-C does, so that the command cleans up. Steps that belong together are
finished first. Worker processes end with the process that started them.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 128 + signal.SIGINT  # a shell reports this status for a program that Ctrl-C stopped
# SIGHUP comes when a terminal is closed. Windows has no such signal.
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(SystemExit):
    """A signal asked the process to end. The exit status is the one that a shell reports for this signal."""

    def __init__(self, number: int):
        self.status = 128 + number
        super().__init__(self.status)
        self.signal_name = signal.Signals(number).name


def is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def clean_stops() -> Iterator[None]:
    """A context in which SIGTERM and SIGHUP raise `Stopped`, so that every `finally` and `with` cleans up.

    A signal that the process already ignores or handles stays as it is. Python allows signal handlers only in the main
    thread, so the context does nothing in other threads. After the first signal, further signals are ignored, because
    they would interrupt the cleaning up.
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
    """A context for a few quick steps that belong together. A signal that comes meanwhile takes effect afterwards."""
    if not is_main_thread():  # signal handlers run only in the main thread
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


@contextmanager
def signals_blocked() -> Iterator[None]:
    """A context in which the operating system holds back Ctrl-C, SIGTERM and SIGHUP. Start worker processes in it,
    because they begin with the handlers of their parent, which would raise an error in them.
    `leave_signals_to_parent` lets the signals through in a worker."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, *ENDING_SIGNALS])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Ends a worker process of `multiprocessing` as soon as its parent process has ended, even if the parent was
    killed. The worker itself calls this function. In a process that is not a worker, the function does nothing."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def leave_signals_to_parent() -> None:
    """Makes a worker process ignore Ctrl-C and end at once on SIGTERM. The worker itself calls this function. Ctrl-C
    reaches all processes of a terminal, but only the parent shall react to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, *ENDING_SIGNALS])


__all__ = [
    "INTERRUPTED",
    "Stopped",
    "clean_stops",
    "end_with_parent",
    "leave_signals_to_parent",
    "signals_blocked",
    "stops_deferred",
]
