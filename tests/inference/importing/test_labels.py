import logging

import numpy as np
import pytest

from auss.files.errors import InputError
from auss.inference.importing.labels import FrameLabels, Moment, Notes, Region, chosen_regions, scaled_mask


def region(mask: np.ndarray, label: str = "", sized: bool = True) -> Region:
    return Region(label, mask.shape if sized else None, lambda _: mask)


def frame(*regions: Region) -> FrameLabels:
    return FrameLabels("labels.json: image a_1.png", ("a_1.png",), Moment(frame=1), regions)


def halves() -> tuple[np.ndarray, np.ndarray]:
    left, top = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    left[:, :15] = top[:10] = True
    return left, top


def test_regions_are_joined_in_the_size_that_is_wanted():
    left, top = halves()
    assert (frame(region(left), region(top)).mask((20, 30), (20, 30)) == (left | top)).all()
    small = frame(region(left)).mask((40, 60), (10, 14))
    assert small.shape == (10, 14) and small[:, :7].all() and not small[:, 7:].any()
    assert not frame().mask((20, 30), (20, 30)).any()  # nothing sounds


def test_scaling_keeps_the_share_of_the_picture():
    mask = np.random.default_rng(0).random((8, 12)) < 0.5
    assert (scaled_mask(np.kron(mask, np.ones((4, 4), bool)), (8, 12)) == mask).all()


@pytest.mark.parametrize("sized", [True, False])
def test_a_mask_of_another_shape_is_refused_with_its_origin(sized):
    left, _ = halves()
    with pytest.raises(InputError, match=r"labels.json: image a_1.png: a mask of 30 x 20 pixels .* video of 64 x 48"):
        frame(region(left, sized=sized)).mask((48, 64), (48, 64))
    with pytest.raises(InputError, match="is the video turned"):
        frame(region(left, sized=sized)).mask((30, 20), (30, 20))


def test_a_declared_size_of_billions_of_pixels_is_refused_before_it_is_drawn():
    huge = Region("", (10**6, 10**6), lambda size: pytest.fail("drawn"))
    with pytest.raises(InputError, match="pixels"):
        frame(huge).mask((10, 10), (10, 10))


def test_only_the_chosen_labels_stay_and_the_frame_stays_labelled():
    left, top = halves()
    frames = [frame(region(left, "dog"), region(top, "bell")), frame(region(top, "bell"))]
    chosen = chosen_regions(frames, ["dog"])
    assert [[one.label for one in each.regions] for each in chosen] == [["dog"], []]
    assert chosen_regions(frames, None) == frames
    with pytest.raises(InputError, match="labels bell, dog, got cat"):
        chosen_regions(frames, ["dog", "cat"])


def test_notes_list_the_problems_or_leave_them_out(caplog):
    notes = Notes()
    notes.settle(skip_bad=False)
    for number in range(25):
        notes.problem(f"file{number}\x1b[31m.png: broken")
    with pytest.raises(InputError, match=r"^25 labels or videos .*file0\\x1b\[31m.png: broken; .*and 5 more$"):
        notes.settle(skip_bad=False)
    notes.problem("a.png: broken")
    notes.settle(skip_bad=True)
    notes.pass_over("a.xml", "boxes")
    notes.pass_over("a.xml", "boxes")
    notes.warn_of_unused()
    assert notes.warnings[0] == "left out: a.png: broken" and notes.warnings[1].startswith("a.xml: 2 boxes")
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
