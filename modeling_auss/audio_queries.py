"""A2U, the attention-based audio unmixing module (paper, Sec. 3.1, Fig. 3). It turns A_ori into N audio queries."""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration.configuration_auss import AussConfig
from .attention import Attention, FeedForward


class SpaceProjector(nn.Module):
    """
    Eq. 1: W_1 A_ori W_2 turns T examples of e_0 features into N queries of e features.

    The rank of the product is at most T. `query_embedding` adds a learned N x e term that distinguishes the N queries.
    The configuration can leave out each factor, to reproduce the rows of the paper's Tables 3 and 4.
    """

    def __init__(self, config: AussConfig):
        super().__init__()
        self.audio_input = config.audio_input
        self.number_projector = (
            nn.Parameter(torch.empty(config.num_queries, config.num_audio_examples))
            if config.audio_input and config.number_projector
            else None
        )
        self.channel_projector: nn.Module | None = (
            nn.Linear(config.audio_config.embedding_size, config.hidden_size, bias=False)
            if config.audio_input and config.channel_projector
            else None
        )
        self.query_embedding = (
            nn.Parameter(torch.empty(config.num_queries, config.hidden_size)) if config.query_embedding else None
        )

    def forward(self, audio_features: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """
        Args:
            audio_features: A_ori, (B, T, e_0). With `audio_input=False` only its batch size B is used.
            valid: (B, T) bool, False for the examples that a short clip lacks. These examples add nothing.

        Returns:
            (B, N, e).
        """
        if not self.audio_input:
            assert self.query_embedding is not None  # `AussConfig.validate_audio_queries` makes sure of it
            return self.query_embedding.expand(audio_features.shape[0], -1, -1)
        queries = audio_features if self.channel_projector is None else self.channel_projector(audio_features)
        queries = queries * valid.unsqueeze(-1)
        if self.number_projector is not None:
            queries = self.number_projector @ queries
        return queries if self.query_embedding is None else queries + self.query_embedding


class DependencyCatcherLayer(GradientCheckpointingLayer):
    """
    A vanilla transformer encoder layer (Eq. 2-7), equal to `torch.nn.TransformerEncoderLayer`.

    Eq. 3 prints no second layer normalisation. The text names the vanilla encoder of [37], which has one, so this
    layer has one too.
    """

    def __init__(self, config: AussConfig):
        super().__init__()
        self.self_attention = Attention(config)
        self.self_attention_norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        attended, _ = self.self_attention(queries, queries, queries)
        queries = self.self_attention_norm(queries + self.dropout(attended))
        return self.feed_forward_norm(queries + self.dropout(self.feed_forward(queries)))


class AudioQueryGenerator(nn.Module):
    """A2U: the Space Projector (Eq. 1), followed by the Dependency Catcher, which is N_a encoder layers (Eq. 2-7)."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.space_projector = SpaceProjector(config)
        self.dependency_catcher = nn.ModuleList(DependencyCatcherLayer(config) for _ in range(config.num_audio_layers))

    def forward(self, audio_features: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Turns A_ori, (B, T, e_0), and `valid`, (B, T) bool, into the audio queries A, (B, N, e)."""
        queries = self.space_projector(audio_features, valid)
        for layer in self.dependency_catcher:
            queries = layer(queries)
        return queries


def spread_frames(num_frames: int, valid: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
    """
    Returns the number of the sound example that plays while each frame is shown.

    The frames are assumed to spread evenly over the sound. If there are as many frames as examples, as in AVSBench,
    each frame gets an example of its own.

    Args:
        num_frames: F.
        valid: (B, T), 1 for the examples that are sound. They come before the padding.
        frame_mask: (B, F), 1 for the frames of a clip and 0 for padding. Only the frames of the clip share its
            sound. None means that there is no padding.

    Returns:
        (B, F) int64, 0 ... T - 1.
    """
    if frame_mask is None:
        centres = (torch.arange(num_frames, device=valid.device) + 0.5) / num_frames
    else:
        numbers = frame_mask.long().cumsum(1)  # numbers the clip's own frames 1, 2, ...
        centres = (numbers - 0.5).clamp(min=0) / frame_mask.sum(1, keepdim=True)
    return (centres * valid.sum(1, keepdim=True)).long()


def add_own_sounds(
    frame_queries: torch.Tensor, embeddings: torch.Tensor, frame_examples: torch.Tensor
) -> torch.Tensor:
    """
    Adds the embedding of a frame's own sound example to all queries of the frame.

    Args:
        frame_queries: (B, F, N, e).
        embeddings: of the examples, (B, T, e).
        frame_examples: (B, F) int64, the number of the sound example of each frame.

    Returns:
        (B, F, N, e).
    """
    own = embeddings.gather(1, frame_examples.unsqueeze(-1).expand(-1, -1, frame_queries.shape[-1]))
    return frame_queries + own.unsqueeze(2)


class FrameConditioner(nn.Module):
    """Adds the sound at a frame's time to the audio queries of that frame, so that masks can follow the sound."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.projection = nn.Linear(config.audio_config.embedding_size, config.hidden_size, bias=False)

    def forward(
        self, frame_queries: torch.Tensor, audio_features: torch.Tensor, frame_examples: torch.Tensor
    ) -> torch.Tensor:
        """
        Args:
            frame_queries: (B, F, N, e).
            audio_features: A_ori, (B, T, e_0), 0 for the examples that a clip lacks.
            frame_examples: (B, F) int64, the number of the sound example of each frame.

        Returns:
            (B, F, N, e).
        """
        return add_own_sounds(frame_queries, self.projection(audio_features), frame_examples)


__all__ = [
    "AudioQueryGenerator",
    "DependencyCatcherLayer",
    "FrameConditioner",
    "SpaceProjector",
    "add_own_sounds",
    "spread_frames",
]
