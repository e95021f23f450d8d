"""Threads that make items ahead: order, bounds, errors, signals, and that no thread stays behind."""

import contextvars
import signal
import threading
import time

import pytest

from auss.inference.worker_threads import Passage, Worker, ahead

PATIENCE = 30.0  # seconds, for a busy machine


class Alarm(Exception):
    pass


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "auss-worker"]


@pytest.fixture(autouse=True)
def no_thread_stays():
    assert not workers()
    yield
    assert not workers()


@pytest.fixture
def alarm():
    """Raises `Alarm` in the main thread after the given seconds, as a signal handler of a command does."""

    def ring(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_items_come_in_order_from_another_thread():
    def source():
        for number in range(100):
            yield number, threading.current_thread().name

    assert list(ahead(source(), 3)) == [(number, "auss-worker") for number in range(100)]


@pytest.mark.parametrize("room", [1, 3])
def test_no_more_items_are_made_than_there_is_room_for(room):
    made = []

    def source():
        for number in range(50):
            made.append(number)
            yield number

    items = ahead(source(), room)
    assert not made and not workers()  # nothing begins before the first item is asked for
    for taken in (1, 2, 3):
        next(items)
        wait_for(lambda taken=taken: len(made) == taken + room + 1)
        time.sleep(0.02)
        assert len(made) == taken + room + 1
    items.close()


def test_an_error_comes_after_the_items_before_it():
    def source():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    items = ahead(source(), 8)
    assert next(items) == 1 and next(items) == 2
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_closing_ends_the_source_in_its_thread():
    ended, stopped = [], []

    def source():
        try:
            while True:
                yield 0
        finally:
            ended.append(threading.current_thread().name)

    items = ahead(source(), 2, stop=lambda: stopped.append(True))
    next(items)
    items.close()
    assert ended == ["auss-worker"] and stopped


def test_an_item_that_takes_long_is_given_up():
    halt = threading.Event()

    def source():
        yield 0
        assert halt.wait(PATIENCE)

    items = ahead(source(), 2, stop=halt.set)
    next(items)
    items.close()
    assert halt.is_set()


def test_work_gets_what_is_handed_in_and_returns_its_result():
    passage = Passage(2)
    with Worker(lambda: sum(passage), passage) as worker:
        assert all(passage.put(number) for number in range(20))
        passage.end()
        assert worker.result() == sum(range(20))


def test_an_error_of_the_work_frees_the_giver():
    passage = Passage(1)

    def work():
        for item in passage:
            raise OSError(f"no space for {item}")

    with pytest.raises(OSError, match="no space for 0"), Worker(work, passage) as worker:
        numbers = iter(range(1000))
        while passage.put(next(numbers)):
            pass
        assert not passage.put(0)  # it stays so
        worker.result()


def test_an_error_of_the_giver_stops_the_work():
    passage, written = Passage(4), []

    def work():
        for item in passage:
            written.append(item)
        assert passage.stopped

    with pytest.raises(KeyError), Worker(work, passage):
        raise KeyError


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.parametrize("waits_for", ["room", "result", "item"])
def test_a_signal_ends_a_wait_at_once(alarm, waits_for):
    passage = Passage(1)

    def idle():
        deadline = time.monotonic() + PATIENCE
        while not passage.stopped and time.monotonic() < deadline:
            time.sleep(0.002)

    def never():
        idle_until_stopped.wait(PATIENCE)
        yield 0

    idle_until_stopped = threading.Event()
    began = time.monotonic()
    alarm(0.1)
    with pytest.raises(Alarm):
        if waits_for == "item":
            next(ahead(never(), 1, stop=idle_until_stopped.set))
        else:
            with Worker(idle, passage) as worker:
                if waits_for == "result":
                    worker.result()
                while True:
                    passage.put(0)
    assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_signal_while_the_thread_ends_comes_afterwards():
    """The thread must have ended when the error of the signal goes on, because files are closed then."""
    passage, ended = Passage(1), []

    def work():
        while not passage.stopped:
            time.sleep(0.002)
        signal.raise_signal(signal.SIGINT)  # its handler runs in the main thread, which is waiting for this thread
        time.sleep(0.1)
        ended.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for background jobs
    try:
        with pytest.raises(KeyboardInterrupt), Worker(work, passage):
            pass
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended


def test_the_thread_has_the_context_of_its_maker():
    visitor = contextvars.ContextVar("visitor", default="nobody")
    visitor.set("ann")
    assert list(ahead((visitor.get() for _ in range(1)), 1)) == ["ann"]
