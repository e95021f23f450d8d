"""The image embedding extractor with ResNet, Swin and timm backbones: shapes, lateral maps and the exact shortcut."""

import math

import pytest
import torch
from transformers import ResNetConfig, SwinConfig, TimmBackboneConfig

from auss.modeling_auss.image_embedding import ImageEmbeddingExtractor, UpsamplingStep, map_size
from auss.modeling_auss.resized_maps import resize


def resnet(*stages) -> ResNetConfig:
    return ResNetConfig(
        embedding_size=4,
        hidden_sizes=[4, 8, 8, 12],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=[f"stage{stage}" for stage in stages],
    )


def swin(*stages) -> SwinConfig:
    return SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 4, 8],
        window_size=2,
        image_size=32,
        out_features=[f"stage{stage}" for stage in stages],
    )


def timm_lite0(*stages) -> TimmBackboneConfig:
    return TimmBackboneConfig(
        backbone="tf_efficientnet_lite0", use_pretrained_backbone=False, out_indices=list(stages)
    )


def make_extractor(make_config, **overrides) -> ImageEmbeddingExtractor:
    torch.manual_seed(0)
    return ImageEmbeddingExtractor(make_config(**overrides)).eval()


def embed(extractor: ImageEmbeddingExtractor, frames: torch.Tensor):
    """Returns f_1 ... f_3, each at its full size, and the mask features."""
    embeddings, mask_features = extractor(frames)
    return [embedding.full() for embedding in embeddings], mask_features


def assert_shapes(extractor, size, strides=(32, 16, 8), mask_stride=4, frames=2):
    """With lateral maps, f_4 has its own map. Without lateral maps, f_4 is an enlarged f_3."""
    embeddings, mask_features = embed(extractor, torch.randn(frames, 3, *size))
    expected = [(frames, 16, math.ceil(size[0] / stride), math.ceil(size[1] / stride)) for stride in strides]
    assert [tuple(embedding.shape) for embedding in embeddings] == expected
    stride = mask_stride if len(extractor.lateral_projections) else strides[-1]
    assert mask_features.size == (math.ceil(size[0] / mask_stride), math.ceil(size[1] / mask_stride))
    assert mask_features.maps.shape == (frames, 16, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
    assert all(tensor.isfinite().all() for tensor in (*embeddings, mask_features.maps))


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (50, 130), (7, 5)])
@pytest.mark.parametrize("make_backbone", [resnet, swin])
def test_any_size_without_laterals(make_config, make_backbone, size):
    overrides = dict(backbone_config=make_backbone(3), feature_strides=(8, 4, 2), mask_stride=1)
    assert_shapes(make_extractor(make_config, **overrides), size, (8, 4, 2), 1)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (130, 50)])
@pytest.mark.parametrize("make_backbone", [resnet, swin, timm_lite0])
def test_any_size_with_laterals(make_config, make_backbone, size):
    backbone_config = make_backbone(1, 2, 3, 4)
    overrides = dict(feature_strides=(32, 16, 8), mask_stride=4, lateral_connections=True)
    assert_shapes(make_extractor(make_config, backbone_config=backbone_config, **overrides), size)


@pytest.mark.parametrize("height", [1, 16, 17, 33, 47, 49])
@pytest.mark.parametrize("make_backbone", [resnet, swin])
def test_laterals_of_small_frames(make_config, make_backbone, height):
    # A frame of 17 rows has ceil(17 / 16) = 2 map rows. A stride computed as 17 / 2 would look like 8.
    overrides = dict(feature_strides=(32, 16, 8), mask_stride=4, lateral_connections=True)
    extractor = make_extractor(make_config, backbone_config=make_backbone(1, 2, 3, 4), **overrides)
    assert_shapes(extractor, (height, 40))
    assert_shapes(extractor, (40, height))


def test_lateral_of_a_stride_that_is_not_upsampled_to_is_refused_when_built(make_config):
    overrides = dict(feature_strides=(32, 16), mask_stride=8, lateral_connections=True)
    with pytest.raises(ValueError, match="stride 4.*lateral_connections"):
        make_extractor(make_config, backbone_config=resnet(1, 2, 3, 4), **overrides)


def test_laterals_of_one_stride_are_refused_when_built(make_config):
    vit = TimmBackboneConfig(backbone="test_vit", use_pretrained_backbone=False, out_indices=[1, 3, 5])
    overrides = dict(feature_strides=(32, 16), mask_stride=8)
    with pytest.raises(ValueError, match="several maps of stride 16.*lateral_connections=False"):
        make_extractor(make_config, backbone_config=vit, lateral_connections=True, **overrides)
    vit = TimmBackboneConfig(backbone="test_vit", use_pretrained_backbone=False, out_indices=[1, 3, 5])
    assert_shapes(make_extractor(make_config, backbone_config=vit, **overrides), (50, 70), (32, 16), 8)


def test_laterals_reach_the_embedding_of_their_own_stride_and_all_finer_ones(make_config):
    overrides = dict(feature_strides=(32, 16, 8), mask_stride=4, lateral_connections=True)
    extractor = make_extractor(make_config, backbone_config=resnet(1, 2, 3, 4), **overrides)
    frames = torch.randn(1, 3, 64, 64)
    before, mask_before = embed(extractor, frames)
    with torch.no_grad():
        extractor.lateral_projections[1][-1].bias.add_(1.0)  # stage 2 has stride 8
    after, mask_after = embed(extractor, frames)
    assert [torch.equal(x, y) for x, y in zip(before, after, strict=True)] == [True, True, False]
    assert not torch.allclose(mask_before.maps, mask_after.maps)


def test_without_laterals_only_the_last_map_counts(make_config):
    extractor = make_extractor(make_config, backbone_config=resnet(2, 3), feature_strides=(8, 4, 2), mask_stride=1)
    assert len(extractor.lateral_projections) == 0
    embeddings, _ = embed(extractor, torch.randn(1, 3, 32, 32))
    embeddings[0].sum().backward()
    assert extractor.top_projection[0].weight.shape[1] == 8  # stage 3's channels


def test_upsampling_step_with_a_lateral_map_written_out():
    torch.manual_seed(0)
    step = UpsamplingStep(8)
    maps, lateral = torch.randn(2, 8, 3, 4), torch.randn(2, 8, 6, 8)
    summed = torch.nn.functional.interpolate(maps, size=(6, 8), mode="bilinear") + lateral
    refined = torch.stack(
        [
            torch.nn.functional.conv2d(summed[:, c : c + 1], step.refine.weight[c : c + 1], padding=1)[:, 0]
            + step.refine.bias[c]
            for c in range(8)
        ],
        dim=1,
    )
    expected = summed + torch.nn.functional.gelu(step.norm(refined))
    torch.testing.assert_close(step(maps, (6, 8), lateral).full(), expected, rtol=0, atol=1e-5)


def test_upsampling_step_without_a_lateral_map_refines_before_it_enlarges():
    torch.manual_seed(0)
    step, maps = UpsamplingStep(8), torch.randn(2, 8, 3, 4)
    expected = resize(maps + torch.nn.functional.gelu(step.norm(step.refine(maps))), (6, 8))
    torch.testing.assert_close(step(maps, (6, 8), None).full(), expected)


@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
def test_mask_features_of_the_paper_are_enlarged_last(make_config, size):
    """The extractor's masks equal those of h(f_4) computed by its definition, with f_4 at full size."""
    overrides = dict(backbone_config=resnet(3), feature_strides=(8, 4, 2), mask_stride=1)
    extractor = make_extractor(make_config, **overrides)
    embeddings, mask_features = embed(extractor, torch.randn(2, 3, *size))
    f_4 = extractor.upsampling_steps[-1](embeddings[-1], map_size(size, 1), None).full()
    assert f_4.shape[-2:] == size
    mask_embeddings = torch.randn(2, 4, 16)
    features = torch.nn.functional.conv2d(f_4, *extractor.mask_projection.parameters())
    expected = torch.einsum("bne,behw->bnhw", mask_embeddings, features)
    torch.testing.assert_close(mask_features.masks(mask_embeddings), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("laterals", [False, True])
def test_maps_have_a_pixels_channels_side_by_side(make_config, laterals):
    """Attention reads this layout, so the largest maps are not copied."""
    stages, strides = ((1, 2, 3, 4), (32, 16, 8)) if laterals else ((3,), (8, 4, 2))
    overrides = dict(feature_strides=strides, mask_stride=4 if laterals else 1, lateral_connections=laterals)
    extractor = make_extractor(make_config, backbone_config=resnet(*stages), **overrides)
    embeddings, mask_features = embed(extractor, torch.randn(2, 3, 64, 64))
    for maps in (*embeddings, mask_features.maps):
        assert maps.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("make_backbone", [resnet, swin])
def test_frames_are_independent(make_config, make_backbone):
    extractor = make_extractor(make_config, backbone_config=make_backbone(1, 2), lateral_connections=True)
    frames = torch.randn(3, 3, 40, 33)
    together = embed(extractor, frames)[1].maps
    alone = torch.cat([embed(extractor, frame.unsqueeze(0))[1].maps for frame in frames])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "stages"),
    [("tf_efficientnet_lite0", (1, 2, 3, 4)), ("resnet18", (1, 2, 3, 4)), ("convnext_atto", (0, 1, 2, 3))],
)
def test_timm_backbones_run_forward_and_backward(make_config, name, stages):
    backbone_config = TimmBackboneConfig(backbone=name, use_pretrained_backbone=False, out_indices=list(stages))
    overrides = dict(feature_strides=(32, 16, 8), mask_stride=4, lateral_connections=True)
    extractor = make_extractor(make_config, backbone_config=backbone_config, **overrides).train()
    embeddings, mask_features = embed(extractor, torch.randn(2, 3, 65, 70))
    tensors = (*embeddings, mask_features.maps, mask_features.weight, mask_features.bias)
    sum(tensor.square().sum() for tensor in tensors).backward()
    missing = [name for name, parameter in extractor.named_parameters() if parameter.grad is None]
    assert missing == []
