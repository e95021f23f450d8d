"""Published weights of every kind in every backbone that takes them: its maps are those of the publisher's library."""

import pytest
import torch

from auss.configuration.configuration_auss import AussConfig
from auss.modeling_auss.backbone_weights import load_backbone_weights
from auss.modeling_auss.image_embedding import ImageEmbeddingExtractor

from .published_pairs import PAIRS


def make_extractor(config, seed=7) -> ImageEmbeddingExtractor:
    torch.manual_seed(seed)
    return ImageEmbeddingExtractor(AussConfig(backbone_config=config)).eval()


def feature_maps(extractor, frames) -> list[torch.Tensor]:
    """(B, C, h, w) each; some of timm's networks keep channels last."""
    maps, channels = extractor.backbone(frames).feature_maps, extractor.backbone.channels
    return [
        x if x.shape[1] == count or x.shape[-1] != count else x.permute(0, 3, 1, 2)
        for x, count in zip(maps, channels, strict=True)
    ]


def pair_id(pair) -> str:
    return f"{pair.weights} in {pair.backbone}"


@pytest.mark.parametrize(
    "pair", [pytest.param(pair, id=pair_id(pair), marks=[pytest.mark.slow] * pair.slow) for pair in PAIRS]
)
@torch.no_grad()
def test_maps_are_those_of_the_publishers_library(pair, tmp_path):
    source, published_maps = pair.publish(tmp_path)
    extractor = make_extractor(pair.config())
    frames = torch.randn(1, 3, *pair.size, generator=torch.Generator().manual_seed(3))
    load_backbone_weights(extractor, source)
    maps, expected = feature_maps(extractor, frames), published_maps(frames)
    assert len(maps) == len(expected)
    for own, other in zip(maps, expected, strict=True):
        assert own.shape == other.shape
        assert float((own - other).abs().max() / other.abs().max()) <= pair.tolerance
