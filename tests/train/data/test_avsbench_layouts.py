"""Tests the folders in which people keep AVSBench, and the variants of its files."""

import shutil

import numpy as np
import pytest
from PIL import Image

from auss.train.data.avsbench import load_avsbench, subsets_of
from auss.train.data.avsbench_layouts import LAYOUTS, find_layout, find_table
from auss.train.data.avss_palette import avss_palette, read_class_names
from auss.train.data.clips import decode_clip

from ..conftest import make_avss, make_ms3, make_s4


def first_row(root, name, split="train"):
    return load_avsbench(root, name, split).with_format("arrow")[0].to_pylist()[0]


@pytest.fixture
def parent(tmp_path):
    return make_ms3(make_s4(tmp_path / "data" / "AVSBench-object", ("train",), clips=1), clips=1)


@pytest.mark.parametrize("name, folder", [("s4", "Single-source"), ("ms3", "Multi-sources")])
def test_the_root_may_be_the_subset_its_data_their_parent_or_above(parent, name, folder):
    roots = [parent.parent, parent, parent / folder, parent / folder / f"{name}_data"]
    clips = [decode_clip(first_row(root, name)) for root in roots]
    for clip in clips[1:]:
        assert (clip["frames"] == clips[0]["frames"]).all() and clip["clip_id"] == clips[0]["clip_id"]
        assert (clip["labels"] == clips[0]["labels"]).all() and (clip["waveform"] == clips[0]["waveform"]).all()


@pytest.mark.parametrize("name, folder", [("s4", "Single-source"), ("ms3", "Multi-sources")])
def test_files_may_lie_beside_the_table(parent, name, folder, tmp_path):
    expected = decode_clip(first_row(parent, name))
    flat = tmp_path / "flat"
    shutil.move(parent / folder / f"{name}_data", flat)
    shutil.move(parent / folder / f"{name}_meta_data.csv", flat)
    assert (decode_clip(first_row(flat, name))["frames"] == expected["frames"]).all()


def test_subsets_are_found_in_every_layout(parent):
    assert subsets_of(parent.parent) == subsets_of(parent) == {"s4": ["train"], "ms3": ["train"]}
    assert subsets_of(parent / "Single-source") == {"s4": ["train"]}


def test_avss_may_lie_in_a_folder_of_the_root(tmp_path):
    root = make_avss(tmp_path / "data" / "AVSBench-semantic")
    assert find_table(root.parent, LAYOUTS["avss"]) == root / "metadata.csv"
    assert len(load_avsbench(root.parent, "avss", "train")) == 3
    assert read_class_names(root.parent) == read_class_names(root)


def test_the_subsets_own_table_wins_over_that_of_avss(parent):
    make_avss(parent)
    assert find_layout(parent, "s4")[0] is LAYOUTS["s4"]
    assert first_row(parent, "s4")["clip_id"] == "train_0"


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "beside"])
def test_masks_of_ids_give_the_labels_of_those_of_colours(tmp_path, mode):
    root = make_avss(tmp_path / "avss")
    expected = [decode_clip(row, num_labels=71)["labels"] for row in load_avsbench(root, "avss", "train")]
    for folder in sorted(root.glob("*/*/labels_rgb")):
        (folder.parent / "labels_semantic").mkdir()
        for path in sorted(folder.iterdir()):
            colours = np.asarray(Image.open(path))
            ids = np.argmax((colours[..., None, :] == avss_palette()).all(-1), axis=-1)
            picture = Image.fromarray(ids.astype(np.uint16 if mode == "I;16" else np.uint8))
            if mode == "P":
                picture = Image.fromarray(ids.astype(np.uint8), mode="P")
                picture.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
            picture.save(folder.parent / "labels_semantic" / path.name)
        if mode != "beside":
            shutil.rmtree(folder)
    dataset = load_avsbench(root, "avss", "train")
    folder = "labels_rgb" if mode == "beside" else "labels_semantic"
    assert folder in dataset.with_format("arrow")[0].to_pylist()[0]["masks"][0]["path"]
    for row, labels in zip(dataset, expected, strict=True):
        assert (decode_clip(row, num_labels=71)["labels"] == labels).all()


def test_a_table_that_was_cached_before_the_ids_came_is_made_anew(tmp_path):
    root = make_avss(tmp_path / "avss")
    load_avsbench(root, "avss", "train")
    for folder in sorted(root.glob("*/*/labels_rgb")):
        folder.rename(folder.parent / "labels_semantic")
    assert len(load_avsbench(root, "avss", "train")) == 3


def test_frames_may_be_jpegs(parent):
    for path in (parent / "Single-source" / "s4_data" / "visual_frames").rglob("*.png"):
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    row = first_row(parent, "s4")
    assert row["frames"][4]["path"].endswith("train_0_5.jpg") and decode_clip(row)["frames"].shape == (5, 3, 16, 24)


def test_masks_that_are_missing_in_both_folders_say_so(tmp_path):
    root = make_avss(tmp_path / "avss")
    shutil.rmtree(root / "v1s" / "v1s_train" / "labels_rgb")
    with pytest.raises(FileNotFoundError, match=r"labels_rgb/0\.png .*; labels_semantic was looked for too"):
        load_avsbench(root, "avss", "train")
