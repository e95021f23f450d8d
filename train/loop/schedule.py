"""The optimiser of the paper's Sec. 4.2: AdamW with polynomial decay and warm-up; the backbone has a tenth of the
rate."""

import torch
from timm.optim import param_groups_weight_decay  # pyright: ignore[reportPrivateImportUsage]
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_polynomial_decay_schedule_with_warmup

BACKBONE_INFIX = ".backbone."


def embedding_names(model: nn.Module) -> set[str]:
    """Returns the names of embeddings: the weights of `nn.Embedding`, and learned queries and positions. The latter
    are bare parameters and are recognised by their own names."""
    return {
        f"{place}.{name}".lstrip(".")
        for place, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, nn.Embedding) or "embedding" in name
    }


def parameter_groups(
    model: nn.Module, learning_rate: float, backbone_rate: float, weight_decay: float
) -> list[dict[str, object]]:
    """
    Sorts the trainable parameters into up to four groups: backbone or not, with or without weight decay. Empty groups
    are left out.

    Weight decay spares norms, biases and embeddings.

    Args:
        model: the network. Parameters with ".backbone." in their name belong to the image backbone.
        learning_rate: the peak rate of all parameters outside the backbone.
        backbone_rate: the rate of the backbone as a share of `learning_rate`.
        weight_decay: the weight decay of the groups that have it.

    Raises:
        ValueError: no parameter of the model is trainable.
    """
    # The decay of 1 makes timm separate the two kinds even if `weight_decay` is 0.
    kinds = param_groups_weight_decay(model, 1.0, no_weight_decay_list=embedding_names(model))
    backbone = {parameter for name, parameter in model.named_parameters() if BACKBONE_INFIX in name}
    groups = []
    for is_backbone in (False, True):
        for kind in kinds:
            parameters = [parameter for parameter in kind["params"] if (parameter in backbone) == is_backbone]
            decayed = kind["weight_decay"] > 0
            group = {
                "params": parameters,
                "lr": learning_rate * (backbone_rate if is_backbone else 1.0),
                "weight_decay": weight_decay if decayed else 0.0,
                "name": ("backbone" if is_backbone else "network") + ("" if decayed else ", undecayed"),
            }
            groups += [group] if parameters else []
    if not groups:
        raise ValueError("model must have trainable parameters, got none that require gradients")
    return groups


def create_optimizer(
    model: nn.Module, learning_rate: float, backbone_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Creates AdamW over `parameter_groups`."""
    return torch.optim.AdamW(
        parameter_groups(model, learning_rate, backbone_rate, weight_decay), lr=learning_rate, weight_decay=0.0
    )


def create_scheduler(optimizer: torch.optim.Optimizer, steps: int, warmup: float, power: float) -> LambdaLR:
    """
    Creates the schedule of the learning rate. The rate rises linearly over the share `warmup` of `steps` optimiser
    steps. Then it falls as (1 - progress) ** power, where progress is the finished share of the remaining steps. From
    step `steps` on, counted from 0, the rate is 0.
    """
    rise = round(warmup * steps) + 1
    # Transformers' schedule begins with a step at a rate of 0, in which nothing is learned. This step is skipped. The
    # schedule gets its own optimiser with a rate of 1, so its rates are shares of a peak rate.
    unit = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = get_polynomial_decay_schedule_with_warmup(unit, rise, max(steps, rise) + 1, lr_end=0.0, power=power)
    share = schedule.lr_lambdas[0]
    return LambdaLR(optimizer, lambda step: share(step + 1))


__all__ = ["create_optimizer", "create_scheduler", "parameter_groups"]
