"""The audio-visual fusion module (paper, Sec. 3.1, Fig. 4): audio queries attend the image where their masks are."""

import math

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration.configuration_auss import AussConfig
from .attention import Attention, FeedForward
from .mask_features import MaskFeatures


def sine_position_embedding(height: int, width: int, channels: int, like: torch.Tensor) -> torch.Tensor:
    """(height * width, channels) normalised two-dimensional sines, half of the channels for each axis, as in [5]."""
    half = channels // 2
    frequencies = 10_000 ** (-torch.arange(0, half, 2, device=like.device, dtype=torch.float32) / half)

    def embed(length: int) -> torch.Tensor:
        positions = torch.arange(1, length + 1, device=like.device, dtype=torch.float32) / length * 2 * math.pi
        angles = positions[:, None] * frequencies
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)  # (length, half)

    rows = embed(height)[:, None].expand(height, width, -1)
    columns = embed(width)[None].expand(height, width, -1)
    return torch.cat((rows, columns), dim=-1).flatten(0, 1).to(like.dtype)


def blocked_positions(mask_logits: torch.Tensor, threshold: float) -> torch.Tensor:
    """
    Eq. 13: where a query must not look. A query whose mask is empty attends everywhere, as in [5].

    Args:
        mask_logits: (B, N, h*w).
        threshold: tau, a probability.

    Returns:
        (B, N, h*w) bool, True = blocked, detached.
    """
    blocked = mask_logits.detach() <= math.log(threshold / (1 - threshold))
    return blocked & ~blocked.all(dim=-1, keepdim=True)


class FusionBlock(GradientCheckpointingLayer):
    """One MATD block: masked attention (Eq. 8), self-attention (Eq. 9), feed-forward (Eq. 10)."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.masked_attention = Attention(config)
        self.masked_attention_norm = nn.LayerNorm(config.hidden_size)
        self.self_attention = Attention(config)
        self.self_attention_norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        queries: torch.Tensor,
        image_keys: torch.Tensor,
        image_values: torch.Tensor,
        query_positions: torch.Tensor | None,
        blocked: torch.Tensor,
    ) -> torch.Tensor:
        """
        Args:
            queries: A_{l-1}, (B*F, N, e).
            image_keys, image_values: f_i flattened, (B*F, h*w, e); the keys carry positions.
            query_positions: (N, e), added to queries and keys of both attentions.
            blocked: (B*F, N, h*w), see `blocked_positions`.

        Returns:
            A_l, (B*F, N, e).
        """
        positions = 0 if query_positions is None else query_positions
        attended, _ = self.masked_attention(queries + positions, image_keys, image_values, blocked)
        queries = self.masked_attention_norm(queries + self.dropout(attended))
        attended, _ = self.self_attention(queries + positions, queries + positions, queries)
        queries = self.self_attention_norm(queries + self.dropout(attended))
        return self.feed_forward_norm(queries + self.dropout(self.feed_forward(queries)))


class FusionDecoder(nn.Module):
    """L MATD blocks over f_1 ... f_3 in round robin, with the mask head g_3 of Eq. 12."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.mask_threshold = config.mask_threshold
        self.layers = nn.ModuleList(FusionBlock(config) for _ in range(config.num_fusion_layers))
        self.level_embedding = nn.Parameter(torch.empty(len(config.feature_strides), config.hidden_size))
        self.query_position_embedding = (
            nn.Parameter(torch.empty(config.num_queries, config.hidden_size))
            if config.query_position_embedding
            else None
        )
        self.mask_head = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, queries: torch.Tensor, embeddings: list[torch.Tensor], mask_features: MaskFeatures
    ) -> tuple[torch.Tensor, ...]:
        """
        Args:
            queries: A_0, A2U's output for each frame, (B*F, N, e).
            embeddings: f_1 ... f_3, each (B*F, e, h_i, w_i).
            mask_features: h(f_4) of B*F frames.

        Returns:
            A_0 ... A_L, each (B*F, N, e).
        """
        levels = []
        for embedding, level_embedding in zip(embeddings, self.level_embedding, strict=True):
            values = embedding.flatten(2).transpose(1, 2) + level_embedding  # (B*F, h_i*w_i, e)
            height, width = embedding.shape[-2:]
            keys = values + sine_position_embedding(height, width, values.shape[-1], like=values)
            # The attention mask at the attended map's own size: the resize commutes with the product of Eq. 12.
            levels.append((keys, values, mask_features.resized((height, width)).flatten(2)))

        all_queries = [queries]
        for index, layer in enumerate(self.layers):
            keys, values, level_mask_features = levels[index % len(levels)]
            mask_logits = self.mask_head(queries) @ level_mask_features
            blocked = blocked_positions(mask_logits, self.mask_threshold)
            queries = layer(queries, keys, values, self.query_position_embedding, blocked)
            all_queries.append(queries)
        return tuple(all_queries)


__all__ = ["FusionBlock", "FusionDecoder", "blocked_positions", "sine_position_embedding"]
