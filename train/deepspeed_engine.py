"""DeepSpeed under `auss train`, by Accelerate: what it has to be told, whole weights of it, and its own checkpoint."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DeepSpeedPlugin

# Where the engine's part of a checkpoint lies in it.
FOLDER = "deepspeed"


def configure(plugin: DeepSpeedPlugin, clips: int, accumulation: int, max_gradient_norm: float) -> None:
    """
    Puts what `auss train` was told in the place of what DeepSpeed's configuration says about it.

    Args:
        plugin: the accelerator's, before it prepares anything.
        clips: of a batch in each process.
        accumulation: batches in a step.
        max_gradient_norm: gradients are scaled down to it; 0 leaves them as they are.
    """
    plugin.deepspeed_config |= {
        "train_micro_batch_size_per_gpu": clips,
        "train_batch_size": "auto",
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": max_gradient_norm,
    }


def whole_weights(engine: Any) -> dict[str, torch.Tensor]:
    """
    A copy of the state dictionary of a `DeepSpeedEngine`'s module, on the CPU, in float32 where it trains in half
    precision. Every process calls this and gets all of it, in whatever stage of ZeRO the parameters are shared out.
    """
    from deepspeed.utils import safe_get_full_fp32_param
    from deepspeed.zero import GatheredParameters

    weights = dict(engine.module.state_dict())
    for name, parameter in engine.module.named_parameters():
        with GatheredParameters([parameter]):
            # None for a frozen one, of which the optimiser keeps no other copy.
            optimized = safe_get_full_fp32_param(parameter) if parameter.requires_grad else None
            weights[name] = (parameter if optimized is None else optimized).detach().cpu().clone()
    return {
        name: value.detach().cpu().float() if value.is_floating_point() else value.cpu()
        for name, value in weights.items()
    }


def save_engine(engine: Any, checkpoint: Path) -> None:
    """Writes the engine's part of a checkpoint, a file for each process and pickled. Every process calls this."""
    engine.save_checkpoint(str(checkpoint), tag=FOLDER, save_latest=False)


def load_engine(engine: Any, checkpoint: Path) -> None:
    """Restores weights and optimiser from what as many processes have saved. Every process calls this."""
    engine.load_checkpoint(str(checkpoint), tag=FOLDER, load_lr_scheduler_states=False)


def check_engine_files(checkpoint: Path, num_processes: int) -> None:
    """Raises ValueError if the engine's part of a checkpoint lacks a file, or one is cut off."""
    files = sorted((checkpoint / FOLDER).glob("*.pt"))
    damaged = [file.name for file in files if not zipfile.is_zipfile(file)]
    if damaged:
        raise ValueError(f"cut off: {', '.join(damaged)}")
    shares = sum("optim_states" in file.name for file in files)
    if shares < num_processes:
        raise ValueError(f"{FOLDER}/ holds the optimiser of {shares} of {num_processes} processes")


__all__ = ["FOLDER", "check_engine_files", "configure", "load_engine", "save_engine", "whole_weights"]
