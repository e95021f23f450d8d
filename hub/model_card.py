"""Writes the model card: what the model is, which labels it knows, how it scored, and an example.

The example runs where auss is not installed.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..files.outside_text import markdown_text, python_string
from ..files.whole_files import write_whole
from ..processing.log_mel import EXAMPLE_HOP, SAMPLING_RATE
from .card_facts import CardFacts, read_facts

TASK = "audio-visual-segmentation"
CARD_FILE = "README.md"
LICENSE = "apache-2.0"

# The packages that the code files import. A test checks that setup.cfg has the same requirements.
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

# The last line of a card that auss wrote. The digest in it shows whether somebody has edited the card.
SIGNATURE = "<!-- auss wrote this card, and renews it until it is edited: {digest} -->\n"
SIGNED_CARD = re.compile(r"(.*)<!-- auss wrote this card, and renews it until it is edited: (\w+) -->\n", re.DOTALL)


def sign(text: str) -> str:
    """Returns the card with the signature line, by which `is_untouched` recognises the card."""
    return text + SIGNATURE.format(digest=hashlib.sha256(text.encode()).hexdigest()[:16])


def is_untouched(card: str) -> bool:
    """Whether auss wrote this card and nobody has changed the card since."""
    match = SIGNED_CARD.fullmatch(card)
    return match is not None and sign(match.group(1)) == card


def metadata(facts: CardFacts) -> str:
    """Returns the YAML head of the card, including its two lines of dashes."""
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
        # `pipeline` of Transformers accepts a repository only if its card names this library.
        library_name="transformers",
        license=LICENSE,
        pipeline_tag=TASK if facts.config else None,
        tags=[TASK, "auss", "video", "audio", *facts.tags],
        model_name=facts.name.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def requirements(config: dict[str, Any] | None) -> list[str]:
    """Returns the packages that pip must install for a repository with this config.json."""
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
    """Returns the section about installing and loading. Its example uses the pipeline for a model with heads, and
    otherwise the model or the processor that the repository has."""
    lines, auto_class = PROCESSOR_LINES, "AutoProcessor"
    if facts.config:
        has_heads = facts.config.get("architectures") != ["AussModel"]
        lines, auto_class = (PIPELINE_LINES, "pipeline") if has_heads else (MODEL_LINES, "AutoModel")
    packages = " ".join(f'"{package}"' for package in requirements(facts.config))
    return USE.format(
        requirements=packages, auto_class=auto_class, lines=lines.format(task=TASK, name=python_string(facts.name))
    )


def sound_at_once(num_examples: Any) -> str | None:
    """Returns how much sound the network hears at once, for the card."""
    if not isinstance(num_examples, int):
        return None
    seconds = EXAMPLE_HOP / SAMPLING_RATE
    return f"{num_examples * seconds:.3g} s ({num_examples} examples of {seconds:g} s)"


def model_section(facts: CardFacts) -> str:
    """Returns the section about the network's labels, settings and training."""
    config, training, size = facts.config or {}, facts.training, facts.size
    labels = [label for _, label in sorted(config.get("id2label", {}).items(), key=lambda item: int(item[0]))]
    backbone = config.get("backbone_config") or {}
    rows = {
        "labels": ", ".join(labels),
        "backbone": backbone.get("backbone") or backbone.get("model_type"),
        "queries": config.get("num_queries"),
        "sound at once": sound_at_once(config.get("num_audio_examples")),
        "trained on": training.data if training else None,
        "trained to recognise": ", ".join(map(str, config.get("trained_categories") or [])),
        "frames": f"{size[0]} x {size[1]} pixels (height x width)" if size else None,
        "steps": f"{training.steps} of {training.batch_size} clips" if training else None,
        "preset": training.preset if training else None,
    }
    table = [
        f"| {name} | {value if name == 'trained on' else markdown_text(value)} |"  # auss wrote "trained on" itself
        for name, value in rows.items()
        if value
    ]
    return "\n".join(["", "## Model", "", "| | |", "| --- | --- |", *table, ""]) if table else ""


def results_section(facts: CardFacts) -> str:
    """Returns the section with the table of scores, or "" without scores."""
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
    """Returns the text of the whole card with its signature line."""
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
    """Writes the card of the model saved in `folder`, unless the folder has a card that somebody wrote or edited.

    Args:
        folder: the folder that `save_pretrained` wrote. The card shows the results recorded there.
        name: the name that the card's example loads; by default the folder's name.
        tags: tags to add to the usual ones.
        results: another folder, whose results are shown if `folder` has none. They must belong to the same weights.
    """
    folder = Path(folder)
    card = folder / CARD_FILE
    if card.is_file() and not is_untouched(card.read_text(encoding="utf-8")):
        return
    write_whole(card, card_text(read_facts(folder, name or folder.resolve().name, list(tags), results)))


def renew_card(folder: str | Path) -> None:
    """Adds results that were recorded after the model was saved, if `folder` has a card and nobody has edited it."""
    if (Path(folder) / CARD_FILE).is_file():
        write_card(folder)


__all__ = [
    "CARD_FILE",
    "REQUIREMENTS",
    "TASK",
    "card_text",
    "is_untouched",
    "renew_card",
    "write_card",
]
