"""Right, bad and doubtful values of arguments, and trials that put them together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .trial import BAD, EITHER, RIGHT, Trial


@dataclass(frozen=True)
class Value:
    """A value of an argument. `make` takes a generator of random numbers, so that each trial has its own numbers."""

    name: str
    make: Callable[[np.random.Generator], Any]
    kind: str


def right(name: str, make: Callable[[np.random.Generator], Any]) -> Value:
    return Value(name, make, RIGHT)


def bad(name: str, make: Callable[[np.random.Generator], Any]) -> Value:
    return Value(name, make, BAD)


def either(name: str, make: Callable[[np.random.Generator], Any]) -> Value:
    return Value(name, make, EITHER)


def constants(kind: str, *values: Any) -> list[Value]:
    """Values that are the same in every trial, named by what Python shows of them."""
    return [Value(repr(value)[:60], lambda _, value=value: value, kind) for value in values]


NO_NUMBERS = (float("nan"), float("inf"), -float("inf"), "five", None, [], {}, b"1", object, 1j)


def joint_kind(kinds: list[str]) -> str:
    """A single bad argument makes the call a bad one; otherwise a doubtful one makes it doubtful."""
    return next((kind for kind in (BAD, EITHER) if kind in kinds), RIGHT)


def combinations(
    area: str,
    call: Callable[..., Any],
    arguments: dict[str, list[Value]],
    subjects: Callable[[str], tuple[str, ...]],
    wrong: Callable[[dict[str, Any]], Callable[[Any], str | None]],
    count: int,
    seed: int,
) -> Iterator[Trial]:
    """
    Calls with values of all arguments. First each value comes once, beside the first value of the other arguments,
    which must be a right one; then random values come together.

    Args:
        area: of the trials.
        call: takes the arguments by name.
        arguments: the values of each argument.
        subjects: gives the words for an error about an argument.
        wrong: gives the check for a call's arguments.
        count: how many trials.
        seed: of values and combinations.
    """
    defaults = {name: values[0] for name, values in arguments.items()}
    singles = [defaults, *(defaults | {name: value} for name, values in arguments.items() for value in values[1:])]
    generator = np.random.default_rng([seed, len(area)])
    order = generator.permutation(len(singles))  # a short run has values of all arguments, too
    for number in range(count):
        if number < len(singles):
            chosen = singles[order[number]]
        else:
            # Half of the arguments stay right, so that not every trial ends at the first check.
            keeps = generator.random(len(arguments)) < 0.5
            chosen = {
                name: defaults[name] if keep else values[generator.integers(len(values))]
                for keep, (name, values) in zip(keeps, arguments.items(), strict=True)
            }
        changed = {name: value for name, value in chosen.items() if value is not defaults[name]} or chosen
        made = {name: value.make(np.random.default_rng([seed, number])) for name, value in chosen.items()}
        yield Trial(
            area,
            f"{number}: " + ", ".join(f"{name}={value.name}" for name, value in changed.items()),
            lambda made=made: call(**made),
            tuple(word for name in changed for word in subjects(name)),
            joint_kind([value.kind for value in chosen.values()]),
            wrong(made),
        )


__all__ = ["NO_NUMBERS", "Value", "bad", "combinations", "constants", "either", "right"]
