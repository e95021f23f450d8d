import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from auss.train.data import parquet_shards
from auss.train.data.avsbench import load_avsbench
from auss.train.data.parquet_shards import is_sharded, load_shards, stream_shards
from auss.train.data.parquet_writer import prepare_data_set


@pytest.fixture
def shards(s4_root, tmp_path):
    prepare_data_set(s4_root, tmp_path / "shards", shards=2)
    return tmp_path / "shards"


def test_folders_are_told_apart_by_subset(s4_root, shards):
    assert is_sharded(shards, "s4") and not is_sharded(shards, "ms3") and not is_sharded(s4_root, "s4")


def test_a_streams_pictures_are_not_decoded(shards):
    stream, count = stream_shards(str(shards), "s4", "val")
    row = next(iter(stream))
    assert count == 2
    assert row["frames"][0]["bytes"].startswith(b"\x89PNG") and row["frames"][0]["path"] == "val_0_1.png"
    assert row["audio"]["bytes"].startswith(b"RIFF") and row["annotated_frames"] == [0, 1, 2, 3, 4]


def test_the_arrow_copy_lies_where_it_is_told(shards, tmp_path):
    dataset = load_avsbench(shards, "s4", "train", cache_dir=tmp_path / "cache")
    assert isinstance(dataset, Dataset) and list((tmp_path / "cache").rglob("*.arrow"))


@pytest.mark.parametrize("streaming", [False, True])
def test_the_hub_is_asked_for_the_repository(monkeypatch, streaming):
    asked = []

    def stop(*arguments, **options):
        asked.append((arguments, options["split"]))
        raise ConnectionError

    monkeypatch.setattr(parquet_shards, "load_dataset", stop)
    with pytest.raises(ConnectionError):
        (stream_shards if streaming else load_avsbench)("hf://datasets/owner/clips", "ms3", "val")
    assert asked == [(("owner/clips", "ms3"), "val")]


def test_files_of_the_authors_cannot_be_streamed(s4_root):
    message = f"data must hold Parquet shards of s4 to be streamed, got '{s4_root}': `auss prepare {s4_root} OUT`"
    with pytest.raises(ValueError, match=re.escape(message)):
        stream_shards(s4_root, "s4", "train")


def test_a_missing_split_names_those_there_are(shards):
    for path in shards.glob("s4/val-*"):
        path.unlink()
    (shards / "README.md").write_text((shards / "README.md").read_text().replace("split: val", "split: other"))
    for load in (load_shards, stream_shards):
        with pytest.raises((ValueError, FileNotFoundError), match="val|other"):
            load(shards, "s4", "val")


def test_a_column_that_is_missing_is_named(tmp_path):
    (tmp_path / "s4").mkdir()
    Dataset.from_dict({"clip_id": ["a"], "frames": [[]]}).to_parquet(tmp_path / "s4" / "train-0.parquet")
    files = "configs:\n- config_name: s4\n  data_files: s4/train-*.parquet\n"
    (tmp_path / "README.md").write_text(f"---\n{files}---\n")
    for load in (load_shards, stream_shards):
        with pytest.raises(ValueError, match=r"it lacks \['category', 'masks', 'annotated_frames', 'audio'\]"):
            load(tmp_path, "s4", "train")


def test_a_stream_needs_the_number_of_clips(shards):
    card = shards / "README.md"
    card.write_text(re.sub(r"dataset_info:.*?---", "---", card.read_text(), flags=re.DOTALL))
    with pytest.raises(ValueError, match=r"the card \(README.md\) of data '.*shards' must tell num_examples of s4 tr"):
        stream_shards(shards, "s4", "train")
    assert len(load_shards(shards, "s4", "train")) == 2


@pytest.mark.parametrize("path", ["/etc/**", "../outside/*.parquet", "https://127.0.0.1/x.parquet", "zip://a::b.zip"])
@pytest.mark.parametrize("load", [load_shards, stream_shards])
def test_a_card_that_names_files_outside_its_folder_is_refused(shards, path, load):
    card = shards / "README.md"
    card.write_text(card.read_text().replace("s4/val-*.parquet", path))
    with pytest.raises(ValueError, match=r"README\.md must name files of its own folder, got '"):
        load(shards, "s4", "val")


def test_rows_that_hold_paths_are_refused(s4_root, tmp_path):
    """If a shard of another person held a path, auss would open a file of this machine."""
    from auss.train.data.rows import StreamedRows

    (tmp_path / "paths" / "s4").mkdir(parents=True)
    load_avsbench(s4_root, "s4", "val").with_format("arrow").to_parquet(tmp_path / "paths/s4/val-0.parquet")
    card = "configs:\n- config_name: s4\n  data_files:\n  - split: val\n    path: s4/val-*.parquet\n"
    card += "dataset_info:\n- config_name: s4\n  splits:\n  - name: val\n    num_bytes: 1\n    num_examples: 2\n"
    (tmp_path / "paths" / "README.md").write_text(f"---\n{card}---\n")
    message = r"frames of clip 'val_0' in .* must hold the bytes of files, got the path '.*val_0_1\.png'"
    with pytest.raises(ValueError, match=message):
        load_avsbench(tmp_path / "paths", "s4", "val")
    stream, count = stream_shards(tmp_path / "paths", "s4", "val")
    with pytest.raises(ValueError, match=message):
        next(iter(StreamedRows(stream, count, batch_size=1)))


@pytest.mark.parametrize("column", ["frames", "masks", "audio", "annotated_frames", "clip_id", "category"])
@pytest.mark.parametrize("streaming", [False, True])
def test_columns_of_another_type_are_refused(shards, column, streaming):
    """Plain texts in the columns of pictures and sounds would be taken for the paths of files."""
    values = {"frames": ["/etc/passwd"], "masks": ["/etc/passwd"], "annotated_frames": ["a"], "audio": "/etc/passwd"}
    for path in (shards / "s4").glob("*.parquet"):
        table = pq.read_table(path)
        place = table.column_names.index(column)
        changed = table.set_column(place, column, pa.array([values.get(column, 1)] * len(table)))
        pq.write_table(changed.replace_schema_metadata(None), path)
    with pytest.raises(ValueError, match=rf"the column {column} must have the type that `auss prepare` writes"):
        (stream_shards if streaming else load_shards)(shards, "s4", "val")
