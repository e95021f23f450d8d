import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from auss.files import file_rights
from auss.files.file_rights import check_readable, file_stamps, follow_umask


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield 0o640
    os.umask(before)


def rights(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_files_get_the_rights_of_new_files(tmp_path, umask):
    save_file({"weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    private, target = tmp_path / "private", tmp_path / "target"
    for path in (private, target):
        path.touch(mode=0o600)
    (tmp_path / "link").symlink_to("target")
    follow_umask([tmp_path / "model.safetensors", private, tmp_path / "link", tmp_path / "missing", tmp_path])
    assert rights(tmp_path / "model.safetensors") == rights(private) == umask
    assert rights(target) == 0o600  # a link is not followed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model.safetensors", "private", "target"]


def test_what_was_written_is_told_from_what_was_there(tmp_path):
    for name in ("old", "new"):
        save_file({"weight": torch.zeros(3)}, tmp_path / f"{name}.safetensors")
    before = file_stamps(tmp_path)
    save_file({"weight": torch.ones(3)}, tmp_path / "new.safetensors")
    after = file_stamps(tmp_path)
    assert [path.name for path in after if after[path] != before[path]] == ["new.safetensors"]


def test_what_may_not_be_read_is_called_that(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    check_readable(tmp_path / "missing")
    check_readable(tmp_path)
    (tmp_path / "model.safetensors").touch()
    check_readable(tmp_path / "model.safetensors")
    monkeypatch.setattr(file_rights.os, "open", refuse)
    with pytest.raises(PermissionError, match="weights .*model.safetensors cannot be read: permission denied"):
        check_readable(tmp_path / "model.safetensors", "weights")
