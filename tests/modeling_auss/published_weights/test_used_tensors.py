"""Compares the found tensors with the tensors that get gradients."""

import copy

import pytest
import torch
from transformers import AutoBackbone, Dinov2Config, ResNetConfig, TimmBackboneConfig

from auss.modeling_auss.published_weights.used_tensors import frame_size, largest_difference, used_tensors

from .weight_publishers import small_swin_config


def timm_backbone(name, *indices):
    return TimmBackboneConfig(backbone=name, use_pretrained_backbone=False, out_indices=list(indices))


CONFIGS = [
    small_swin_config(out_features=["stage1"]),
    small_swin_config(out_features=["stage1", "stage2"]),
    ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 2], layer_type="basic", out_features=["stage1"]),
    Dinov2Config(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=28, out_features=["stage2"]),
    timm_backbone("test_convnext", 1),
    timm_backbone("test_vit", 1),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_used_parameters_are_those_that_a_gradient_reaches(config):
    torch.manual_seed(0)
    backbone = AutoBackbone.from_config(config).train()
    used = used_tensors(backbone)
    maps = backbone(torch.randn(2, 3, *frame_size(backbone))).feature_maps
    sum((x * torch.randn_like(x)).sum() for x in maps).backward()
    reached = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    names = {name for name, _ in backbone.named_parameters()}
    assert used.keys() & names == reached and reached
    assert all(
        tuple(used[name]) == tuple(tensor.shape) for name, tensor in backbone.named_parameters() if name in used
    )
    # The function works on a copy, so the backbone itself does not change.
    assert backbone.training and all(parameter.device.type == "cpu" for parameter in backbone.parameters())


def test_what_comes_after_the_last_map_is_not_used():
    backbone = AutoBackbone.from_config(small_swin_config(out_features=["stage1"]))
    unused = backbone.state_dict().keys() - used_tensors(backbone).keys()
    assert {"swin.layernorm.weight", "swin.layernorm.bias"} <= unused
    assert any(name.startswith("swin.encoder.layers.1.") for name in unused)


def test_statistics_of_batch_norms_count_and_counters_do_not():
    backbone = AutoBackbone.from_config(CONFIGS[2])
    used = used_tensors(backbone)
    assert "embedder.embedder.normalization.running_var" in used
    assert not any("num_batches_tracked" in name or "stages.1" in name for name in used)


def test_difference_of_maps():
    first, second = (AutoBackbone.from_config(CONFIGS[2]).eval() for _ in range(2))
    assert largest_difference(first, second) > 1e-3
    second.load_state_dict(first.state_dict())
    assert largest_difference(first, second) == 0
    other = copy.deepcopy(CONFIGS[2])
    other.out_features = ["stage2"]
    other = AutoBackbone.from_config(other).eval()
    assert largest_difference(first, other) == float("inf")
