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
    """Computes softmax(QK^T * scaling + mask) V, as in Eq. 7 and 14. Returns the result and the attention weights."""
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class Attention(nn.Module):
    """
    Scaled multi-head attention (Eq. 4-7, 14).

    The paper prints one head without scaling. Its sources [5] and [37] use several scaled heads, and so do we.
    """

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
            (B, N, e), and the weights (B, heads, N, S). The weights are None if the attention implementation does not
            return them.
        """
        projected = self.q_proj(queries), self.k_proj(keys), self.v_proj(values)
        return self.attend(*(self.split_heads(states) for states in projected))

    def split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """Splits the channels into heads: (..., S, e) to (..., heads, S, head_dim)."""
        return states.unflatten(-1, (-1, self.head_dim)).transpose(-3, -2)

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Computes attention from queries, keys and values that are already projected.

        Args:
            query: (B, heads, N, head_dim).
            key, value: (B, heads, S, head_dim).
            attention_mask: (B, N or 1, S), added to the scores.

        Returns:
            The same as `forward`.
        """
        implementation = self.config._attn_implementation or "eager"
        if attention_mask is not None:
            attention_mask = attention_mask.to(query.dtype).unsqueeze(1)
            if is_flash_attention_requested(requested_attention_implementation=implementation):
                # Flash kernels accept a padding mask, but no mask per query. They would ignore this mask.
                implementation = "sdpa"
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        dropout = self.config.dropout if self.training else 0.0
        output, weights = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        # An exported graph may get the heads in another memory layout than at tracing, so copy them to a fixed one.
        return self.o_proj(output.clone(memory_format=torch.contiguous_format).flatten(2)), weights


class MaskedAttention(Attention):
    """Masked attention of queries to the positions of an image map (Eq. 8, 14)."""

    def resized_heads(self, states: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """
        Resizes a map and splits it into heads: (M, h', w', e) to (M, heads, h*w, head_dim).

        The channels of a head are adjacent in memory, which is the layout that attention reads.
        """
        heads = states.unflatten(-1, (-1, self.head_dim)).movedim(-2, 1)  # (M, heads, h', w', head_dim)
        resized = resize(heads.flatten(0, 1).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last), size)
        return resized.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, heads.shape[:2])

    def forward(
        self,
        queries: torch.Tensor,
        maps: torch.Tensor,
        size: tuple[int, int],
        position_lines: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Projection and resize are both linear and commute. So keys and values are projected before the map is
        resized, and the position embeddings are projected as rows and columns, not as one full map.

        Args:
            queries: (M, N, e).
            maps: (M, e, h', w'), the attended map before its resize to `size`.
            size: (h, w).
            position_lines: (h, e) for the rows and (w, e) for the columns. Their sum is the embedding of a position.
                It is added to the keys only.
            attention_mask: (M, N, h*w), added to the scores; see `attention_mask`.

        Returns:
            (M, N, e), and the weights (M, heads, N, h*w). The weights are None if the attention implementation does
            not return them.
        """
        pixels = maps.permute(0, 2, 3, 1)
        key, value = (self.resized_heads(project(pixels), size) for project in (self.k_proj, self.v_proj))
        # Call the whole module and not its weight, because the module may be quantised or carry an adapter. The keys
        # already contain the bias, so subtract it here.
        bias = self.k_proj(torch.zeros_like(position_lines[0][:1]))
        rows, columns = (self.split_heads(self.k_proj(lines) - bias) for lines in position_lines)
        key = (key.unflatten(2, size) + rows.unsqueeze(2)).add_(columns.unsqueeze(1)).flatten(2, 3)
        return self.attend(self.split_heads(self.q_proj(queries)), key, value, attention_mask)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them: g_1 of Eq. 10, and the MLP of Eq. 3."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dropout = nn.Dropout(config.dropout)
        self.contract = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.contract(self.dropout(nn.functional.relu(self.expand(states))))


__all__ = ["Attention", "FeedForward", "MaskedAttention", "eager_attention_forward"]
