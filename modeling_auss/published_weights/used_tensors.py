"""Which tensors of a backbone its maps depend on, found by following the graph of one forward pass."""

import copy
from collections.abc import Sequence
from typing import Any, cast

import timm
import torch
from torch import nn
from transformers import PreTrainedModel

# For networks of convolutions, which take any size; those with windows or positions name theirs.
DEFAULT_SIZE = (64, 64)


def frame_size(backbone: PreTrainedModel) -> tuple[int, int]:
    """(H, W) that the backbone takes: the one that it was made for, if it names one."""
    config = backbone.config
    if config.model_type == "timm_backbone":
        pretrained = timm.get_pretrained_cfg(config.backbone)
        return DEFAULT_SIZE if pretrained is None else (pretrained.input_size[-2], pretrained.input_size[-1])
    size = getattr(config, "image_size", None) or DEFAULT_SIZE
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def leaves(outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that autograd would give a gradient, if one of `outputs` had one."""
    waiting, seen, found = [output.grad_fn for output in outputs], set(), []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # where a gradient would be accumulated
            found.append(getattr(node, "variable"))  # noqa: B009  # only such nodes have it
        waiting += [following for following, _ in node.next_functions]
    return found


def buffer_names(module: nn.Module, prefix: str) -> list[str]:
    """Names of the module's own buffers in the state dict. A batch norm's counter of batches changes no output."""
    counters = {"num_batches_tracked"} if isinstance(module, nn.modules.batchnorm._NormBase) else set()
    persistent = module._buffers.keys() - module._non_persistent_buffers_set - counters
    return [f"{prefix}.{name}" if prefix else name for name in persistent if module._buffers[name] is not None]


def used_tensors(backbone: PreTrainedModel) -> dict[str, torch.Size]:
    """
    Name -> shape of the parameters that the returned maps depend on, and of the buffers of the modules that have them.
    No value is computed: a copy on the meta device does the forward pass.
    """
    model = cast(Any, copy.deepcopy(backbone)).to("meta").requires_grad_(True).eval()
    with torch.enable_grad():
        maps = model(torch.empty(1, 3, *frame_size(backbone), device="meta")).feature_maps
    ids = {id(leaf) for leaf in leaves(maps)}
    used = {name: parameter.shape for name, parameter in model.named_parameters() if id(parameter) in ids}
    state = model.state_dict()
    for prefix, module in model.named_modules():
        parameters = list(module.parameters(recurse=False))
        # A module without parameters of its own may do anything with its buffers, so that they count.
        if not parameters or any(id(parameter) in ids for parameter in parameters):
            used |= {name: state[name].shape for name in buffer_names(module, prefix)}
    return used


@torch.no_grad()
def largest_difference(first: PreTrainedModel, second: PreTrainedModel, seed: int = 0) -> float:
    """
    How far the maps of two backbones are apart on one random frame, relative to the largest value of `first`'s;
    infinite if their numbers or sizes differ.
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
