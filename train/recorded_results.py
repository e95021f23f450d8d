"""What training and evaluation leave in a model's folder, and how the model card gets it.

`auss/__init__.py` registers `read_recorded_results` with `hub/`, which writes the card and knows none of the files.
"""

from pathlib import Path
from typing import Any

from ..files.model_files import weights_digest
from ..hub.card_facts import Results, Score, TrainingRun, read_json

ARGUMENTS_FILE = "arguments.json"
HISTORY_FILE = "history.json"
EVALUATION_FOLDER = "evaluation"
# `auss compose` leaves this file in the data sets that it makes.
COMPOSED_FILE = "annotations.json"

SUBSETS = {"s4": "AVSBench S4", "ms3": "AVSBench MS3", "avss": "AVSBench AVSS"}


def data_name(subset: str, root: str) -> str:
    """What a card calls the data: never its path, which is the user's own affair."""
    layout = SUBSETS[subset]
    if (Path(root) / COMPOSED_FILE).is_file():
        return f"clips composed by `auss compose`, in the layout of {layout}"
    return f"data in the layout of {layout}"


def names_data(content: Any) -> bool:
    """Whether this, from a file, is a dict that says what data it is of, as `auss train` and `auss evaluate` do."""
    return isinstance(content, dict) and isinstance(content.get("data"), str) and content.get("name") in list(SUBSETS)


def is_path(preset: str) -> bool:
    """Whether `auss train --preset` took this for a file of the user's."""
    return preset.endswith(".json") or "/" in preset or "\\" in preset


def score_of(data: str, split: Any, sound: Any, jaccard: Any, f_score: Any) -> Score | None:
    """A `Score`, None if these are no two words and two numbers."""
    words = isinstance(split, str) and isinstance(sound, str)
    numbers = all(type(value) in (int, float) for value in (jaccard, f_score))
    return Score(data, split, sound, jaccard, f_score) if words and numbers else None


def read_training(folder: Path) -> TrainingRun | None:
    """How `auss train` made the model in `folder`; None if it did not write there."""
    arguments = read_json(folder / ARGUMENTS_FILE)
    if not (names_data(arguments) and {"steps", "batch_size"} <= arguments.keys()):
        return None
    preset = str(arguments.get("preset") or "")
    return TrainingRun(
        data_name(arguments["name"], arguments["data"]),
        arguments["steps"],
        arguments["batch_size"],
        None if is_path(preset) else preset,
    )


def read_evaluations(folder: Path) -> list[Score]:
    """The figures that `auss evaluate` left in `folder`, without those of other weights than now lie there."""
    found = map(read_json, sorted((folder / EVALUATION_FOLDER).glob("*.json")))
    results = [one for one in found if names_data(one) and {"split", "sound", "M_J", "M_F"} <= one.keys()]
    # Weights may be gigabytes: they are read once, if at all.
    known = (None, weights_digest(folder)) if results else ()
    scores = [
        score_of(data_name(one["name"], one["data"]), one["split"], one["sound"], one["M_J"], one["M_F"])
        for one in results
        if one.get("weights") in known
    ]
    return [score for score in scores if score is not None]


def read_last_validation(folder: Path, data: str) -> list[Score]:
    """The figures of the last validation of `auss train` in `folder`, on data of this name."""
    history = read_json(folder / HISTORY_FILE)
    entries = [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
    validations = [entry for entry in entries if {"validation_M_J", "validation_M_F"} <= entry.keys()]
    scores = [
        score_of(data, "val", "own", entry["validation_M_J"], entry["validation_M_F"]) for entry in validations[-1:]
    ]
    return [score for score in scores if score is not None]


def read_recorded_results(folder: Path) -> Results:
    """
    How the model in `folder` was trained, and how it did: what `auss evaluate` left there, or else the last validation
    of `auss train`. What is missing or of another form is left out.
    """
    training = read_training(folder)
    scores = read_evaluations(folder)
    if not scores and training:
        scores = read_last_validation(folder, training.data)
    return Results(training, scores)


__all__ = [
    "ARGUMENTS_FILE",
    "COMPOSED_FILE",
    "EVALUATION_FOLDER",
    "HISTORY_FILE",
    "data_name",
    "read_recorded_results",
]
