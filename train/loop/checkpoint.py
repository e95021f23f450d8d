"""Checkpoints of a training run: each is written completely or not at all, and the newest complete one is found again.

A checkpoint is a folder `step-00001000` under `checkpoints/`. `model.safetensors` and `optimizer.safetensors` hold
every tensor unsplit under the name of its parameter. `state.json` tells where the run stood. No file depends on the
number of processes or on how they shared the weights. If `config.json` lies beside these files, `from_pretrained`
opens the model. A checkpoint is written under a temporary name and renamed when it is complete.

Under DeepSpeed the folder `deepspeed/`, in DeepSpeed's own pickled format, replaces `optimizer.safetensors`. Only the
same number of DeepSpeed processes in the same stage of ZeRO can read this folder again.
"""

import contextlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CONFIG_NAME

from ...files.errors import InputError
from ...files.file_rights import follow_umask
from ...files.stopping import stops_deferred
from . import deepspeed_engine
from .checkpoint_checks import check_optimizer, check_state, check_weights, refused_if_unfit

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
TEMPORARY_PREFIX = "unfinished-"
NAME = re.compile(r"step-(\d{8,})")


def whole_states():
    """Returns torch's functions for state dictionaries with whole tensors. Builds without `torch.distributed` lack
    them."""
    from torch.distributed.checkpoint import state_dict

    return state_dict


@dataclass
class Position:
    """The position of a run: it has done `batch` batches of epoch `epoch`, and `step` optimiser steps in all.

    `history` holds the entries logged so far, as `processing.drawing.training_curves` takes them. `term_sums` holds
    the sums of the loss terms since the last entry, over `term_count` batches. Each summand is a mean over the
    processes.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    history: list[dict] = field(default_factory=list)
    term_sums: dict[str, float] = field(default_factory=dict)
    term_count: int = 0


def check_whole(checkpoint: Path) -> None:
    """Raises OSError, ValueError, TypeError, KeyError or SafetensorError if a file of a checkpoint is cut off."""
    read_position(checkpoint)
    engine = read_state(checkpoint).get("deepspeed")
    if engine:
        deepspeed_engine.check_engine_files(checkpoint, engine["files"])
    for name in (MODEL_FILE,) if engine else (MODEL_FILE, OPTIMIZER_FILE):
        # `safe_open` compares the length of the file with its header.
        with safe_open(checkpoint / name, framework="pt"):
            pass


def whole_checkpoints(output: Path) -> list[Path]:
    """Returns the complete checkpoints under `output`, oldest first. Incomplete ones are skipped with a warning."""
    found = []
    for path in sorted((output / FOLDER).glob("*")):
        match = NAME.fullmatch(path.name)
        if match is None:
            if path.name.startswith(TEMPORARY_PREFIX):
                logger.warning("checkpoint %s was not finished and is passed over", path)
            continue
        try:
            check_whole(path)
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            logger.warning("checkpoint %s is not whole and is passed over: %s", path, error)
            continue
        found.append((int(match.group(1)), path))
    return [path for _, path in sorted(found)]


def step_of(checkpoint: Path) -> int:
    """Returns the step in the name of a checkpoint's folder."""
    match = NAME.fullmatch(checkpoint.name)
    assert match is not None  # `whole_checkpoints` only returns folders with such names
    return int(match.group(1))


def read_state(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))


def read_position(checkpoint: Path) -> Position:
    """Reads the position saved in a checkpoint's folder."""
    return Position(**read_state(checkpoint)["position"])


def gather_weights(accelerator: Accelerator, model: nn.Module, everywhere: bool = False) -> dict[str, torch.Tensor]:
    """
    Gathers the state dictionary of a prepared model with all weights. Every process calls this function. With
    `everywhere` every process gets the weights, on the device of its model. Otherwise only the first process is sure
    to get them, on the CPU.
    """
    if deepspeed_engine.is_deepspeed(accelerator):
        return deepspeed_engine.whole_weights(model)
    options = whole_states().StateDictOptions(full_state_dict=True, cpu_offload=not everywhere)
    return cast(dict[str, torch.Tensor], whole_states().get_model_state_dict(model, options=options))


def gather_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """
    Gathers the state of the optimiser as tensors with names such as "PARAMETER:exp_avg", and its groups with the names
    of their parameters. Every process calls this function; only the first process gets the result.
    """
    options = whole_states().StateDictOptions(full_state_dict=True, cpu_offload=True)
    whole: Any = whole_states().get_optimizer_state_dict(model, optimizer, options=options)
    tensors = {
        f"{parameter}:{kind}": value
        for parameter, state in whole.get("state", {}).items()
        for kind, value in state.items()
    }
    return tensors, whole.get("param_groups", [])


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], groups: list[dict]
) -> None:
    """Restores the state that `gather_optimizer` returned. Every process calls this function with the whole state."""
    state: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        parameter, _, kind = key.rpartition(":")
        state.setdefault(parameter, {})[kind] = value
    options = whole_states().StateDictOptions(full_state_dict=True, strict=False)
    whole: Any = {"state": state, "param_groups": groups}
    whole_states().set_optimizer_state_dict(model, optimizer, whole, options=options)
    # torch creates a state for parameters that never had a gradient. That state would count as a step, so remove it.
    for group, saved in zip(optimizer.param_groups, groups, strict=True):
        for parameter, name in zip(group["params"], saved["params"], strict=True):
            if name not in state:
                optimizer.state.pop(parameter, None)


@contextmanager
def removed_after_errors(folder: Path) -> Iterator[None]:
    """Removes a folder if the block ends with an error or an interruption."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def put_in_place(temporary: Path, path: Path) -> None:
    """Gives a finished checkpoint its name."""
    with stops_deferred():
        if path.exists():  # an earlier run may have passed this step before it was resumed from an earlier checkpoint
            shutil.rmtree(path)
        temporary.rename(path)


def save_checkpoint(
    accelerator: Accelerator, model: nn.Module, optimizer, scheduler, output: Path, position: Position, keep: int
) -> Path:
    """
    Saves the state of the run as the newest checkpoint and deletes all but the `keep` newest ones. Every process calls
    this function.

    Args:
        accelerator: the accelerator that prepared model, optimizer and scheduler.
        model: a model with a `config`, under any data parallelism of Accelerate: DDP, FSDP or DeepSpeed.
        optimizer, scheduler: as `Accelerator.prepare` returned them.
        output: the folder of the run. All processes must see it.
        position: the position of the run.
        keep: the number of checkpoints to keep, at least 1.

    Returns:
        The checkpoint's folder.
    """
    path = output / FOLDER / f"step-{position.step:08d}"
    temporary = path.with_name(TEMPORARY_PREFIX + path.name)
    deepspeed = deepspeed_engine.is_deepspeed(accelerator)
    weights = gather_weights(accelerator, model)
    tensors, groups = ({}, []) if deepspeed else gather_optimizer(model, optimizer.optimizer)
    # A full disk or Ctrl-C may stop the writing. Then remove the unfinished folder, because nothing would read it.
    with removed_after_errors(temporary) if accelerator.is_main_process else contextlib.nullcontext():
        if accelerator.is_main_process:
            for unfinished in (output / FOLDER).glob(f"{TEMPORARY_PREFIX}*"):
                shutil.rmtree(unfinished)
            temporary.mkdir(parents=True)
        if deepspeed:
            accelerator.wait_for_everyone()
            deepspeed_engine.save_engine(model, temporary)
            accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            accelerator.unwrap_model(model).config.to_json_file(temporary / CONFIG_NAME)
            save_file(weights, temporary / MODEL_FILE, metadata={"format": "pt"})
            if not deepspeed:
                save_file(tensors, temporary / OPTIMIZER_FILE)
            follow_umask(temporary.glob("*.safetensors"))
            state = {
                "position": asdict(position),
                "optimizer_groups": groups,
                "optimizer_tensors": sorted(tensors),
                "scheduler": scheduler.state_dict(),
                "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
            }
            if deepspeed:
                files = {"files": deepspeed_engine.engine_files(temporary)}
                state["deepspeed"] = deepspeed_engine.engine_state(model, accelerator) | files
            (temporary / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
            put_in_place(temporary, path)
            for older in whole_checkpoints(output)[:-keep]:
                shutil.rmtree(older)
    accelerator.wait_for_everyone()
    return path


def engine_name(state: dict[str, int]) -> str:
    """Describes the result of `engine_state` in words for a message."""
    if not state:
        return "DDP, FSDP or one process"
    return f"DeepSpeed of zero_stage {state['zero_stage']} in {state['processes']} processes"


def load_newest_checkpoint(
    accelerator: Accelerator, model: nn.Module, optimizer, scheduler, output: Path
) -> Position | None:
    """
    Restores the newest complete checkpoint under `output`. The arguments are those of `save_checkpoint`. The number of
    processes, and how they share the weights, may differ from those at saving.

    Returns:
        The saved position. If there is no checkpoint, None, and nothing is changed.

    Raises:
        ValueError: another engine wrote the checkpoint, or DeepSpeed wrote it in another stage of ZeRO or with another
            number of processes. Or the checkpoint is damaged: tensors are missing or not finite, or its step differs
            from its name. Nothing is changed in these cases.
    """
    checkpoints = whole_checkpoints(output)
    if not checkpoints:
        return None
    newest = checkpoints[-1]
    state = read_state(newest)
    deepspeed = deepspeed_engine.is_deepspeed(accelerator)
    wrote = {name: value for name, value in state.get("deepspeed", {}).items() if name != "files"}
    reads = deepspeed_engine.engine_state(model, accelerator) if deepspeed else {}
    if wrote != reads:
        raise InputError(
            f"{newest} was written by {engine_name(wrote)} and can only be resumed so, got {engine_name(reads)}; its "
            f"{MODEL_FILE} starts any new run"
        )
    with refused_if_unfit(newest, STATE_FILE):
        check_state(newest, STATE_FILE, state, step_of(newest))
        if deepspeed:
            deepspeed_engine.load_engine(model, newest)
        else:
            weights, tensors = load_file(newest / MODEL_FILE), load_file(newest / OPTIMIZER_FILE)
            check_weights(newest, MODEL_FILE, weights, cast(Any, whole_states().get_model_state_dict(model)))
            check_optimizer(newest, OPTIMIZER_FILE, tensors, state, weights)
            options = whole_states().StateDictOptions(full_state_dict=True)
            whole_states().set_model_state_dict(model, cast(Any, weights), options=options)
            restore_optimizer(model, optimizer.optimizer, tensors, state["optimizer_groups"])
        scheduler.load_state_dict(state["scheduler"])
        if accelerator.scaler is not None and state["scaler"]:
            accelerator.scaler.load_state_dict(state["scaler"])
        return read_position(newest)


def delete_checkpoints(output: Path) -> None:
    """Removes every checkpoint under `output`, including unfinished ones."""
    if (output / FOLDER).exists():
        shutil.rmtree(output / FOLDER)


__all__ = [
    "Position",
    "delete_checkpoints",
    "gather_weights",
    "load_newest_checkpoint",
    "read_position",
    "save_checkpoint",
    "whole_checkpoints",
]
