"""Multi-head attention for A2U and the fusion blocks, computed by transformers' attention interface."""

from collections.abc import Callable

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import is_flash_attention_requested

from ..configuration.configuration_auss import AussConfig
from .resized_maps import resize


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(QK^T * scaling + mask) V, as Eq. 7 and 14; also returns the attention weights."""
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class Attention(nn.Module):
    """Scaled multi-head attention (Eq. 4-7, 14); the paper prints one unscaled head, [5] and [37] are multi-head."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            queries: (B, N, e).
            keys, values: (B, S, e).

        Returns:
            (B, N, e), and the weights (B, heads, N, S) where the attention implementation gives them.
        """
        return self.attend(self.q_proj(queries), self.k_proj(keys), self.v_proj(values))

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """From (B, N, e) and (B, S, e), projected, and a mask (B, N or 1, S) to add, to what `forward` returns."""
        query, key, value = (
            states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for states in (query, key, value)
        )  # (B, heads, N or S, head_dim)
        implementation = self.config._attn_implementation or "eager"
        if attention_mask is not None:
            attention_mask = attention_mask.to(query.dtype).unsqueeze(1)
            if is_flash_attention_requested(requested_attention_implementation=implementation):
                # Flash kernels know padding, but no mask for each query, and would leave it out.
                implementation = "sdpa"
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        dropout = self.config.dropout if self.training else 0.0
        output, weights = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        # A copy, as an exported graph may find its heads in another layout than they had when it was traced.
        return self.o_proj(output.clone(memory_format=torch.contiguous_format).flatten(2)), weights


class MaskedAttention(Attention):
    """Masked attention of queries to the positions of an image map (Eq. 8, 14)."""

    def forward(
        self,
        queries: torch.Tensor,
        maps: torch.Tensor,
        size: tuple[int, int],
        position_lines: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Keys and values are projected before the map is resized, and positions line by line: both are linear.

        Args:
            queries: (M, N, e).
            maps: (M, e, h', w'), what is attended to before its resize to `size`.
            size: (h, w).
            position_lines: (h, e) and (w, e), whose sum is a position's embedding, added to the keys only.
            attention_mask: (M, N, h*w), added to the scores; see `attention_mask`.

        Returns:
            (M, N, e), and the weights (M, heads, N, h*w) where the attention implementation gives them.
        """
        pixels = maps.permute(0, 2, 3, 1)
        projected = torch.stack((self.k_proj(pixels), self.v_proj(pixels))).permute(0, 1, 4, 2, 3)
        key, value = resize(projected.flatten(0, 1), size).permute(0, 2, 3, 1).flatten(1, 2).chunk(2)  # (M, h*w, e)
        rows, columns = position_lines
        # By the whole module, which may be quantised or adapted; its bias is in the keys already.
        bias = self.k_proj(torch.zeros_like(rows[:1]))
        positions = (self.k_proj(rows) - bias).unsqueeze(1) + (self.k_proj(columns) - bias)  # (h, w, e)
        return self.attend(self.q_proj(queries), key + positions.flatten(0, 1), value, attention_mask)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between: g_1 of Eq. 10, and the MLP of Eq. 3."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dropout = nn.Dropout(config.dropout)
        self.contract = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.contract(self.dropout(nn.functional.relu(self.expand(states))))


__all__ = ["Attention", "FeedForward", "MaskedAttention", "eager_attention_forward"]
