import os
import signal
import threading

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from auss.train.termination import TERMINATED, Termination, ignore_sigterm


def test_sigterm_is_noted_inside_and_its_handler_restored_outside():
    def handler(*_):
        raise AssertionError("this one was to be replaced")

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with Termination() as termination:
            assert not termination.reached_any(Accelerator())
            os.kill(os.getpid(), signal.SIGTERM)
            assert termination.reached_any(Accelerator())
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_sigterm_of_the_last_step_comes_again_after_the_run():
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with Termination() as termination:
            pass
        termination.redeliver()
        assert came == []
        with termination:
            os.kill(os.getpid(), signal.SIGTERM)
        termination.redeliver()
        assert came == [signal.SIGTERM]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        termination.redeliver()  # a program without a handler of its own goes on with the finished run
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_nothing_changes():
    seen = []

    def work():
        with Termination() as termination:
            seen.extend([signal.getsignal(signal.SIGTERM), termination.requested])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM), False]


def test_the_status_is_a_shells():
    assert TERMINATED == 143


class Killing(torch.utils.data.Dataset):
    """A data set that sends SIGTERM to the process that loads it."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGTERM)
        return index


@pytest.mark.parametrize("ignores", [True, False])
def test_a_loaders_processes_outlive_sigterm(ignores):
    loader = DataLoader(Killing(), num_workers=1, worker_init_fn=ignore_sigterm if ignores else None)
    if ignores:
        assert [batch.item() for batch in loader] == [0]
    else:
        with pytest.raises(RuntimeError, match="exited unexpectedly"):
            list(loader)
