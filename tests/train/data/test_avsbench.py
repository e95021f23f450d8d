import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import Audio, Image, List
from PIL import Image as Pillow

from auss.train.data.avsbench import load_avsbench
from auss.train.data.clips import decode_clip

from ..conftest import make_avss


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
    """Empty files can be loaded, because loading only checks that the files exist."""
    for path in (s4_root / "Single-source" / "s4_data").rglob("*.*"):
        path.write_bytes(b"")
    monkeypatch.setattr(Pillow, "open", lambda *_: pytest.fail("a picture was opened"))
    dataset = load_avsbench(s4_root, "s4", "train")
    assert len(dataset) == 2 and stored(dataset)["clip_id"] == "train_0"


def test_the_table_is_in_memory_and_the_same_each_time(s4_root, tmp_path):
    first = load_avsbench(s4_root, "s4", "train", cache_dir=tmp_path / "tables")
    assert first.cache_files == [] and not (tmp_path / "tables").exists()
    again = load_avsbench(s4_root, "s4", "train")
    assert again[:]["clip_id"] == first[:]["clip_id"] and again.features == first.features
    # `datasets` finds its cached results of a data set by this fingerprint.
    assert again._fingerprint == first._fingerprint


@pytest.mark.slow
def test_the_table_is_the_same_in_every_process(s4_root):
    code = f"from auss import load_avsbench; print(load_avsbench({str(s4_root)!r}, 's4', 'train')._fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == load_avsbench(s4_root, "s4", "train")._fingerprint


def test_another_split_meta_file_or_root_is_another_table(s4_root, tmp_path):
    fingerprints = {load_avsbench(s4_root, "s4", split)._fingerprint for split in ("train", "val")}
    meta = s4_root / "Single-source" / "s4_meta_data.csv"
    meta.write_text(meta.read_text().replace("train_1,0,bell,train\n", ""))
    changed = load_avsbench(s4_root, "s4", "train")
    assert len(changed) == 1
    copy = load_avsbench(shutil.copytree(s4_root, tmp_path / "copy"), "s4", "train")
    assert stored(copy)["frames"][0]["path"].startswith(str(tmp_path / "copy"))
    assert len({*fingerprints, changed._fingerprint, copy._fingerprint}) == 4


@pytest.mark.parametrize(
    "text",
    [
        "name,start,category,split\ntrain_0,0,dog,train\n",
        "video,category,begin,split\ntrain_0,dog,0,train\n",  # the header names the column of the category
        "video,start,kind,fold,split\ntrain_0,0,dog,3,train\n",  # without such a name the third column is the category
        "\ufeffname,start,category,split\r\ntrain_0,0,dog,train\r\n\r\n",  # a spreadsheet writes such a file
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
        ("name,start,category,split\ntrain_0,0,dog\n", r"no video of split 'train'; it has .*'': 1"),
        ("split,name,category\ntrain,0\n", r"line 2 must have 3 cells.*got \['train', '0'\]"),
        ("name,start,category,split\n,0,dog,train\n", r"line 2 must have 4 cells, a video name first"),
        ("name,start,category,split\na,0,dog,trian\n", r"no video of split 'train'; it has .*'trian': 1"),
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
def test_the_missing_file_is_named_at_the_second_time_too(s4_root, missing, kind):
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


CLEAN = "name,start,category,split\ntrain_0,0,dog,train\ntrain_1,0,bell,train\n"


@pytest.mark.parametrize(
    "text",
    [
        CLEAN.replace("\n", "\r\n") + ",,,\r\n\r\n , ,,\r\n",
        "\ufeff" + CLEAN + "val_0\nval_1,0,dog\nlost,0,dog,unused\n",
        CLEAN.replace(",train\n", " ,train  \n").replace("category,split", " category ,split "),
        CLEAN.replace(",train\n", ",train,,\n"),
    ],
)
def test_dirt_that_nobody_asks_for_is_passed_over_as_pandas_does(s4_root, text):
    import io

    import pandas

    (s4_root / "Single-source" / "s4_meta_data.csv").write_text(text, encoding="utf-8", newline="")
    dataset = load_avsbench(s4_root, "s4", "train")
    assert (dataset["clip_id"][:], dataset["category"][:]) == (["train_0", "train_1"], ["dog", "bell"])
    if ",train,," not in text:  # pandas would use the surplus cells as an index
        table = pandas.read_csv(io.StringIO(text.lstrip("\ufeff")), skipinitialspace=True)
        table.columns = table.columns.str.strip()
        assert (table["split"].str.strip() == "train").sum() == len(dataset)


@pytest.mark.parametrize("name", ["../train_0", "/etc/passwd", "..", "a/b", "a\\b", "a\0b"])
@pytest.mark.parametrize("column", ["name", "category"])
def test_names_that_lead_out_of_the_folder_are_refused(s4_root, name, column):
    row = {"name": "train_0", "category": "dog", column: name}
    (s4_root / "Single-source" / "s4_meta_data.csv").write_text(
        f"name,start,category,split\n{row['name']},0,{row['category']},train\n"
    )
    with pytest.raises(ValueError, match=r"s4_meta_data\.csv line 2(: .*must be the name of one file| is no csv)"):
        load_avsbench(s4_root, "s4", "train")


def test_a_link_that_leads_out_of_the_folder_is_followed(s4_root, tmp_path):
    """The user made the link, because data sets are often kept on other disks."""
    data = s4_root / "Single-source" / "s4_data"
    data.rename(tmp_path / "disk")
    data.symlink_to(tmp_path / "disk")
    assert load_avsbench(s4_root, "s4", "train")[0]["frames"][0].size == (24, 16)


def test_a_damaged_picture_is_named_when_its_row_is_read(s4_root):
    path = s4_root / "Single-source/s4_data/visual_frames/train/dog/train_0/train_0_2.png"
    dataset = load_avsbench(s4_root, "s4", "train")
    for content, message in ((path.read_bytes()[:100], "cannot be decoded"), (b"", "is empty"), (b"GIF", "is not")):
        path.write_bytes(content)
        for row_format in (None, "torch", "numpy"):
            with pytest.raises(ValueError, match=f"picture file .*train_0_2.png {message}"):
                _ = dataset.with_format(row_format)[0]


def test_s4_and_ms3_are_read_out_of_avss(tmp_path):
    root = make_avss(tmp_path / "avss", ("train", "test"))
    for name, label in (("s4", "v1s"), ("ms3", "v1m")):
        for split in ("train", "test"):
            dataset = load_avsbench(root, name, split)
            assert dataset["clip_id"][:] == [f"{label}_{split}"]
            row = stored(dataset)
            assert row["category"] == ("guitar" if name == "s4" else "") and len(row["frames"]) == 5
            assert len(row["masks"]) == (1 if (name, split) == ("s4", "train") else 5)
            labels, classes = decode_clip(row)["labels"], decode_clip(row, num_labels=71)["labels"]
            annotated = len(row["masks"])
            assert {1, 70} <= set(classes.unique().tolist()) and set(labels[:annotated].unique().tolist()) == {0, 1}
            assert torch.equal(labels[:annotated] == 1, classes[:annotated] > 0)
    with pytest.raises(ValueError, match=r"no video of split 'val'"):
        load_avsbench(root, "s4", "val")


def test_a_missing_wav_beside_its_pickle_tells_what_to_do(s4_root, avss_root):
    (s4_root / "Single-source/s4_data/audio_wav/train/dog/train_0.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_0\.wav .*train_0\.pkl, but auss opens no pickles.*ffmpeg -i"):
        load_avsbench(s4_root, "s4", "train")
    dataset = load_avsbench(s4_root, "s4", "train", check_files=False)
    with pytest.raises(FileNotFoundError, match=r"train_0\.wav does not exist.*auss opens no pickles"):
        decode_clip(dataset[0])


def test_rows_are_saved_as_ordinary_pictures(s4_root, tmp_path):
    """A saved data set can be read without auss."""
    dataset = load_avsbench(s4_root, "s4", "train")
    dataset.save_to_disk(tmp_path / "saved")
    again = datasets.load_from_disk(tmp_path / "saved")
    assert type(again.features["frames"].feature) is Image and again[0]["frames"][0].size == (24, 16)
