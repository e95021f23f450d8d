"""What a model card says of one model: read from what was saved, and handed in by whoever trained and measured it.

`hub/` does not know in which files a run records its results. The code that records them hands in a function that
reads them, by `register_results_reader`. Code that was loaded from a model repository has no such function, so its
cards have no results.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Score:
    """One figure pair of the card's table: M_J and M_F on a split, with a sound."""

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
    preset: str | None = None  # None or "" if it has no name that others know


@dataclass(frozen=True)
class Results:
    """What is known of the model in a folder besides its own files."""

    training: TrainingRun | None = None
    scores: list[Score] = field(default_factory=list)


@dataclass(frozen=True)
class CardFacts:
    """What a card says beyond what all cards say; whatever is unknown is left out of it."""

    name: str  # the repository's, as `from_pretrained` takes it
    config: dict[str, Any] | None = None  # config.json, None for processors alone
    tags: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None  # the processor's (height, width), in pixels
    training: TrainingRun | None = None
    scores: list[Score] = field(default_factory=list)


def no_results(folder: Path) -> Results:
    """Reads nothing: nobody has handed in a reader."""
    return Results()


_reader: dict[str, Callable[[Path], Results]] = {"read": no_results}


def register_results_reader(read: Callable[[Path], Results]) -> None:
    """Makes cards tell what `read` finds in a model's folder."""
    _reader["read"] = read


def read_json(path: Path) -> Any:
    """The contents of a JSON file, None if there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_size(folder: Path) -> tuple[int, int] | None:
    """The (height, width) of frames that the processor saved in `folder` makes; None if there is none of that form."""
    size = read_json(folder / "processor_config.json")
    for name in ("video_processor", "size"):
        size = size.get(name) if isinstance(size, dict) else None
    if isinstance(size, dict) and type(size.get("height")) is int and type(size.get("width")) is int:
        return size["height"], size["width"]
    return None


def read_facts(folder: Path, name: str, tags: list[str], results: Path | None = None) -> CardFacts:
    """The facts of the model saved in `folder`.

    Args:
        folder: what `save_pretrained` wrote.
        name: what the card's example loads.
        tags: beside the usual ones.
        results: another folder whose results are told, if `folder` has none.
    """
    places = [folder, *([results] if results else [])]
    found = [_reader["read"](place) for place in places]
    training = next((one.training for one in found if one.training), None)
    scores = next((one.scores for one in found if one.scores), [])
    size = next(filter(None, map(read_size, places)), None)
    return CardFacts(name, read_json(folder / "config.json"), tags, size, training, scores)


__all__ = ["CardFacts", "Results", "Score", "TrainingRun", "read_facts", "read_json", "register_results_reader"]
