"""The names of the same tensors in timm, in Transformers, in torchvision and in the authors' own files, by family.

Each family's map is written once, from timm's names to those of Transformers' classes, and read in both directions.
Other layouts are renamed to timm's first. `tests/modeling_auss/published_weights/test_fitting.py`
compares what the libraries compute.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .tensor_names import Renaming, parse, translate, translate_back

Tensors = dict[str, torch.Tensor]

RESNET = tuple(
    Renaming(*names)
    for names in (
        ("conv1.weight", "embedder.embedder.convolution.weight"),
        ("bn1.{p}", "embedder.embedder.normalization.{p}"),
        ("layer{i+1}.{j}.conv{k+1}.weight", "encoder.stages.{i}.layers.{j}.layer.{k}.convolution.weight"),
        ("layer{i+1}.{j}.bn{k+1}.{p}", "encoder.stages.{i}.layers.{j}.layer.{k}.normalization.{p}"),
        ("layer{i+1}.{j}.downsample.0.weight", "encoder.stages.{i}.layers.{j}.shortcut.convolution.weight"),
        ("layer{i+1}.{j}.downsample.1.{p}", "encoder.stages.{i}.layers.{j}.shortcut.normalization.{p}"),
        ("fc.{p}", "classifier.1.{p}"),
    )
)

SWIN_BLOCK = "encoder.layers.{i}.blocks.{j}"
SWIN = tuple(
    Renaming(*names)
    for names in (
        ("patch_embed.proj.{p}", "embeddings.patch_embeddings.projection.{p}"),
        ("patch_embed.norm.{p}", "embeddings.norm.{p}"),
        ("absolute_pos_embed", "embeddings.position_embeddings"),
        ("layers.{i}.blocks.{j}.norm1.{p}", f"{SWIN_BLOCK}.layernorm_before.{{p}}"),
        (
            "layers.{i}.blocks.{j}.attn.qkv.{p}",
            tuple(f"{SWIN_BLOCK}.attention.{part}_proj.{{p}}" for part in ("q", "k", "v")),
        ),
        (
            "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
            f"{SWIN_BLOCK}.attention.relative_position_bias.relative_position_bias_table",
        ),
        ("layers.{i}.blocks.{j}.attn.proj.{p}", f"{SWIN_BLOCK}.attention.o_proj.{{p}}"),
        ("layers.{i}.blocks.{j}.norm2.{p}", f"{SWIN_BLOCK}.layernorm_after.{{p}}"),
        ("layers.{i}.blocks.{j}.mlp.fc1.{p}", f"{SWIN_BLOCK}.mlp.fc1.{{p}}"),
        ("layers.{i}.blocks.{j}.mlp.fc2.{p}", f"{SWIN_BLOCK}.mlp.fc2.{{p}}"),
        # timm merges patches before a stage, Transformers after the one before. Both put the four patches in the same
        # order: (0, 0), (1, 0), (0, 1), (1, 1), as (row, column).
        ("layers.{i+1}.downsample.norm.{p}", "encoder.layers.{i}.downsample.norm.{p}"),
        ("layers.{i+1}.downsample.reduction.weight", "encoder.layers.{i}.downsample.reduction.weight"),
        ("norm.{p}", "layernorm.{p}"),
        ("head.fc.{p}", "classifier.{p}"),
    )
)

# In this order: the last is a part of the one before.
OLDER_SWIN = (
    ("attention.self.query", "attention.q_proj"),
    ("attention.self.key", "attention.k_proj"),
    ("attention.self.value", "attention.v_proj"),
    ("attention.self.relative", "attention.relative_position_bias.relative"),
    ("attention.output.dense", "attention.o_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
)

CONVNEXT_LAYER = "encoder.stages.{i}.layers.{j}"
CONVNEXT = tuple(
    Renaming(*names)
    for names in (
        ("stem.0.{p}", "embeddings.patch_embeddings.{p}"),
        ("stem.1.{p}", "embeddings.layernorm.{p}"),
        ("stages.{i}.downsample.{k}.{p}", "encoder.stages.{i}.downsampling_layer.{k}.{p}"),
        ("stages.{i}.blocks.{j}.gamma", f"{CONVNEXT_LAYER}.layer_scale_parameter"),
        ("stages.{i}.blocks.{j}.conv_dw.{p}", f"{CONVNEXT_LAYER}.dwconv.{{p}}"),
        ("stages.{i}.blocks.{j}.norm.{p}", f"{CONVNEXT_LAYER}.layernorm.{{p}}"),
        ("stages.{i}.blocks.{j}.mlp.fc{k+1}.{p}", f"{CONVNEXT_LAYER}.pwconv{{k+1}}.{{p}}"),
        ("head.norm.{p}", "layernorm.{p}"),
        ("head.fc.{p}", "classifier.{p}"),
    )
)

PVT_BLOCK = "encoder.layers.{i}.blocks.{j}"
PVT_V2 = tuple(
    Renaming(*names)
    for names in (
        # Of the four patch embeddings timm keeps the first outside its stages.
        ("patch_embed.proj.{p}", "encoder.layers.0.patch_embedding.proj.{p}"),
        ("patch_embed.norm.{p}", "encoder.layers.0.patch_embedding.layer_norm.{p}"),
        ("stages.{i}.downsample.proj.{p}", "encoder.layers.{i}.patch_embedding.proj.{p}"),
        ("stages.{i}.downsample.norm.{p}", "encoder.layers.{i}.patch_embedding.layer_norm.{p}"),
        ("stages.{i}.blocks.{j}.norm{k+1}.{p}", f"{PVT_BLOCK}.layer_norm_{{k+1}}.{{p}}"),
        ("stages.{i}.blocks.{j}.attn.q.{p}", f"{PVT_BLOCK}.attention.query.{{p}}"),
        (
            "stages.{i}.blocks.{j}.attn.kv.{p}",
            (f"{PVT_BLOCK}.attention.key.{{p}}", f"{PVT_BLOCK}.attention.value.{{p}}"),
        ),
        ("stages.{i}.blocks.{j}.attn.proj.{p}", f"{PVT_BLOCK}.attention.proj.{{p}}"),
        ("stages.{i}.blocks.{j}.attn.sr.{p}", f"{PVT_BLOCK}.attention.spatial_reduction.{{p}}"),
        ("stages.{i}.blocks.{j}.attn.norm.{p}", f"{PVT_BLOCK}.attention.layer_norm.{{p}}"),
        ("stages.{i}.blocks.{j}.mlp.fc{k+1}.{p}", f"{PVT_BLOCK}.mlp.dense{{k+1}}.{{p}}"),
        ("stages.{i}.blocks.{j}.mlp.dwconv.{p}", f"{PVT_BLOCK}.mlp.dwconv.dwconv.{{p}}"),
        ("stages.{i}.norm.{p}", "encoder.layers.{i}.layer_norm.{p}"),
        ("head.{p}", "classifier.{p}"),
    )
)


def numbers(tensors: Tensors, template: str, letter: str = "i", **fixed: int) -> list[int]:
    """The values that the letter has in the template among the names, in order."""
    found = [values for name in tensors if (values := parse(template, name)) is not None]
    return sorted({int(values[letter]) for values in found if all(values[key] == fixed[key] for key in fixed)})


def depths(tensors: Tensors, template: str) -> list[int]:
    """How many blocks {j} each stage {i} has."""
    return [len(numbers(tensors, template, "j", i=stage)) for stage in numbers(tensors, template)]


def resnet_sizes(tensors: Tensors) -> dict:
    """Fields of `ResNetConfig` that the tensors, under Transformers' names, tell."""
    layer = "encoder.stages.{i}.layers.{j}.layer.{k}.convolution.weight"
    last = numbers(tensors, layer, "k")[-1]
    stem = tensors["embedder.embedder.convolution.weight"]
    stages = numbers(tensors, layer)
    return {
        "embedding_size": stem.shape[0],
        "num_channels": stem.shape[1],
        "layer_type": "bottleneck" if last == 2 else "basic",
        "depths": depths(tensors, layer),
        "hidden_sizes": [
            tensors[f"encoder.stages.{stage}.layers.0.layer.{last}.convolution.weight"].shape[0] for stage in stages
        ],
    }


def swin_sizes(tensors: Tensors) -> dict:
    """Fields of `SwinConfig` that the tensors, under Transformers' names, tell."""
    table = f"{SWIN_BLOCK}.attention.relative_position_bias.relative_position_bias_table"
    first = "encoder.layers.0.blocks.0"
    stem = tensors["embeddings.patch_embeddings.projection.weight"]
    tables = [tensors[table.format(i=stage, j=0)] for stage in numbers(tensors, table)]
    sizes = {
        "embed_dim": stem.shape[0],
        "num_channels": stem.shape[1],
        "patch_size": stem.shape[-1],
        "depths": depths(tensors, table),
        "num_heads": [table.shape[1] for table in tables],
        "window_size": (math.isqrt(tables[0].shape[0]) + 1) // 2,
        "mlp_ratio": tensors[f"{first}.mlp.fc1.weight"].shape[0] / stem.shape[0],
        "qkv_bias": f"{first}.attention.q_proj.bias" in tensors,
    }
    positions = tensors.get("embeddings.position_embeddings")
    if positions is not None:
        sizes |= {"use_absolute_embeddings": True, "image_size": math.isqrt(positions.shape[1]) * sizes["patch_size"]}
    return sizes


def convnext_sizes(tensors: Tensors) -> dict:
    """Fields of `ConvNextConfig` that the tensors, under Transformers' names, tell."""
    layer = f"{CONVNEXT_LAYER}.dwconv.weight"
    stages = numbers(tensors, layer)
    stem = tensors["embeddings.patch_embeddings.weight"]
    sizes = {
        "num_channels": stem.shape[1],
        "patch_size": stem.shape[-1],
        "num_stages": len(stages),
        "depths": depths(tensors, layer),
        "hidden_sizes": [tensors[layer.format(i=stage, j=0)].shape[0] for stage in stages],
    }
    if "encoder.stages.0.layers.0.layer_scale_parameter" not in tensors:
        sizes["layer_scale_init_value"] = 0.0
    return sizes


def pvt_v2_sizes(tensors: Tensors) -> dict:
    """Fields of `PvtV2Config` that the tensors, under Transformers' names, tell; the numbers of heads they do not."""
    block, reduction = f"{PVT_BLOCK}.attention.query.weight", "encoder.layers.{i}.blocks.0.attention"
    stages = numbers(tensors, block)
    patches = [tensors[f"encoder.layers.{stage}.patch_embedding.proj.weight"] for stage in stages]
    ratios = [tensors.get(f"{reduction.format(i=stage)}.spatial_reduction.weight") for stage in stages]
    hidden_sizes = [patch.shape[0] for patch in patches]
    widths = [tensors[f"encoder.layers.{stage}.blocks.0.mlp.dense1.weight"].shape[0] for stage in stages]
    sizes = {
        "num_channels": patches[0].shape[1],
        "num_encoder_blocks": len(stages),
        "depths": depths(tensors, block),
        "hidden_sizes": hidden_sizes,
        "patch_sizes": [patch.shape[-1] for patch in patches],
        "mlp_ratios": [width // size for width, size in zip(widths, hidden_sizes, strict=True)],
    }
    if ratios[-1] is None:  # linear attention has a reduction in every stage, and its ratio is not in its shape
        sizes["sr_ratios"] = [1 if weight is None else weight.shape[-1] for weight in ratios]
    return sizes


@dataclass(frozen=True)
class Family:
    """
    A network that Transformers and timm both have, under different names.

    Attributes:
        model_type: Transformers' name of it.
        renamings: from timm's names to those of Transformers' model without a head.
        timm_name: a tensor that only this family has under timm's names.
        own_pattern: how a tensor that only this family has ends under Transformers' names, older ones included.
        sizes: the fields of its configuration that the tensors tell.
        fixed: fields that the tensors do not tell, with the values that timm's networks have.
        stage_shift: what to add to the number of a stage of Transformers' to get timm's index of the same map; None if
            Transformers' backbones normalise their maps besides.
        older_names: how Transformers' own names have changed; its loader knows that, too.
    """

    model_type: str
    renamings: tuple[Renaming, ...]
    timm_name: str
    own_pattern: str
    sizes: Callable[[Tensors], dict]
    fixed: dict[str, Any] = field(default_factory=dict)
    stage_shift: int | None = None
    older_names: tuple[tuple[str, str], ...] = ()

    def own_names(self, tensors: Tensors) -> Tensors:
        """Tensors under Transformers' names, without the prefix of a classifier and under today's names."""
        renamed = {}
        for name, tensor in tensors.items():
            today = name.removeprefix(f"{self.model_type}.")
            for old, new in self.older_names:
                today = today.replace(old, new)
            renamed[today] = tensor
        return renamed

    def to_transformers(self, tensors: Tensors) -> tuple[Tensors, list[str]]:
        """From timm's names, and the names that no tensor of this family has."""
        return translate(tensors, self.renamings)

    def to_timm(self, tensors: Tensors) -> tuple[Tensors, list[str]]:
        """From Transformers' names, and the names that no tensor of this family has."""
        return translate_back(tensors, self.renamings)


FAMILIES = (
    Family(
        "resnet",
        RESNET,
        "layer1.0.conv1.weight",
        r"encoder\.stages\.0\.layers\.0\.layer\.0\.convolution\.weight",
        resnet_sizes,
        {"hidden_act": "relu", "downsample_in_first_stage": False, "downsample_in_bottleneck": False},
        stage_shift=0,
    ),
    Family(
        "swin",
        SWIN,
        "layers.0.blocks.0.attn.relative_position_bias_table",
        r"encoder\.layers\.0\.blocks\.0\.attention\..*relative_position_bias_table",
        swin_sizes,
        {"hidden_act": "gelu", "layer_norm_eps": 1e-5},
        older_names=OLDER_SWIN,
    ),
    Family(
        "convnext",
        CONVNEXT,
        "stages.0.blocks.0.conv_dw.weight",
        r"encoder\.stages\.0\.layers\.0\.pwconv1\.weight",
        convnext_sizes,
        {"hidden_act": "gelu"},
    ),
    Family(
        "pvt_v2",
        PVT_V2,
        "stages.0.blocks.0.attn.kv.weight",
        r"encoder\.layers\.0\.blocks\.0\.mlp\.dwconv\.dwconv\.weight",
        pvt_v2_sizes,
        {"hidden_act": "gelu", "num_attention_heads": [1, 2, 5, 8]},
        stage_shift=-1,
    ),
)


def family_in_timm_names(tensors: Tensors) -> Family | None:
    """The family whose tensors these are, under timm's names."""
    return next((family for family in FAMILIES if family.timm_name in tensors), None)


def family_in_own_names(tensors: Tensors) -> Family | None:
    """The family whose tensors these are, under Transformers' names, with or without a prefix."""
    for family in FAMILIES:
        if any(re.search(rf"(^|\.){family.own_pattern}$", name) for name in tensors):
            return family
    return None


def family_of_model(model_type: str) -> Family | None:
    """The family of a configuration's `model_type`."""
    return next((family for family in FAMILIES if family.model_type == model_type), None)


__all__ = ["FAMILIES", "Family", "family_in_own_names", "family_in_timm_names", "family_of_model"]
