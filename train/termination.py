"""What a run does when a cluster asks it to end: SIGTERM is noted, so that the run can save before it goes."""

import signal
import threading

from accelerate import Accelerator

from ..files.stopping import end_with_parent

TERMINATED = 128 + signal.SIGTERM  # what a shell reports for a program that SIGTERM stopped


class Termination:
    """
    A context in which SIGTERM does not end the process but is noted.

    In a thread other than the main one it does nothing, since Python takes signal handlers only there.
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

    def reached_any(self, accelerator: Accelerator) -> bool:
        """Whether SIGTERM has come to any process. Every process calls this and gets the same answer."""
        if accelerator.num_processes == 1:  # which need not wait for its accelerator to know
            return self.requested
        if self.requested:
            accelerator.set_trigger()
        return accelerator.check_trigger()


def ignore_sigterm(worker: int) -> None:
    """
    For `DataLoader`'s `worker_init_fn`: a cluster signals a loader's processes too, and their end would end the
    training before it has saved. They go when the training process does, also where that was killed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()


__all__ = ["TERMINATED", "Termination", "ignore_sigterm"]
