"""Reads the results that training and evaluation wrote into a model's folder, for the model card.

`auss/__init__.py` registers `read_recorded_results` with `hub/`. `hub/` writes the card and does not know these files.
"""

import json
from pathlib import Path
from typing import Any

from ..files.model_files import weights_digest
from ..files.whole_files import write_whole
from ..hub.card_facts import Results, Score, TrainingRun, read_json

ARGUMENTS_FILE = "arguments.json"
HISTORY_FILE = "history.json"
EVALUATION_FOLDER = "evaluation"
# `auss train` writes into this file what its data are, in words. arguments.json only has a path, which may lead
# somewhere else, or nowhere, when a card is written.
TRAINING_DATA_FILE = "training_data.json"
# `auss compose` writes this file into the data sets that it makes.
COMPOSED_FILE = "annotations.json"

SUBSETS = {"s4": "AVSBench S4", "ms3": "AVSBench MS3", "avss": "AVSBench AVSS"}


def is_made_by(source: str, record: Path) -> bool:
    """Whether the JSON file `record` of a data set says that the command `source` made the set."""
    try:
        about = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None
    except (RecursionError, ValueError):  # the file of that name is from something else
        return False
    return isinstance(about, dict) and about.get("source") == source


def data_name(subset: str, root: str) -> str:
    """Returns the name of the data for a card. A card never shows its path, which is private to the user."""
    layout = SUBSETS[subset]
    if (Path(root) / COMPOSED_FILE).is_file():
        return f"clips composed by `auss compose`, in the layout of {layout}"
    return f"data in the layout of {layout}"


def recorded_name(content: dict[str, Any], subset: str, root: str) -> str:
    """Returns the name of the data that a run has recorded. Runs of earlier versions only recorded the path. A
    relative path depends on the working directory of that run, so it is not followed."""
    if isinstance(content.get("data_name"), str):
        return content["data_name"]
    return data_name(subset, root) if Path(root).is_absolute() else f"data in the layout of {SUBSETS[subset]}"


def record_data(folder: Path, subset: str, root: str) -> None:
    """Records in the folder of a model what it is trained on, for its card."""
    write_whole(folder / TRAINING_DATA_FILE, json.dumps({"data_name": data_name(subset, root)}) + "\n")


def names_data(content: Any) -> bool:
    """Tells whether the content of a file is a dict that names its data, as `auss train` and `auss evaluate` write
    it."""
    return isinstance(content, dict) and isinstance(content.get("data"), str) and content.get("name") in list(SUBSETS)


def is_path(preset: str) -> bool:
    """Tells whether `auss train --preset` read this as a file of the user."""
    return preset.endswith(".json") or "/" in preset or "\\" in preset


def score_of(data: str, split: Any, sound: Any, jaccard: Any, f_score: Any) -> Score | None:
    """Returns a `Score`, or None unless the arguments are two texts and two numbers."""
    words = isinstance(split, str) and isinstance(sound, str)
    numbers = all(type(value) in (int, float) for value in (jaccard, f_score))
    return Score(data, split, sound, jaccard, f_score) if words and numbers else None


def read_training(folder: Path) -> TrainingRun | None:
    """Reads how `auss train` made the model in `folder`. Returns None if `auss train` did not write there."""
    arguments = read_json(folder / ARGUMENTS_FILE)
    if not (names_data(arguments) and {"steps", "batch_size"} <= arguments.keys()):
        return None
    preset = str(arguments.get("preset") or "")
    recorded = read_json(folder / TRAINING_DATA_FILE)
    return TrainingRun(
        recorded_name(recorded if isinstance(recorded, dict) else {}, arguments["name"], arguments["data"]),
        arguments["steps"],
        arguments["batch_size"],
        None if is_path(preset) else preset,
    )


def read_evaluations(folder: Path) -> list[Score]:
    """Reads the scores that `auss evaluate` wrote into `folder`. Scores of weights other than the present ones are
    left out."""
    found = map(read_json, sorted((folder / EVALUATION_FOLDER).glob("*.json")))
    results = [one for one in found if names_data(one) and {"split", "sound", "M_J", "M_F"} <= one.keys()]
    # Weights may have gigabytes, so read them at most once, and only if there are results.
    known = (None, weights_digest(folder)) if results else ()
    scores = [
        score_of(recorded_name(one, one["name"], one["data"]), one["split"], one["sound"], one["M_J"], one["M_F"])
        for one in results
        if one.get("weights") in known
    ]
    return [score for score in scores if score is not None]


def read_last_validation(folder: Path, data: str) -> list[Score]:
    """Reads the scores of the last validation of `auss train` in `folder`, on data of the name `data`."""
    history = read_json(folder / HISTORY_FILE)
    entries = [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
    validations = [entry for entry in entries if {"validation_M_J", "validation_M_F"} <= entry.keys()]
    scores = [
        score_of(data, "val", "own", entry["validation_M_J"], entry["validation_M_F"]) for entry in validations[-1:]
    ]
    return [score for score in scores if score is not None]


def read_recorded_results(folder: Path) -> Results:
    """
    Reads how the model in `folder` was trained, and its scores: those of `auss evaluate` or, without them, those of
    the last validation of `auss train`. Missing or malformed results are left out.
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
    "is_made_by",
    "record_data",
    "read_recorded_results",
]
