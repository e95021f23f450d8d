"""Runs the steps of a command in threads: one step makes items ahead of the next one, which takes them.

Decoding, networks and encoding leave Python's lock to other threads while they compute, so two steps use two cores.
"""

import atexit
import contextlib
import contextvars
import threading
from collections.abc import Callable, Generator, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from ..files.stopping import stops_deferred

Item = TypeVar("Item")
Result = TypeVar("Result")


class Passage(Generic[Item]):
    """Hands items from one thread to another one, in their order.

    All waiting is done by `SimpleQueue`, which is written in C. A signal handler that raises an error in the main
    thread interrupts the wait, and leaves no lock behind. `queue.Queue` can leave its lock locked.

    Args:
        room: the number of items that may wait to be taken. It bounds the memory.
        on_stop: called by `stop`.
    """

    def __init__(self, room: int, on_stop: Callable[[], None] = lambda: None):
        self._on_stop = on_stop
        self._room: SimpleQueue[None] = SimpleQueue()
        self._items: SimpleQueue[tuple[Item] | None] = SimpleQueue()
        for _ in range(room):
            self._room.put(None)
        self._ended = False
        self.stopped = False  # whether the items that are left are not wanted

    def put(self, item: Item) -> bool:
        """Waits for room and hands the item in. Returns False if nobody takes items any more."""
        self._room.get()
        if self._ended:
            self._room.put(None)  # for a later call
            return False
        self._items.put((item,))
        return True

    def __iter__(self) -> Iterator[Item]:
        """Takes the items until the other side has ended."""
        while (entry := self._items.get()) is not None and not self.stopped:
            self._room.put(None)
            yield entry[0]

    def end(self) -> None:
        """Says that this side has ended: no item will follow, or no item will be taken. The other side stops to wait.
        Items that were handed in can still be taken."""
        self._ended = True
        self._items.put(None)
        self._room.put(None)

    def stop(self) -> None:
        """Ends both sides at once."""
        self.stopped = True
        self._on_stop()
        self.end()


class Worker(Generic[Result]):
    """Does work in a thread, from the beginning to the end of a `with` statement.

    The end of the statement stops the passage and waits until the thread has ended. So no thread works on when an
    error or a signal ends a command, and files that the thread writes to can be closed. The work must ask
    `passage.stopped` often, unless it waits for the passage anyway. The thread sees the context variables of the
    thread that makes it.

    Args:
        work: what the thread does.
        passage: what connects the thread with this one. It ends with the work.
    """

    def __init__(self, work: Callable[[], Result], passage: Passage):
        self._work = work
        self._passage = passage
        self._outcome: SimpleQueue[tuple[Result | None, BaseException | None]] = SimpleQueue()
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="auss-worker", daemon=True)

    def _run(self) -> None:
        try:
            self._outcome.put((self._work(), None))
        except BaseException as error:  # `result` raises it in the other thread
            self._outcome.put((None, error))
        finally:
            self._passage.end()

    def result(self) -> Result:
        """Waits for the end of the work and returns its result, or raises its error. Call this method once."""
        result, error = self._outcome.get()
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame, and everything that the work held would wait for the collector
        return result  # pyright: ignore[reportReturnType]  # it is None only if the work returns None

    def __enter__(self) -> "Worker[Result]":
        atexit.register(self._end)  # for a generator that nobody closes before the program ends
        try:
            with stops_deferred():
                self._thread.start()
        except BaseException:  # a signal that came meanwhile, or no more threads are allowed
            self._end()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._end()

    def _end(self) -> None:
        atexit.unregister(self._end)
        with stops_deferred():
            self._passage.stop()
            # The collector may end a forgotten generator in any thread, this one too.
            if self._thread.ident is not None and self._thread is not threading.current_thread():
                self._thread.join()


def ahead(
    source: Generator[Item, None, None], room: int, stop: Callable[[], None] = lambda: None
) -> Generator[Item, None, None]:
    """Yields the items of a generator that runs in a thread of its own. It is closed in that thread.

    Errors of the source are raised after the items before them. The thread starts with the first item. Close the
    returned generator to end the thread before the last item.

    Args:
        source: makes the items.
        room: the number of finished items that may wait. One more is in the making.
        stop: called if no more items are wanted, to make the source give up an item that takes long. It may also be
            called when the source has ended by itself.
    """
    passage: Passage[Item] = Passage(room, stop)

    def make() -> None:
        with contextlib.closing(source):
            for item in source:
                if not passage.put(item):
                    return

    with Worker(make, passage) as worker:
        yield from passage
        worker.result()


__all__ = ["Passage", "Worker", "ahead"]
