"""Compares the fusion module with literal code for Eq. 8-14: masked attention, block order, levels and positions."""

import pytest
import torch
from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding

from auss.modeling_auss.fusion_decoder import FusionBlock, FusionDecoder, attention_mask, sine_position_embedding
from auss.modeling_auss.resized_maps import ResizedMaps

from .conftest import plain_mask_features


def make(module_class, make_config, implementation="eager", **overrides):
    config = make_config(**overrides)
    config._attn_implementation = implementation
    torch.manual_seed(0)
    module = module_class(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.4)
    return module


def literal_attention(attention, queries, keys, values, mask=None):
    """Computes Eq. 14 for each head. `mask` (N, S) holds 0 and -inf as in Eq. 13."""
    width, heads = attention.head_dim, []
    query, key, value = attention.q_proj(queries), attention.k_proj(keys), attention.v_proj(values)
    for start in range(0, query.shape[-1], width):
        head = slice(start, start + width)
        scores = query[..., head] @ key[..., head].transpose(-1, -2) / width**0.5
        heads.append((scores if mask is None else scores + mask).softmax(-1) @ value[..., head])
    return attention.o_proj(torch.cat(heads, dim=-1))


def literal_mask(mask_logits, threshold=0.5):
    """Computes Eq. 13 at every position. A query whose mask is empty gets zeros everywhere."""
    mask = torch.full_like(mask_logits, -torch.inf)
    for frame, n, position in torch.cartesian_prod(*(torch.arange(size) for size in mask_logits.shape)):
        if mask_logits[frame, n, position].sigmoid() > threshold:
            mask[frame, n, position] = 0
    mask[(mask == -torch.inf).all(-1)] = 0
    return mask


def literal_block(block, queries, keys, values, positions, mask):
    """Computes Eq. 8, 9 and 10."""
    attended = literal_attention(block.masked_attention, queries + positions, keys, values, mask)
    queries = block.masked_attention_norm(attended + queries)
    attended = literal_attention(block.self_attention, queries + positions, queries + positions, queries)
    queries = block.self_attention_norm(attended + queries)
    hidden = (block.feed_forward.expand(queries)).clamp(min=0)
    return block.feed_forward_norm(block.feed_forward.contract(hidden) + queries)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_attention_mask_is_equation_13_with_empty_rows_open(threshold, dtype):
    torch.manual_seed(0)
    mask_logits = torch.randn(2, 4, 3, 5) * 2
    mask_logits[0, 1] = -9.0
    expected = literal_mask(mask_logits.flatten(2), threshold)
    mask = attention_mask(mask_logits.to(dtype), threshold)
    assert mask.dtype == dtype and mask.shape == (2, 4, 15)
    assert set(mask.unique().tolist()) == {0.0, torch.finfo(dtype).min}
    assert torch.equal(mask == 0, expected == 0)
    assert (mask[0, 1] == 0).all()


def test_a_probability_equal_to_the_threshold_is_blocked():
    mask = attention_mask(torch.tensor([[[[0.0, 1e-3]]]]), 0.5)
    assert mask.tolist() == [[[torch.finfo(torch.float32).min, 0.0]]]


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("positioned", [True, False])
def test_fusion_block_is_equations_8_to_10(make_config, implementation, positioned):
    block = make(FusionBlock, make_config, implementation)
    queries, maps = torch.randn(2, 8, 16), torch.randn(2, 16, 2, 5)
    rows, columns = torch.randn(2, 16), torch.randn(5, 16)
    values = maps.flatten(2).transpose(1, 2)
    keys = values + (rows.unsqueeze(1) + columns).flatten(0, 1)
    positions = torch.randn(8, 16) if positioned else None
    mask_logits = torch.randn(2, 8, 2, 5)
    mask_logits[0, 3] = -1.0  # an empty mask
    mask_logits[1, 2] = 1.0  # a full one
    mask = attention_mask(mask_logits.clone(), 0.5)
    output = block(queries, maps, (2, 5), (rows, columns), positions, mask)
    expected = literal_block(
        block, queries, keys, values, positions if positioned else 0, literal_mask(mask_logits.flatten(2))
    )
    torch.testing.assert_close(output, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("small_size", "level_size"), [((12, 16), (6, 8)), ((6, 8), (3, 4)), ((5, 9), (4, 5))])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_decoder_is_the_plain_route_in_round_robin(make_config, implementation, small_size, level_size):
    """The plain computation predicts masks at the size of f_4 and then resizes them, in every block."""
    decoder = make(FusionDecoder, make_config, implementation, num_fusion_layers=5)
    queries, small = torch.randn(2, 8, 16), torch.randn(2, 16, *small_size)
    # The second level represents an enlarged map: of the first level, or of a map whose size does not divide.
    levels = [ResizedMaps(torch.randn(2, 16, 3, 4), (3, 4)), ResizedMaps(torch.randn(2, 16, *level_size), (6, 8))]
    outputs = decoder(queries, levels, plain_mask_features(small, (12, 16)))
    embeddings = [level.full() for level in levels]
    mask_features = torch.nn.functional.interpolate(small, size=(12, 16), mode="bilinear", align_corners=False)
    assert len(outputs) == 6 and torch.equal(outputs[0], queries)

    expected, margin = queries, 1.0
    for index, block in enumerate(decoder.layers):
        level = (0, 1, 0, 1, 0)[index]
        height, width = embeddings[level].shape[-2:]
        values = embeddings[level].flatten(2).transpose(1, 2) + decoder.level_embedding[level]
        keys = values + sines(height, width, 16)
        masks = torch.einsum("bne,behw->bnhw", decoder.mask_head(expected), mask_features)
        masks = torch.nn.functional.interpolate(masks, size=(height, width), mode="bilinear", align_corners=False)
        margin = min(margin, masks.abs().min().item())
        mask = literal_mask(masks.flatten(2), decoder.mask_threshold)
        expected = literal_block(block, expected, keys, values, decoder.query_position_embedding, mask)
        torch.testing.assert_close(outputs[index + 1], expected, rtol=0, atol=5e-4)
    assert margin > 1e-5  # no mask is so close to tau that rounding decides


def test_more_levels_than_two_are_attended_in_order(make_config):
    decoder = make(FusionDecoder, make_config, num_fusion_layers=4, feature_strides=(16, 8, 4))
    seen = []
    for layer in decoder.layers:
        layer.masked_attention.register_forward_hook(lambda module, args, output: seen.append(args[2]))
    embeddings = [ResizedMaps(torch.randn(1, 16, size, size), (size, size)) for size in (1, 2, 4)]
    decoder(torch.randn(1, 8, 16), embeddings, plain_mask_features(torch.randn(1, 16, 8, 8)))
    assert seen == [(1, 1), (2, 2), (4, 4), (1, 1)]


def test_queries_without_position_embedding(make_config):
    decoder = make(FusionDecoder, make_config, query_position_embedding=False)
    assert decoder.query_position_embedding is None
    embeddings = [ResizedMaps(torch.randn(1, 16, size, size), (size, size)) for size in (2, 4)]
    # Without positions the order of the queries has no meaning, so permuting them permutes the result.
    queries, order = torch.randn(1, 8, 16), torch.randperm(8)
    arguments = (embeddings, plain_mask_features(torch.randn(1, 16, 8, 8)))
    before, after = decoder(queries, *arguments)[-1], decoder(queries[:, order], *arguments)[-1]
    torch.testing.assert_close(before[:, order], after, rtol=0, atol=1e-4)


def test_attention_masks_pass_no_gradient_but_the_maps_do(make_config):
    decoder = make(FusionDecoder, make_config)
    queries = torch.randn(1, 8, 16, requires_grad=True)
    mask_features = torch.randn(1, 16, 8, 8, requires_grad=True)
    embeddings = [torch.randn(1, 16, 2, 2, requires_grad=True), torch.randn(1, 16, 4, 4, requires_grad=True)]
    levels = [ResizedMaps(embedding, tuple(embedding.shape[-2:])) for embedding in embeddings]
    decoder(queries, levels, plain_mask_features(mask_features))[-1].square().sum().backward()
    assert mask_features.grad is None
    assert all(tensor.grad.abs().sum() > 0 for tensor in (queries, *embeddings))


def test_the_mask_head_is_never_called_without_gradients(make_config):
    """
    Autocast of older torch versions caches the cast weights of the first call. If that call had no gradient, later
    calls would not train the weights.
    """
    decoder = make(FusionDecoder, make_config)
    enabled = []
    decoder.mask_head.register_forward_hook(lambda *_: enabled.append(torch.is_grad_enabled()))
    decoder(
        torch.randn(1, 8, 16),
        [ResizedMaps(torch.randn(1, 16, 2, 2), (2, 2))] * 2,
        plain_mask_features(torch.randn(1, 16, 4, 4)),
    )
    assert enabled == [True] * 3


def sines(height: int, width: int, channels: int) -> torch.Tensor:
    """Returns the embeddings of all positions, (height * width, channels)."""
    rows, columns = sine_position_embedding(height, width, channels, like=torch.zeros(1))
    assert rows.shape == (height, channels) and columns.shape == (width, channels)
    return (rows.unsqueeze(1) + columns).flatten(0, 1)


@pytest.mark.parametrize(("height", "width", "channels"), [(3, 5, 16), (1, 1, 8), (7, 2, 32)])
def test_sine_embedding_is_mask2formers(height, width, channels):
    embedding = sines(height, width, channels)
    reference = Mask2FormerSinePositionEmbedding(num_position_features=channels // 2, normalize=True)
    expected = reference(shape=(1, 1, height, width), device=torch.device("cpu"), dtype=torch.float32)
    expected = expected.reshape(-1, channels) if expected.ndim == 3 else expected[0].flatten(1).T
    torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-4)


def test_sine_embedding_separates_the_axes_and_every_position():
    embedding = sines(6, 4, 16).view(6, 4, 16)
    assert embedding.abs().max() <= 1
    torch.testing.assert_close(embedding.square().sum(-1), torch.full((6, 4), 8.0))  # sin^2 + cos^2 = 1, eight pairs
    assert torch.equal(embedding[:, 0, :8], embedding[:, 3, :8])  # the first half does not depend on the column
    assert torch.equal(embedding[0, :, 8:], embedding[5, :, 8:])
    distances = torch.cdist(embedding.flatten(0, 1), embedding.flatten(0, 1)) + 9 * torch.eye(24)
    assert distances.min() > 0.1


def test_sine_embedding_takes_the_dtype_it_is_added_to():
    for lines in sine_position_embedding(2, 2, 8, like=torch.zeros(1, dtype=torch.bfloat16)):
        assert lines.dtype == torch.bfloat16
