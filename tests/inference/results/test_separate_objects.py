"""Tests of splitting a mask into its separate objects."""

import numpy as np
import pytest
from scipy import ndimage

from auss import separate_objects


def test_objects_are_the_parts_that_do_not_touch():
    mask = np.zeros((30, 40), bool)
    mask[2:6, 2:6] = mask[10:20, 10:25] = mask[20:22, 25:27] = True  # the last two touch at a corner
    small, large = mask.copy(), mask.copy()
    small[8:], large[:8] = False, False
    found = separate_objects(mask)
    assert len(found) == 2 and all(part.dtype == bool for part in found)
    np.testing.assert_array_equal(found[0], large)
    np.testing.assert_array_equal(found[1], small)


def test_objects_partition_any_mask():
    mask = np.random.default_rng(0).random((50, 70)) < 0.3
    found = separate_objects(mask, min_area=0)
    assert len(found) == ndimage.label(mask, np.ones((3, 3)))[1] > 5
    np.testing.assert_array_equal(np.sum(found, axis=0), mask)
    areas = [part.sum() for part in found]
    assert areas == sorted(areas, reverse=True)
    for part in found:
        assert ndimage.label(part, np.ones((3, 3)))[1] == 1


def test_small_parts_are_no_objects():
    mask = np.zeros((100, 100), np.uint8)
    mask[:10, :10], mask[50, 50:59], mask[90:, 90] = 255, 255, 255  # 100, 9 and 10 pixels of 10,000
    assert [int(part.sum()) for part in separate_objects(mask)] == [100, 10]
    assert [int(part.sum()) for part in separate_objects(mask, min_area=0.01)] == [100]
    assert separate_objects(mask, min_area=0.011) == [] == separate_objects(0 * mask)


@pytest.mark.parametrize("min_area", [-0.1, 1, 1.5, float("nan"), True, "much"])
def test_other_areas_are_refused(min_area):
    with pytest.raises(ValueError, match="min_area must be a share of the picture"):
        separate_objects(np.ones((4, 4), bool), min_area)


def test_other_masks_are_refused():
    with pytest.raises(ValueError, match=r"mask must be an array \(H, W\), got shape \(1, 4, 4\)"):
        separate_objects(np.ones((1, 4, 4), bool))
