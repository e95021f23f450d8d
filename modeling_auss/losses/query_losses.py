"""The self-supervised losses on confident audio queries, AQDL and AQML, and their threshold (paper, Sec. 3.2)."""

import torch

# Keeps 1/d finite for identical queries. In float32, distinct queries never have a squared distance this small.
SMALLEST_SQUARED_DISTANCE = 1e-4


def confidence_threshold(progress: float, schedule: str = "increasing") -> float:
    """
    Returns delta of Eq. 22.

    In the paper, delta starts at 0.55 and increases by 0.1/17 every 5,000 of 90,000 iterations. Here `progress` is the
    finished part of the run, in [0, 1]. With the schedule "fixed", delta is 0.6.
    """
    if schedule == "fixed":
        return 0.6
    return 0.55 + 0.1 / 17 * int(progress * 18)


def pair_factor(num_confident: torch.Tensor) -> torch.Tensor:
    """Returns the factor 2 / (n (n + 1)) of Eq. 15 and 17, (M,). It is 0 in frames without a confident query."""
    pairs = num_confident * (num_confident + 1)
    return torch.where(pairs > 0, 2 / pairs.clamp(min=1), 0)


def audio_query_distance_loss(queries: torch.Tensor, confident: torch.Tensor, threshold: float) -> torch.Tensor:
    """
    Computes AQDL (Eq. 15-16).

    The loss of a frame sums 1/||a_i - a_j||^2 over the pairs of confident queries that are closer than d_0, times the
    factor of `pair_factor`. The result is the mean over frames.

    Args:
        queries: (M, N, e).
        confident: (M, N) bool, the set S_1.
        threshold: d_0, a squared distance.

    Returns:
        A scalar, not negative. It is 0 if no frame has two confident queries. Identical queries count as if their
        squared distance were `SMALLEST_SQUARED_DISTANCE`, and they have no gradient.
    """
    queries = queries.float()
    # Compute the distances from differences. The formula ||a||^2 + ||b||^2 - 2ab loses all digits near distance 0,
    # which is where the loss is largest.
    distances = torch.cdist(queries, queries, compute_mode="donot_use_mm_for_euclid_dist").square()
    pairs = (confident.unsqueeze(2) & confident.unsqueeze(1)).triu(diagonal=1) & (distances < threshold)
    inverse = torch.where(pairs, 1 / distances.clamp(min=SMALLEST_SQUARED_DISTANCE), 0)
    return (pair_factor(confident.sum(-1)) * inverse.sum((1, 2))).mean()


def audio_query_mask_loss(mask_probs: torch.Tensor, confident: torch.Tensor) -> torch.Tensor:
    """
    Computes AQML (Eq. 17-18), which measures how much the masks of confident queries overlap.

    In each pair, one of the two masks is binarised at 0.5 and detached. At every pixel, the sum over pairs equals
    (sum_i Bin(m_i)) . (sum_j m_j) - sum_i Bin(m_i) . m_i. So the cost grows with the N masks and not with N^2 pairs.

    Args:
        mask_probs: (M, N, P) in [0, 1].
        confident: (M, N) bool, the set S_2.

    Returns:
        A scalar, the mean over frames, not negative.
    """
    mask_probs = mask_probs.float() * confident.unsqueeze(-1)
    binary = (mask_probs.detach() > 0.5).float()
    overlap = binary.sum(1) * mask_probs.sum(1) - (binary * mask_probs).sum(1)  # (M, P)
    return (pair_factor(confident.sum(-1)) * overlap.mean(-1) / 2).mean()


__all__ = ["audio_query_distance_loss", "audio_query_mask_loss", "confidence_threshold"]
