"""The queries of each frame whose masks anybody reads."""

import torch


def sounding_probabilities(class_logits: torch.Tensor) -> torch.Tensor:
    """(..., N, K + 1) class logits to (..., N): how probable any label but 0, "silent", is, "no object" being last."""
    return class_logits.float().softmax(-1)[..., 1:-1].sum(-1)


def confident_rows(rows: torch.Tensor, confident: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    The confident queries of each frame, moved to the front: only their masks are ever computed.

    Args:
        rows: (M, N, e).
        confident: (M, N) bool.

    Returns:
        (M, n, e) with n the largest number in a frame, at least 1; (M, n) bool, False for the padding; and (M, n)
        int64, which query stands where. A compiled or exported graph, whose shapes must not depend on the data, keeps
        every query in its own place: n = N.
    """
    if torch.compiler.is_compiling():
        return rows, confident, torch.arange(rows.shape[1], device=rows.device).expand(confident.shape)
    most = max(1, int(confident.sum(-1).max()))
    order = confident.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[:, :most]
    chosen = rows.gather(1, order.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
    return chosen, confident.gather(1, order), order


__all__ = ["confident_rows", "sounding_probabilities"]
