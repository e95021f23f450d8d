"""What the supervised losses of every layer compare with: one segment for each label that a frame shows."""

from dataclasses import dataclass

import torch
from torch import nn

from ...configuration.configuration_auss import IGNORED_LABEL


@dataclass(frozen=True)
class FrameTargets:
    """
    Args:
        segments: (M, K, H, W) bool, where each label is.
        valid: (M, H, W) bool, the annotated pixels.
        present: (M, K) bool, the labels that a frame shows.
        shares: (M, K, h*w), each label's share of the annotated part of a mask's pixel.
        annotated: (M, 1, h*w), the annotated share of a mask's pixel.
    """

    segments: torch.Tensor
    valid: torch.Tensor
    present: torch.Tensor
    shares: torch.Tensor
    annotated: torch.Tensor


@torch.no_grad()
def frame_targets(labels: torch.Tensor, mask_size: tuple[int, int], num_labels: int) -> FrameTargets:
    """(M, H, W) int64 labels, 255 where nothing is annotated, for masks of `mask_size` = (h, w)."""
    valid = labels != IGNORED_LABEL
    segments = torch.stack([labels == label for label in range(num_labels)], dim=1)
    shares = nn.functional.adaptive_avg_pool2d(segments.float(), mask_size).flatten(2)
    annotated = nn.functional.adaptive_avg_pool2d(valid.unsqueeze(1).float(), mask_size).flatten(2)
    # The pooled target is a share of the whole pixel; the matching cost wants the share of its annotated part.
    shares = shares / annotated.clamp(min=1e-6)
    return FrameTargets(segments, valid, segments.flatten(2).any(-1), shares, annotated)


__all__ = ["FrameTargets", "frame_targets"]
