"""Multi-head attention for A2U and the fusion blocks, computed by transformers' attention interface."""

from collections.abc import Callable

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import is_flash_attention_requested

from ..configuration.configuration_auss import AussConfig


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
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        blocked: torch.Tensor | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            queries: (B, N, e).
            keys, values: (B, S, e).
            blocked: (B, N or 1, S) bool, True where a query must not look; a row must not be all True.

        Returns:
            (B, N, e), and the weights (B, heads, N, S) where the attention implementation gives them.
        """
        query, key, value = (
            projection(states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection, states in ((self.q_proj, queries), (self.k_proj, keys), (self.v_proj, values))
        )  # (B, heads, N or S, head_dim)
        implementation, attention_mask = self.config._attn_implementation or "eager", None
        if blocked is not None:
            if is_flash_attention_requested(requested_attention_implementation=implementation):
                # Flash kernels know padding, but no mask for each query, and would leave it out.
                implementation = "sdpa"
            lowest = torch.full((), torch.finfo(query.dtype).min, dtype=query.dtype, device=query.device)
            attention_mask = torch.where(blocked, lowest, 0).unsqueeze(1)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        output, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.config.dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(output.flatten(2)), weights


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between: g_1 of Eq. 10, and the MLP of Eq. 3."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dropout = nn.Dropout(config.dropout)
        self.contract = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.contract(self.dropout(nn.functional.relu(self.expand(states))))


__all__ = ["Attention", "FeedForward", "eager_attention_forward"]
