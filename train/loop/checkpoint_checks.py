"""What a checkpoint must hold before a run goes on from it: every tensor, numbers only, and a step that can be."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...files.errors import InputError


def refusal(checkpoint: Path, what: str) -> InputError:
    """The error that refuses a checkpoint; `what` says what is wrong with it."""
    return InputError(
        f"checkpoint {checkpoint} is damaged: {what}. Delete that folder, and --resume goes on from the one before"
    )


@contextmanager
def refused_if_unfit(checkpoint: Path, file: str) -> Iterator[None]:
    """Where what `file` holds is of kinds that nobody expects, torch's and Python's own errors become a refusal."""
    try:
        yield
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        words = " ".join(str(error).split())
        raise refusal(checkpoint, f"{file} does not fit the run: {type(error).__name__}: {words[:200]}") from error


def non_finite_numbers(value: Any, path: str = "") -> Iterator[str]:
    """Where in a JSON value a number is infinite or none, as "scheduler.last_epoch"."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from non_finite_numbers(inner, f"{path}.{key}".lstrip("."))


def check_numbers(checkpoint: Path, file: str, tensors: dict[str, torch.Tensor]) -> None:
    """Raises ValueError for a tensor of `file` that holds NaN or infinity."""
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise refusal(checkpoint, f"{name} in {file} holds values that are no numbers")


def check_state(checkpoint: Path, file: str, state: dict[str, Any], step: int) -> None:
    """
    Where the run stood.

    Args:
        checkpoint: its folder, whose name ends with the step `step`.
        file: the name of `state.json`.
        state: what it holds.

    Raises:
        ValueError: counts that are no counts, another step than the folder's, numbers that are none.
    """
    position = state["position"]
    for name in ("epoch", "batch", "step", "term_count"):
        if type(position[name]) is not int or position[name] < 0:
            raise refusal(checkpoint, f"{name} in {file} must be a count, got {json.dumps(position[name])}")
    if position["step"] != step:
        raise refusal(checkpoint, f"{file} says step {position['step']}, the folder's name {step}")
    done = state["scheduler"].get("last_epoch", 0)
    if not 0 <= done <= step:
        raise refusal(checkpoint, f"the scheduler in {file} has done {done} of {step} steps")
    for place in non_finite_numbers(state):
        raise refusal(checkpoint, f"{place} in {file} is no number")


def check_weights(
    checkpoint: Path, file: str, weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    """
    The weights against those of the run's network.

    Args:
        checkpoint: its folder.
        file: the name of the file with the weights.
        weights: what it holds.
        expected: the network's state dictionary, of which names and sizes count.

    Raises:
        ValueError: weights that are missing, superfluous, of another size, or no numbers.
    """
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unknown:
        kind, names = ("lacks", missing) if missing else ("has superfluous", unknown)
        raise refusal(checkpoint, f"{file} {kind} {len(names)} of the network's tensors, first {names[0]}")
    for name, value in weights.items():
        if value.size() != expected[name].size():
            sizes = f"{tuple(value.size())} where the network has {tuple(expected[name].size())}"
            raise refusal(checkpoint, f"{name} in {file} is {sizes}")
    check_numbers(checkpoint, file, weights)


def check_optimizer(
    checkpoint: Path,
    file: str,
    tensors: dict[str, torch.Tensor],
    state: dict[str, Any],
    weights: dict[str, torch.Tensor],
) -> None:
    """
    The optimiser's state against what the checkpoint says of it.

    Args:
        checkpoint: its folder.
        file: the name of the file with the tensors.
        tensors: what it holds: "PARAMETER:KIND" and its value.
        state: what `state.json` holds: `optimizer_groups` and, of runs since this is checked, `optimizer_tensors`.
        weights: those of the checkpoint.

    Raises:
        ValueError: tensors that are missing, superfluous, of another size, or no numbers; more steps than the run did.
    """
    parameters = {name for group in state["optimizer_groups"] for name in group["params"]}
    expected = set(state.get("optimizer_tensors", tensors))
    kinds = {name.rpartition(":")[2] for name in tensors}
    # A parameter has all kinds, or none while it has had no gradient.
    expected |= {f"{name.rpartition(':')[0]}:{kind}" for name in tensors for kind in kinds}
    if missing := sorted(expected - tensors.keys()):
        raise refusal(checkpoint, f"{file} lacks {len(missing)} of the optimiser's tensors, first {missing[0]}")
    for name, value in tensors.items():
        parameter, _, kind = name.rpartition(":")
        if parameter not in parameters or parameter not in weights or name not in expected:
            raise refusal(checkpoint, f"{name} in {file} belongs to none of the optimiser's parameters")
        if value.dim() and value.size() != weights[parameter].size():
            sizes = f"{tuple(value.size())} where the parameter is {tuple(weights[parameter].size())}"
            raise refusal(checkpoint, f"{name} in {file} is {sizes}")
        if kind == "step" and not 0 <= value.item() <= state["position"]["step"]:
            raise refusal(checkpoint, f"{name} in {file} is {value.item():g}, of {state['position']['step']} steps")
    check_numbers(checkpoint, file, tensors)


__all__ = ["check_optimizer", "check_state", "check_weights", "refused_if_unfit"]
