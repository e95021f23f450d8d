"""Semantic inference (paper, Sec. 3.3, Eq. 20-21). It turns queries into one score for each label at each pixel."""

import torch

from .losses.query_selection import confident_rows
from .resized_maps import MaskFeatures


def semantic_scores(
    class_logits: torch.Tensor, mask_embeddings: torch.Tensor, mask_features: MaskFeatures
) -> torch.Tensor:
    """
    Computes the score of every label at every pixel.

    The score of a label is the largest p_i(c_i) * m_i(x, y) of all queries i whose most probable class c_i is that
    label. It is 0 if there is no such query. A query whose most probable class is "no object" is left out, so its mask
    is not computed.

    Args:
        class_logits: (M, N, K + 1). The last class is "no object".
        mask_embeddings: g_3(A_L), (M, N, e).
        mask_features: the mask features of the M frames.

    Returns:
        (M, K, h, w) in [0, 1]. The argmax over K is Eq. 20.
    """
    num_labels = class_logits.shape[-1] - 1
    probs = class_logits.float().softmax(-1)
    takes_part = probs.argmax(-1) != num_labels
    confidence, classes = probs[..., :num_labels].max(-1)  # Eq. 21, (M, N)
    embeddings, valid, chosen = confident_rows(mask_embeddings, takes_part)
    confidence, classes = confidence.gather(1, chosen).to(embeddings.dtype), classes.gather(1, chosen)  # (M, n)
    scores = mask_features.masks(embeddings).sigmoid()
    scores = scores * (confidence * valid)[..., None, None]
    best = scores.new_zeros(scores.shape[0], num_labels, *scores.shape[2:])
    return best.scatter_reduce(1, classes[..., None, None].expand_as(scores), scores, reduce="amax")


__all__ = ["semantic_scores"]
