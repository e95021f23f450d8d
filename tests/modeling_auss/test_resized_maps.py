"""Results from small maps equal the results from maps that are enlarged first."""

import pytest
import torch
from accelerate.utils import send_to_device

from auss.modeling_auss.resized_maps import MaskProjection, ResizedMaps, interpolation_matrix, resize

from .conftest import plain_mask_features


@pytest.mark.parametrize(("size", "target"), [((4, 6), (9, 11)), ((9, 11), (4, 6)), ((2, 2), (1, 1))])
def test_resize_commutes_with_projection_and_with_the_product_by_a_query(size, target):
    torch.manual_seed(0)
    maps, weight, query = torch.randn(2, 8, *size), torch.randn(5, 8), torch.randn(5)
    projected = torch.einsum("oc,bchw->bohw", weight, resize(maps, target))
    torch.testing.assert_close(projected, resize(torch.einsum("oc,bchw->bohw", weight, maps), target))
    product = torch.einsum("o,bohw->bhw", query, projected)
    after = resize(torch.einsum("o,oc,bchw->bhw", query, weight, maps).unsqueeze(1), target).squeeze(1)
    torch.testing.assert_close(product, after, rtol=1e-4, atol=1e-4)


def test_resize_to_the_same_size_is_the_identity():
    maps = torch.randn(1, 2, 3, 4)
    assert resize(maps, (3, 4)) is maps


@pytest.mark.parametrize("sizes", [(5, 9), (9, 5), (4, 8, 4), (3, 7, 2), (6, 6)])
def test_interpolation_matrix_is_one_resize_after_the_other(sizes):
    line = torch.randn(2, 3, sizes[0])
    expected = line
    for size in sizes[1:]:
        expected = torch.nn.functional.interpolate(expected, size=size, mode="linear", align_corners=False)
    torch.testing.assert_close(line @ interpolation_matrix(sizes, like=line).T, expected)


CASES = [
    ((4, 6), (8, 12)),
    ((8, 12), (16, 24)),
    ((4, 8), (8, 15)),
    ((5, 7), (9, 13)),
    ((4, 6), (4, 6)),
    ((3, 3), (7, 5)),
]


@pytest.mark.parametrize(("small", "size"), CASES)
def test_masks_are_those_of_enlarged_features(small, size):
    torch.manual_seed(0)
    maps, embeddings, projection = torch.randn(2, 8, *small), torch.randn(2, 5, 8), MaskProjection(8)
    features = projection(ResizedMaps(maps, size))
    projected = torch.nn.functional.conv2d(resize(maps, size), projection.weight, projection.bias)
    expected = torch.einsum("bne,behw->bnhw", embeddings, projected)
    torch.testing.assert_close(features.masks(embeddings), expected, rtol=0, atol=1e-5)
    at_target = features.at((4, 6)).masks(embeddings)
    torch.testing.assert_close(at_target, resize(expected, (4, 6)), rtol=0, atol=1e-5)


def test_masks_pass_the_gradients_of_a_convolution():
    torch.manual_seed(0)
    maps, embeddings, projection = torch.randn(2, 6, 3, 4), torch.randn(2, 5, 6), MaskProjection(6)
    factors = torch.randn(2, 5, 6, 8)
    (projection(ResizedMaps(maps, (6, 8))).masks(embeddings) * factors).sum().backward()
    found = [parameter.grad.clone() for parameter in projection.parameters()]
    projection.zero_grad()
    features = torch.nn.functional.conv2d(resize(maps, (6, 8)), projection.weight, projection.bias)
    (torch.einsum("bne,behw->bnhw", embeddings, features) * factors).sum().backward()
    for gradient, parameter in zip(found, projection.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("target", [(4, 6), (2, 3), (8, 12), (1, 5)])
@pytest.mark.parametrize(("small", "size"), CASES)
def test_resized_is_enlarged_and_then_resized(small, size, target, layout):
    torch.manual_seed(0)
    maps = torch.randn(2, 8, *small).contiguous(memory_format=layout)
    expected = resize(resize(maps, size), target)
    torch.testing.assert_close(ResizedMaps(maps, size).resized(target), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(ResizedMaps(maps, size).full(), resize(maps, size))


def test_accelerate_moves_all_tensors_and_nothing_else():
    features = send_to_device([plain_mask_features(torch.randn(3, 8, 2, 2), (4, 4))], "meta")[0]
    assert {features.maps.device.type, features.weight.device.type, features.bias.device.type} == {"meta"}
    assert features.size == (4, 4)


def test_frames_are_chosen_with_their_size():
    maps = torch.randn(3, 8, 2, 2)
    chosen = plain_mask_features(maps, (4, 4)).of_frames(torch.tensor([True, False, True]))
    assert torch.equal(chosen.maps, maps[[0, 2]]) and chosen.size == (4, 4)


def test_bfloat16_features_stay_bfloat16():
    features = ResizedMaps(torch.randn(1, 8, 4, 4).bfloat16(), (8, 8))
    assert features.resized((4, 4)).dtype == torch.bfloat16
    expected = resize(resize(features.maps.float(), (8, 8)), (4, 4))
    torch.testing.assert_close(features.resized((4, 4)).float(), expected, rtol=0.05, atol=0.05)
