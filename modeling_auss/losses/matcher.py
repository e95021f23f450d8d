"""Which queries answer for which segment of a frame: Hungarian matching on class and dice costs (design, Sec. 4)."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn


def dice_cost(mask_probs: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """
    Dice distance of every mask to every target, with Laplace smoothing as in [6].

    Args:
        mask_probs: (M, N, P) in [0, 1].
        targets: (M, S, P) in [0, 1].
        valid: (M, 1, P) in [0, 1], the annotated share of each pixel.

    Returns:
        (M, N, S) in [0, 1].
    """
    # One factor of `valid` in each sum: a perfect mask costs nothing on half-annotated pixels either. The few targets
    # take it, not the many masks.
    targets = targets * valid
    overlap = mask_probs @ targets.mT
    total = mask_probs @ valid.mT + targets.sum(-1).unsqueeze(1)
    return 1 - (2 * overlap + 1) / (total + 1)


class HungarianMatcher(nn.Module):
    """A minimum-cost assignment of `queries_per_segment` queries to each segment that a frame shows."""

    def __init__(self, class_weight: float, dice_weight: float, queries_per_segment: int = 1):
        super().__init__()
        self.class_weight = class_weight
        self.dice_weight = dice_weight
        self.queries_per_segment = queries_per_segment

    @torch.no_grad()
    def costs(
        self,
        class_logits: torch.Tensor,
        mask_logits: torch.Tensor,
        targets: torch.Tensor,
        valid: torch.Tensor,
        present: torch.Tensor,
        segment_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            class_logits: (M, N, K + 1).
            mask_logits: (M, N, P).
            targets: (M, S, P), each segment's share of each pixel.
            valid: (M, 1, P), the annotated share of each pixel.
            present: (M, S) bool, the segments that the frame shows.
            segment_labels: (M, S) int64, the label of each segment; None where the segments are the K labels.

        Returns:
            (M, N, S) float32, what it costs to give a query to a segment; infinite for one that is not present.
        """
        class_cost = -class_logits.float().softmax(-1)[..., :-1]  # (M, N, K)
        if segment_labels is not None:
            class_cost = class_cost.gather(-1, segment_labels.unsqueeze(1).expand(-1, class_cost.shape[1], -1))
        mask_cost = dice_cost(mask_logits.float().sigmoid(), targets, valid)
        cost = self.class_weight * class_cost + self.dice_weight * mask_cost
        # NaN would make scipy refuse the frame.
        cost = torch.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=-1e6)
        return cost.masked_fill(~present.unsqueeze(1), torch.inf)

    def assign(self, costs: torch.Tensor) -> torch.Tensor:
        """
        Args:
            costs: (M, N, S), as `costs` gives them. They are copied off their device once, so stack all layers' costs.

        Returns:
            (M, S * q) int64 on the CPU with q = `queries_per_segment`: the q queries of the first segment, then those
            of the second, and so on; each query at most once, and -1 for segments that are not present. With too few
            queries the dearest places stay without one.
        """
        frames, copies = costs.cpu().numpy(), self.queries_per_segment
        matches = np.full((len(frames), frames.shape[2] * copies), -1, dtype=np.int64)
        for frame, cost in enumerate(frames):
            places = np.isfinite(cost[0]).repeat(copies).nonzero()[0]
            # A segment that takes q queries is q equal columns.
            queries, columns = linear_sum_assignment(cost[:, places // copies])
            matches[frame, places[columns]] = queries
        return torch.from_numpy(matches)

    def forward(
        self,
        class_logits: torch.Tensor,
        mask_logits: torch.Tensor,
        targets: torch.Tensor,
        valid: torch.Tensor,
        present: torch.Tensor,
        segment_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What `assign` returns for the arguments of `costs`, on their device."""
        costs = self.costs(class_logits, mask_logits, targets, valid, present, segment_labels)
        return self.assign(costs).to(class_logits.device)


__all__ = ["HungarianMatcher", "dice_cost"]
