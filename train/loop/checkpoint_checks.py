"""Checks a checkpoint before a run resumes from it: all tensors are there, all numbers are finite, the step is
possible."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...files.errors import InputError


def refusal(checkpoint: Path, what: str) -> InputError:
    """Returns the error that refuses a checkpoint. `what` says what is wrong with the checkpoint."""
    return InputError(
        f"checkpoint {checkpoint} is damaged: {what}. Delete that folder, and --resume goes on from the one before"
    )


@contextmanager
def refused_if_unfit(checkpoint: Path, file: str) -> Iterator[None]:
    """Turns errors of torch and Python about unexpected kinds of content in `file` into a refusal."""
    try:
        yield
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        words = " ".join(str(error).split())
        raise refusal(checkpoint, f"{file} does not fit the run: {type(error).__name__}: {words[:200]}") from error


def non_finite_numbers(value: Any, path: str = "") -> Iterator[str]:
    """Yields the places of infinite or NaN numbers in a JSON value, such as "scheduler.last_epoch"."""
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
    Checks the saved state of a run.

    Args:
        checkpoint: the folder of the checkpoint. Its name ends with the step `step`.
        file: the name of `state.json`.
        state: the content of that file.

    Raises:
        ValueError: a count is not a count, the step differs from that of the folder, or a number is not finite.
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
    Checks the weights against those of the run's network.

    Args:
        checkpoint: its folder.
        file: the name of the file with the weights.
        weights: the content of that file.
        expected: the network's state dictionary. Only names and sizes count.

    Raises:
        ValueError: weights are missing, superfluous, of another size, or not finite.
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
    Checks the state of the optimiser against the rest of the checkpoint.

    Args:
        checkpoint: its folder.
        file: the name of the file with the tensors.
        tensors: the content of that file: "PARAMETER:KIND" and its value.
        state: the content of `state.json`: `optimizer_groups` and, in checkpoints of newer releases,
            `optimizer_tensors`.
        weights: the weights of the checkpoint.

    Raises:
        ValueError: tensors are missing, superfluous, of another size, or not finite, or count more steps than the run
            did.
    """
    parameters = {name for group in state["optimizer_groups"] for name in group["params"]}
    expected = set(state.get("optimizer_tensors", tensors))
    kinds = {name.rpartition(":")[2] for name in tensors}
    # A parameter has tensors of all kinds. If it has had no gradient yet, it has none.
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
