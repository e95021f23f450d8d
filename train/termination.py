"""Handles SIGTERM, by which a cluster asks a run to end: the signal is noted, so that the run can save before it
ends."""

import signal
import threading

from accelerate import Accelerator

from ..files.stopping import end_with_parent

TERMINATED = 128 + signal.SIGTERM  # the exit status that a shell reports for a program stopped by SIGTERM


class Termination:
    """
    A context in which SIGTERM does not end the process but is noted.

    In a thread other than the main one it does nothing, because Python sets signal handlers only in the main thread.
    """

    def __init__(self):
        self.requested = False

    def __enter__(self) -> "Termination":
        self._handles = threading.current_thread() is threading.main_thread()
        if self._handles:
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_) -> None:
        if self._handles:
            signal.signal(signal.SIGTERM, self._previous)

    def _note(self, *_) -> None:
        self.requested = True

    def redeliver(self) -> None:
        """Sends a noted SIGTERM again, after the context, to a handler of Python's that the process had before. A run
        that got the signal in its last step ends as a whole run, but nothing shall follow it."""
        if self.requested and callable(signal.getsignal(signal.SIGTERM)):
            signal.raise_signal(signal.SIGTERM)

    def reached_any(self, accelerator: Accelerator) -> bool:
        """Tells whether any process got SIGTERM. Every process calls this method and gets the same answer."""
        if accelerator.num_processes == 1:  # a single process need not wait for its accelerator
            return self.requested
        if self.requested:
            accelerator.set_trigger()
        return accelerator.check_trigger()


def ignore_sigterm(worker: int) -> None:
    """
    Makes a worker ignore SIGTERM, as a `worker_init_fn` of `DataLoader`. A cluster also signals the workers of a
    loader. If they ended, the training would end before it has saved. Workers end when the training process ends, even
    if it was killed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()


__all__ = ["TERMINATED", "Termination", "ignore_sigterm"]
