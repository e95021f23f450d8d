"""Ctrl-C, SIGTERM, SIGKILL and a full disk while commands write: nothing that looks finished and is not, no process
left, nothing in the way of the next run.

All are processes of their own, stopped by real signals. One of each kind runs in CI, the others are slow.
`tests/inference/test_interruption.py` stops commands from inside, at chosen places.
"""

import os
import resource
import signal

import pytest

from ..fuzzing.sources import Sources
from ..processes import children_of, is_running, wait_until
from .commands import MAKERS, Running, in_the_making, visible, writing

PATIENCE = 1800.0  # seconds for what takes some tens where no other program uses the processor
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
# One of each kind, chosen for the little time that they take.
QUICK = {("segment", signal.SIGINT), ("compose", signal.SIGTERM), ("compose", signal.SIGKILL), ("compose", None)}

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")


def cases(kinds):
    return [
        pytest.param(name, kind, marks=[] if (name, kind) in QUICK else pytest.mark.slow, id=f"{name}-{label}")
        for name in MAKERS
        for kind, label in kinds
    ]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return Sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def assert_next_run_succeeds(command, out):
    # A process of its own, too: where autograd has run, torch refuses to train in a process that is forked later.
    process = Running(command.again or command.words)
    error = process.errors(PATIENCE)
    assert process.returncode == 0, error
    assert all(visible(out, (pattern,)) for pattern in command.finished) and not in_the_making(out)


@pytest.mark.parametrize(("name", "number"), cases([(number, number.name) for number in SIGNALS]))
def test_signal(sources, own_cache, tmp_path, name, number):
    out = tmp_path / "out"
    command = writing(name, sources, out)
    for half, missing in command.halves.items():
        process = Running(command.words, command.slow)
        wait_until(lambda half=half, process=process: list(out.glob(half)) or process.poll() is not None, PATIENCE)
        workers = children_of(process.pid)
        assert len(workers) >= command.workers
        process.send_signal(number)
        error = process.errors(PATIENCE)
        assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), error
        assert "Traceback" not in error
        wait_until(lambda workers=workers: not any(map(is_running, workers)), 200)
        assert not visible(out, missing), (half, error)
        if number != signal.SIGKILL:
            # A training logs on SIGTERM that it has saved a checkpoint, and ends by itself.
            assert f"auss {name}: stopped" in error or (number == signal.SIGTERM and "SIGTERM: stopping at" in error)
            assert not in_the_making(out), half
    assert_next_run_succeeds(command, out)


@pytest.mark.parametrize(("name", "kind"), cases([(None, "full-disk")]))
def test_full_disk(sources, own_cache, tmp_path, name, kind):
    """The kernel refuses to make any file longer than a limit, as a full disk would."""
    out = tmp_path / "out"
    command = writing(name, sources, out)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (command.largest, command.largest))

    process = Running(command.again if name == "train" else command.words, before=limit)
    workers = children_of(process.pid)
    error = process.errors(PATIENCE)
    assert process.returncode == (1 if name == "segment-folder" else 2), error
    assert "Traceback" not in error and "File too large" in error, error
    assert not any(map(is_running, workers))
    assert not visible(out, command.finished) and not in_the_making(out)
    assert_next_run_succeeds(command, out)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compose", "train"])
def test_a_worker_that_is_killed(sources, own_cache, tmp_path, name):
    """As the kernel does where memory is short."""
    out = tmp_path / "out"
    command = writing(name, sources, out)
    process = Running([*command.words, "--workers", 2], command.slow)
    wait_until(lambda: any(list(out.glob(half)) for half in command.halves) or process.poll() is not None, PATIENCE)
    # A loader has its workers for an epoch, so between two epochs there are none.
    workers: list[int] = []
    wait_until(lambda: workers.extend(children_of(process.pid)) or workers or process.poll() is not None, PATIENCE)
    assert workers, process.errors(PATIENCE)
    os.kill(workers[-1], signal.SIGKILL)
    error = process.errors(PATIENCE)
    assert process.returncode == 2 and "Traceback" not in error, error
    assert "ended from outside" in error.splitlines()[-1]
    assert not visible(out, command.finished) and not in_the_making(out)
    assert_next_run_succeeds(command, out)
