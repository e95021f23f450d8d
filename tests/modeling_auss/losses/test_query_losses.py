"""Compares values and gradients of AQDL and AQML with the sums of Eq. 15-18, and tests delta of Eq. 22."""

import math

import pytest
import torch

from auss.modeling_auss.losses.query_losses import (
    SMALLEST_SQUARED_DISTANCE,
    audio_query_distance_loss,
    audio_query_mask_loss,
    confidence_threshold,
)

CONFIDENT_NUMBERS = (0, 1, 2, 9)


def literal_distance_loss(queries, confident, threshold) -> torch.Tensor:
    """Computes Eq. 15-16 frame by frame and pair by pair."""
    total = queries.sum() * 0
    for frame in range(len(queries)):
        chosen = queries[frame][confident[frame]]
        n = len(chosen)
        for i in range(n):
            for j in range(i + 1, n):
                squared = ((chosen[i] - chosen[j]) ** 2).sum()
                if squared < threshold:
                    total = total + 2 / (n * (n + 1)) / squared
    return total / len(queries)


def literal_mask_loss(mask_probs, confident) -> torch.Tensor:
    """Computes Eq. 17-18. The binarised mask of each pair is detached."""
    total = mask_probs.sum() * 0
    for frame in range(len(mask_probs)):
        chosen = mask_probs[frame][confident[frame]]
        n, pixels = chosen.shape
        for i in range(n):
            for j in range(i + 1, n):
                first, second = ((chosen[k].detach() > 0.5).to(chosen.dtype) for k in (i, j))
                overlap = (first * chosen[j] + chosen[i] * second).sum() / (2 * pixels)
                total = total + 2 / (n * (n + 1)) * overlap
    return total / len(mask_probs)


def confident_mask(frames: int, num_queries: int, number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    mask = torch.zeros(frames, num_queries, dtype=torch.bool)
    for frame in mask:
        frame[torch.randperm(num_queries, generator=generator)[:number]] = True
    return mask


def value_and_gradient(function, tensor: torch.Tensor, *arguments):
    leaf = tensor.clone().requires_grad_()
    value = function(leaf, *arguments)
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize("number", CONFIDENT_NUMBERS)
def test_distance_loss_and_its_gradient_are_the_printed_ones(number):
    torch.manual_seed(0)
    queries = torch.randn(3, 9, 4) * 0.5
    confident = confident_mask(3, 9, number)
    arguments = (queries, confident, 1.5)  # some pairs are nearer and some farther
    value, gradient = value_and_gradient(audio_query_distance_loss, *arguments)
    expected, expected_gradient = value_and_gradient(literal_distance_loss, *arguments)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)
    assert (value == 0) == (number < 2)
    assert (gradient[~confident] == 0).all()


def test_distance_loss_counts_only_pairs_nearer_than_the_threshold():
    queries = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]])  # squared distances 1, 9, 10
    confident = torch.ones(1, 3, dtype=torch.bool)
    factor = 2 / (3 * 4)
    for threshold, expected in ((0.5, 0.0), (1.0, 0.0), (1.1, 1.0), (9.5, 1 + 1 / 9), (11.0, 1 + 1 / 9 + 1 / 10)):
        value = audio_query_distance_loss(queries, confident, threshold)
        assert value.item() == pytest.approx(factor * expected, abs=1e-6)


def test_distance_loss_of_identical_queries_is_finite_without_gradient():
    queries = torch.ones(1, 3, 4)
    value, gradient = value_and_gradient(audio_query_distance_loss, queries, torch.ones(1, 3, dtype=torch.bool), 1.0)
    assert value.item() == pytest.approx(2 / 12 * 3 / SMALLEST_SQUARED_DISTANCE, rel=1e-5)
    assert (gradient == 0).all()


def test_distance_loss_of_near_queries_keeps_its_digits():
    # The queries are far from the origin. There |a|^2 + |b|^2 - 2ab has no correct digit in float32.
    queries = torch.full((1, 2, 16), 100.0)
    queries[0, 1, 0] += 0.03125
    value = audio_query_distance_loss(queries, torch.ones(1, 2, dtype=torch.bool), 1.0)
    assert value.item() == pytest.approx(2 / 6 / 0.03125**2, rel=1e-4)


def test_distance_loss_pushes_queries_apart():
    queries = torch.tensor([[[0.0, 0.0], [0.5, 0.0]]])
    _, gradient = value_and_gradient(audio_query_distance_loss, queries, torch.ones(1, 2, dtype=torch.bool), 1.0)
    moved = queries - 0.01 * gradient
    assert (moved[0, 0] - moved[0, 1]).norm() > 0.5


def test_distance_loss_takes_bfloat16():
    queries = torch.randn(2, 4, 8).bfloat16()
    confident = torch.ones(2, 4, dtype=torch.bool)
    value = audio_query_distance_loss(queries, confident, 50.0)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, literal_distance_loss(queries.float(), confident, 50.0))


@pytest.mark.parametrize("number", CONFIDENT_NUMBERS)
def test_mask_loss_and_its_gradient_are_the_printed_ones(number):
    torch.manual_seed(0)
    masks = torch.rand(3, 9, 20)
    confident = confident_mask(3, 9, number)
    value, gradient = value_and_gradient(audio_query_mask_loss, masks, confident)
    expected, expected_gradient = value_and_gradient(literal_mask_loss, masks, confident)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6)
    assert (value == 0) == (number < 2)
    assert (gradient[~confident] == 0).all()


def test_mask_loss_of_identical_and_of_exclusive_masks():
    ones = torch.ones(1, 4, 10)
    confident = torch.ones(1, 4, dtype=torch.bool)
    # All six pairs overlap everywhere, so each I is 1. The factor is 2 / (4 * 5).
    assert audio_query_mask_loss(ones, confident).item() == pytest.approx(6 * 2 / 20)
    exclusive = torch.eye(4).unsqueeze(0)
    assert audio_query_mask_loss(exclusive, confident) == 0


def test_mask_loss_binarises_above_one_half_only():
    masks = torch.full((1, 2, 6), 0.5)
    assert audio_query_mask_loss(masks, torch.ones(1, 2, dtype=torch.bool)) == 0


@pytest.mark.parametrize("function", [audio_query_distance_loss, audio_query_mask_loss])
def test_frames_are_averaged_with_the_quiet_ones(function):
    rows = torch.rand(1, 4, 6)
    arguments = (100.0,) if function is audio_query_distance_loss else ()
    alone = function(rows, torch.ones(1, 4, dtype=torch.bool), *arguments)
    confident = torch.tensor([[True], [False]]).expand(2, 4)
    assert function(rows.expand(2, 4, 6), confident, *arguments).item() == pytest.approx(alone.item() / 2, rel=1e-5)


def test_confidence_threshold_at_the_iterations_of_equation_22():
    for iteration, expected in ((0, 0.55), (4_999, 0.55), (5_000, 0.55 + 0.1 / 17), (90_000, 0.55 + 1.8 / 17)):
        assert confidence_threshold(iteration / 90_000) == pytest.approx(expected, abs=1e-12)
    assert confidence_threshold(85_000 / 90_000) == pytest.approx(0.65, abs=1e-12)


def test_confidence_threshold_at_every_step_and_its_neighbours():
    for step in range(19):
        for iteration in (step * 5_000 - 1, step * 5_000, step * 5_000 + 1):
            if 0 <= iteration <= 90_000:
                literal = 0.55 + 0.1 / 17 * math.floor(iteration / 5_000)
                assert confidence_threshold(iteration / 90_000) == pytest.approx(literal, abs=1e-12), iteration


def test_fixed_confidence_threshold():
    assert {confidence_threshold(progress, "fixed") for progress in (0.0, 0.5, 1.0)} == {0.6}
