"""Maps between timm's and Transformers' tensor names, one for each family of networks.

Each map is written once, from timm's names to Transformers' names, and used in both directions. The names of
torchvision and of the networks' authors are first renamed to timm's (`layouts.py`). The test
`tests/modeling_auss/published_weights/test_fitting.py` compares the outputs of the libraries.
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
        # timm merges patches at the start of a stage, and Transformers at the end of the previous stage. Both put the
        # four patches in the same order: (0, 0), (1, 0), (0, 1), (1, 1), as (row, column).
        ("layers.{i+1}.downsample.norm.{p}", "encoder.layers.{i}.downsample.norm.{p}"),
        ("layers.{i+1}.downsample.reduction.weight", "encoder.layers.{i}.downsample.reduction.weight"),
        ("norm.{p}", "layernorm.{p}"),
        ("head.fc.{p}", "classifier.{p}"),
    )
)

# The order matters, because the last name is also a part of names that earlier pairs replace.
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
        # There are four patch embeddings. timm keeps the first one outside its stages.
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
    """Returns the values of the field `letter` in all names that fit the template and the fixed fields, sorted."""
    found = [values for name in tensors if (values := parse(template, name)) is not None]
    return sorted({int(values[letter]) for values in found if all(values[key] == fixed[key] for key in fixed)})


def depths(tensors: Tensors, template: str) -> list[int]:
    """Returns the number of blocks {j} of each stage {i}."""
    return [len(numbers(tensors, template, "j", i=stage)) for stage in numbers(tensors, template)]


def resnet_sizes(tensors: Tensors) -> dict:
    """Returns the fields of `ResNetConfig` that follow from the tensors, which are under Transformers' names."""
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
    """Returns the fields of `SwinConfig` that follow from the tensors, which are under Transformers' names."""
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
    """Returns the fields of `ConvNextConfig` that follow from the tensors, which are under Transformers' names."""
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
    """
    Returns the fields of `PvtV2Config` that follow from the tensors, which are under Transformers' names.

    The number of heads does not follow from the tensors.
    """
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
    # Linear attention has a reduction in every stage, and its shape does not show the ratio.
    if ratios[-1] is None:
        sizes["sr_ratios"] = [1 if weight is None else weight.shape[-1] for weight in ratios]
    return sizes


@dataclass(frozen=True)
class Family:
    """
    A kind of network that Transformers and timm both have, with different tensor names.

    Attributes:
        model_type: Transformers' name of the family.
        renamings: from timm's names to the names of Transformers' model without a head.
        timm_name: under timm's names, a tensor that only this family has.
        own_pattern: a pattern for the end of a tensor name that only this family has under Transformers' names. It
            also fits older names.
        sizes: a function that returns the configuration fields that follow from the tensors.
        fixed: fields that do not follow from the tensors, with the values of timm's networks.
        stage_shift: the number to add to the number of a Transformers stage to get timm's index of the same map. None
            if Transformers' backbones additionally normalise their maps.
        older_names: pairs of an older and the current name in Transformers. Transformers' own loader knows them too.
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
        """Converts names of Transformers to the current names of the model without a head."""
        renamed = {}
        for name, tensor in tensors.items():
            today = name.removeprefix(f"{self.model_type}.")
            for old, new in self.older_names:
                today = today.replace(old, new)
            renamed[today] = tensor
        return renamed

    def to_transformers(self, tensors: Tensors) -> tuple[Tensors, list[str]]:
        """Converts timm's names to Transformers' names. Also returns the names that this family does not have."""
        return translate(tensors, self.renamings)

    def to_timm(self, tensors: Tensors) -> tuple[Tensors, list[str]]:
        """Converts Transformers' names to timm's names. Also returns the names that this family does not have."""
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
    """Returns the family of tensors that are under timm's names. None if no family fits."""
    return next((family for family in FAMILIES if family.timm_name in tensors), None)


def family_in_own_names(tensors: Tensors) -> Family | None:
    """Returns the family of tensors under Transformers' names, with or without a prefix. None if no family fits."""
    for family in FAMILIES:
        if any(re.search(rf"(^|\.){family.own_pattern}$", name) for name in tensors):
            return family
    return None


def family_of_model(model_type: str) -> Family | None:
    """Returns the family of a configuration's `model_type`. None if there is no such family."""
    return next((family for family in FAMILIES if family.model_type == model_type), None)


__all__ = ["FAMILIES", "Family", "family_in_own_names", "family_in_timm_names", "family_of_model"]
