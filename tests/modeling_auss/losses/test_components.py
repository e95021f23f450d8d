"""Compares the segments by connected component with a flood fill."""

import pytest
import torch

from auss.modeling_auss.losses.components import component_segments


def flood_fill(labels: torch.Tensor, label: int) -> list[set[tuple[int, int]]]:
    """Finds the components of a label in one frame, pixel by pixel. Pixels that share a corner are connected."""
    left = {tuple(pixel) for pixel in (labels == label).nonzero().tolist()}
    found = []
    while left:
        component, border = set(), [left.pop()]
        while border:
            row, column = border.pop()
            component.add((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            border += near
        found.append(component)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_components_are_those_of_a_flood_fill(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(3, 12, 14, generator=generator) > 0.75).long()
    labels[0] *= 2  # a frame of another label
    labels[1, 3:5] = 255
    numbers, of_segments = component_segments(labels, 3)
    assert torch.equal(numbers == 255, labels == 255)
    for frame in range(3):
        expected = {frozenset(part) for label in (1, 2) for part in flood_fill(labels[frame], label)}
        found = {
            frozenset(tuple(pixel) for pixel in (numbers[frame] == number).nonzero().tolist())
            for number in numbers[frame].unique().tolist()
            if number not in (0, 255)
        }
        assert found == expected
        inside = labels[frame] != 255
        assert torch.equal(of_segments[frame][numbers[frame][inside]], labels[frame][inside])


def test_frames_have_as_many_columns_as_the_one_with_most_segments():
    labels = torch.zeros(2, 6, 6, dtype=torch.int64)
    labels[0, 0, 0] = labels[0, 3, 3] = labels[0, 5, 0] = 1
    numbers, of_segments = component_segments(labels, 2)
    assert of_segments.tolist() == [[0, 1, 1, 1], [0, 0, 0, 0]]
    assert numbers[0].unique().tolist() == [0, 1, 2, 3] and (numbers[1] == 0).all()


def test_specks_join_the_largest_component():
    labels = torch.zeros(1, 100, 100, dtype=torch.int64)
    labels[0, :30, :30] = labels[0, 60:70, 60:70] = 1
    labels[0, 90, 90] = labels[0, 95, 10] = 1  # two components of one pixel each, in a frame of 10,000 pixels
    numbers, of_segments = component_segments(labels, 2)
    assert of_segments.tolist() == [[0, 1, 1]]
    assert numbers[0, 90, 90] == numbers[0, 95, 10] == numbers[0, 0, 0] == 1
    assert numbers[0, 65, 65] == 2
    labels[0, :30, :30] = labels[0, 60:70, 60:70] = 0
    assert component_segments(labels, 2)[1].tolist() == [[0, 1]]  # a label of tiny components keeps a segment
