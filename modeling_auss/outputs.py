"""What the models return."""

from dataclasses import dataclass

import torch
from transformers.utils.generic import ModelOutput


@dataclass
class AussModelOutput(ModelOutput):
    """
    Args:
        last_hidden_state: A_L, the fused queries, (B, F, N, e).
        audio_queries: A, A2U's output, (B, N, e).
        mask_features: f_4 of Eq. 12, before h, (B, F, e, h', w'): of the masks' size, or of f_3's where f_4 only
            enlarges it. `AussModel.mask_features` adds h, with which the masks are read from it.
        layer_queries: A_0 ... A_L, each (B, F, N, e).
        hidden_states: on request, the fusion blocks' inputs and last output, each (B*F, N, e).
        attentions: on request, the masked attentions' weights, each (B*F, heads, N, h_i*w_i); only with `eager`.
    """

    last_hidden_state: torch.Tensor | None = None
    audio_queries: torch.Tensor | None = None
    mask_features: torch.Tensor | None = None
    layer_queries: tuple[torch.Tensor, ...] | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class AussSegmentationOutput(ModelOutput):
    """
    Args:
        loss: Eq. 19 with deep supervision, a scalar, when labels were given.
        loss_dict: the last layer's terms, unweighted, by name, and `auxiliary`, the weighted sum of earlier layers'.
        logits: (B, F, K, h, w) in [0, 1]: for each label the best p_i(c_i) * m_i of the queries whose class it is,
            so that the argmax over K is Eq. 20.
        class_queries_logits: g_2(LN(A_L)) of Eq. 11, (B, F, N, K + 1); the last one is "no object".
        masks_queries_logits: the masks of Eq. 12 before the sigmoid, (B, F, N, h, w), on request only.
        audio_queries: A2U's output, (B, N, e).
        fused_queries: A_L, (B, F, N, e).
        hidden_states, attentions: as in `AussModelOutput`.
    """

    loss: torch.Tensor | None = None
    loss_dict: dict[str, torch.Tensor] | None = None
    logits: torch.Tensor | None = None
    class_queries_logits: torch.Tensor | None = None
    masks_queries_logits: torch.Tensor | None = None
    audio_queries: torch.Tensor | None = None
    fused_queries: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


__all__ = ["AussModelOutput", "AussSegmentationOutput"]
