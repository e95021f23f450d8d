import os

import pytest

from auss.files import installation
from auss.files.claims import BusyError
from auss.files.new_contents import NewContents, entries


def test_contents_appear_together(tmp_path):
    folder = tmp_path / "deep" / "out"
    with NewContents(folder) as workspace:
        (workspace.new / "a").write_text("a")
        assert entries(folder) == [] and len(os.listdir(folder)) == 1
        workspace.install()
    assert os.listdir(folder) == ["a"]


def test_after_an_error_nothing_is_left(tmp_path):
    with pytest.raises(KeyboardInterrupt), NewContents(tmp_path / "deep" / "out") as workspace:
        (workspace.new / "a").write_text("a")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    (tmp_path / "mine").mkdir()
    with NewContents(tmp_path / "mine"):
        pass
    assert os.listdir(tmp_path) == ["mine"]  # the folder `mine` is as empty as before and still exists


def test_one_run_at_a_time(tmp_path):
    with NewContents(tmp_path / "out"), NewContents(tmp_path / "out", "a.mp4"):
        with pytest.raises(BusyError, match="out is being made by another run"):
            NewContents(tmp_path / "out")
        with pytest.raises(BusyError, match="a.mp4 is being made by another run"):
            NewContents(tmp_path / "out", "a.mp4")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is no folder"):
        NewContents(tmp_path / "file")


def test_the_next_run_finishes_what_a_killed_one_was_installing(tmp_path, monkeypatch):
    (tmp_path / "b").write_text("old")
    workspace = NewContents(tmp_path)
    for name in ("a", "b"):
        (workspace.new / name).write_text("new")

    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(installation, "finish_installation", killed)
        with pytest.raises(SystemExit):
            workspace.install()
    assert not (tmp_path / "a").exists()
    workspace._claim.unlock()  # the end of a process also unlocks the claim
    with NewContents(tmp_path) as after:
        assert {path.name: path.read_text() for path in entries(tmp_path)} == {"a": "new", "b": "new"}
        assert after.new.is_dir()
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
