import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from auss.files.errors import InputError
from auss.inference.importing.label_studio_labels import is_label_studio, read_label_studio
from auss.inference.importing.labels import Notes

from .conftest import SIZE, square
from .exports import brush_result, label_studio_task
from .junk import every_junk

ADDRESS = "/data/upload/3/1a2b3c4d-dog_0012.png"


def result(kind: str, value: dict, **more) -> dict:
    sizes = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0}
    return {**sizes, "id": "a1", "from_name": "tag", "to_name": "image", "type": kind, "value": value, **more}


def percent(points):
    return [[x / SIZE[1] * 100, y / SIZE[0] * 100] for x, y in points]


def bitmask(mask: np.ndarray) -> str:
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask, 3] = 255  # black on transparent, as the documentation says
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def read(tasks):
    notes = Notes()
    content = json.loads(json.dumps(tasks))
    assert is_label_studio(content)
    return read_label_studio(content, "a.json", notes), notes


@pytest.mark.parametrize(
    "made",
    [
        brush_result(square(5), "dog"),
        result("bitmasklabels", {"imageDataURL": bitmask(square(5)), "bitmasklabels": ["dog"]}),
        result("polygonlabels", {"points": percent([(5, 10), (25, 10), (25, 30), (5, 30)]), "polygonlabels": ["dog"]}),
    ],
    ids=["brush", "bitmask", "polygon"],
)
def test_masks_of_a_task(made):
    (one,), notes = read([label_studio_task(1, ADDRESS, [made])])
    assert (one.mask(SIZE, SIZE) == square(5)).all() and one.regions[0].label == "dog"
    assert one.names[0] == ADDRESS and one.moment is None and not notes.problems + notes.warnings


def test_an_ellipse_is_drawn():
    value = {"x": 50, "y": 50, "radiusX": 25, "radiusY": 20, "rotation": 0, "ellipselabels": ["dog"]}
    (one,), _ = read([label_studio_task(1, ADDRESS, [result("ellipselabels", value)])])
    assert one.mask(SIZE, SIZE).sum() == pytest.approx(np.pi * 16 * 9.6, rel=0.03)


def test_separate_brush_and_labels_tags_are_one_result():
    brush = result("brush", {"format": "rle", "rle": brush_result(square(5), "")["value"]["rle"]})
    labels = result("labels", {"labels": ["dog"]})
    (one,), notes = read([label_studio_task(1, ADDRESS, [brush, labels])])
    assert [region.label for region in one.regions] == ["dog"] and not notes.unused


def test_a_submitted_task_without_labels_is_silent_and_others_are_left_out():
    empty = label_studio_task(1, ADDRESS, [])
    open_task, skipped = label_studio_task(2, ADDRESS, None), label_studio_task(3, ADDRESS, [], was_cancelled=True)
    found, _ = read([empty, open_task, skipped])
    assert len(found) == 1 and not found[0].regions


def test_of_several_annotators_the_ground_truth_counts():
    task = label_studio_task(1, ADDRESS, [brush_result(square(5), "dog")])
    other = {**task["annotations"][0], "result": [brush_result(square(40), "dog")]}
    (one,), notes = read([{**task, "annotations": [*task["annotations"], other]}])
    assert (one.mask(SIZE, SIZE) == square(5)).all() and "has 2 annotations" in notes.warnings[0]
    (one,), notes = read([{**task, "annotations": [*task["annotations"], {**other, "ground_truth": True}]}])
    assert (one.mask(SIZE, SIZE) == square(40)).all() and not notes.warnings


def test_the_short_export_and_pages_of_pictures():
    short = {"image": ADDRESS, "id": 1, "tag": [brush_result(square(5), "dog")["value"]], "annotation_id": 4}
    short["tag"][0] |= {"original_width": SIZE[1], "original_height": SIZE[0]}
    (one,), _ = read([short])
    assert one.names[0] == ADDRESS and (one.mask(SIZE, SIZE) == square(5)).all()
    pages = label_studio_task(1, ADDRESS, [{**brush_result(square(5), "dog"), "item_index": 1}])
    pages["data"] = {"images": ["/data/dog_1.png", "/data/dog_2.png"]}
    (one,), _ = read([pages])
    assert one.names == ("/data/dog_2.png",)


def test_boxes_on_videos_are_counted_and_a_turned_picture_is_a_problem():
    sequence = {
        "sequence": [{"frame": 1, "x": 1, "y": 2, "width": 3, "height": 4, "enabled": True}],
        "labels": ["dog"],
    }
    turned = {**brush_result(square(5), "dog"), "image_rotation": 90}
    found, notes = read([label_studio_task(1, "/data/dog.mp4", [result("videorectangle", sequence), turned])])
    assert found == [] and "turned in Label Studio" in notes.problems[0]
    assert dict(notes.unused) == {("a.json", "results of type videorectangle"): 1}


def test_junk_in_any_place_raises_nothing_else():
    polygon = result("polygonlabels", {"points": percent([(5, 10), (25, 10), (25, 30)]), "polygonlabels": ["dog"]})
    ellipse = result("ellipselabels", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 20, "ellipselabels": ["dog"]})
    picture = result("bitmasklabels", {"imageDataURL": bitmask(square(5)), "bitmasklabels": ["dog"]})
    tried = 0
    for made in (brush_result(square(5), "dog"), polygon, ellipse, picture):
        for content in every_junk([label_studio_task(1, ADDRESS, [made])]):
            tried += 1
            try:
                for one in read_label_studio(content, "a.json", Notes()) if is_label_studio(content) else ():
                    assert one.mask(SIZE, SIZE).dtype == np.bool_
            except InputError:
                pass
    assert tried > 1000
