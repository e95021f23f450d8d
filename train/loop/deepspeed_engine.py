"""DeepSpeed under `auss train`, by Accelerate: what it has to be told, whole weights of it, and its own checkpoint."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from ...files.errors import InputError

# Where the engine's part of a checkpoint lies in it.
FOLDER = "deepspeed"
AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}


def is_deepspeed(accelerator: Accelerator) -> bool:
    """Whether a run is DeepSpeed's."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def configure(accelerator: Accelerator, clips: int, accumulation: int, max_gradient_norm: float) -> None:
    """
    Puts what `auss train` was told in the place of what DeepSpeed's configuration says about it.

    Args:
        accelerator: DeepSpeed's, before it prepares anything and before the network is made.
        clips: of a batch in each process.
        accumulation: batches in a step.
        max_gradient_norm: gradients are scaled down to it; 0 leaves them as they are.
    """
    plugin = accelerator.state.deepspeed_plugin
    assert plugin is not None  # as DeepSpeed's accelerator has one
    config = plugin.deepspeed_config
    config |= {
        "train_micro_batch_size_per_gpu": clips,
        "train_batch_size": "auto",
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": max_gradient_norm,
    }
    if accelerator.mixed_precision in AUTOCAST:
        # Autocast, as everywhere else. DeepSpeed's own way casts the weights but not batch norm's statistics, which no
        # ResNet survives, and has no float32 of frozen weights.
        config |= {
            "bf16": {"enabled": False},
            "fp16": {"enabled": False},
            "torch_autocast": {
                "enabled": True,
                "dtype": AUTOCAST[accelerator.mixed_precision],
                "lower_precision_safe_modules": [],  # gradients are averaged in float32
            },
        }
    # Or Transformers would build the backbone of ZeRO-3 with weights of no elements.
    unset_hf_deepspeed_config()


def whole_weights(engine: Any) -> dict[str, torch.Tensor]:
    """
    A copy of the state dictionary of a `DeepSpeedEngine`'s module, on the CPU. Every process calls this and gets all
    of it, in whatever stage of ZeRO the weights are shared out.
    """
    import deepspeed  # pyright: ignore[reportMissingImports]

    weights = {}
    for name, parameter in engine.module.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            weights[name] = parameter.detach().cpu().clone()
    for name, value in engine.module.state_dict().items():
        if name not in weights:  # a buffer, which every process has
            weights[name] = value.detach().cpu().clone()
    return weights


def engine_state(engine: Any, accelerator: Accelerator) -> dict[str, Any]:
    """What must be the same for an engine to read what another has written."""
    return {"processes": accelerator.num_processes, "zero_stage": engine.zero_optimization_stage()}


def save_engine(engine: Any, checkpoint: Path) -> None:
    """Writes the engine's part of a checkpoint, pickled. Every process calls this."""
    engine.save_checkpoint(str(checkpoint), tag=FOLDER, save_latest=False)
    for script in checkpoint.glob("zero_to_*.py"):  # to make weights of it, which lie beside it anyway
        script.unlink(missing_ok=True)


def engine_files(checkpoint: Path) -> list[str]:
    """The names of the files that `save_engine` wrote, once all processes have."""
    return sorted(path.name for path in (checkpoint / FOLDER).iterdir())


def check_engine_files(checkpoint: Path, names: list[str]) -> None:
    """Raises ValueError if one of the engine's files is not there or is cut off."""
    # A pickle of torch is a zip file, whose directory comes last.
    damaged = [name for name in names if not zipfile.is_zipfile(checkpoint / FOLDER / name)]
    if damaged:
        raise InputError(f"missing or cut off in {FOLDER}/: {', '.join(damaged)}")


def load_engine(engine: Any, checkpoint: Path) -> None:
    """
    Restores weights and optimiser. Every process calls this.

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
