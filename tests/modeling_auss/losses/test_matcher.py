"""Compares Hungarian matching with a search over all assignments, and its costs with loops."""

import itertools

import pytest
import torch

from auss.modeling_auss.losses.matcher import HungarianMatcher, dice_cost


def literal_cost(class_logits, mask_logits, targets, valid, class_weight, dice_weight) -> torch.Tensor:
    """Computes the cost of every query n for every label k of one frame."""
    num_queries, num_labels = class_logits.shape[0], targets.shape[0]
    cost = torch.zeros(num_queries, num_labels)
    for n in range(num_queries):
        probs, mask = class_logits[n].softmax(-1), mask_logits[n].sigmoid()
        for k in range(num_labels):
            overlap, total = (valid[0] * mask * targets[k]).sum(), (valid[0] * (mask + targets[k])).sum()
            dice = 1 - (2 * overlap + 1) / (total + 1)
            cost[n, k] = -class_weight * probs[k] + dice_weight * dice
    return cost


def best_cost(cost: torch.Tensor, labels: list[int]) -> float:
    """
    Returns the smallest total cost over all assignments of distinct queries to labels.

    If there are fewer queries than labels, every query is assigned.
    """
    num_queries = len(cost)
    size = min(num_queries, len(labels))
    return min(
        sum(cost[query, label].item() for query, label in zip(queries, chosen, strict=True))
        for chosen in itertools.combinations(labels, size)
        for queries in itertools.permutations(range(num_queries), size)
    )


def assigned(matcher: HungarianMatcher, *arguments, **named) -> torch.Tensor:
    """Returns the matches at the costs of these arguments."""
    return matcher.assign(matcher.costs(*arguments, **named))


def make_case(num_frames=4, num_queries=4, num_labels=3, pixels=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(num_frames, num_labels, generator=generator) > 0.3
    return {
        "class_logits": torch.randn(num_frames, num_queries, num_labels + 1, generator=generator) * 2,
        "mask_logits": torch.randn(num_frames, num_queries, pixels, generator=generator) * 3,
        "targets": torch.rand(num_frames, num_labels, pixels, generator=generator),
        # Pixels are fully annotated, half annotated or not annotated.
        "valid": torch.randint(0, 3, (num_frames, 1, pixels), generator=generator) / 2,
        "present": present,
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("num_queries", "num_labels"), [(4, 3), (2, 2), (1, 2), (2, 4)])
def test_equals_brute_force(seed, num_queries, num_labels):
    case = make_case(num_queries=num_queries, num_labels=num_labels, seed=seed)
    matches = assigned(HungarianMatcher(2.0, 5.0), **case)
    assert matches.shape == (4, num_labels) and matches.dtype == torch.int64
    for frame in range(4):
        labels = case["present"][frame].nonzero().flatten().tolist()
        arguments = (case[name][frame] for name in ("class_logits", "mask_logits", "targets", "valid"))
        cost = literal_cost(*arguments, 2.0, 5.0)
        matched = [label for label in range(num_labels) if matches[frame, label] >= 0]
        assert set(matched) <= set(labels)
        assert len(matched) == min(num_queries, len(labels))
        queries = matches[frame, matched].tolist()
        assert len(set(queries)) == len(queries)
        total = sum(cost[query, label].item() for query, label in zip(queries, matched, strict=True))
        assert total == pytest.approx(best_cost(cost, labels), abs=1e-4)


def test_batched_equals_single():
    case = make_case(num_frames=6, seed=3)
    matcher = HungarianMatcher(5.0, 5.0)
    alone = [assigned(matcher, **{name: tensor[i : i + 1] for name, tensor in case.items()}) for i in range(6)]
    assert torch.equal(assigned(matcher, **case), torch.cat(alone))


def test_frames_without_labels_match_nothing():
    case = make_case()
    case["present"][1:3] = False
    matches = assigned(HungarianMatcher(5.0, 5.0), **case)
    assert (matches[1:3] == -1).all()
    assert ((matches >= 0).sum(-1) == case["present"].sum(-1)).all()


def test_no_frames_at_all():
    case = {name: tensor[:0] for name, tensor in make_case().items()}
    assert assigned(HungarianMatcher(5.0, 5.0), **case).shape == (0, 3)


def test_the_query_of_the_right_class_and_mask_is_found():
    targets = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]])
    mask_logits = torch.full((1, 3, 4), -9.0)
    mask_logits[0, 2, :2] = 9.0
    mask_logits[0, 0, 2:] = 9.0
    class_logits = torch.zeros(1, 3, 3)
    arguments = (targets, torch.ones(1, 1, 4), torch.ones(1, 2, dtype=torch.bool))
    assert assigned(HungarianMatcher(5.0, 5.0), class_logits, mask_logits, *arguments).tolist() == [[2, 0]]
    # The weight of the mask cost is 0, so only the class decides.
    class_logits[0, 1, 0] = class_logits[0, 2, 1] = 5.0
    assert assigned(HungarianMatcher(5.0, 0.0), class_logits, mask_logits, *arguments).tolist() == [[1, 2]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_costs_that_are_not_finite_still_match(value):
    case = make_case()
    case["present"][:] = True
    case["mask_logits"][0, 0] = value
    case["class_logits"][1, 2] = value
    matches = assigned(HungarianMatcher(5.0, 5.0), **case)
    assert (matches >= 0).all()
    for frame in matches.tolist():
        assert len(set(frame)) == len(frame)


def test_a_query_of_nan_is_the_last_choice():
    case = make_case(num_queries=4, num_labels=3)
    case["present"][:] = True
    case["class_logits"][:, 1] = float("nan")
    assert (assigned(HungarianMatcher(5.0, 5.0), **case) != 1).all()


def test_dice_cost_is_the_loop_within_bounds_and_blind_outside_the_valid_pixels():
    case = make_case()
    probs = case["mask_logits"].sigmoid()
    cost = dice_cost(probs, case["targets"], case["valid"])
    assert cost.shape == (4, 4, 3)
    assert (cost >= 0).all() and (cost <= 1).all()
    for frame, n, k in itertools.product(range(4), range(4), range(3)):
        weights, mask, target = case["valid"][frame, 0], probs[frame, n], case["targets"][frame, k]
        overlap = (weights * mask * target).sum()
        expected = 1 - (2 * overlap + 1) / ((weights * mask).sum() + (weights * target).sum() + 1)
        assert cost[frame, n, k].item() == pytest.approx(expected.item(), abs=1e-5)
    hidden = (case["valid"] == 0).expand_as(probs)
    torch.testing.assert_close(cost, dice_cost(probs.masked_fill(hidden, 1.0), case["targets"], case["valid"]))


def test_dice_cost_extremes():
    everything, nothing = torch.ones(1, 1, 50), torch.zeros(1, 1, 50)
    valid = torch.ones(1, 1, 50)
    assert dice_cost(everything, everything, valid).item() == pytest.approx(0, abs=1e-6)
    assert dice_cost(nothing, nothing, valid).item() == pytest.approx(0, abs=1e-6)
    assert 0.9 < dice_cost(nothing, everything, valid).item() < 1
    assert dice_cost(everything, everything, valid / 2).item() == pytest.approx(0, abs=1e-6)


def test_no_gradient_is_kept():
    case = make_case()
    case["mask_logits"].requires_grad_()
    assert not assigned(HungarianMatcher(5.0, 5.0), **case).requires_grad


@pytest.mark.parametrize(("num_queries", "copies"), [(4, 2), (5, 2), (3, 2), (2, 3)])
def test_several_queries_of_a_segment_are_the_best_distinct_ones(num_queries, copies):
    case = make_case(num_queries=num_queries, num_labels=2, seed=7)
    case["present"][0] = torch.tensor([True, False])
    case["present"][1:] = True
    matches = assigned(HungarianMatcher(2.0, 5.0, copies), **case)
    assert matches.shape == (4, 2 * copies)
    for frame in range(4):
        arguments = (case[name][frame] for name in ("class_logits", "mask_logits", "targets", "valid"))
        # A segment that takes several queries counts as several equal labels.
        cost = literal_cost(*arguments, 2.0, 5.0).repeat_interleave(copies, dim=1)
        places = case["present"][frame].repeat_interleave(copies).nonzero().flatten().tolist()
        matched = [place for place in range(2 * copies) if matches[frame, place] >= 0]
        queries = matches[frame, matched].tolist()
        assert set(matched) <= set(places) and len(matched) == min(num_queries, len(places))
        assert len(set(queries)) == len(queries)
        total = sum(cost[query, place].item() for query, place in zip(queries, matched, strict=True))
        assert total == pytest.approx(best_cost(cost, places), abs=1e-4)


def test_segments_of_one_label_cost_what_the_label_does():
    case = make_case(num_labels=3)
    of_segments = torch.tensor([[0, 1, 1]]).expand(4, -1)
    matcher = HungarianMatcher(2.0, 5.0)
    costs = matcher.costs(**case, segment_labels=of_segments)
    probs = case["class_logits"].softmax(-1)
    plain = matcher.costs(**case)
    shown = case["present"][:, 2]
    expected = plain[shown, :, 2] + 2.0 * (probs[shown, :, 2] - probs[shown, :, 1])
    torch.testing.assert_close(costs[shown, :, 2], expected)
