"""Commands that are stopped or run out of space leave nothing that hinders the next run.

These tests stop a command from inside. `tests/interruption` starts commands as processes and sends them signals.
"""

import errno
import multiprocessing
import os
import signal

import pytest

from auss import cli
from auss.inference import segment


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
