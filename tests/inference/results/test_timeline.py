"""Tests of the picture of what sounded when."""

import io

import numpy as np
import pytest
from PIL import Image

from auss import plot_timeline, summarise
from auss.processing.drawing import class_colour

from .results_by_hand import FOUR, frame, label_map, sounding


def bars(axes):
    """(left, right, row, colour) of each bar."""
    found = []
    for collection in axes.collections:
        for path, colour in zip(collection.get_paths(), collection.get_facecolors(), strict=True):
            (left, top), (right, bottom) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            found.append((left, right, (top + bottom) / 2, colour))
    return found


def test_a_bar_for_each_stretch():
    dog, both = label_map((1, 0, 10, 0, 10)), label_map((1, 0, 10, 0, 10), (3, 20, 40, 0, 30))
    result = [frame(0, dog, FOUR, 0.95), frame(1, both, FOUR, 0.6), frame(2, label_map(), FOUR), frame(3, dog, FOUR)]
    figure = plot_timeline(result, title="a $video$ of 1 $")
    (axes,) = figure.axes
    found = bars(axes)
    assert [tuple(np.round(bar[:3], 6)) for bar in found] == [(0, 2, 0), (1, 2, 1), (3, 4, 0)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dog", "drum"]
    np.testing.assert_allclose(found[1][3][:3], np.array(class_colour(3)) / 255)
    assert found[1][3][3] < found[0][3][3] < found[2][3][3]  # by their scores
    assert axes.get_xlim() == (0, 4) and axes.get_title() == "a $video$ of 1 $"


def test_the_summary_gives_the_same_figure_and_a_notebook_shows_it():
    result = sounding(0, 0.9, 0.9, 0)
    pictures = [Image.open(io.BytesIO(plot_timeline(one)._repr_png_())) for one in (result, summarise(result))]
    assert pictures[0].size == pictures[1].size and pictures[0].tobytes() == pictures[1].tobytes()
    nothing = plot_timeline(sounding(0, 0))
    assert "nothing sounds" in nothing.axes[0].get_xlabel() and nothing._repr_png_()


def test_names_are_text_and_no_formulas():
    names = {0: "silent", 1: "a $\\frac{", 2: "b$"}
    figure = plot_timeline([frame(0, label_map((1, 0, 10, 0, 10), (2, 20, 40, 0, 30)), names)], title="$\\frac{$")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a $\\frac{", "b$"]
    assert figure._repr_png_()


def test_another_dict_is_refused():
    with pytest.raises(ValueError, match="what summarise returns, got a dict of start, end"):
        plot_timeline({"start": 1, "end": 2})
