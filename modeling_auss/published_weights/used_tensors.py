"""Finds the tensors that a backbone's maps depend on, by following the autograd graph of one forward pass."""

import copy
from collections.abc import Sequence
from typing import Any, cast

import timm
import torch
from torch import nn
from transformers import PreTrainedModel

# The frame size (H, W) for networks of convolutions, which take any size. Networks with windows or positions name
# their own size.
DEFAULT_SIZE = (64, 64)


def frame_size(backbone: PreTrainedModel) -> tuple[int, int]:
    """Returns a frame size (H, W) that the backbone takes: its own size if it names one, otherwise the default."""
    config = backbone.config
    if config.model_type == "timm_backbone":
        pretrained = timm.get_pretrained_cfg(config.backbone)
        return DEFAULT_SIZE if pretrained is None else (pretrained.input_size[-2], pretrained.input_size[-1])
    size = getattr(config, "image_size", None) or DEFAULT_SIZE
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def leaves(outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the tensors for which a backward pass from `outputs` would compute a gradient."""
    waiting, seen, found = [output.grad_fn for output in outputs], set(), []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # this node accumulates the gradient of a tensor
            found.append(getattr(node, "variable"))  # noqa: B009  # torch's type annotations do not list it
        waiting += [following for following, _ in node.next_functions]
    return found


def buffer_names(module: nn.Module, prefix: str) -> list[str]:
    """
    Returns the names of the module's own buffers in the state dict.

    The batch counter of batch norm is left out, because it does not change the output.
    """
    counters = {"num_batches_tracked"} if isinstance(module, nn.modules.batchnorm._NormBase) else set()
    persistent = module._buffers.keys() - module._non_persistent_buffers_set - counters
    return [f"{prefix}.{name}" if prefix else name for name in persistent if module._buffers[name] is not None]


def used_tensors(backbone: PreTrainedModel) -> dict[str, torch.Size]:
    """
    Returns name -> shape of all parameters that the maps depend on, and of the buffers in the same modules.

    The forward pass runs on a copy on the meta device, so no values are computed.
    """
    model = cast(Any, copy.deepcopy(backbone)).to("meta").requires_grad_(True).eval()
    with torch.enable_grad():
        maps = model(torch.empty(1, 3, *frame_size(backbone), device="meta")).feature_maps
    ids = {id(leaf) for leaf in leaves(maps)}
    used = {name: parameter.shape for name, parameter in model.named_parameters() if id(parameter) in ids}
    state = model.state_dict()
    for prefix, module in model.named_modules():
        parameters = list(module.parameters(recurse=False))
        # If a module has no parameters of its own, the graph does not show whether its buffers are used. Count them.
        if not parameters or any(id(parameter) in ids for parameter in parameters):
            used |= {name: state[name].shape for name in buffer_names(module, prefix)}
    return used


@torch.no_grad()
def largest_difference(first: PreTrainedModel, second: PreTrainedModel, seed: int = 0) -> float:
    """
    Returns the largest difference between the maps of two backbones on one random frame.

    The difference is relative to the largest value of each map of `first`. It is infinite if the numbers or the sizes
    of the maps differ.
    """
    frame = torch.randn(1, 3, *frame_size(first), generator=torch.Generator().manual_seed(seed))
    ours, theirs = (backbone(frame).feature_maps for backbone in (first, second))
    if [maps.shape for maps in ours] != [maps.shape for maps in theirs]:
        return float("inf")
    return max(
        float((own - other).abs().max() / own.abs().max().clamp(min=1e-12))
        for own, other in zip(ours, theirs, strict=True)
    )


__all__ = ["frame_size", "largest_difference", "used_tensors"]
