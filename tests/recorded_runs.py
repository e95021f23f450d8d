"""A model's folder as `auss train` and `auss evaluate` leave it: their records, and the card."""

import json
from pathlib import Path
from typing import Any

from auss.hub.model_card import CARD_FILE

ARGUMENTS = {"data": "/home/me/secret", "name": "s4", "steps": 400, "batch_size": 16, "image_size": 112}
HISTORY = [{"step": 1, "losses": {}}, {"step": 400, "validation_M_J": 0.5, "validation_M_F": 0.625}]


def record_training(folder: Path) -> Path:
    (folder / "arguments.json").write_text(json.dumps({**ARGUMENTS, "preset": "auss-demo"}))
    (folder / "history.json").write_text(json.dumps(HISTORY))
    return folder


def record_evaluation(folder: Path, sound: str = "own", jaccard: float = 0.72725, **values: Any) -> None:
    (folder / "evaluation").mkdir(exist_ok=True)
    result = {"data": "/home/me/secret", "name": "s4", "split": "test", "sound": sound, "M_J": jaccard, "M_F": 0.85}
    (folder / "evaluation" / f"s4-test-{sound}.json").write_text(json.dumps({**result, **values}))


def read_card(folder: Path) -> str:
    return (folder / CARD_FILE).read_text(encoding="utf-8")
