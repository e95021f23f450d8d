"""The optimiser of the paper's Sec. 4.2: AdamW, the backbone at a tenth of the rate, polynomial decay with warm-up."""

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

BACKBONE_INFIX = ".backbone."
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


def poly_with_warmup(step: int, steps: int, warmup_steps: int, power: float) -> float:
    """
    The share of the peak learning rate used in step number `step`, counted from 0.

    It rises linearly, to 1 in step `warmup_steps`, then falls as (1 - progress) ** power, where progress is the share
    of the remaining steps already done; from step `steps` on it is 0.
    """
    if step < warmup_steps:
        # Never 0: the first step is to learn something too.
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return (1.0 - min(1.0, progress)) ** power


def undecayed_names(model: nn.Module) -> set[str]:
    """The names of parameters that weight decay would only harm: those of norms, biases and embeddings."""
    names = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            small = isinstance(module, (*NORMS, nn.Embedding)) or parameter.ndim <= 1
            # Learned queries and positions are bare parameters; their names say what they are.
            if small or name.endswith("bias") or "embedding" in name:
                names.add(f"{module_name}.{name}" if module_name else name)
    return names


def parameter_groups(
    model: nn.Module, learning_rate: float, backbone_rate: float, weight_decay: float
) -> list[dict[str, object]]:
    """
    The trainable parameters in up to four groups: backbone or not, decayed or not. Empty groups are left out.

    Args:
        model: parameters with ".backbone." in their name are the image backbone's.
        learning_rate: the peak rate of everything else.
        backbone_rate: the backbone's rate as a share of `learning_rate`.
        weight_decay: of the decayed groups.

    Raises:
        ValueError: nothing in the model is trainable.
    """
    undecayed = undecayed_names(model)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((BACKBONE_INFIX in name, name not in undecayed), []).append(parameter)
    if not groups:
        raise ValueError("model must have trainable parameters, got none that require gradients")
    return [
        {
            "params": parameters,
            "lr": learning_rate * (backbone_rate if is_backbone else 1.0),
            "weight_decay": weight_decay if decayed else 0.0,
            "name": ("backbone" if is_backbone else "network") + ("" if decayed else ", undecayed"),
        }
        for (is_backbone, decayed), parameters in sorted(groups.items())
    ]


def create_optimizer(
    model: nn.Module, learning_rate: float, backbone_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`."""
    return torch.optim.AdamW(
        parameter_groups(model, learning_rate, backbone_rate, weight_decay), lr=learning_rate, weight_decay=0.0
    )


def create_scheduler(optimizer: torch.optim.Optimizer, steps: int, warmup: float, power: float) -> LambdaLR:
    """`poly_with_warmup` over `steps` optimiser steps, of which the share `warmup` rises."""
    warmup_steps = round(warmup * steps)
    return LambdaLR(optimizer, lambda step: poly_with_warmup(step, steps, warmup_steps, power))


__all__ = ["create_optimizer", "create_scheduler", "parameter_groups", "poly_with_warmup", "undecayed_names"]
