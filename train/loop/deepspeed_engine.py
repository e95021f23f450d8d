"""Runs `auss train` under DeepSpeed through Accelerate: its configuration, whole weights, and its own checkpoint
files."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from ...files.errors import InputError

# The subfolder of a checkpoint that holds the files of the engine.
FOLDER = "deepspeed"
AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}


def is_deepspeed(accelerator: Accelerator) -> bool:
    """Tells whether the run uses DeepSpeed."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def configure(accelerator: Accelerator, clips: int, accumulation: int, max_gradient_norm: float) -> None:
    """
    Replaces settings in DeepSpeed's configuration by the arguments of `auss train`.

    Args:
        accelerator: an accelerator with DeepSpeed. It must not have prepared anything yet, and the network must not
            exist yet.
        clips: the number of clips in a batch of each process.
        accumulation: the number of batches in a step.
        max_gradient_norm: gradients are scaled down to this norm. 0 does not scale them.
    """
    plugin = accelerator.state.deepspeed_plugin
    assert plugin is not None  # an accelerator with DeepSpeed has a plugin
    config = plugin.deepspeed_config
    config |= {
        "train_micro_batch_size_per_gpu": clips,
        "train_batch_size": "auto",
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": max_gradient_norm,
    }
    if accelerator.mixed_precision in AUTOCAST:
        # Use autocast, as with the other engines. DeepSpeed's own mixed precision casts the weights but not the
        # statistics of batch norm, which makes every ResNet fail. It also keeps no float32 copy of frozen weights.
        config |= {
            "bf16": {"enabled": False},
            "fp16": {"enabled": False},
            "torch_autocast": {
                "enabled": True,
                "dtype": AUTOCAST[accelerator.mixed_precision],
                "lower_precision_safe_modules": [],  # average gradients in float32
            },
        }
    # Otherwise Transformers would build the backbone for ZeRO-3, with weights of no elements.
    unset_hf_deepspeed_config()


def whole_weights(engine: Any) -> dict[str, torch.Tensor]:
    """
    Copies the state dictionary of a `DeepSpeedEngine`'s module to the CPU. Every process calls this function and gets
    all weights, in every stage of ZeRO.
    """
    import deepspeed  # pyright: ignore[reportMissingImports]

    weights = {}
    for name, parameter in engine.module.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            weights[name] = parameter.detach().cpu().clone()
    for name, value in engine.module.state_dict().items():
        if name not in weights:  # it is a buffer, and every process has all buffers
            weights[name] = value.detach().cpu().clone()
    return weights


def engine_state(engine: Any, accelerator: Accelerator) -> dict[str, Any]:
    """Returns the settings that must be equal for an engine to read the files of another engine."""
    return {"processes": accelerator.num_processes, "zero_stage": engine.zero_optimization_stage()}


def save_engine(engine: Any, checkpoint: Path) -> None:
    """Writes the files of the engine, which are pickled, into a checkpoint. Every process calls this function."""
    engine.save_checkpoint(str(checkpoint), tag=FOLDER, save_latest=False)
    # DeepSpeed adds scripts that extract weights; the weights lie in the checkpoint anyway
    for script in checkpoint.glob("zero_to_*.py"):
        script.unlink(missing_ok=True)


def engine_files(checkpoint: Path) -> list[str]:
    """Returns the names of the files that `save_engine` wrote. Call it after all processes have written."""
    return sorted(path.name for path in (checkpoint / FOLDER).iterdir())


def check_engine_files(checkpoint: Path, names: list[str]) -> None:
    """Raises ValueError if a file of the engine is missing or cut off."""
    # A pickle of torch is a zip file with its directory at the end. So a file that was cut off is no zip file.
    damaged = [name for name in names if not zipfile.is_zipfile(checkpoint / FOLDER / name)]
    if damaged:
        raise InputError(f"missing or cut off in {FOLDER}/: {', '.join(damaged)}")


def load_engine(engine: Any, checkpoint: Path) -> None:
    """
    Restores weights and optimiser. Every process calls this function.

    Raises:
        ValueError: DeepSpeed finds nothing to load.
    """
    loaded, _ = engine.load_checkpoint(str(checkpoint), tag=FOLDER, load_lr_scheduler_states=False)
    if loaded is None:
        raise InputError(f"DeepSpeed finds no checkpoint of its own in {checkpoint / FOLDER}")


__all__ = [
    "FOLDER",
    "check_engine_files",
    "configure",
    "engine_files",
    "engine_state",
    "is_deepspeed",
    "load_engine",
    "save_engine",
    "whole_weights",
]
