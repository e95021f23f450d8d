import os
import subprocess
import sys

import pytest

from auss.files import claims
from auss.files.claims import BusyError, Claim, is_claim, locked, tidy

# A process that makes claims and then kills itself by SIGKILL, which no process can catch.
KILLED = """
import importlib.util, os, pathlib, signal, sys
folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from files.claims import Claim
file, workspace = Claim(folder, "a.mp4", suffix=".mp4"), Claim(folder, "", directory=True)
(workspace.path / "half").write_text("half")
print("ready", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def other_run(tmp_path):
    """Another process that holds claims on `a.mp4` and on the folder as a whole. `kill()` ends the process."""
    root = os.path.dirname(os.path.dirname(claims.__file__))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"

    def kill():
        process.communicate("go\n")

    yield kill
    process.kill()
    process.communicate()


def test_a_live_run_keeps_others_off_and_a_killed_one_is_tidied_up(tmp_path, other_run):
    before = sorted(os.listdir(tmp_path))
    assert len(before) == 2 and all(map(is_claim, before))
    with pytest.raises(BusyError, match="a.mp4 is being made by another run"):
        Claim(tmp_path, "a.mp4")
    with pytest.raises(BusyError, match="is being made by another run"):
        Claim(tmp_path, "", directory=True)
    shared = Claim(tmp_path, "a.mp4", exclusive=False)
    other = Claim(tmp_path, "b.mp4")
    shared.release()
    other.release()
    assert sorted(os.listdir(tmp_path)) == before
    other_run()
    claim = Claim(tmp_path, "a.mp4")
    assert os.listdir(tmp_path) == [claim.path.name]
    claim.release()
    claim.release()
    assert os.listdir(tmp_path) == []


def test_of_two_claims_the_older_one_holds(tmp_path):
    first = Claim(tmp_path, "a.mp4")
    with pytest.raises(BusyError):
        Claim(tmp_path, "a.mp4")
    assert os.listdir(tmp_path) == [first.path.name]
    first.release()


def test_claims_are_made_new_with_the_rights_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        file, folder = Claim(tmp_path, "a", suffix=".mp4"), Claim(tmp_path, "", directory=True)
    finally:
        os.umask(before)
    assert file.path.suffix == ".mp4" and file.path.stat().st_mode & 0o777 == 0o640
    assert folder.path.stat().st_mode & 0o777 == 0o750
    file.release()
    folder.release()


def test_what_is_named_otherwise_or_is_a_link_is_left_alone(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").touch()
    claim = Claim(tmp_path, "a", directory=True)
    claim.release()
    (tmp_path / claim.path.name).symlink_to("victim")
    (tmp_path / ".auss-mine").touch()
    tidy(tmp_path)
    assert (victim / "precious").exists() and (tmp_path / ".auss-mine").exists()
    assert (tmp_path / claim.path.name).is_symlink()


def test_without_locks_nothing_is_taken_for_a_leftover(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "fcntl", None)
    first = Claim(tmp_path, "a.mp4")
    second = Claim(tmp_path, "a.mp4")
    tidy(tmp_path)
    assert first.path.exists() and second.path.exists()
    with locked(first.path) as state:
        assert state is None


def test_a_folder_that_may_not_be_listed_is_no_reason_to_stop(tmp_path):
    tidy(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_forgotten_claim_is_removed_but_not_by_a_forked_process(tmp_path, monkeypatch):
    """A signal may end a program between the making of a claim and the `with` statement that would release it."""
    Claim(tmp_path, "a")
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        child = Claim(tmp_path, "b")
        patch.setattr(os, "getpid", lambda: -1)
        del child
        assert [is_claim(path.name) for path in tmp_path.iterdir()] == [True]
