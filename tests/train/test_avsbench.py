import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Audio, Image, List
from PIL import Image as Pillow

from auss.train import avsbench
from auss.train.avsbench import load_avsbench


def stored(dataset, index=0):
    return dataset.with_format("arrow")[index].to_pylist()[0]


def test_s4_train_annotates_the_first_frame_only(s4_root):
    dataset = load_avsbench(s4_root, "s4", "train")
    assert len(dataset) == 2 and dataset["clip_id"][:] == ["train_0", "train_1"]
    assert dataset["category"][:] == ["dog", "bell"]
    row = stored(dataset)
    assert [Path(frame["path"]).name for frame in row["frames"]] == [f"train_0_{k}.png" for k in range(1, 6)]
    assert [Path(mask["path"]).name for mask in row["masks"]] == ["train_0_1.png"]
    assert row["annotated_frames"] == [0]
    assert row["audio"] == {
        "bytes": None,
        "path": str(s4_root / "Single-source/s4_data/audio_wav/train/dog/train_0.wav"),
    }


@pytest.mark.parametrize("split", ["val", "test"])
def test_s4_val_and_test_annotate_all_frames(s4_root, split):
    row = stored(load_avsbench(s4_root, "s4", split), 1)
    assert row["annotated_frames"] == [0, 1, 2, 3, 4] and len(row["masks"]) == 5


def test_columns_and_decoded_pictures(s4_root):
    dataset = load_avsbench(s4_root, "s4", "test")
    assert isinstance(dataset, datasets.Dataset) and str(dataset.split) == "test"
    assert dataset.features["frames"] == List(Image()) and dataset.features["masks"] == List(Image())
    assert dataset.features["audio"] == Audio(decode=False)
    row = dataset[0]
    assert row["frames"][0].size == (24, 16) and row["frames"][0].mode == "RGB"
    expected = np.random.default_rng([0, 3]).integers(0, 256, (16, 24, 3), dtype=np.uint8)  # frame_pixels(0, 3)
    np.testing.assert_array_equal(np.asarray(row["frames"][3]), expected)
    assert np.asarray(row["masks"][2])[5, 2:8].min() == 255 and np.asarray(row["masks"][2])[5, :2].max() == 0


def test_ms3_annotates_all_frames_of_train_and_has_no_category(ms3_root):
    row = stored(load_avsbench(ms3_root, "ms3", "train"), 1)
    assert row["category"] == "" and row["annotated_frames"] == [0, 1, 2, 3, 4]
    assert [Path(frame["path"]).name for frame in row["frames"]] == [f"train_1.mp4_{k}.png" for k in range(1, 6)]
    assert Path(row["masks"][4]["path"]).relative_to(ms3_root).as_posix() == (
        "Multi-sources/ms3_data/gt_masks/train/train_1/train_1_5.png"
    )


def test_avss_takes_frames_and_annotations_by_its_three_kinds(avss_root):
    dataset = load_avsbench(avss_root, "avss", "train")
    assert [len(stored(dataset, index)["frames"]) for index in range(3)] == [5, 5, 10]
    assert [stored(dataset, index)["annotated_frames"] for index in range(3)] == [
        [0],
        list(range(5)),
        list(range(10)),
    ]
    assert dataset["category"][:] == ["guitar"] * 3
    assert dataset[2]["frames"][9].size == (24, 16)


def test_loading_opens_no_picture_no_sound_and_no_pickle(s4_root, monkeypatch):
    """Emptied files load: nothing but their being there is looked at."""
    for path in (s4_root / "Single-source" / "s4_data").rglob("*.*"):
        path.write_bytes(b"")
    monkeypatch.setattr(Pillow, "open", lambda *_: pytest.fail("a picture was opened"))
    dataset = load_avsbench(s4_root, "s4", "train")
    assert len(dataset) == 2 and stored(dataset)["clip_id"] == "train_0"


def test_the_table_is_cached(s4_root, tmp_path, monkeypatch):
    first = load_avsbench(s4_root, "s4", "train", cache_dir=tmp_path / "tables")
    (table,) = (tmp_path / "tables").iterdir()
    assert first.cache_files == [{"filename": str(table)}]
    monkeypatch.setattr(avsbench, "_write_table", lambda *_: pytest.fail("the cached table was written again"))
    second = load_avsbench(s4_root, "s4", "train", cache_dir=tmp_path / "tables")
    assert second[:]["clip_id"] == first[:]["clip_id"]
    # A map over the data set is then found in `datasets`' own cache too.
    assert second._fingerprint == first._fingerprint


def test_another_split_meta_file_or_root_is_another_table(s4_root, tmp_path):
    cache = tmp_path / "tables"
    load_avsbench(s4_root, "s4", "train", cache_dir=cache)
    load_avsbench(s4_root, "s4", "val", cache_dir=cache)
    assert len(list(cache.iterdir())) == 2
    meta = s4_root / "Single-source" / "s4_meta_data.csv"
    meta.write_text(meta.read_text().replace("train_1,0,bell,train\n", ""))
    assert len(load_avsbench(s4_root, "s4", "train", cache_dir=cache)) == 1
    copy = shutil.copytree(s4_root, tmp_path / "copy")
    row = stored(load_avsbench(copy, "s4", "train", cache_dir=cache))
    assert row["frames"][0]["path"].startswith(str(copy))
    assert not list(cache.glob("*.tmp"))


@pytest.mark.parametrize(
    "text",
    [
        "name,start,category,split\ntrain_0,0,dog,train\n",
        "video,category,begin,split\ntrain_0,dog,0,train\n",  # the category is found by its name
        "video,start,kind,fold,split\ntrain_0,0,dog,3,train\n",  # and otherwise stands third
        "\ufeffname,start,category,split\r\ntrain_0,0,dog,train\r\n\r\n",  # from a spreadsheet
    ],
)
def test_variants_of_the_csv(s4_root, text):
    (s4_root / "Single-source" / "s4_meta_data.csv").write_text(text, encoding="utf-8")
    dataset = load_avsbench(s4_root, "s4", "train")
    assert (dataset["clip_id"][:], dataset["category"][:]) == (["train_0"], ["dog"])


def test_names_that_look_like_numbers_stay_as_they_are(ms3_root):
    data = ms3_root / "Multi-sources" / "ms3_data"
    for path in sorted(data.rglob("train_0*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.replace("train_0", "007")))
    (ms3_root / "Multi-sources" / "ms3_meta_data.csv").write_text("name,split\n007,train\n")
    assert load_avsbench(ms3_root, "ms3", "train")["clip_id"][:] == ["007"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", r"s4_meta_data\.csv must begin with a header .*split; got \[\]"),
        ("name,start,category\n", r"names split; got \['name', 'start', 'category'\]"),
        ("name,start,category,split\ntrain_0,0,dog\n", r"line 2 must have 4 cells.*got \['train_0', '0', 'dog'\]"),
        ("name,start,category,split\n,0,dog,train\n", r"line 2 must have 4 cells, a video name first"),
        ("name,start,category,split\na,0,dog,trian\n", r"line 2: split 'trian'; expected one of train, val, test"),
        ("name,start,category,split\na,0,dog,val\n", r"no video of split 'train'; it has .*'val': 1"),
    ],
)
def test_a_malformed_csv_is_named(s4_root, text, message):
    (s4_root / "Single-source" / "s4_meta_data.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_avsbench(s4_root, "s4", "train")


def test_a_csv_that_is_no_text_is_named(s4_root):
    (s4_root / "Single-source" / "s4_meta_data.csv").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ValueError, match=r"s4_meta_data\.csv is not a csv in UTF-8"):
        load_avsbench(s4_root, "s4", "train")


def test_an_unknown_avss_label_is_named(avss_root):
    (avss_root / "metadata.csv").write_text("uid,split,label\nx,train,v3\n")
    with pytest.raises(ValueError, match=r"metadata\.csv line 2: label 'v3'; expected one of v1s, v1m, v2"):
        load_avsbench(avss_root, "avss", "train")


def test_unknown_name_and_split_name_what_is_accepted(s4_root):
    with pytest.raises(ValueError, match="name must be one of s4, ms3, avss, got 'S4'"):
        load_avsbench(s4_root, "S4", "train")
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'validation'"):
        load_avsbench(s4_root, "s4", "validation")


@pytest.mark.parametrize(
    "missing, kind",
    [
        ("Single-source/s4_data/visual_frames/train/dog/train_0/train_0_4.png", "frames of clip 'train_0'"),
        ("Single-source/s4_data/gt_masks/train/bell/train_1/train_1_1.png", "masks of clip 'train_1'"),
        ("Single-source/s4_data/audio_wav/train/bell/train_1.wav", "audio of clip 'train_1'"),
    ],
)
def test_the_missing_file_is_named_though_the_table_is_cached(s4_root, missing, kind):
    load_avsbench(s4_root, "s4", "train")
    (s4_root / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"{missing} \\({kind}\\)"):
        load_avsbench(s4_root, "s4", "train")
    assert len(load_avsbench(s4_root, "s4", "train", check_files=False)) == 2


def test_the_first_of_several_missing_files_is_named(s4_root):
    shutil.rmtree(s4_root / "Single-source" / "s4_data" / "visual_frames" / "train")
    with pytest.raises(FileNotFoundError, match=r"train_0_1\.png"):
        load_avsbench(s4_root, "s4", "train")


@pytest.mark.parametrize(
    "name, file",
    [
        ("s4", "Single-source/s4_meta_data.csv"),
        ("ms3", "Multi-sources/ms3_meta_data.csv"),
        ("avss", "metadata.csv"),
    ],
)
def test_a_folder_without_the_data_set_names_the_table(tmp_path, name, file):
    with pytest.raises(FileNotFoundError, match=f"AVSBench {name} is missing {tmp_path / 'none' / file}"):
        load_avsbench(tmp_path / "none", name, "train")


def test_avss_needs_its_class_names(avss_root):
    (avss_root / "label2idx.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"label2idx\.json"):
        load_avsbench(avss_root, "avss", "train")


def test_a_failed_write_leaves_nothing(s4_root, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(avsbench.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        load_avsbench(s4_root, "s4", "train", cache_dir=tmp_path / "tables")
    assert list((tmp_path / "tables").iterdir()) == []
