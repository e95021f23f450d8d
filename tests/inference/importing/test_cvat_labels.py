import re

import numpy as np
import pytest

from auss.files.errors import InputError
from auss.inference.importing.cvat_labels import read_cvat
from auss.inference.importing.labels import Moment, Notes

from .conftest import SIZE, square
from .exports import cvat_file, cvat_mask, cvat_meta, cvat_points, cvat_single_masks, cvat_track

CORNERS = [(5, 10), (25, 10), (25, 30), (5, 30)]  # of square(5)
META = cvat_meta(SIZE, name="walk", source="dog.mp4")


def read(text: str, silent: bool = False):
    notes = Notes()
    found = read_cvat(text.encode(), "a.xml", "task_7", silent, notes)
    return sorted(found, key=lambda one: one.moment.frame if one.moment else -1), notes


def polygon(left: float) -> str:
    return f'points="{cvat_points((x - 5 + left, y) for x, y in CORNERS)}"'


def test_the_mask_of_cvats_documentation():
    """docs.cvat.ai, XML annotation format: a mask of 13 x 15 pixels at 707, 888."""
    rle = "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3"
    attributes = f'label="car" source="manual" occluded="0" rle="{rle}" left="707" top="888" width="13" height="15"'
    mask = f'<mask {attributes} z_order="0"></mask>'
    image = f'<image id="0" name="filename000.jpg" width="1600" height="1200">{mask}</image>'
    (one,), _ = read(cvat_file("", image))
    mask = one.mask((1200, 1600), (1200, 1600))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), rows.min()) == (707, 888) and (columns.max(), rows.max()) == (719, 902)
    assert mask.sum() == sum(map(int, rle.split(",")[1::2]))
    assert mask[888, 707:720].tolist() == [False] * 3 + [True] * 5 + [False] * 5  # the runs go along the rows


@pytest.mark.parametrize(
    ("element", "attributes"),
    [
        ("polygon", polygon(5)),
        ("mask", cvat_mask(square(5))),
    ],
)
def test_images_of_a_task(element, attributes):
    shape = f'<{element} label="dog" source="manual" occluded="0" {attributes} z_order="0"></{element}>'
    box = '<box label="dog" source="manual" occluded="0" xtl="1" ytl="2" xbr="3" ybr="4" z_order="0"></box>'
    images = f'<image id="12" name="frame_000012" width="64" height="48">{shape}{box}</image>'
    images += '<image id="13" name="frame_000013" width="64" height="48"></image>'
    (one,), notes = read(cvat_file(META, images))
    assert (one.mask(SIZE, SIZE) == square(5)).all() and one.regions[0].label == "dog" and one.moment is None
    assert one.names == ("frame_000012", "dog.mp4/frame_000012", "walk/frame_000012")
    assert dict(notes.unused) == {("a.xml", "shapes of type box"): 1}
    assert len(read(cvat_file(META, images), silent=True)[0]) == 2


def test_an_ellipse_turns_about_its_centre():
    shape = '<ellipse label="dog" cx="32.00" cy="24.00" rx="20.00" ry="5.00" rotation="90.00"></ellipse>'
    (one,), _ = read(cvat_file(META, f'<image id="0" name="frame_000000" width="64" height="48">{shape}</image>'))
    rows, columns = np.nonzero(one.mask(SIZE, SIZE))
    assert (rows.min(), rows.max()) == (4, 43) and (columns.min(), columns.max()) == (27, 36)


def test_single_masks_label_their_own_frame_alone():
    """CVAT ends the track of a single mask in the next frame, and this end is no label that says "silent"."""
    found, _ = read(cvat_file(META, cvat_single_masks("dog", {3: square(5), 30: square(40)})))
    assert [one.moment for one in found] == [Moment(frame=3), Moment(frame=30)]
    assert (found[1].mask(SIZE, SIZE) == square(40)).all()
    assert found[0].names == ("dog.mp4", "walk", "task_7")


def test_single_masks_of_a_task_with_a_frame_step_do_not_spread():
    meta = cvat_meta(SIZE, source="dog.mp4", step=10)
    found, _ = read(cvat_file(meta, cvat_single_masks("dog", {20: square(5)}, step=10)))
    assert [one.moment.frame for one in found] == [20]


def test_polygons_move_between_keyframes_and_masks_stay():
    shapes = [(10, "polygon", polygon(5), 0), (20, "polygon", polygon(25), 0), (30, "polygon", polygon(25), 1)]
    found, _ = read(cvat_file(META, cvat_track("dog", shapes)))
    assert [one.moment.frame for one in found] == list(range(10, 30))
    assert (found[5].mask(SIZE, SIZE) == square(15)).all()  # half way
    assert (found[15].mask(SIZE, SIZE) == square(25)).all()
    masks = [(10, "mask", cvat_mask(square(5)), 0), (13, "mask", cvat_mask(square(40)), 0)]
    found, _ = read(cvat_file(META, cvat_track("dog", masks)))
    assert [one.mask(SIZE, SIZE)[20, 10] for one in found] == [True, True, True, False]


def test_polygons_with_other_numbers_of_points_leave_the_frames_between_unlabelled():
    more = f'points="{cvat_points([*CORNERS, (4, 20)])}"'
    found, _ = read(cvat_file(META, cvat_track("dog", [(10, "polygon", polygon(5), 0), (13, "polygon", more, 0)])))
    assert [one.moment.frame for one in found] == [10, 13]


def test_tracks_of_a_frame_are_joined():
    tracks = [
        cvat_track("dog", [(4, "polygon", polygon(5), 0)]),
        cvat_track("bell", [(4, "polygon", polygon(40), 0)], 1),
    ]
    (one,), _ = read(cvat_file(META, "\n".join(tracks)))
    assert (one.mask(SIZE, SIZE) == square(5) | square(40)).all()
    assert [region.label for region in one.regions] == ["dog", "bell"]


def test_tracks_of_a_project_belong_to_their_tasks():
    tasks = "".join(
        f"<task><id>{number}</id><source>{name}.mp4</source></task>" for number, name in ((3, "dog"), (4, "cat"))
    )
    tracks = [
        cvat_track("dog", [(4, "polygon", polygon(5), 0)]).replace("<track ", f'<track task_id="{number}" ')
        for number in (3, 4)
    ]
    found, _ = read(cvat_file(f"<meta><project><tasks>{tasks}</tasks></project></meta>", "\n".join(tracks)))
    assert [one.names[0] for one in found] == ["dog.mp4", "cat.mp4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<annotations>", "is no XML"),
        (b"\xff\xfe<annotations/>", "in UTF-8"),
        (b"<html></html>", "root is annotations"),
        (b'<!DOCTYPE a [<!ENTITY b "bb">]><annotations>&b;</annotations>', "DOCTYPE"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "DOCTYPE"),
    ],
)
def test_what_is_no_xml_of_cvat_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        read_cvat(content, "a.xml", "a", False, Notes())


@pytest.mark.parametrize("points", ["1,2,3;4,5,6", "1,2;3,4;5", "", "5", "1,2;3,4;x,6"])
def test_points_that_are_no_pairs_are_refused(points):
    found, notes = read(cvat_file(META, cvat_track("dog", [(4, "polygon", f'points="{points}"', 0)])))
    assert not found and "must be written as x,y;x,y;x,y" in notes.problems[0]


def test_junk_in_any_attribute_raises_nothing_else():
    mask = f'<mask label="dog" {cvat_mask(square(5))}></mask>'
    image = f'<image id="1" name="frame_000001" width="64" height="48">{mask}</image>'
    track = cvat_track(
        "dog", [(2, "polygon", polygon(5), 0), (9, "polygon", polygon(9), 0), (20, "mask", cvat_mask(square(5)), 1)]
    )
    text = cvat_file(META, f"{image}\n{track}")
    tried = 0
    values = ("", "-1", "nan", "inf", "1e999", "9" * 30, "x", "1,2;3", "1,2,3;4,5,6")
    for index, match in enumerate(re.finditer(r'(?<=")[^"<>=]*(?="[ >])', text)):
        for junk in values[index % 3 :: 3]:
            tried += 1
            changed = text[: match.start()] + junk + text[match.end() :]
            try:
                for one in read_cvat(changed.encode(), "a.xml", "a", False, Notes()):
                    assert one.mask(SIZE, SIZE).dtype == np.bool_
            except InputError:
                pass
    assert tried > 90
