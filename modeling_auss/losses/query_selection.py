"""Selects the confident queries of each frame. Only their masks are needed."""

import torch


def sounding_probabilities(class_logits: torch.Tensor) -> torch.Tensor:
    """
    Returns the probability that a query sounds.

    It is the sum of the probabilities of all classes except label 0, "silent", and the last class, "no object".

    Args:
        class_logits: (..., N, K + 1).

    Returns:
        (..., N) in [0, 1].
    """
    return class_logits.float().softmax(-1)[..., 1:-1].sum(-1)


def confident_rows(rows: torch.Tensor, confident: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Moves the confident queries of each frame to the front, so that only their masks need to be computed.

    Args:
        rows: (M, N, e).
        confident: (M, N) bool.

    Returns:
        (M, n, e), the rows; (M, n) bool, False for padding; and (M, n) int64, the query of each place. n is the
        largest number of confident queries of a frame, and at least 1. In a compiled or exported graph, shapes must
        not depend on the data, so every query keeps its place and n = N.
    """
    if torch.compiler.is_compiling():
        return rows, confident, torch.arange(rows.shape[1], device=rows.device).expand(confident.shape)
    most = max(1, int(confident.sum(-1).max()))
    order = confident.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[:, :most]
    chosen = rows.gather(1, order.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
    return chosen, confident.gather(1, order), order


__all__ = ["confident_rows", "sounding_probabilities"]
