"""Commands that are stopped or run out of space leave nothing that hinders the next run.

The quick tests stop a command from inside. The slow tests start it as its own process and send it signals.
"""

import errno
import multiprocessing
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from auss import cli
from auss.files.claims import is_claim
from auss.files.new_contents import entries
from auss.inference import segment
from auss.inference.media.video_reader import VideoReader

from ..processes import children_of, is_running, wait_until


def raises(error):
    def stop(*_, **__):
        raise error

    return stop


def contents(folder):
    """The names and bytes of all files in a folder, including hidden files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


STOPS = [
    (KeyboardInterrupt(), cli.INTERRUPTED),
    (OSError(errno.ENOSPC, "No space left on device"), 2),
    (RuntimeError("a fault of ours"), cli.INTERNAL_ERROR),
]


@pytest.fixture
def run_segment(make_video, tmp_path, model_folder):
    """Runs `auss segment` with masks on a small video and returns its status."""
    video = make_video("in.mp4", seconds=1.0)

    def run(*options):
        command = ["segment", str(video), "-o", str(tmp_path / "out" / "out.mp4"), "--model", str(model_folder)]
        return cli.main([*command, "--masks", str(tmp_path / "out" / "masks"), *options])

    return run


@pytest.mark.parametrize(("error", "status"), STOPS)
def test_segment_leaves_nothing_or_what_was_there(run_segment, tmp_path, monkeypatch, capsys, error, status):
    out, original = tmp_path / "out", segment.write_mask
    calls = []

    def breaks_off(mask, folder, num_labels):
        calls.append(folder)
        if len(calls) == 2:
            (folder / "mask_000001_00000.000s.png").write_bytes(b"half")
            raise error
        return original(mask, folder, num_labels)

    def run(*options):
        calls.clear()
        return run_segment(*options)

    with monkeypatch.context() as patch:
        patch.setattr(segment, "write_mask", breaks_off)
        assert run() == status and not any(path.is_file() for path in out.rglob("*"))
    assert run_segment() == 0
    (out / "masks" / "mask_dogs.png").write_bytes(b"mine")
    (out / "masks" / "mask_000077_00007.000s.png").write_bytes(b"of an earlier, longer video")
    before = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr(segment, "write_mask", breaks_off)
        assert run("--overwrite", "--fps", "2") == status and contents(out) == before
    if status == 2:
        assert "No space left on device: the unfinished output is removed" in capsys.readouterr().err
    assert run_segment("--overwrite", "--fps", "2") == 0
    assert sorted(os.listdir(out / "masks")) == [
        "mask_000000_00000.000s.png",
        "mask_000005_00000.500s.png",
        "mask_dogs.png",
    ]
    assert (out / "masks" / "mask_dogs.png").read_bytes() == b"mine"


def test_everything_is_refused_before_anything_is_touched(run_segment, tmp_path):
    assert run_segment() == 0
    before = contents(tmp_path)
    for options in (
        [],
        ["--overwrite", "--threshold", "2"],
        ["--overwrite", "--window", "99"],
        ["--overwrite", "--model", "nowhere"],
        ["--overwrite", "--device", "warp"],
        ["--overwrite", "-o", str(tmp_path / "o.avi")],
    ):
        assert run_segment(*options) == 2 and contents(tmp_path) == before, options


def test_results_have_the_rights_that_the_umask_gives(run_segment, tmp_path):
    before = os.umask(0o026)
    try:
        assert run_segment() == 0
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "out").rglob("*")]
    assert len(files) > 5
    for path in files:
        assert path.stat().st_mode & 0o777 == (0o751 if path.is_dir() else 0o640), path


def test_a_saved_model_has_the_rights_that_the_umask_gives(tiny_model, tiny_processor, tmp_path):
    before = os.umask(0o022)
    try:
        tiny_model.save_pretrained(tmp_path / "saved")
        tiny_processor.save_pretrained(tmp_path / "saved")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "saved").iterdir()} == {0o644}
    assert (tmp_path / "saved" / "model.safetensors").is_file()


@pytest.mark.parametrize("workers", [1, 2])
def test_compose_ends_its_workers(tmp_path, monkeypatch, workers):
    from auss.train.composer import composer

    out, seen = tmp_path / "set", []

    class StopAfterFive:
        def __init__(self, clips, *_, **__):
            self.clips = clips

        def __iter__(self):
            for number, clip in enumerate(self.clips):
                seen.append(len(multiprocessing.active_children()))
                if number == 5:
                    raise KeyboardInterrupt
                yield clip

    monkeypatch.setattr(composer, "tqdm", StopAfterFive)
    command = ["compose", str(out), "--s4", "40", "0", "0", "--ms3", "0", "0", "0", "--size", "64"]
    assert cli.main([*command, "--workers", str(workers)]) == cli.INTERRUPTED
    assert max(seen) == (2 if workers == 2 else 0) and multiprocessing.active_children() == []
    assert os.listdir(tmp_path) == []


def test_a_full_disk_for_compose_is_one_line(tmp_path, monkeypatch, capsys):
    from auss.train.composer import composer

    monkeypatch.setattr(composer, "write_clip", raises(OSError(errno.ENOSPC, "No space left on device")))
    command = ["compose", str(tmp_path / "set"), "--s4", "4", "0", "0", "--ms3", "0", "0", "0", "--size", "64"]
    assert cli.main(command) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("auss compose: [Errno 28] No space left on device")
    assert os.listdir(tmp_path) == []


def test_sigterm_is_a_clean_stop(run_segment, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(segment, "write_mask", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert run_segment() == 143
    assert capsys.readouterr().err.endswith("auss segment: stopped by SIGTERM\n")
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


@pytest.fixture
def commands(make_video, tmp_path, model_folder):
    """Command lines that write into a folder `out`, long enough to be stopped."""
    (tmp_path / "in").mkdir()
    video = make_video("in/long.mp4", seconds=40.0, size=(144, 192))
    out, model = str(tmp_path / "out"), str(model_folder)
    composed = ["--s4", "300", "0", "0", "--ms3", "0", "0", "0", "--size", "64", "--workers", "2"]
    masks = ["--fps", "every", "--model", model]
    return {
        "segment": ["segment", str(video), "-o", f"{out}/o.mp4", "--masks", f"{out}/masks", *masks],
        "segment-folder": ["segment-folder", str(tmp_path / "in"), "-o", out, "--write", "video", "masks", *masks],
        "compose": ["compose", out, *composed],
    }


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize("name", ["segment", "segment-folder", "compose"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_at_a_running_command(commands, tmp_path, name, number):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "auss", *commands[name]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    half = {"segment": "masks/.*/new/mask*", "segment-folder": ".*/new/*/masks/mask*", "compose": ".*/new/*/*/*/*"}
    wait_until(lambda: list(out.glob(half[name])) or process.poll() is not None)
    workers = children_of(process.pid)
    assert len(workers) == (2 if name == "compose" else 0)
    process.send_signal(number)
    _, error = process.communicate(timeout=200)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), error
    assert "Traceback" not in error
    wait_until(lambda: not any(map(is_running, workers)), 30)
    left = [path for path in out.rglob("*") if not any(is_claim(part) for part in path.relative_to(out).parts)]
    assert not any(path.is_file() for path in left)
    if number != signal.SIGKILL:
        assert not any(is_claim(path.name) for path in out.rglob("*"))
    short = [*commands[name], "--fps", "1"] if name != "compose" else [*commands[name], "--s4", "4", "0", "0"]
    assert cli.main(short) == 0
    assert entries(out) and not any(is_claim(path.name) for path in out.rglob("*"))


@pytest.mark.slow
def test_a_disk_without_space_for_the_output(run_segment, tmp_path, capsys):
    """The kernel limits the length of files here, which acts like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert run_segment() == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "auss segment: [Errno 27] File too large" in capsys.readouterr().err
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
    assert run_segment() == 0
    masks = sorted((tmp_path / "out" / "masks").iterdir())
    assert len(masks) == 5 and np.asarray(Image.open(masks[0])).shape == (48, 64)
    assert len(list(VideoReader(tmp_path / "out" / "out.mp4").frames())) == 10
