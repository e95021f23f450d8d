import multiprocessing
import os
import signal
import threading
import time

import pytest

from auss.files.stopping import (
    Stopped,
    clean_stops,
    end_with_parent,
    leave_signals_to_parent,
    signals_blocked,
    stops_deferred,
)

from ..processes import is_running


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_unwinds_what_is_running(number, status):
    tidied = []
    with pytest.raises(Stopped) as stop, clean_stops():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGTERM)  # a second signal from an impatient user
            tidied.append(True)
    assert stop.value.code == stop.value.status == status and tidied == [True]
    assert stop.value.signal_name == signal.Signals(number).name
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_signals_that_are_ignored_or_handled_stay_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup does the same
    try:
        with clean_stops():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_few_steps_are_let_finish():
    steps = []
    with pytest.raises(KeyboardInterrupt), stops_deferred():
        steps.append(1)
        signal.raise_signal(signal.SIGINT)
        steps.append(2)
    assert steps == [1, 2]
    steps.clear()
    with pytest.raises(Stopped), clean_stops(), stops_deferred():
        signal.raise_signal(signal.SIGTERM)
        steps.append(1)
    assert steps == [1]


def test_in_another_thread_nothing_changes():
    seen = []

    def work():
        with clean_stops(), stops_deferred():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def worker(pipe):
    leave_signals_to_parent()
    end_with_parent()
    pipe.send(os.getpid())
    time.sleep(60)


def start_worker_and_sleep(pipe):
    multiprocessing.get_context("fork").Process(target=worker, args=(pipe,)).start()
    time.sleep(60)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_workers_end_with_a_parent_that_was_killed():
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    parent = context.Process(target=start_worker_and_sleep, args=(there,))
    parent.start()
    pid = here.recv()
    assert is_running(pid)
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_no_worker_is_left_alone():
    end_with_parent()  # does nothing, because this process is not a worker
    assert not [thread for thread in threading.enumerate() if thread.name == "end-with-parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_that_has_just_started_ends_without_the_handlers_of_its_parent():
    """Otherwise it would raise `Stopped` and print a traceback."""
    reading, writing = os.pipe()
    with clean_stops():
        with signals_blocked():
            worker = os.fork()
            if worker == 0:
                os.read(reading, 1)  # the signal is there when this returns
                try:
                    leave_signals_to_parent()
                finally:
                    os._exit(7)
        os.kill(worker, signal.SIGTERM)
        os.write(writing, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGTERM
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    os.close(reading)
    os.close(writing)
