"""The facts that a model card states about one model.

Some facts are read from the saved files. The results are read by a function that other code registers with
`register_results_reader`, because `hub/` does not know in which files a run records its results. Code that was loaded
from a model repository has no such function, so its cards have no results.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Score:
    """One row of the card's table of results: M_J and M_F on one split, measured with one kind of sound."""

    data: str
    split: str
    sound: str
    jaccard: float
    f_score: float


@dataclass(frozen=True)
class TrainingRun:
    """How a model was trained."""

    data: str  # in words, never a path
    steps: int
    batch_size: int  # clips
    preset: str | None = None  # None or "" if the network is not a preset


@dataclass(frozen=True)
class Results:
    """The recorded training and measurements of the model in a folder."""

    training: TrainingRun | None = None
    scores: list[Score] = field(default_factory=list)


@dataclass(frozen=True)
class CardFacts:
    """The facts that differ from card to card. The card leaves out unknown facts."""

    name: str  # the repository's name, as `from_pretrained` takes it
    config: dict[str, Any] | None = None  # the contents of config.json; None for processors without a model
    tags: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None  # the processor's (height, width), in pixels
    training: TrainingRun | None = None
    scores: list[Score] = field(default_factory=list)


def no_results(folder: Path) -> Results:
    """The reader before another one is registered. It finds no results."""
    return Results()


_reader: dict[str, Callable[[Path], Results]] = {"read": no_results}


def register_results_reader(read: Callable[[Path], Results]) -> None:
    """Sets the function that reads the results in a model's folder for the model card."""
    _reader["read"] = read


def read_json(path: Path) -> Any:
    """Returns the contents of a JSON file. Returns None if the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError):
        return None


def read_size(folder: Path) -> tuple[int, int] | None:
    """Returns the (height, width) to which the processor saved in `folder` resizes frames. Returns None if the folder
    has no processor or its size is not given as a height and a width."""
    size = read_json(folder / "processor_config.json")
    for name in ("video_processor", "size"):
        size = size.get(name) if isinstance(size, dict) else None
    if isinstance(size, dict) and type(size.get("height")) is int and type(size.get("width")) is int:
        return size["height"], size["width"]
    return None


def read_facts(folder: Path, name: str, tags: list[str], results: Path | None = None) -> CardFacts:
    """Reads the facts of the model saved in `folder`.

    Args:
        folder: the folder that `save_pretrained` wrote.
        name: the name that the card's example loads.
        tags: tags to add to the usual ones.
        results: another folder, whose results are used if `folder` has none.
    """
    places = [folder, *([results] if results else [])]
    found = [_reader["read"](place) for place in places]
    training = next((one.training for one in found if one.training), None)
    scores = next((one.scores for one in found if one.scores), [])
    size = next(filter(None, map(read_size, places)), None)
    return CardFacts(name, read_json(folder / "config.json"), tags, size, training, scores)


__all__ = ["CardFacts", "Results", "Score", "TrainingRun", "read_facts", "read_json", "register_results_reader"]
