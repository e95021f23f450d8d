import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, load_dataset
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from auss.cli import main
from auss.train.data import parquet_writer
from auss.train.data.avsbench import load_avsbench
from auss.train.data.avss_palette import read_class_names
from auss.train.data.clips import decode_clip
from auss.train.data.parquet_shards import stream_shards
from auss.train.data.parquet_writer import prepare_data_set

from ..conftest import make_avss, make_ms3, make_s4


def content(dataset) -> dict[str, dict]:
    """Returns clip -> row, with the bytes of the files instead of their paths."""

    def stored(value):
        if isinstance(value, list):
            return [stored(one) for one in value]
        if isinstance(value, dict):
            return Path(value["path"]).read_bytes() if value["bytes"] is None else value["bytes"]
        return value

    rows = dataset.with_format("arrow")[:].to_pylist() if isinstance(dataset, Dataset) else list(dataset)
    return {row["clip_id"]: {name: stored(value) for name, value in row.items()} for row in rows}


@pytest.fixture
def both_root(tmp_path):
    return make_ms3(make_s4(tmp_path / "avsbench", clips=5))


def test_shards_hold_the_bytes_of_the_files(both_root, tmp_path):
    out = tmp_path / "out"
    splits = prepare_data_set(both_root, out, shards=2)
    assert [(facts.name, facts.split, facts.clips, facts.shards) for facts in splits] == [
        *(("s4", split, 5, 2) for split in ("train", "val", "test")),
        ("ms3", "train", 2, 2),
    ]
    before = {(f.name, f.split): content(load_avsbench(both_root, f.name, f.split)) for f in splits}
    shutil.rmtree(both_root)
    for (name, split), rows in before.items():
        files = str(out / name / f"{split}-*.parquet")
        plain = load_dataset("parquet", data_files={split: files}, split=split)
        assert content(plain) == content(load_avsbench(out, name, split)) == rows
        stream, count = stream_shards(out, name, split)
        assert content(stream) == rows and count == len(rows) and stream.num_shards == 2
    assert plain[0]["frames"][0].size == (24, 16) and isinstance(plain[0]["audio"]["bytes"], bytes)


def test_only_the_training_clips_are_put_in_random_order(tmp_path):
    root = make_s4(tmp_path / "avsbench", clips=12)
    prepare_data_set(root, tmp_path / "out")
    for split, same in (("train", False), ("val", True), ("test", True)):
        source, prepared = (load_avsbench(one, "s4", split)["clip_id"] for one in (root, tmp_path / "out"))
        assert (list(source) == list(prepared)) == same and sorted(source) == sorted(prepared)


def test_avss_brings_its_class_names(avss_root, tmp_path):
    out = tmp_path / "out"
    prepare_data_set(avss_root, out)
    assert read_class_names(out) == read_class_names(avss_root)
    assert content(load_avsbench(out, "avss", "train")) == content(load_avsbench(avss_root, "avss", "train"))


def test_row_groups_are_small_enough_to_stream(tmp_path, monkeypatch):
    import pyarrow.parquet

    root = make_s4(tmp_path / "avsbench", splits=("val",), clips=6)
    total = prepare_data_set(root, tmp_path / "one", shards=1)[0].num_bytes
    monkeypatch.setattr(parquet_writer, "ROW_GROUP_BYTES", total // 3)
    prepare_data_set(root, tmp_path / "three", shards=1)
    groups = [
        pyarrow.parquet.ParquetFile(next(tmp_path.glob(f"{name}/s4/*.parquet"))).num_row_groups
        for name in ("one", "three")
    ]
    assert groups == [1, 3]


def test_the_command_and_the_card(both_root, tmp_path, capsys, monkeypatch):
    out = tmp_path / "clips"
    assert main(["prepare", str(both_root), str(out), "--names", "s4", "--shards", "3"]) == 0
    assert "s4   val         5 clips    3 shards" in capsys.readouterr().out
    card = (out / "README.md").read_text()
    size = sum(path.stat().st_size for path in out.glob("s4/val-*")) / 1e6
    assert f"| s4 | val | 5 | 3 | {size:.0f} |" in card
    assert "from data in the layout of AVSBench S4." in card and str(tmp_path) not in card
    # The example of the card must run in the folder of the card.
    lines = card.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names = {}
    by_name, by_files = [line for line in lines.splitlines() if line.startswith("clips = ")]
    exec(lines.splitlines()[0] + "\n" + by_name, names)
    assert len(list(names["clips"])) == 5
    exec(by_files, names)
    assert len(names["clips"]) == 5


@pytest.fixture
def fake_hub(tmp_path, monkeypatch):
    """Returns a folder that `push_to_hub` writes into instead of a repository of the Hub."""
    import datasets.arrow_dataset
    import datasets.dataset_dict

    repository = tmp_path / "datasets" / "owner" / "clips@main"
    repository.mkdir(parents=True)

    class FolderApi:
        def __init__(self, *_, **__):
            pass

        def repo_info(self, repo_id, **_):
            return SimpleNamespace(id=repo_id, sha="main")

        def preupload_lfs_files(self, additions, **_):
            for addition in additions:
                path = repository / addition.path_in_repo
                path.parent.mkdir(exist_ok=True)
                shutil.copyfile(addition.path_or_fileobj, path)

        def create_commit(self, repo_id, operations, **_):
            for operation in operations:
                if operation.path_in_repo == "README.md":
                    (repository / "README.md").write_bytes(operation.path_or_fileobj)

    for module in (datasets.arrow_dataset, datasets.dataset_dict):
        monkeypatch.setattr(module, "HfApi", FolderApi)
        monkeypatch.setattr(module, "HfFileSystem", lambda **_: LocalFileSystem())
    monkeypatch.chdir(tmp_path)
    return repository


def test_what_push_to_hub_writes_is_read_and_streamed_again(s4_root, tmp_path, fake_hub):
    prepare_data_set(s4_root, tmp_path / "out", shards=2)
    shards = dict.fromkeys(("train", "val", "test"), 2)
    load_dataset(str(tmp_path / "out"), "s4").push_to_hub("owner/clips", "s4", num_shards=shards)
    for split in shards:
        rows = content(load_avsbench(s4_root, "s4", split))
        assert content(load_avsbench(fake_hub, "s4", split)) == rows
        stream, count = stream_shards(fake_hub, "s4", split)
        assert content(stream) == rows and count == 2 and stream.num_shards == 2


def test_bad_arguments_are_named_and_nothing_is_written(s4_root, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["prepare", str(s4_root), str(out), "--shards", "0"]) == 2
    assert "shards must be at least 1, got 0" in capsys.readouterr().err
    assert main(["prepare", str(s4_root), str(out), "--names", "ms3"]) == 2
    assert f"names must be of those that {s4_root} has, s4; got ['ms3']" in capsys.readouterr().err
    assert main(["prepare", str(tmp_path), str(out)]) == 2
    assert "root must hold AVSBench, so one of Single-source/s4_meta_data.csv" in capsys.readouterr().err
    missing = s4_root / "Single-source" / "s4_data" / "audio_wav" / "val" / "dog" / "val_0.wav"
    missing.unlink()
    assert main(["prepare", str(s4_root), str(out)]) == 2
    assert str(missing) in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_with_files_is_refused_but_not_what_a_killed_run_left(s4_root, tmp_path):
    out = tmp_path / "out"
    (out / f"{parquet_writer.SCRATCH}abc").mkdir(parents=True)
    prepare_data_set(s4_root, out, shards=1)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(ValueError, match="out must be a new or an empty folder, and .*out has files"):
        prepare_data_set(s4_root, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == written
    with pytest.raises(ValueError, match="is a file; nothing was written"):
        prepare_data_set(s4_root, os.path.join(out, "README.md"))


def test_avss_from_a_folder_of_the_authors_is_found_by_its_own_table(tmp_path):
    root = make_avss(tmp_path / "avss", splits=("train", "test"))
    splits = prepare_data_set(root, tmp_path / "out", shards=8)
    assert [(facts.split, facts.clips, facts.shards) for facts in splits] == [("train", 3, 3), ("test", 3, 3)]


def break_file(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "nan":
        soundfile.write(path, np.where(np.arange(80_000) == 7, np.nan, 0.1), 16_000, "FLOAT")
    elif damage == "no samples":
        soundfile.write(path, np.zeros(0), 16_000)
    elif damage == "grey":
        Image.fromarray(np.full((16, 24), 100, np.uint8)).save(path)
    else:
        path.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])


@pytest.mark.parametrize(
    "file, damage",
    [
        ("visual_frames/val/dog/val_0/val_0_4.png", "empty"),
        ("visual_frames/val/dog/val_0/val_0_4.png", "truncated"),
        ("gt_masks/val/dog/val_0/val_0_2.png", "truncated"),
        ("gt_masks/val/dog/val_0/val_0_2.png", "grey"),
        ("audio_wav/val/bell/val_1.wav", "empty"),
        ("audio_wav/val/bell/val_1.wav", "truncated"),
        ("audio_wav/val/bell/val_1.wav", "no samples"),
        ("audio_wav/val/bell/val_1.wav", "nan"),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_nothing_is_left(tmp_path, file, damage, capsys):
    root = make_s4(tmp_path / "avsbench", splits=("val",))
    path = root / "Single-source" / "s4_data" / file
    break_file(path, damage)
    assert main(["prepare", str(root), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert str(path) in error and f"clip '{path.stem[:5]}'" in error
    assert not (tmp_path / "out").exists()


def test_s4_is_packed_out_of_avss_where_it_is_asked_for(tmp_path):
    root = make_avss(tmp_path / "avss", splits=("train", "val"))
    splits = prepare_data_set(root, tmp_path / "out", names=["s4"])
    assert [(facts.name, facts.split, facts.clips) for facts in splits] == [("s4", "train", 1), ("s4", "val", 1)]
    before, after = (load_avsbench(one, "s4", "val")[0] for one in (root, tmp_path / "out"))
    assert torch.equal(decode_clip(before)["labels"], decode_clip(after)["labels"])


def test_links_that_lead_out_are_packed_with_a_word(tmp_path, caplog):
    root = make_s4(tmp_path / "avsbench", splits=("val",))
    path = next(root.rglob("val_0_1.png"))
    path.rename(tmp_path / "elsewhere.png")
    path.symlink_to(tmp_path / "elsewhere.png")
    with caplog.at_level("WARNING"):
        prepare_data_set(root, tmp_path / "out")
    assert f"1 files are links that lead out of {root}" in caplog.text and "elsewhere.png" in caplog.text


def test_names_that_lead_out_of_the_root_are_not_packed(tmp_path, capsys):
    root = make_s4(tmp_path / "avsbench", splits=("val",))
    table = root / "Single-source" / "s4_meta_data.csv"
    for name in (f"../../../../../../{tmp_path.name}/secret", str(tmp_path / "secret")):
        table.write_text(f"name,start,category,split\n{name},0,dog,val\n")
        assert main(["prepare", str(root), str(tmp_path / "out")]) == 2
        assert "s4_meta_data.csv line 2: the video's name must be the name of one file" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
