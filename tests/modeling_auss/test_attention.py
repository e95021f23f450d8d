"""Compares attention with torch's own multi-head attention and with a loop over the heads of Eq. 7 and 14."""

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from auss.modeling_auss.attention import Attention, FeedForward, MaskedAttention, eager_attention_forward

IMPLEMENTATIONS = ("eager", "sdpa")


def make_attention(make_config, implementation="eager", attention_class=Attention, **overrides) -> Attention:
    config = make_config(**overrides)
    config._attn_implementation = implementation
    torch.manual_seed(0)
    return attention_class(config).eval()


def attend(attention: Attention, queries, keys, values, blocked=None):
    """Computes attention with a mask that is True at the positions that a query must not attend to."""
    if blocked is None:
        return attention(queries, keys, values)
    mask = torch.zeros(blocked.shape, dtype=queries.dtype).masked_fill(blocked, torch.finfo(queries.dtype).min)
    projected = attention.q_proj(queries), attention.k_proj(keys), attention.v_proj(values)
    return attention.attend(*(attention.split_heads(states) for states in projected), mask)


def literal_attention(attention: Attention, queries, keys, values, blocked=None) -> torch.Tensor:
    """Computes Eq. 14 for one clip, one head and one query at a time. Heads are slices of the projected features."""
    query, key, value = attention.q_proj(queries), attention.k_proj(keys), attention.v_proj(values)
    width = attention.head_dim
    output = torch.zeros_like(query)
    for clip in range(query.shape[0]):
        for start in range(0, query.shape[2], width):
            head = slice(start, start + width)
            for row in range(query.shape[1]):
                scores = torch.stack([query[clip, row, head] @ k[head] for k in key[clip]]) / width**0.5
                if blocked is not None:
                    scores = scores.masked_fill(blocked[clip, row], -torch.inf)
                output[clip, row, head] = scores.softmax(0) @ value[clip, :, head]
    return attention.o_proj(output)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_equals_the_loop_with_and_without_a_mask(make_config, implementation):
    attention = make_attention(make_config, implementation)
    queries, memory = torch.randn(2, 4, 16), torch.randn(2, 6, 16)
    blocked = torch.rand(2, 4, 6) > 0.5
    blocked[..., 0] = False
    for mask in (None, blocked):
        output, weights = attend(attention, queries, memory, memory + 1, mask)
        assert (weights is None) == (implementation == "sdpa")
        torch.testing.assert_close(
            output, literal_attention(attention, queries, memory, memory + 1, mask), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_equals_torch_multi_head_attention_with_copied_weights(make_config, implementation, heads):
    attention = make_attention(make_config, implementation, num_attention_heads=heads)
    reference = torch.nn.MultiheadAttention(16, heads, batch_first=True).eval()
    with torch.no_grad():
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        reference.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
        reference.in_proj_bias.copy_(torch.cat([projection.bias for projection in projections]))
    reference.out_proj.load_state_dict(attention.o_proj.state_dict())
    queries, keys, values = torch.randn(2, 5, 16), torch.randn(2, 7, 16), torch.randn(2, 7, 16)
    blocked = torch.rand(2, 5, 7) > 0.6
    blocked[..., 3] = False
    expected, _ = reference(queries, keys, values, attn_mask=blocked.repeat_interleave(heads, dim=0))
    torch.testing.assert_close(attend(attention, queries, keys, values, blocked)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_what_is_blocked_changes_nothing(make_config, implementation):
    attention = make_attention(make_config, implementation)
    queries, memory = torch.randn(1, 3, 16), torch.randn(1, 5, 16)
    blocked = torch.zeros(1, 3, 5, dtype=torch.bool)
    blocked[:, 1, 2] = True
    disturbed = memory.clone()
    disturbed[:, 2] = 100.0
    before, after = (attend(attention, queries, x, x, blocked)[0] for x in (memory, disturbed))
    assert torch.equal(before[:, 1], after[:, 1])
    assert not torch.allclose(before[:, 0], after[:, 0])


def test_one_mask_row_serves_all_queries(make_config):
    attention = make_attention(make_config)
    queries, memory = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    blocked = torch.rand(2, 1, 5) > 0.5
    blocked[..., 0] = False
    one, all_rows = (
        attend(attention, queries, memory, memory, mask)[0] for mask in (blocked, blocked.expand(2, 3, 5))
    )
    torch.testing.assert_close(one, all_rows)


def test_eager_weights_are_probabilities_and_zero_where_blocked(make_config):
    attention = make_attention(make_config)
    blocked = torch.rand(2, 3, 5) > 0.5
    blocked[..., 0] = False
    memory = torch.randn(2, 5, 16)
    _, weights = attend(attention, torch.randn(2, 3, 16), memory, memory, blocked)
    assert weights.shape == (2, 2, 3, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 3))
    assert (weights.masked_select(blocked.unsqueeze(1)) == 0).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bfloat16_mask_does_not_overflow(make_config, implementation):
    attention = make_attention(make_config, implementation).bfloat16()
    queries = torch.randn(1, 3, 16, dtype=torch.bfloat16) * 50
    blocked = torch.eye(3, dtype=torch.bool).unsqueeze(0)
    assert attend(attention, queries, queries, queries, blocked)[0].isfinite().all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_dropout_acts_in_training_only(make_config, implementation):
    attention = make_attention(make_config, implementation, dropout=0.5)
    queries = torch.randn(1, 6, 16)
    still = attention(queries, queries, queries)[0]
    assert torch.equal(still, attention(queries, queries, queries)[0])
    attention.train()
    assert not torch.allclose(still, attention(queries, queries, queries)[0])


@pytest.mark.parametrize("size", [(3, 4), (6, 8), (5, 9)])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_masked_attention_is_attention_to_the_resized_map_with_positions(make_config, implementation, size):
    attention = make_attention(make_config, implementation, MaskedAttention)
    torch.nn.init.normal_(attention.k_proj.bias)
    queries, maps = torch.randn(2, 4, 16), torch.randn(2, 16, 3, 4)
    rows, columns = torch.randn(size[0], 16), torch.randn(size[1], 16)
    blocked = torch.rand(2, 4, size[0] * size[1]) > 0.5
    blocked[..., 0] = False
    mask = torch.zeros(blocked.shape).masked_fill(blocked, torch.finfo().min)
    output, _ = attention(queries, maps, size, (rows, columns), mask)
    values = torch.nn.functional.interpolate(maps, size=size, mode="bilinear").flatten(2).transpose(1, 2)
    keys = values + torch.stack([row + column for row in rows for column in columns])
    expected = literal_attention(attention, queries, keys, values, blocked)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def test_feed_forward_is_two_layers_with_a_relu(make_config):
    feed_forward = FeedForward(make_config(intermediate_size=24)).eval()
    states = torch.randn(2, 3, 16)
    hidden = (states @ feed_forward.expand.weight.T + feed_forward.expand.bias).clamp(min=0)
    assert hidden.shape[-1] == 24
    expected = hidden @ feed_forward.contract.weight.T + feed_forward.contract.bias
    torch.testing.assert_close(feed_forward(states), expected, rtol=0, atol=1e-5)


def test_flash_kernels_get_no_mask_they_would_leave_out(make_config, monkeypatch):
    called_with = []

    def flash(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        called_with.append(attention_mask)
        return eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "flash_attention_2", flash)
    attention = make_attention(make_config, "flash_attention_2")
    queries = torch.randn(2, 4, 16)
    blocked = torch.rand(2, 4, 4) > 0.5
    blocked[..., 0] = False
    for mask in (None, blocked):
        output, _ = attend(attention, queries, queries, queries, mask)
        expected = literal_attention(attention, queries, queries, queries, mask)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    assert called_with == [None]
