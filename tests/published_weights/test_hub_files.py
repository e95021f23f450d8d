"""Which of several files is fetched, and refusals. `test_weight_sources.py` fetches whole repositories."""

import pytest

from auss.published_weights.hub_files import fetch_repository


@pytest.fixture
def repository(put_on_hub, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "b.bin").write_bytes(b"b")
    (folder / "c.bin").write_bytes(b"c")
    return put_on_hub(folder, "somebody/files")


def test_the_first_of_a_group_that_there_is(repository):
    folder, names = fetch_repository(repository, None, (("config.json",), ("a.bin", "b.bin", "c.bin")), repository)
    assert names == ["b.bin"] and (folder / "b.bin").read_bytes() == b"b"
    assert not (folder / "c.bin").exists()


def test_a_file_that_the_repository_lacks(repository):
    with pytest.raises(FileNotFoundError, match="'given'.*somebody/files has none of x.bin, y.bin"):
        fetch_repository(repository, None, (("x.bin", "y.bin"),), "given")


def test_a_name_that_the_hub_does_not_allow():
    with pytest.raises(FileNotFoundError, match="no repository a--b/c"):
        fetch_repository("a--b/c", None, (("x.bin",),), "given")


def test_a_gated_repository(at_hub, monkeypatch):
    from ..hub.conftest import StandInHandler

    def gated(self):
        return self.answer(status=403, X_Error_Code="GatedRepo")

    monkeypatch.setattr(StandInHandler, "do_HEAD", gated)
    with pytest.raises(PermissionError, match="somebody/gated is gated. Accept its conditions at .*hf auth login"):
        fetch_repository("somebody/gated", None, (("x.bin",),), "given")
