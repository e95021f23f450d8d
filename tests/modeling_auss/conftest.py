"""Helpers and fixtures for the tests of the whole model."""

import torch

from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.modeling_auss.resized_maps import MaskFeatures


def plain_mask_features(maps: torch.Tensor, size: tuple[int, int] | None = None) -> MaskFeatures:
    """Returns mask features whose projection h is the identity. Without `size` they have the size of the maps."""
    channels = maps.shape[1]
    size = tuple(maps.shape[-2:]) if size is None else size
    return MaskFeatures(maps, size, torch.eye(channels, dtype=maps.dtype), maps.new_zeros(channels))


def make_labels(batch=2, frames=3, size=(32, 32), num_labels=2):
    return torch.randint(0, num_labels, (batch, frames, *size), generator=torch.Generator().manual_seed(2))


def make_model(config, seed=0) -> AussForAudioVisualSegmentation:
    torch.manual_seed(seed)
    return AussForAudioVisualSegmentation(config).eval()


def randomise_heads(model):
    """Spreads the masks. An untrained model has all masks near one half, which would hide differences."""
    with torch.no_grad():
        model.auss.fusion_decoder.mask_head.weight.mul_(10)
    return model
