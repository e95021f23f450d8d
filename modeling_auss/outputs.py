"""The output classes of the models."""

from dataclasses import dataclass

import torch
from transformers.utils.generic import ModelOutput


@dataclass
class AussModelOutput(ModelOutput):
    """
    Args:
        last_hidden_state: A_L, the fused queries, (B, F, N, e).
        audio_queries: A, the output of A2U, (B, N, e).
        mask_features: f_4 of Eq. 12 before the projection h, (B, F, e, h', w'). It has the size of the masks. If f_4
            is only an enlarged f_3, it has the size of f_3. `AussModel.mask_features` adds h and returns the object
            that computes the masks.
        layer_queries: A_0 ... A_L, each (B, F, N, e).
        hidden_states: on request, the input of each fusion block and the output of the last one, each (B*F, N, e).
        attentions: on request, the weights of each masked attention, each (B*F, heads, N, h_i*w_i). They exist only
            with the attention implementation `eager`.
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
        loss_dict: the unweighted loss terms of the last layer by name, and `auxiliary`, the weighted sum of the terms
            of the earlier layers.
        logits: (B, F, K, h, w) in [0, 1]. The score of a label is the largest p_i(c_i) * m_i of all queries i whose
            most probable class c_i is that label. The argmax over K is Eq. 20.
        class_queries_logits: g_2(LN(A_L)) of Eq. 11, (B, F, N, K + 1). The last class is "no object".
        masks_queries_logits: the masks of Eq. 12 before the sigmoid, (B, F, N, h, w), on request only.
        audio_queries: the output of A2U, (B, N, e).
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
