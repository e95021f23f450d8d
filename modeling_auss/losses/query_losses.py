"""The self-supervised losses on confident audio queries, AQDL and AQML, and their threshold (paper, Sec. 3.2)."""

import torch

# Keeps 1/d finite for identical queries; a squared distance this small never occurs between distinct ones in fp32.
SMALLEST_SQUARED_DISTANCE = 1e-4


def confidence_threshold(progress: float, schedule: str = "increasing") -> float:
    """
    delta of Eq. 22, 0.55 + 0.1/17 per 5,000 of 90,000 iterations, at `progress` in [0, 1] of the run; or 0.6 if fixed.
    """
    if schedule == "fixed":
        return 0.6
    return 0.55 + 0.1 / 17 * int(progress * 18)


def pair_factor(num_confident: torch.Tensor) -> torch.Tensor:
    """2 / (n (n + 1)) of Eq. 15 and 17, (M,); 0 without any confident query."""
    pairs = num_confident * (num_confident + 1)
    return torch.where(pairs > 0, 2 / pairs.clamp(min=1), 0)


def audio_query_distance_loss(queries: torch.Tensor, confident: torch.Tensor, threshold: float) -> torch.Tensor:
    """
    AQDL, Eq. 15-16: the mean over frames of 1/||a_i - a_j||^2 over pairs of confident queries closer than d_0.

    Args:
        queries: (M, N, e).
        confident: (M, N) bool, the set S_1.
        threshold: d_0, a squared distance.

    Returns:
        A scalar, not negative; 0 where no frame has two confident queries. Identical queries count as if their squared
        distance were `SMALLEST_SQUARED_DISTANCE`, without a gradient.
    """
    queries = queries.float()
    # Differences, not ||a||^2 + ||b||^2 - 2ab, which has no digits left where the loss is largest: near 0.
    distances = torch.cdist(queries, queries, compute_mode="donot_use_mm_for_euclid_dist").square()
    pairs = (confident.unsqueeze(2) & confident.unsqueeze(1)).triu(diagonal=1) & (distances < threshold)
    inverse = torch.where(pairs, 1 / distances.clamp(min=SMALLEST_SQUARED_DISTANCE), 0)
    return (pair_factor(confident.sum(-1)) * inverse.sum((1, 2))).mean()


def audio_query_mask_loss(mask_probs: torch.Tensor, confident: torch.Tensor) -> torch.Tensor:
    """
    AQML, Eq. 17-18: how much the masks of confident queries overlap, one side binarised at 0.5 and detached.

    The sum over pairs is (sum_i Bin(m_i)) . (sum_j m_j) - sum_i Bin(m_i) . m_i at every pixel, so it costs N masks and
    not N^2 pairs.

    Args:
        mask_probs: (M, N, P) in [0, 1].
        confident: (M, N) bool, the set S_2.

    Returns:
        A scalar, not negative, the mean over frames.
    """
    mask_probs = mask_probs.float() * confident.unsqueeze(-1)
    binary = (mask_probs.detach() > 0.5).float()
    overlap = binary.sum(1) * mask_probs.sum(1) - (binary * mask_probs).sum(1)  # (M, P)
    return (pair_factor(confident.sum(-1)) * overlap.mean(-1) / 2).mean()


__all__ = ["audio_query_distance_loss", "audio_query_mask_loss", "confidence_threshold"]
