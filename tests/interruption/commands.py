"""Commands that write something, each as its own process, long enough to be stopped when it is half done."""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from auss import cli
from auss.files.claims import is_claim

from ..fuzzing.sources import Sources
from ..processes import wait_until
from ..small_videos import write_video
from ..train.conftest import make_s4

# Steps that take milliseconds are slowed down, so that a signal meets them.
SLOW_EXPORT = "import auss.inference.export as m, time; m.follow_umask = lambda paths: time.sleep(600)"
SLOW_SHEETS = "import auss.train.evaluation.evaluate as m, time; m.draw_clips = lambda *_: time.sleep(600)"


@dataclass(frozen=True)
class Writing:
    """
    Args:
        words: the command and its arguments; it writes into the folder `out`.
        halves: places at which the command is half done, in their order: a pattern under `out` for what is there by
            then, and the patterns of what must not be there yet. The command is stopped once at each of them.
        finished: patterns for what is there when it is done.
        again: the words of the next run, which is to succeed: the same by default.
        slow: Python that is run before the command.
        largest: bytes of a file, beyond which the disk counts as full.
        workers: the processes that the command has started.
    """

    words: list[Any]
    halves: dict[str, tuple[str, ...]]
    finished: tuple[str, ...]
    again: list[Any] = field(default_factory=list)
    slow: str = ""
    largest: int = 1000
    workers: int = 0


def writing(name: str, sources: Sources, out: Path) -> Writing:
    """The command of a name, with sources for it."""
    return MAKERS[name](sources, out)


def _long_video(sources: Sources) -> Path:
    path = sources.folder / "long" / "long.mp4"
    path.parent.mkdir(exist_ok=True)
    return path if path.exists() else write_video(path, seconds=40.0, size=(144, 192))


def _segment(sources: Sources, out: Path) -> Writing:
    words = ["segment", _long_video(sources), "-o", out / "o.mp4", "--masks", out / "masks", "--model", sources.model]
    every = ["--fps", "every"]
    done = ("o.mp4", "masks/*.png")
    return Writing([*words, *every], {"masks/.*/new/mask*": done}, done, [*words, "--fps", "1"])


def _segment_folder(sources: Sources, out: Path) -> Writing:
    folder = _long_video(sources).parent
    words = ["segment-folder", folder, "-o", out, "--write", "video", "masks", "--model", sources.model]
    every = ["--fps", "every"]
    done = ("long.mp4/*",)
    return Writing([*words, *every], {".*/new/*/masks/mask*": done}, done, [*words, "--fps", "1"])


def _compose(sources: Sources, out: Path) -> Writing:
    words = ["compose", out, "--ms3", 0, 0, 0, "--size", 64, "--workers", 2]
    done = ("annotations.json", "Single-source")
    return Writing([*words, "--s4", 300, 0, 0], {".*/new/*/*/*/*": done}, done, [*words, "--s4", 2, 0, 0], workers=2)


def _prepare(sources: Sources, out: Path) -> Writing:
    many = sources.folder / "many"
    if not many.exists():
        make_s4(many, splits=("train",), clips=150)
    done = ("README.md", "s4")
    words = ["prepare", many, out, "--shards", 100]
    return Writing(words, {".*/new/s4/*": done}, done, ["prepare", sources.data, out])


def _export(sources: Sources, out: Path) -> Writing:
    words = ["export", sources.model, out]
    done = ("export.json", "model.onnx")
    return Writing(words, {".*/new/*": done}, done, slow=SLOW_EXPORT, largest=100_000)


def _evaluate(sources: Sources, out: Path) -> Writing:
    words = ["evaluate", "--model", sources.model, "--data", sources.data, "--output", out]
    done = ("*.json", "*.md", "*.png")
    return Writing(words, {".*/new/*.json": done}, done, slow=SLOW_SHEETS, largest=5000)


def _train(sources: Sources, out: Path) -> Writing:
    words = [*sources.train_command(out, steps=60), "--checkpoint-every", 1]
    done = ("model.safetensors",)
    return Writing(words, {"checkpoints/step-*": done}, done, [*words, "--resume"], largest=60_000)


def _demo(sources: Sources, out: Path) -> Writing:
    """It is stopped while it composes, trains, evaluates, composes the video, and segments it."""
    scores, overlay, model = "scores.json", "overlay.mp4", "model/model.safetensors"
    halves = {
        "data/.*/new/*/*/*/*": ("data/annotations.json", model, scores, overlay),
        "model/arguments.json": (model, scores, overlay),
        "model/evaluation/*-own.json": (scores, overlay),
        ".auss-*.mp4": ("video.mp4", overlay),
        "video.mp4": (overlay,),
    }
    # Two steps: a SIGTERM in the last step lets the training end before the demo stops.
    words = ["demo", "--output", out, "--seconds", 1, "--clips", 16, 1, 2, "--steps", 2]
    return Writing(words, halves, (scores, overlay, model), largest=2**20)


MAKERS: dict[str, Callable[[Sources, Path], Writing]] = {
    "segment": _segment,
    "segment-folder": _segment_folder,
    "compose": _compose,
    "prepare": _prepare,
    "export": _export,
    "evaluate": _evaluate,
    "train": _train,
    "demo": _demo,
}


class Running:
    """
    `auss` in a process of its own, forked from this one, so that nothing needs to be imported again.

    Args:
        words: the command and its arguments.
        slow: Python that is run in the process first.
        before: called in the process after that.
    """

    def __init__(self, words: list[Any], slow: str = "", before: Callable[[], None] = lambda: None):
        self.returncode: int | None = None
        # A pipe, since a limit on the length of files must not meet what the process says of it.
        self._words: list[bytes] = []
        reading, self._writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            status = 70
            try:
                status = self._run([str(word) for word in words], slow, before)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        os.close(self._writing)
        self._reader = threading.Thread(target=self._read, args=(reading,))
        self._reader.start()

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as pipe:
            self._words.extend(pipe)

    def _run(self, words: list[str], slow: str, before: Callable[[], None]) -> int:
        # pytest, and a shell for its background jobs, handle these in ways of their own.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(self._writing, 1)
        os.dup2(self._writing, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        torch.set_num_threads(1)  # those of the process before do not exist here
        logging.root.handlers.clear()  # pytest's would keep the warnings of the command
        # The locks of the process before are shared with processes that SIGKILL ended, which may have held them.
        bars = tqdm.__subclasses__()
        for bar in (tqdm, *bars, *(inner for outer in bars for inner in outer.__subclasses__())):
            bar.set_lock(threading.RLock())
        exec(slow, {})
        before()
        try:
            return cli.main(words)
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1

    def poll(self) -> int | None:
        """The exit status, as `subprocess` gives it; None while the process runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def errors(self, seconds: float) -> str:
        """What the process wrote, once it has ended, in so many seconds at most."""
        wait_until(lambda: self.poll() is not None, seconds)
        self._reader.join(30)  # it ends when the last worker has closed the pipe
        return b"".join(self._words).decode(errors="replace")


def visible(out: Path, patterns: tuple[str, ...]) -> list[Path]:
    """What of the patterns is in a folder, without what is hidden because it is in the making."""
    found = [path for pattern in patterns for path in out.glob(pattern)]
    return [path for path in found if not any(is_claim(part) for part in path.relative_to(out).parts)]


def in_the_making(out: Path) -> list[Path]:
    return [path for path in out.rglob("*") if is_claim(path.name) or path.name.startswith("unfinished-")]


__all__ = [
    "MAKERS",
    "Running",
    "Writing",
    "in_the_making",
    "visible",
    "writing",
]
