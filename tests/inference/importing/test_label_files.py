import json
import zipfile

import pytest

from auss.files.errors import InputError
from auss.inference.importing.label_files import read_labels
from auss.inference.importing.labels import Notes
from auss.inference.importing.video_names import Numbering, VideoNames

from .conftest import SIZE, save_mask, square
from .exports import (
    brush_result,
    coco_file,
    coco_string,
    cvat_file,
    cvat_meta,
    cvat_single_masks,
    label_studio_task,
)

CVAT = cvat_file(cvat_meta(SIZE, source="dog.mp4"), cvat_single_masks("dog", {3: square(5)}))
TASKS = json.dumps([label_studio_task(1, "/data/upload/1/1a2b3c4d-dog_0003.png", [brush_result(square(5), "dog")])])
IMAGE = {"id": 7, "file_name": "dog_0003.png", "height": SIZE[0], "width": SIZE[1]}
COCO = coco_file([IMAGE], [{"image_id": 7, "segmentation": coco_string(square(5))}])


def read(*paths, notes=None):
    return read_labels(paths, Numbering(), False, 1.0, notes or Notes())


@pytest.mark.parametrize(("name", "text"), [("a.xml", CVAT), ("a.json", TASKS), ("a.JSON", COCO)])
def test_a_file_of_each_format_is_known_alone_in_a_folder_and_in_an_archive(tmp_path, name, text):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_text(text)
    # CVAT's archives hold the frames too, which are no masks
    save_mask(tmp_path / "folder" / "images" / "frame_000003.PNG", square(5))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(f"annotations/{name}", "\ufeff" + text)
        archive.writestr("images/frame_000003.PNG", b"x")
        archive.writestr(f"__MACOSX/{name}", b"x")
    for path in (tmp_path / "folder" / name, tmp_path / "folder", tmp_path / "a.zip"):
        (one,) = read(path)
        assert (one.mask(SIZE, SIZE) == square(5)).all() and name in one.origin


def test_a_file_may_have_the_name_of_the_video_whose_frames_it_labels(tmp_path):
    """CVAT's COCO export of a video calls the pictures frame_000012.PNG."""
    image = {**IMAGE, "file_name": "frame_000012.PNG"}
    text = coco_file([image], [{"image_id": 7, "segmentation": coco_string(square(5))}])
    (tmp_path / "cat.json").write_text(text)
    (one,) = read(tmp_path / "cat.json")
    assert VideoNames(["dog.mp4", "cat.mp4"]).find(one.names) == ("cat.mp4", "frame_000012.PNG")


def test_several_paths_are_joined(tmp_path):
    (tmp_path / "a.json").write_text(COCO)
    save_mask(tmp_path / "masks" / "dog" / "5.png", square(5))
    assert len(read(tmp_path / "a.json", tmp_path / "masks")) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "cannot be read as JSON"),
        ("a.json", b"[" * 100_000, "cannot be read as JSON"),
        ("a.json", b'{"a": 1}', "neither COCO's JSON nor Label Studio's"),
        ("a.json", b"[1, 2]", "neither COCO's JSON nor Label Studio's"),
        ("a.zip", b"PK\x05\x06", "no .zip that can be read"),
        ("a.txt", b"", "labels must be COCO or Label Studio"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)
    with pytest.raises(FileNotFoundError, match="missing.json"):
        read(tmp_path / "missing.json")


def test_damaged_archives_are_refused_by_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("é.json", COCO * 20)
    content = (tmp_path / "whole.zip").read_bytes()
    name, data = content.rindex("é".encode()), content.index(b".json") + len(b".json")
    damages = {
        "name": content[:name] + b"\xff" + content[name + 1 :],
        "compressed data": content[:data] + b"\xff" + content[data + 1 :],
        "rest": content[: len(content) // 2],
    }
    for kind, damaged in damages.items():
        (tmp_path / "a.zip").write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.zip is no \.zip that can be read"):
            pytest.fail(f"a damaged {kind} was read: {read(tmp_path / 'a.zip')}")


def test_an_archive_leaves_nothing_on_the_disk_and_large_ones_are_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../../escaped.json", COCO)
        archive.writestr("a.json", COCO)
    before = sorted(tmp_path.parent.rglob("*.json"))
    assert len(read(tmp_path / "a.zip")) == 1 and sorted(tmp_path.parent.rglob("*.json")) == before
    monkeypatch.setattr("auss.inference.importing.label_files.MOST_BYTES", 10)
    with pytest.raises(InputError, match="holds more than 10 bytes"):
        read(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("mask.png", b"x")
    with pytest.raises(InputError, match="no .json and no .xml"):
        read(tmp_path / "b.zip")


def test_a_file_without_labels_is_told(tmp_path):
    (tmp_path / "a.json").write_text(coco_file([IMAGE], []))
    notes = Notes()
    assert read(tmp_path / "a.json", notes=notes) == [] and "no mask and no polygon" in notes.warnings[0]
