"""Hungarian matching of queries to the segments of a frame, by class and dice costs (design, Sec. 4)."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment


def dice_cost(mask_probs: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """
    Computes the dice distance of every mask to every target, with Laplace smoothing as in [6].

    Args:
        mask_probs: (M, N, P) in [0, 1].
        targets: (M, S, P) in [0, 1].
        valid: (M, 1, P) in [0, 1], the annotated share of each pixel.

    Returns:
        (M, N, S) in [0, 1].
    """
    # Each sum has exactly one factor `valid`, so a perfect mask costs nothing, even on half-annotated pixels. The
    # factor is applied to the targets, because there are fewer targets than masks.
    targets = targets * valid
    overlap = mask_probs @ targets.mT
    total = mask_probs @ valid.mT + targets.sum(-1).unsqueeze(1)
    return 1 - (2 * overlap + 1) / (total + 1)


class HungarianMatcher:
    """Assigns `queries_per_segment` queries to each segment that a frame shows, at the smallest total cost."""

    def __init__(self, class_weight: float, dice_weight: float, queries_per_segment: int = 1):
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
            targets: (M, S, P), the share of each segment in each pixel.
            valid: (M, 1, P), the annotated share of each pixel.
            present: (M, S) bool, the segments that the frame shows.
            segment_labels: (M, S) int64, the label of each segment. None if the segments are the K labels.

        Returns:
            (M, N, S) float32, the cost of assigning a query to a segment. It is infinite for a segment that the frame
            does not show.
        """
        class_cost = -class_logits.float().softmax(-1)[..., :-1]  # (M, N, K)
        if segment_labels is not None:
            class_cost = class_cost.gather(-1, segment_labels.unsqueeze(1).expand(-1, class_cost.shape[1], -1))
        mask_cost = dice_cost(mask_logits.float().sigmoid(), targets, valid)
        cost = self.class_weight * class_cost + self.dice_weight * mask_cost
        # scipy raises an error for costs with NaN, so replace it.
        cost = torch.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=-1e6)
        return cost.masked_fill(~present.unsqueeze(1), torch.inf)

    def assign(self, costs: torch.Tensor) -> torch.Tensor:
        """
        Args:
            costs: (M, N, S), the result of `costs`. Each call copies them to the CPU, so stack the costs of all layers
                and call this method once.

        Returns:
            (M, S * q) int64 on the CPU, where q is `queries_per_segment`. First come the q queries of the first
            segment, then the q queries of the second segment, and so on. A query appears at most once per frame.
            Segments that the frame does not show have -1. If there are too few queries, the most expensive places
            have -1 too.
        """
        frames, copies = costs.cpu().numpy(), self.queries_per_segment
        matches = np.full((len(frames), frames.shape[2] * copies), -1, dtype=np.int64)
        for frame, cost in enumerate(frames):
            places = np.isfinite(cost[0]).repeat(copies).nonzero()[0]
            # Each segment takes q queries, so its cost column appears q times.
            queries, columns = linear_sum_assignment(cost[:, places // copies])
            matches[frame, places[columns]] = queries
        return torch.from_numpy(matches)


__all__ = ["HungarianMatcher", "dice_cost"]
