"""The audio-visual fusion module (paper, Sec. 3.1, Fig. 4). Each audio query attends to the image inside its mask."""

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
    Computes normalised two-dimensional sine embeddings, with half of the channels for each axis, as in [5].

    Returns:
        (height, channels) for the rows and (width, channels) for the columns. The embedding of a position is the sum
        of the embeddings of its row and its column.
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
    Computes the attention mask of Eq. 13, which is added to the attention scores.

    It is 0 inside the query's mask and the lowest number of the dtype outside. A query whose mask is empty attends to
    all positions, as in [5].

    Args:
        mask_logits: (B, N, h, w). This tensor is overwritten to save memory, because it is as large as the result.
        threshold: tau, a probability. A pixel is in the mask if its probability is greater than tau.

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
            maps, size, position_lines: f_i with its level embedding, in the form that `MaskedAttention` takes.
            query_positions: (N, e), added to the queries of both attentions and to the keys of self-attention.
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
    """L MATD blocks, which attend to f_1 ... f_3 in turn, and the mask head g_3 of Eq. 12."""

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
            queries: A_0, the output of A2U for each frame, (B*F, N, e).
            embeddings: f_1 ... f_3, each (B*F, e, h_i, w_i).
            mask_features: the mask features of the B*F frames.

        Returns:
            A_0 ... A_L, each (B*F, N, e).
        """
        levels = []
        for embedding, level_embedding in zip(embeddings, self.level_embedding, strict=True):
            maps = embedding.maps + level_embedding[:, None, None]
            lines = sine_position_embedding(*embedding.size, maps.shape[1], like=maps)
            # The resize commutes with the product of Eq. 12. So the attention mask is computed directly at the size
            # of the attended map.
            with torch.no_grad():
                level_mask_features = mask_features.at(embedding.size)
            levels.append(((maps, embedding.size, lines), level_mask_features))

        all_queries = [queries]
        for index, layer in enumerate(self.layers):
            image, level_mask_features = levels[index % len(levels)]
            # Call the mask head outside `no_grad`, although the attention mask needs no gradient. Autocast of older
            # torch versions caches the cast weights of a layer's first call. If that call had no gradient, later
            # calls would not train the weights.
            mask_embeddings = self.mask_head(queries)
            with torch.no_grad():
                mask = attention_mask(level_mask_features.masks(mask_embeddings), self.mask_threshold)
            queries = layer(queries, *image, self.query_position_embedding, mask)
            all_queries.append(queries)
        return tuple(all_queries)


__all__ = ["FusionBlock", "FusionDecoder", "attention_mask", "sine_position_embedding"]
