"""Checkpoints of a training run: written whole or not at all, and found again.

A checkpoint is a folder `step-00001000` under `checkpoints/`: Accelerate's state (weights, optimiser, schedule)
and `position.json`, where the run stood. It is written under a temporary name and renamed when complete, so a folder
with its final name is whole.
"""

import json
import logging
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
POSITION_FILE = "position.json"
TEMPORARY_PREFIX = "unfinished-"
NAME = re.compile(r"step-(\d{8,})")


@dataclass
class Position:
    """Where a run stands: `batch` batches of epoch `epoch` are done, `step` optimiser steps in all.

    `history` holds the entries logged so far, as `inference.drawing.training_curves` takes them.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    history: list[dict] = field(default_factory=list)


def whole_checkpoints(output: Path) -> list[Path]:
    """The checkpoints under `output`, oldest first. A folder without a readable position is reported and left out."""
    found = []
    for path in sorted((output / FOLDER).glob("step-*")):
        match = NAME.fullmatch(path.name)
        if match is None:
            continue
        try:
            read_position(path)
        except (OSError, ValueError, TypeError) as error:
            logger.warning("checkpoint %s is not whole and is passed over: %s", path, error)
            continue
        found.append((int(match.group(1)), path))
    return [path for _, path in sorted(found)]


def read_position(checkpoint: Path) -> Position:
    """The position saved in a checkpoint's folder."""
    return Position(**json.loads((checkpoint / POSITION_FILE).read_text(encoding="utf-8")))


def save_checkpoint(accelerator: Accelerator, output: Path, position: Position, keep: int) -> Path:
    """
    Saves the run's state as the newest checkpoint and deletes all but the `keep` newest. Every process calls this.

    Args:
        accelerator: has prepared the model, the optimiser and the scheduler.
        output: the run's folder.
        position: where the run stands.
        keep: at least 1.

    Returns:
        The checkpoint's folder.
    """
    path = output / FOLDER / f"step-{position.step:08d}"
    temporary = path.with_name(TEMPORARY_PREFIX + path.name)
    if accelerator.is_main_process:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (temporary / POSITION_FILE).write_text(json.dumps(asdict(position)), encoding="utf-8")
        if path.exists():  # left by a run that went past this step before it was resumed from an earlier checkpoint
            shutil.rmtree(path)
        temporary.rename(path)
        for older in whole_checkpoints(output)[:-keep]:
            shutil.rmtree(older)
    accelerator.wait_for_everyone()
    return path


def load_newest_checkpoint(accelerator: Accelerator, output: Path) -> Position | None:
    """
    Restores the newest whole checkpoint under `output` into what the accelerator has prepared.

    Returns:
        Where that run stood, or None, with nothing changed, if there is no checkpoint.
    """
    checkpoints = whole_checkpoints(output)
    if not checkpoints:
        return None
    accelerator.load_state(str(checkpoints[-1]))
    return read_position(checkpoints[-1])


def delete_checkpoints(output: Path) -> None:
    """Removes every checkpoint under `output`, unfinished ones too."""
    if (output / FOLDER).exists():
        shutil.rmtree(output / FOLDER)


__all__ = [
    "Position",
    "delete_checkpoints",
    "load_newest_checkpoint",
    "read_position",
    "save_checkpoint",
    "whole_checkpoints",
]
