import json

import numpy as np
import pytest

from auss.files.errors import InputError
from auss.inference.importing.coco_labels import is_coco, read_coco
from auss.inference.importing.labels import Moment, Notes
from auss.inference.importing.video_names import Numbering

from .conftest import SIZE, square
from .exports import coco_file, coco_runs, coco_string
from .junk import every_junk

IMAGE = {"id": 7, "file_name": "dog_0012.png", "height": SIZE[0], "width": SIZE[1]}
CORNERS = [5, 10, 25, 10, 25, 30, 5, 30]  # of square(5)


def read(text, silent=False, numbering=None):
    notes, numbering = Notes(), numbering or Numbering()
    content = json.loads(text)
    assert is_coco(content)
    return read_coco(content, "a.json", numbering, silent, notes), notes


@pytest.mark.parametrize(
    "segmentation",
    [[CORNERS], CORNERS, [CORNERS[:6], [5, 10, 25, 30, 5, 30]], coco_runs(square(5)), coco_string(square(5))],
    ids=["polygon", "flat", "two parts", "runs", "string"],
)
def test_polygons_and_run_lengths(segmentation):
    (one,), notes = read(coco_file([IMAGE], [{"image_id": 7, "segmentation": segmentation}]))
    assert (one.mask(SIZE, SIZE) == square(5)).all()
    assert one.names[0] == "dog_0012.png" and one.moment is None and one.regions[0].label == "dog"
    assert "a.json: image dog_0012.png" == one.origin and not notes.problems


def test_annotations_of_an_image_are_joined_and_boxes_are_counted():
    annotations = [
        {"image_id": 7, "segmentation": coco_string(square(5)), "category_id": 1},
        {"image_id": 7, "segmentation": coco_string(square(40)), "category_id": 2},
        {"image_id": 7, "segmentation": [], "bbox": [1, 2, 3, 4]},
    ]
    (one,), notes = read(coco_file([IMAGE], annotations, labels=("dog", "bell")))
    assert (one.mask(SIZE, SIZE) == square(5) | square(40)).all()
    assert [region.label for region in one.regions] == ["dog", "bell"]
    notes.warn_of_unused()
    assert notes.warnings[0].startswith("a.json: 1 boxes or keypoints")


def test_images_without_annotations_are_left_out_unless_they_are_silent():
    other = {**IMAGE, "id": 8, "file_name": "dog_0013.png"}
    text = coco_file([IMAGE, other], [{"image_id": 7, "segmentation": [CORNERS]}])
    assert len(read(text)[0]) == 1
    found = read(text, silent=True)[0]
    assert [len(one.regions) for one in found] == [1, 0] and not found[1].mask(SIZE, SIZE).any()


def test_images_of_videos_have_frames():
    image = {**IMAGE, "file_name": "0.jpg", "video_id": 1, "frame_id": 12}
    text = coco_file(
        [image], [{"image_id": 7, "segmentation": [CORNERS]}], videos=[{"id": 1, "name": "dog", "width": 64}]
    )
    (one,), _ = read(text)
    assert one.moment == Moment(frame=12) and one.names[0] == "dog"
    assert read(text, numbering=Numbering(rate=4.0))[0][0].moment == Moment(time=3.0)


def test_youtube_vis_has_a_segmentation_for_each_frame():
    video = {"id": 3, "file_names": ["dog/0.jpg", "dog/5.jpg", "dog/10.jpg"], "height": SIZE[0], "width": SIZE[1]}
    annotation = {"id": 1, "video_id": 3, "category_id": 1, "segmentations": [None, coco_runs(square(5)), None]}
    text = json.dumps({"videos": [video], "annotations": [annotation], "categories": [{"id": 1, "name": "dog"}]})
    (one,), _ = read(text)
    assert one.names == ("dog/5.jpg",) and (one.mask(SIZE, SIZE) == square(5)).all()
    assert [bool(one.regions) for one in read(text, silent=True)[0]] == [False, True, False]


def test_an_annotation_of_an_unknown_image_is_a_problem():
    _, notes = read(coco_file([IMAGE], [{"image_id": 9, "segmentation": [CORNERS]}]))
    assert notes.problems == ["a.json: annotation 1 belongs to image 9, which the file does not list"]


def test_run_lengths_of_another_size_are_refused():
    runs = {**coco_runs(square(5)), "size": [48, 63]}
    (one,), _ = read(coco_file([IMAGE], [{"image_id": 7, "segmentation": runs}]))
    with pytest.raises(InputError, match="a.json: image dog_0012.png: run lengths must add up to the 3024 pixels"):
        one.mask(SIZE, SIZE)


def test_junk_in_any_place_raises_nothing_else():
    """A value of another type, in each place of a file, is an error of input or changes nothing."""
    text = coco_file(
        [{**IMAGE, "video_id": 1, "frame_id": 2}],
        [{"image_id": 7, "segmentation": [CORNERS]}, {"image_id": 7, "segmentation": coco_string(square(5))}],
        videos=[{"id": 1, "name": "dog"}],
    )
    tried = 0
    for content in every_junk(json.loads(text)):
        tried += 1
        try:
            for one in read_coco(content, "a.json", Numbering(), True, Notes()) if is_coco(content) else ():
                assert one.mask(SIZE, SIZE).dtype == np.bool_
        except InputError:
            pass
    assert tried > 300
