"""The model card: what the model is and knows, how it did, and lines that run where auss is not installed."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..files.outside_text import markdown_text, python_string
from ..files.whole_files import write_whole

TASK = "audio-visual-segmentation"
CARD_FILE = "README.md"
LICENSE = "apache-2.0"

# What the code files import, as auss itself requires it; a test holds the two together.
REQUIREMENTS = (
    "av>=17",
    "numpy>=1.26",
    "pillow>=10.0.1",
    "scipy>=1.11",
    "soxr>=0.5",
    "torch>=2.6",
    "torchvision>=0.21",
    "transformers>=5.20,<6",
)
TIMM_REQUIREMENT = "timm>=1.0.23"

SUBSETS = {"s4": "AVSBench S4", "ms3": "AVSBench MS3", "avss": "AVSBench AVSS"}
# `auss compose` leaves this file in the data sets that it makes.
COMPOSED_MARK = "annotations.json"

# The last line of a card that auss wrote. Its digest tells a card that nobody has edited from one that is the user's.
SIGNATURE = "<!-- auss wrote this card, and renews it until it is edited: {digest} -->\n"
SIGNED_CARD = re.compile(r"(.*)<!-- auss wrote this card, and renews it until it is edited: (\w+) -->\n", re.DOTALL)


def sign(text: str) -> str:
    """The card with a last line by which `is_untouched` knows it."""
    return text + SIGNATURE.format(digest=hashlib.sha256(text.encode()).hexdigest()[:16])


def is_untouched(card: str) -> bool:
    """Whether auss wrote this card and nobody has changed it since."""
    match = SIGNED_CARD.fullmatch(card)
    return match is not None and sign(match.group(1)) == card


@dataclass(frozen=True)
class Score:
    """One figure pair of the card's table: M_J and M_F on a split, with a sound."""

    data: str
    split: str
    sound: str
    jaccard: float
    f_score: float


def score_of(data: str, split: Any, sound: Any, jaccard: Any, f_score: Any) -> Score | None:
    """A `Score`, None if these are no two words and two numbers."""
    words = isinstance(split, str) and isinstance(sound, str)
    numbers = all(type(value) in (int, float) for value in (jaccard, f_score))
    return Score(data, split, sound, jaccard, f_score) if words and numbers else None


@dataclass(frozen=True)
class CardFacts:
    """What a card says beyond what all cards say; whatever is unknown is left out of it."""

    name: str  # the repository's, as `from_pretrained` takes it
    config: dict[str, Any] | None = None  # config.json, None for processors alone
    tags: list[str] = field(default_factory=list)
    data: str | None = None
    training: dict[str, Any] = field(default_factory=dict)  # arguments.json
    size: tuple[int, int] | None = None  # the processor's (height, width), in pixels
    scores: list[Score] = field(default_factory=list)


def read_json(path: Path) -> Any:
    """The contents of a JSON file, None if there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def names_data(content: Any) -> bool:
    """Whether this, from a file, is a dict that says what data it is of, as `auss train` and `auss evaluate` do."""
    return isinstance(content, dict) and isinstance(content.get("data"), str) and content.get("name") in list(SUBSETS)


def data_name(subset: str, root: str) -> str:
    """What the card calls the data: never its path, which is the user's own affair."""
    layout = SUBSETS[subset]
    if (Path(root) / COMPOSED_MARK).is_file():
        return f"clips composed by `auss compose`, in the layout of {layout}"
    return f"data in the layout of {layout}"


def read_training(folder: Path) -> dict[str, Any]:
    """The arguments that `auss train` left in `folder`; nothing if it did not write there."""
    arguments = read_json(folder / "arguments.json")
    return arguments if names_data(arguments) and {"steps", "batch_size"} <= arguments.keys() else {}


def weights_digest(folder: str | Path) -> str:
    """A digest of the weights saved in `folder`, by which an evaluation says what it evaluated."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).glob("*.safetensors")):
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def read_scores(folder: Path) -> list[Score]:
    """The figures that `auss evaluate` left in `folder`, or else the last validation of `auss train`.

    An evaluation of other weights than now lie in `folder` is passed over.
    """
    found = map(read_json, sorted((folder / "evaluation").glob("*.json")))
    results = [one for one in found if names_data(one) and {"split", "sound", "M_J", "M_F"} <= one.keys()]
    # Weights may be gigabytes: they are read once, if at all.
    known = (None, weights_digest(folder)) if results else ()
    scores = [
        score_of(data_name(one["name"], one["data"]), one["split"], one["sound"], one["M_J"], one["M_F"])
        for one in results
        if one.get("weights") in known
    ]
    training, history = read_training(folder), read_json(folder / "history.json")
    if not any(scores) and training and isinstance(history, list):
        data = data_name(training["name"], training["data"])
        entries = [entry for entry in history if isinstance(entry, dict)]
        validations = [entry for entry in entries if {"validation_M_J", "validation_M_F"} <= entry.keys()]
        scores = [
            score_of(data, "val", "own", entry["validation_M_J"], entry["validation_M_F"])
            for entry in validations[-1:]
        ]
    return [score for score in scores if score is not None]


def read_size(folder: Path) -> tuple[int, int] | None:
    """The (height, width) of frames that the processor saved in `folder` makes; None if there is none of that form."""
    size = read_json(folder / "processor_config.json")
    for name in ("video_processor", "size"):
        size = size.get(name) if isinstance(size, dict) else None
    if isinstance(size, dict) and type(size.get("height")) is int and type(size.get("width")) is int:
        return size["height"], size["width"]
    return None


def is_path(name: str) -> bool:
    """Whether `auss train --preset` took this for a file of the user's."""
    return name.endswith(".json") or "/" in name or "\\" in name


def read_facts(folder: Path, name: str, tags: list[str], results: Path | None = None) -> CardFacts:
    """The facts of the model saved in `folder`.

    Args:
        folder: what `save_pretrained` wrote.
        name: what the card's example loads.
        tags: beside the usual ones.
        results: where to look for what `auss train` and `auss evaluate` left, if `folder` has nothing of it.
    """
    places = [folder, *([results] if results else [])]
    training = next(filter(None, map(read_training, places)), {})
    scores = next(filter(None, map(read_scores, places)), [])
    data = data_name(training["name"], training["data"]) if training else None
    size = next(filter(None, map(read_size, places)), None)
    return CardFacts(name, read_json(folder / "config.json"), tags, data, training, size, scores)


def metadata(facts: CardFacts) -> str:
    """The YAML head of the card, between its lines of dashes."""
    measured = [score for score in facts.scores if score.sound == "own"]
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type="audio-visual-segmentation",
            dataset_name=score.data,
            dataset_split=score.split,
            metric_type=metric,
            metric_name=metric,
            metric_value=round(value, 4),
        )
        for score in measured
        for metric, value in (("M_J", score.jaccard), ("M_F", score.f_score))
    ]
    data = ModelCardData(
        # Transformers' `pipeline` takes a repository only if it names this library.
        library_name="transformers",
        license=LICENSE,
        pipeline_tag=TASK if facts.config else None,
        tags=[TASK, "auss", "video", "audio", *facts.tags],
        model_name=facts.name.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def requirements(config: dict[str, Any] | None) -> list[str]:
    """What pip has to install for a repository with this config.json."""
    backbone = (config or {}).get("backbone_config") or {}
    return [*REQUIREMENTS, *([TIMM_REQUIREMENT] if backbone.get("model_type") == "timm_backbone" else [])]


INTRODUCTION = """
# {title}

Audio-visual segmentation: given a video, the masks, frame by frame, of what is making the sound. The network is that
of "Hear to Segment: Unmixing the Audio to Guide the Semantic Segmentation" (Ling et al. 2023), as `auss` implements it
for Transformers. `auss` need not be installed: its code lies in this repository.
"""

USE = """
## Use

```bash
pip install {requirements}
```

```python
from transformers import {auto_class}

{lines}
```

`trust_remote_code=True` runs the Python files of this repository, so read them first; where `auss` is installed it is
not needed.
"""

PIPELINE_LINES = """segmenter = pipeline("{task}", model={name}, trust_remote_code=True)
for frame in segmenter("street.mp4"):
    for segment in frame:
        print(segment["timestamp"], segment["label"], segment["score"], segment["mask"].size)"""

MODEL_LINES = """model = AutoModel.from_pretrained({name}, trust_remote_code=True).eval()
outputs = model(pixel_values, input_features)  # (B, F, 3, H, W) frames and (B, T, 96, 64) log-mel"""

PROCESSOR_LINES = """processor = AutoProcessor.from_pretrained({name}, trust_remote_code=True)
inputs = processor(videos=frames, audio=waveform, sampling_rate=44_100, return_tensors="pt")"""

LIMITS = """
## Licence

The code files are part of `auss`, Apache 2.0. So are the weights, unless their author says otherwise here.
"""


def use_section(facts: CardFacts) -> str:
    """How to install and load: the pipeline for a model with heads, else what the repository has."""
    lines, auto_class = PROCESSOR_LINES, "AutoProcessor"
    if facts.config:
        has_heads = facts.config.get("architectures") != ["AussModel"]
        lines, auto_class = (PIPELINE_LINES, "pipeline") if has_heads else (MODEL_LINES, "AutoModel")
    packages = " ".join(f'"{package}"' for package in requirements(facts.config))
    return USE.format(
        requirements=packages, auto_class=auto_class, lines=lines.format(task=TASK, name=python_string(facts.name))
    )


def model_section(facts: CardFacts) -> str:
    """What the network knows and was trained on."""
    config, training, size = facts.config or {}, facts.training, facts.size
    preset = str(training.get("preset") or "")
    labels = [label for _, label in sorted(config.get("id2label", {}).items(), key=lambda item: int(item[0]))]
    backbone = config.get("backbone_config") or {}
    rows = {
        "labels": ", ".join(labels),
        "backbone": backbone.get("backbone") or backbone.get("model_type"),
        "queries": config.get("num_queries"),
        "sound at once": f"{config['num_audio_examples']} s" if "num_audio_examples" in config else None,
        "trained on": facts.data,
        "frames": f"{size[0]} x {size[1]} pixels (height x width)" if size else None,
        "steps": f"{training['steps']} of {training['batch_size']} clips" if training else None,
        "preset": None if is_path(preset) else preset,
    }
    table = [
        f"| {name} | {value if name == 'trained on' else markdown_text(value)} |"  # which is of auss's own words
        for name, value in rows.items()
        if value
    ]
    return "\n".join(["", "## Model", "", "| | |", "| --- | --- |", *table, ""]) if table else ""


def results_section(facts: CardFacts) -> str:
    """The table of figures."""
    if not facts.scores:
        return ""
    rows = [
        f"| {score.data} | {markdown_text(score.split)} | {markdown_text(score.sound)} | {score.jaccard:.3f} | "
        f"{score.f_score:.3f} |"
        for score in facts.scores
    ]
    head = ["| data | split | sound | M_J | M_F |", "| --- | --- | --- | ---: | ---: |"]
    note = "By the AVSBench protocol. `muted` and `swapped` are controls: silence, and another category's sound."
    return "\n".join(["", "## Results", "", *head, *rows, "", note, ""])


def card_text(facts: CardFacts) -> str:
    """The whole card, signed."""
    title = facts.name.rpartition("/")[2]
    parts = [
        metadata(facts),
        INTRODUCTION.format(title=markdown_text(title)),
        use_section(facts),
        model_section(facts),
    ]
    return sign("".join([*parts, results_section(facts), LIMITS]))


def write_card(
    folder: str | Path, name: str | None = None, tags: Sequence[str] = (), results: Path | None = None
) -> None:
    """Writes the card of the model saved in `folder`, unless one is there that somebody has edited.

    Args:
        folder: what `save_pretrained` wrote; and `auss train` and `auss evaluate`, whose figures are told.
        name: what the card's example loads, by default the folder's name.
        tags: to stand in the card beside the usual ones.
        results: another folder to look in for those figures, which must be of the same weights.
    """
    folder = Path(folder)
    card = folder / CARD_FILE
    if card.is_file() and not is_untouched(card.read_text(encoding="utf-8")):
        return
    write_whole(card, card_text(read_facts(folder, name or folder.resolve().name, list(tags), results)))


def renew_card(folder: str | Path) -> None:
    """Tells figures that came after the model was saved, if `folder` has a card and nobody has edited it."""
    if (Path(folder) / CARD_FILE).is_file():
        write_card(folder)


__all__ = [
    "CARD_FILE",
    "REQUIREMENTS",
    "TASK",
    "CardFacts",
    "Score",
    "card_text",
    "is_untouched",
    "renew_card",
    "weights_digest",
    "write_card",
]
