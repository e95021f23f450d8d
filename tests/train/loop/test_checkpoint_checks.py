"""Tests that a damaged checkpoint is refused by name and changes nothing. Each case has one kind of damage."""

import copy
from pathlib import Path

import pytest
import torch

from auss.train.loop.checkpoint_checks import check_optimizer, check_state, check_weights, non_finite_numbers

FOLDER = Path("run/checkpoints/step-00000003")
STATE = {
    "position": {"epoch": 1, "batch": 0, "step": 3, "history": [], "term_sums": {"loss": 0.5}, "term_count": 1},
    "optimizer_groups": [{"params": ["weight", "bias"], "lr": 0.1}],
    "optimizer_tensors": ["weight:exp_avg", "weight:step"],
    "scheduler": {"last_epoch": 3},
    "scaler": None,
}
WEIGHTS = {"weight": torch.ones(2, 3), "bias": torch.ones(2), "count": torch.tensor(3)}
TENSORS = {"weight:exp_avg": torch.zeros(2, 3), "weight:step": torch.tensor(3.0)}


def changed(values, path, new):
    """Returns a copy with the value at the path of keys replaced. `...` removes the value."""
    values = copy.deepcopy(values)
    *keys, last = path
    place = values
    for key in keys:
        place = place[key]
    if new is ...:
        del place[last]
    else:
        place[last] = new
    return values


def test_what_a_run_wrote_is_accepted():
    check_state(FOLDER, "state.json", STATE, 3)
    check_weights(FOLDER, "model.safetensors", WEIGHTS, WEIGHTS)
    check_optimizer(FOLDER, "optimizer.safetensors", TENSORS, STATE, WEIGHTS)
    # Earlier releases wrote checkpoints without the list of tensors.
    check_optimizer(FOLDER, "o", TENSORS, changed(STATE, ["optimizer_tensors"], ...), WEIGHTS)


@pytest.mark.parametrize(
    "path, new, message",
    [
        (["position", "step"], 10**9, "state.json says step 1000000000, the folder's name 3"),
        (["position", "batch"], -1, "batch in state.json must be a count, got -1"),
        (["position", "epoch"], 1.5, "epoch in state.json must be a count, got 1.5"),
        (["scheduler", "last_epoch"], 10**9, "the scheduler in state.json has done 1000000000 of 3 steps"),
        (["position", "term_sums", "loss"], float("nan"), "position.term_sums.loss in state.json is no number"),
        (["optimizer_groups", 0, "lr"], float("inf"), "optimizer_groups.0.lr in state.json is no number"),
    ],
)
def test_a_damaged_state_is_refused(path, new, message):
    with pytest.raises(ValueError, match=f"step-00000003 is damaged: {message}.* Delete that folder"):
        check_state(FOLDER, "state.json", changed(STATE, path, new), 3)


@pytest.mark.parametrize(
    "name, new, message",
    [
        ("bias", ..., "m lacks 1 of the network's tensors, first bias"),
        ("more", torch.ones(1), "m has superfluous 1 of the network's tensors, first more"),
        ("bias", torch.ones(3), r"bias in m is \(3,\) where the network has \(2,\)"),
        ("weight", torch.full((2, 3), float("nan")), "weight in m holds values that are no numbers"),
    ],
)
def test_damaged_weights_are_refused(name, new, message):
    with pytest.raises(ValueError, match=message):
        check_weights(FOLDER, "m", changed(WEIGHTS, [name], new), WEIGHTS)


@pytest.mark.parametrize(
    "name, new, message",
    [
        ("weight:exp_avg", ..., "o lacks 1 of the optimiser's tensors, first weight:exp_avg"),
        ("weight:exp_avg", torch.full((2, 3), float("inf")), "weight:exp_avg in o holds values that are no numbers"),
        ("weight:exp_avg", torch.zeros(2), r"weight:exp_avg in o is \(2,\) where the parameter is \(2, 3\)"),
        ("weight:step", torch.tensor(1e9), "weight:step in o is 1e[+]09, of 3 steps"),
        ("weight:step", torch.tensor(float("nan")), "weight:step in o is nan, of 3 steps"),
        ("other:step", torch.tensor(1.0), "of the optimiser's|belongs to none of the optimiser's parameters"),
    ],
)
def test_a_damaged_optimiser_is_refused(name, new, message):
    with pytest.raises(ValueError, match=message):
        check_optimizer(FOLDER, "o", changed(TENSORS, [name], new), STATE, WEIGHTS)


def test_half_of_a_parameters_state_is_missed_without_the_list_too():
    older = changed(STATE, ["optimizer_tensors"], ...)
    tensors = {**TENSORS, "bias:step": torch.tensor(1.0)}
    with pytest.raises(ValueError, match="o lacks 1 of the optimiser's tensors, first bias:exp_avg"):
        check_optimizer(FOLDER, "o", tensors, older, WEIGHTS)


def test_numbers_are_found_wherever_they_stand():
    assert list(non_finite_numbers({"a": [1, {"b": float("inf")}], "c": 2.0, "d": "nan"})) == ["a.1.b"]
