"""Outlines and run lengths become masks. The polygons are compared with Matplotlib's test of points, and the run
lengths of COCO with strings that pycocotools 2.0.11 wrote."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from auss.files.errors import InputError
from auss.inference.importing.regions import (
    check_mask_size,
    fill_ellipse,
    fill_polygon,
    fill_runs,
    read_coco_string,
    read_label_studio_runs,
)

from .exports import background_first, brush_runs, coco_string


def random_mask(seed: int, size=(13, 9), share=0.4) -> np.ndarray:
    return np.random.default_rng(seed).random(size) < share


def centres(size):
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)


@pytest.mark.parametrize("seed", range(6))
def test_polygons_are_filled_where_matplotlib_finds_the_centres_inside(seed):
    size = (30, 41)
    angles = np.sort(np.random.default_rng(seed).uniform(0, 2 * np.pi, 9))
    radii = np.random.default_rng(seed + 10).uniform(2, 25, 9)  # some corners lie outside of the picture
    points = np.stack([20.3 + radii * np.cos(angles), 14.7 + radii * np.sin(angles)], axis=1)
    expected = Outline(points).contains_points(centres(size)).reshape(size)
    assert (fill_polygon(points, size) == expected).all() and expected.any()


def test_a_rectangle_of_whole_numbers_has_its_area_and_a_hole_stays_open():
    mask = fill_polygon([(2, 3), (7, 3), (7, 9), (2, 9)], (12, 12))
    assert mask.sum() == 5 * 6 and mask[3:9, 2:7].all()
    around = [(0, 0), (12, 0), (12, 12), (0, 12), (0, 0), (3, 3), (9, 3), (9, 9), (3, 9), (3, 3)]
    assert fill_polygon(around, (12, 12)).sum() == 144 - 36


def test_an_ellipse_has_its_area_and_turns_clockwise():
    mask = fill_ellipse((50, 40), (30, 10), 0, (80, 100))
    assert mask.sum() == pytest.approx(np.pi * 300, rel=0.01)
    turned = fill_ellipse((50, 40), (30, 10), 45, (80, 100))
    assert turned[60, 70] and not turned[20, 70] and turned.sum() == pytest.approx(np.pi * 300, rel=0.02)


@pytest.mark.parametrize("points", [[(0, 0), (1, 1)], [(0, 0), (1, float("nan")), (2, 2)], [(0, 1, 2)] * 3, "abc", 5])
def test_what_is_no_polygon_is_refused(points):
    with pytest.raises(InputError, match="polygon must"):
        fill_polygon(points, (5, 5))


def test_far_corners_cost_nothing():
    assert fill_polygon([(-1e8, -1e8), (1e8, -1e8), (1e8, 1e8), (-1e8, 1e8)], (4, 5)).all()


@pytest.mark.parametrize("by_columns", [False, True])
def test_runs_go_along_rows_or_columns(by_columns):
    mask = random_mask(1)
    runs = background_first((mask.T if by_columns else mask).ravel())
    assert (fill_runs(runs, mask.shape, by_columns) == mask).all()


@pytest.mark.parametrize("runs", [[5], [-1, 118], [10**19, 5], ["a"], None, [1.5e300]])
def test_runs_of_another_size_are_refused(runs):
    with pytest.raises(InputError, match="run lengths must"):
        fill_runs(runs, (13, 9), by_columns=True)


# (height, width) and what pycocotools.mask.encode makes of the mask
COCO_STRINGS = [
    (
        (5, 4),
        "5120O021N00",
    ),
    (
        (13, 9),
        "141M1031MO10N15OK10O0100000O011O31LO00`00A20N03OM1073",
    ),
    (
        (30, 7),
        ("022O00O0010O31NOO1021M20N3OM14OL102031JO0041L10N1000O10O01=OC14OM21NN21N0020O20NN22N22LN002030K020N060"),
    ),
    (
        (180, 320),
        (
            "oY;5[59I5K4M3M2N3M2N3M2O1N3N1N2O1N2O1N2O1O1N101O1N2O1O1O001N2O001O1O1O001O1O001O0O2O1O001O001O00100O"
            "001O001O001O001O001O01O01O001O001O01O01O001O00010O000010O0001O01O01O00010O0000010O0001O01O01O00010O0"
            "00010O0001O001O01O01O001O001O01O01O001O001O001O001O00100O001O001O001O1N101O001O1O001O1O1O001N2O001O1"
            "O1N2O1O0O2O1O1N2O1N2O1N2O2M2O1N3M2N3M2N3M3L5K7GTe>"
        ),
    ),
]


def test_compressed_strings_are_read_as_pycocotools_writes_them():
    for seed, (size, text) in enumerate(COCO_STRINGS):
        mask = random_mask(seed, size, 0.4) if seed < 3 else fill_ellipse((150, 90), (90, 40), 20, size)
        assert (fill_runs(read_coco_string(text), size, by_columns=True) == mask).all()
        assert coco_string(mask)["counts"] == text  # so the exports of these tests are those of pycocotools


@pytest.mark.parametrize("text", ["0 0", "p0", "\u2602", "P", "o" * 40])
def test_what_is_no_compressed_string_is_refused(text):
    with pytest.raises(InputError, match="run lengths"):
        read_coco_string(text)


@pytest.mark.parametrize("sizes", [(3, 4, 8, 16), (2, 3, 5, 11)])
@pytest.mark.parametrize("mask", [random_mask(3), np.ones((40, 30), bool), np.zeros((5, 4), bool)], ids=str)
def test_brush_runs_are_read(mask, sizes):
    assert (read_label_studio_runs(brush_runs(mask, sizes=sizes), mask.shape) == mask).all()


def test_a_brush_mask_of_the_documentation_is_read():
    """The beginning of a public export (alkzar90/cell_benchmark): 3332 x 2527 pixels, and runs of 65536 zeros."""
    runs = [2, 1, 233, 240, 57, 27] + [
        255,
        255,
        255,
        0,
        255,
        255,
        224,
        31,
        255,
        252,
        3,
        255,
        255,
        128,
        127,
        255,
        240,
        15,
    ]
    runs += [255, 254, 1, 255, 255, 192, 63, 255, 248, 7]
    with pytest.raises(InputError, match="ends too early"):  # its size is accepted, and then the list breaks off
        read_label_studio_runs(runs, (2527, 3332))
    with pytest.raises(InputError, match="got 33679856"):
        read_label_studio_runs(runs, (2527, 3331))


@pytest.mark.parametrize("content", [[1, 2], [0, 0, 0, 256], "text", None, [0.5], 10**9, 10**30])
def test_damaged_brush_runs_are_refused(content):
    with pytest.raises(InputError, match="rle"):
        read_label_studio_runs(content, (5, 4))


@pytest.mark.parametrize("size", [(0, 5), (10**6, 10**6), ("a", 1), (None, 3), (float("inf"), 3), (-3, -3)])
def test_sizes_are_checked_before_memory_is_reserved(size):
    with pytest.raises(InputError, match="mask"):
        check_mask_size(*size)
