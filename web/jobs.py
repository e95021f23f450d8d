"""The videos that are being segmented for the open pages, and the results that the pages show.

A page has one video at a time. The work is done in a thread of the server and not in a process of its own: all
visitors share the models in memory, and no video waits until a new process has imported torch. The thread asks before
every frame and every mask whether it shall stop, so a cancelled video stops after at most one batch of frames.
"""

import shutil
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .visitors import Visitors

Page = tuple[str, str]  # the visitor, and Gradio's name for the open page


class CancelledError(Exception):
    """The visitor cancelled the video, or closed the page."""


@dataclass
class Job:
    """One video of a page. `result` is what `segment_upload` returns, once it is there."""

    folder: Path
    stop: threading.Event = field(default_factory=threading.Event)
    result: Any = None

    def check(self) -> None:
        """Raises `CancelledError` if the work shall stop."""
        if self.stop.is_set():
            raise CancelledError


class Jobs:
    """The jobs of all open pages. All methods may be called from any thread."""

    def __init__(self, visitors: Visitors):
        self._visitors = visitors
        self._jobs: dict[Page, Job] = {}
        self._lock = threading.Lock()

    def begin(self, page: Page) -> Job:
        """Makes a new job for a page. The earlier job of the page is stopped and its results are deleted."""
        self.forget(page)
        job = Job(self._visitors.folder(page[0]) / uuid.uuid4().hex)
        with self._lock:
            self._jobs[page] = job
        return job

    def of(self, page: Page) -> Job | None:
        """The current job of a page."""
        with self._lock:
            return self._jobs.get(page)

    def stop(self, page: Page) -> None:
        """Asks the job of a page to stop."""
        job = self.of(page)
        if job is not None:
            job.stop.set()

    def forget(self, page: Page) -> None:
        """Stops the job of a page and deletes its results. A job that still runs deletes its files when it stops."""
        with self._lock:
            job = self._jobs.pop(page, None)
        if job is not None:
            job.stop.set()
            shutil.rmtree(job.folder, ignore_errors=True)

    def stop_all(self) -> None:
        """Asks all jobs to stop, when the server ends."""
        with self._lock:
            for job in self._jobs.values():
                job.stop.set()


__all__ = ["CancelledError", "Job", "Jobs"]
