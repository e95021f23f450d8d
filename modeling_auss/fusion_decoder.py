"""The audio-visual fusion module (paper, Sec. 3.1, Fig. 4): audio queries attend the image where their masks are."""

import math

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration.configuration_auss import AussConfig
from .attention import Attention, FeedForward, MaskedAttention
from .resized_maps import MaskFeatures, ResizedMaps


def sine_position_embedding(
    height: int, width: int, channels: int, like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Normalised two-dimensional sines, half of the channels for each axis, as in [5].

    Returns:
        (height, channels) and (width, channels): the embedding of a position is its row's plus its column's.
    """
    half = channels // 2
    frequencies = 10_000 ** (-torch.arange(0, half, 2, device=like.device, dtype=torch.float32) / half)

    def embed(length: int) -> torch.Tensor:
        positions = torch.arange(1, length + 1, device=like.device, dtype=torch.float32) / length * 2 * math.pi
        angles = positions[:, None] * frequencies
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).to(like.dtype)  # (length, half)

    return nn.functional.pad(embed(height), (0, half)), nn.functional.pad(embed(width), (half, 0))


def attention_mask(mask_logits: torch.Tensor, threshold: float) -> torch.Tensor:
    """
    Eq. 13: what is added to attention's scores, 0 where the mask is and the dtype's lowest number where it is not. A
    query whose mask is empty attends everywhere, as in [5].

    Args:
        mask_logits: (B, N, h, w); overwritten, since they are as large as what is attended to.
        threshold: tau, a probability; a pixel of just that is not in the mask.

    Returns:
        (B, N, h*w).
    """
    mask_logits = mask_logits.flatten(2)
    lowest = torch.finfo(mask_logits.dtype).min
    logit = math.log(threshold / (1 - threshold))
    empty = mask_logits.amax(dim=-1, keepdim=True) <= logit
    mask_logits -= mask_logits.new_full((), logit).where(~empty, lowest)
    return torch.threshold_(mask_logits, 0, lowest).clamp_(max=0)


class FusionBlock(GradientCheckpointingLayer):
    """One MATD block: masked attention (Eq. 8), self-attention (Eq. 9), feed-forward (Eq. 10)."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.masked_attention = MaskedAttention(config)
        self.masked_attention_norm = nn.LayerNorm(config.hidden_size)
        self.self_attention = Attention(config)
        self.self_attention_norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        queries: torch.Tensor,
        maps: torch.Tensor,
        size: tuple[int, int],
        position_lines: tuple[torch.Tensor, torch.Tensor],
        query_positions: torch.Tensor | None,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """
        Args:
            queries: A_{l-1}, (B*F, N, e).
            maps, size, position_lines: f_i with its level embedding, as `MaskedAttention` takes it.
            query_positions: (N, e), added to queries and keys of both attentions.
            mask: (B*F, N, h*w), see `attention_mask`.

        Returns:
            A_l, (B*F, N, e).
        """
        positions = 0 if query_positions is None else query_positions
        attended, _ = self.masked_attention(queries + positions, maps, size, position_lines, mask)
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
        self, queries: torch.Tensor, embeddings: list[ResizedMaps], mask_features: MaskFeatures
    ) -> tuple[torch.Tensor, ...]:
        """
        Args:
            queries: A_0, A2U's output for each frame, (B*F, N, e).
            embeddings: f_1 ... f_3, each (B*F, e, h_i, w_i).
            mask_features: those of B*F frames.

        Returns:
            A_0 ... A_L, each (B*F, N, e).
        """
        levels = []
        for embedding, level_embedding in zip(embeddings, self.level_embedding, strict=True):
            maps = embedding.maps + level_embedding[:, None, None]
            lines = sine_position_embedding(*embedding.size, maps.shape[1], like=maps)
            # The attention mask at the attended map's own size: the resize commutes with the product of Eq. 12.
            with torch.no_grad():
                level_mask_features = mask_features.at(embedding.size)
            levels.append(((maps, embedding.size, lines), level_mask_features))

        all_queries = [queries]
        for index, layer in enumerate(self.layers):
            image, level_mask_features = levels[index % len(levels)]
            # With gradients, although none is asked for: autocast of older torch keeps the cast weights of a layer's
            # first call for its later ones, which train them.
            mask_embeddings = self.mask_head(queries)
            with torch.no_grad():
                mask = attention_mask(level_mask_features.masks(mask_embeddings), self.mask_threshold)
            queries = layer(queries, *image, self.query_position_embedding, mask)
            all_queries.append(queries)
        return tuple(all_queries)


__all__ = ["FusionBlock", "FusionDecoder", "attention_mask", "sine_position_embedding"]
