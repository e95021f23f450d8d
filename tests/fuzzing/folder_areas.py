"""Damaged model folders, and damaged runs that are to be resumed."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from auss.hub.trained_model import load_trained

from .damage import damage
from .sources import Sources, copy_of, rewrite
from .trial import EITHER, Command, Trial, Unnoticeable, call

ODD_VALUES = (
    None,
    [],
    {},
    "x",
    "",
    -1,
    0,
    1,
    2.5,
    True,
    10**30,
    float("nan"),
    float("-inf"),
    [[]],
    {"a": None},
    "../x",
)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where values stand in a JSON file, as the keys and indices that lead to each."""
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed_json(content: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """One value is replaced by an odd one, one name is missing, misspelt, or new."""
    values = json.loads(content)
    all_places = list(places(values))
    *path, key = all_places[int(random.integers(len(all_places)))]
    holder = values
    for step in path:
        holder = holder[step]
    shown = ".".join(map(str, [*path, key]))
    kind = int(random.integers(5))
    if kind == 0:
        del holder[key]
        words = f"{shown} missing"
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
        words = f"{shown} misspelt"
    else:
        holder[key] = ODD_VALUES[int(random.integers(len(ODD_VALUES)))]
        words = f"{shown}={holder[key]!r}"
    return words, json.dumps(values).encode()


def damaged_content(file: Path, number: int, random: np.random.Generator) -> tuple[str, bytes]:
    """A file's content with damage; of JSON, every other time with a value changed that leaves it JSON."""
    content = file.read_bytes()
    if file.suffix == ".json" and number % 2 == 0:
        return changed_json(content, random)
    return damage(content, number, random)


def names_in(value: Any) -> set[tuple]:
    """The names of a JSON file's fields. Labels of a backbone's own head, which auss does not use, are no fields."""
    free = ("label2id", "id2label")
    return {
        path
        for path in places(value)
        if not any(isinstance(step, int) for step in path) and not (len(path) > 2 and path[-2] in free)
    }


def json_overlooked(before: bytes, after: bytes) -> str | None:
    """What a command has overlooked that says nothing of a changed JSON file.

    Raises:
        Unnoticeable: a value has changed into another one that may stand there, or a name is left out, as files of
            earlier releases leave some out.
    """
    try:
        old, new = json.loads(before), json.loads(after)
    except ValueError:
        return "nothing said of a file that is no JSON"
    # What these say is for a Transformers without auss, and an installed auss does not read it.
    unread = ("auto_map", "custom_pipelines")
    added = sorted((path for path in names_in(new) - names_in(old) if path[0] not in unread), key=str)
    if added:
        added = added[0]
        return f"nothing said of the unknown name {'.'.join(map(str, added))}"
    if old != new:
        raise Unnoticeable("a value is another one that may stand there, or a name is left out")
    return None


def tensors_overlooked(before: bytes, after: bytes) -> str | None:
    """The same of safetensors: names and sizes must be the same, and all values numbers."""
    try:
        old, new = load(before), load(after)
    except (SafetensorError, ValueError):
        return "nothing said of a file that safetensors does not read"
    if {name: value.shape for name, value in old.items()} != {name: value.shape for name, value in new.items()}:
        return "nothing said of other tensors"
    if not all(value.isfinite().all() for value in new.values() if value.is_floating_point()):
        return "nothing said of weights that are no numbers"
    if any(not torch.equal(value, new[name]) for name, value in old.items()):
        raise Unnoticeable("a weight is another number, and no checksum tells")
    return None


def overlooked(file: Path, before: bytes, after: bytes) -> str | None:
    return (json_overlooked if file.suffix == ".json" else tensors_overlooked)(before, after)


MODEL_FILES = ("config.json", "processor_config.json", "model.safetensors")


def model_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """`auss segment` with a damaged model."""
    video = sources.short_video
    for number in range(count):
        random = np.random.default_rng([seed, number, 5])
        file = sources.model / MODEL_FILES[number % len(MODEL_FILES)]
        kind, after = damaged_content(file, number // len(MODEL_FILES), random)
        home = sources.new_folder()
        model = copy_of(sources.model, home / "model")
        rewrite(model / file.name, after)

        def wrong(done: Command, file=file, after=after) -> str | None:
            told = any(done.told(word) for word in (file.name, "has no field", "processor in", "unknown"))
            return None if told else overlooked(file, file.read_bytes(), after)

        def leftover(home=home) -> str | None:
            return "a video" if (home / "out.mp4").exists() else None

        act = partial(call, "segment", video, "-o", home / "out.mp4", "--model", model)
        subjects = (file.name, str(model), "outputs.logits")
        yield Trial("model folders", f"{number}: {file.name}, {kind}", act, subjects, EITHER, wrong, leftover)


def resume_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """`auss train --resume` of a damaged run."""
    original = sources.run
    checkpoint = "checkpoints/step-00000001"
    names = ("state.json", "model.safetensors", "optimizer.safetensors", "config.json")
    files = [f"{checkpoint}/{name}" for name in names] + ["arguments.json", "history.json", "config.json"]
    for number in range(count):
        random = np.random.default_rng([seed, number, 6])
        file = original / files[number % len(files)]
        kind, after = damaged_content(file, number // len(files), random)
        home = sources.new_folder()
        run = copy_of(original, home / "run")
        rewrite(run / files[number % len(files)], after)

        def wrong(done: Command, file=file, after=after, run=run) -> str | None:
            load_trained(run)  # whatever was damaged, what the run leaves in the end is a whole model
            if file.name in ("history.json", "config.json"):
                return None  # written anew, and not read
            told = any(done.told(word) for word in (file.name, checkpoint, "resuming with"))
            return None if told else overlooked(file, file.read_bytes(), after)

        act = partial(call, *sources.train_command(run, steps=2), "--resume")
        subjects = (file.name, checkpoint)
        yield Trial("--resume", f"{number}: {files[number % len(files)]}, {kind}", act, subjects, EITHER, wrong)


AREAS = {"model folders": model_trials, "--resume": resume_trials}

__all__ = ["AREAS"]
