"""What the supervised losses of every layer compare with: the segments of each frame."""

from dataclasses import dataclass

import torch
from torch import nn

from ...configuration.configuration_auss import IGNORED_LABEL


@dataclass(frozen=True)
class FrameTargets:
    """
    S is the largest number of segments of a frame: K where each label is a segment.

    Args:
        segments: (M, S, H, W) bool, where each segment is.
        labels: (M, S) int64, the label of each segment.
        valid: (M, H, W) bool, the annotated pixels.
        present: (M, S) bool, the segments that a frame shows.
        shares: (M, S, h*w), each segment's share of the annotated part of a mask's pixel.
        annotated: (M, 1, h*w), the annotated share of a mask's pixel.
    """

    segments: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor
    present: torch.Tensor
    shares: torch.Tensor
    annotated: torch.Tensor


@torch.no_grad()
def frame_targets(
    numbers: torch.Tensor, mask_size: tuple[int, int], num_segments: int, segment_labels: torch.Tensor | None = None
) -> FrameTargets:
    """
    The targets for masks of a size.

    Args:
        numbers: (M, H, W) int64, each pixel's segment, 255 where nothing is annotated.
        mask_size: (h, w).
        num_segments: S.
        segment_labels: (M, S) int64, the label of each segment; None where a segment's number is its label.
    """
    valid = numbers != IGNORED_LABEL
    segments = torch.stack([numbers == number for number in range(num_segments)], dim=1)
    shares = nn.functional.adaptive_avg_pool2d(segments.float(), mask_size).flatten(2)
    annotated = nn.functional.adaptive_avg_pool2d(valid.unsqueeze(1).float(), mask_size).flatten(2)
    # The pooled target is a share of the whole pixel; the matching cost wants the share of its annotated part.
    shares = shares / annotated.clamp(min=1e-6)
    if segment_labels is None:
        segment_labels = torch.arange(num_segments, device=numbers.device).expand(len(numbers), -1)
    return FrameTargets(segments, segment_labels, valid, segments.flatten(2).any(-1), shares, annotated)


__all__ = ["FrameTargets", "frame_targets"]
