"""Display matrices: the eight right-angled forms, a turn that is left over, and matrices without meaning."""

import numpy as np
import pytest

from auss.inference.media.picture.display_matrix import Orientation, orientation


def placed(picture, matrix):
    """The oracle: puts every stored pixel at the place to which the matrix maps it."""
    (a, b), (c, d) = matrix[:2], matrix[3:5]
    height, width = picture.shape
    ys, xs = np.mgrid[:height, :width]
    shown_x, shown_y = a * xs + c * ys, b * xs + d * ys
    shown_x, shown_y = shown_x - shown_x.min(), shown_y - shown_y.min()
    result = np.full((shown_y.max() + 1, shown_x.max() + 1), -1)
    result[shown_y, shown_x] = picture
    return result


EIGHT = [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0)]


@pytest.mark.parametrize(("a", "b", "c", "d"), [*EIGHT, (0, -1, -1, 0)])
def test_eight_ways(a, b, c, d):
    picture = np.arange(6).reshape(2, 3)
    found = orientation(np.array([a, b, 0, c, d, 0, 0, 0, 1]) * 2**16)
    expected = placed(picture, (a, b, 0, c, d))
    np.testing.assert_array_equal(found.upright(picture), expected)
    assert found.sideways == (expected.shape == (3, 2)) and found.askew == pytest.approx(0)


@pytest.mark.parametrize(("degrees", "turns", "left"), [(30, 0, 30), (80, 1, -10), (-100, 3, -10), (181, 2, 1)])
def test_what_is_left_askew(degrees, turns, left):
    turn = np.deg2rad(-degrees)
    matrix = np.array([np.cos(turn), np.sin(turn), 0, -np.sin(turn), np.cos(turn), 0, 0, 0, 1]) * 2**16
    found = orientation(matrix.astype(np.int32))
    assert (found.quarter_turns, found.mirrored) == (turns, False) and found.askew == pytest.approx(left, abs=0.01)


def test_a_matrix_that_shows_nothing():
    assert orientation(np.zeros(9, np.int32)) == Orientation()
