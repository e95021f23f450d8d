"""Tests of masks in files: pictures, COCO annotations and arrays, which all hold the same masks."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from auss import save_masks

from .results_by_hand import FOUR, SIZE, frame, label_map, sounding

LABELS = [
    label_map((2, 5, 15, 5, 15), (3, 5, 15, 30, 45), (3, 30, 38, 2, 12)),
    label_map(),
    label_map((1, 20, 40, 30, 60)),
]
RESULT = [frame(index / 2, labels, FOUR, index=12 * index) for index, labels in enumerate(LABELS)]


def test_pictures(tmp_path):
    assert save_masks(RESULT, tmp_path / "masks") == tmp_path / "masks"
    names = ["mask_000000_00000.000s.png", "mask_000012_00000.500s.png", "mask_000024_00001.000s.png"]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == names
    for name, labels in zip(names, LABELS, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "masks" / name)), labels)
    save_masks(sounding(0.9, 0), tmp_path / "two")
    assert set(np.unique(np.asarray(Image.open(tmp_path / "two" / names[0])))) == {0, 255}
    with pytest.raises(FileExistsError, match="masks is not empty"):
        save_masks(RESULT, tmp_path / "masks", overwrite=True)


def test_pictures_of_objects(tmp_path):
    save_masks(RESULT, tmp_path, separate_objects=True)
    parts = sorted(tmp_path.glob("mask_000000_00000.000s_object*.png"))
    assert len(parts) == 3 and len(list(tmp_path.iterdir())) == 3 + 3 + 1
    values = [np.asarray(Image.open(path)) for path in parts]
    assert [np.unique(one).tolist() for one in values] == [[0, 2], [0, 3], [0, 3]]
    np.testing.assert_array_equal(np.sum(values, axis=0), LABELS[0])


@pytest.mark.parametrize("separate", [False, True])
def test_annotations_are_those_that_pycocotools_reads(tmp_path, separate):
    path = save_masks(RESULT, tmp_path / "masks.json", separate, video="street.mp4")
    content = json.loads(path.read_text())
    assert [one["timestamp"] for one in content["images"]] == [0, 0.5, 1.0]
    assert [one["frame_index"] for one in content["images"]] == [0, 12, 24]
    assert {one["file_name"] for one in content["images"]} == {"street.mp4"}
    assert len(content["annotations"]) == (4 if separate else 3)
    read = COCO(path)
    assert {one["id"]: one["name"] for one in read.loadCats(read.getCatIds())} == {1: "dog", 2: "car", 3: "drum"}
    for image, labels in zip(content["images"], LABELS, strict=True):
        painted = np.zeros(SIZE, np.uint8)
        for one in read.loadAnns(read.getAnnIds(imgIds=image["id"])):
            mask = read.annToMask(one) > 0
            painted[mask] = one["category_id"]
            rows, columns = np.nonzero(mask)
            left, top, width, height = one["bbox"]
            assert (left, top) == (columns.min(), rows.min()) and one["score"] == 0.9
            assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
            assert one["area"] == mask.sum()
        np.testing.assert_array_equal(painted, labels)


@pytest.mark.parametrize("separate", [False, True])
def test_arrays(tmp_path, separate):
    path = save_masks(RESULT, tmp_path / "masks.npz", separate)
    with np.load(path) as arrays:
        assert arrays["masks"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["masks"], LABELS)
        assert arrays["timestamps"].tolist() == [0, 0.5, 1.0]
        assert arrays["labels"].tolist() == ["silent", "dog", "car", "drum"]
        assert ("objects" in arrays) == separate
        if separate:
            assert [len(np.unique(one)) - 1 for one in arrays["objects"]] == [3, 0, 1]
            np.testing.assert_array_equal(arrays["objects"] > 0, arrays["masks"] > 0)


def test_the_processors_result(tmp_path):
    clip = {"segmentation": np.stack(LABELS).astype(np.int64)}
    with np.load(save_masks(clip, tmp_path / "masks.npz")) as arrays:
        np.testing.assert_array_equal(arrays["masks"], LABELS)
        assert np.isnan(arrays["timestamps"]).all()


def test_no_frames(tmp_path):
    with np.load(save_masks([], tmp_path / "masks.npz")) as arrays:
        assert arrays["masks"].shape == (0, 0, 0)
    assert json.loads(save_masks([], tmp_path / "masks.json").read_text())["images"] == []


def test_files_are_replaced_only_on_request(tmp_path):
    path = tmp_path / "masks.json"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        save_masks(RESULT, path)
    assert path.read_text() == "mine"
    assert json.loads(save_masks(RESULT, path, overwrite=True).read_text())["images"]


@pytest.mark.parametrize(
    ("result", "name", "message"),
    [
        (RESULT, "masks.png", "path must be a folder, or a file that ends in .json or .npz"),
        ([[]], "masks.json", "must have a size for each frame: frame 0 has no segment"),
        ([[]], "masks", "must have a size for each frame"),
        (
            [[{"label": "dog", "mask": np.ones((4, size), bool)}] for size in (4, 5)],
            "masks.npz",
            r"must have frames of one size, got \(4, 4\) and \(4, 5\)",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, result, name, message):
    with pytest.raises(ValueError, match=message):
        save_masks(result, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
