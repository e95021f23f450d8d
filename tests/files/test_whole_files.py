import os
from pathlib import Path

import pytest

from auss.files import whole_files
from auss.files.whole_files import WholeFile, write_whole


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / ("a" * 251 + ".mp4")
    with WholeFile(path) as file:
        assert file.partial_path.suffix == ".mp4"
        file.partial_path.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and os.listdir(path.parent) == [path.name]


def test_after_an_error_everything_is_as_before(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), WholeFile(path, overwrite=True) as file:
        file.partial_path.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_what_is_there_is_replaced_only_if_allowed(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(FileExistsError, match="was made by somebody else meanwhile|exists"), WholeFile(path) as file:
        file.partial_path.write_text("mine")
        path.write_text("theirs")
    assert path.read_text() == "theirs" and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(FileExistsError, match="a.txt exists: choose another name"):
        WholeFile(path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        WholeFile(tmp_path, overwrite=True)
    with pytest.raises(OSError, match="too long"):
        WholeFile(tmp_path / ("a" * 256))
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("planted", [".o.partial.mp4", "o.mp4"])
def test_nothing_is_written_through_a_link(tmp_path, planted):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / planted).symlink_to("victim")
    with WholeFile(tmp_path / "o.mp4", overwrite=True) as file:
        file.partial_path.write_text("mine")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "o.mp4").read_text() == "mine" and not (tmp_path / "o.mp4").is_symlink()


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(whole_files.os, "link", refuse)
    write = WholeFile(tmp_path / "a")
    write.partial_path.write_text("whole")
    write.finish()
    assert (tmp_path / "a").read_text() == "whole" and os.listdir(tmp_path) == ["a"]


def test_small_files(tmp_path, monkeypatch):
    path = tmp_path / "scores.json"
    write_whole(path, "naïve " + os.fsdecode(b"\xe9"))
    assert path.read_text(encoding="utf-8") == "naïve \\udce9"

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_space)
        with pytest.raises(OSError, match="No space"):
            write_whole(path, b"new")
    assert path.read_text(encoding="utf-8") == "naïve \\udce9" and os.listdir(tmp_path) == ["scores.json"]
