"""The targets of the supervised losses: the segments of each frame."""

from dataclasses import dataclass

import torch
from torch import nn

from ...configuration.configuration_auss import IGNORED_LABEL


@dataclass(frozen=True)
class FrameTargets:
    """
    The targets of M frames. S is the largest number of segments of a frame. If each label is a segment, S is K.

    Args:
        segments: (M, S, H, W) bool, the pixels of each segment.
        labels: (M, S) int64, the label of each segment.
        valid: (M, H, W) bool, the annotated pixels.
        present: (M, S) bool, the segments that a frame shows.
        shares: (M, S, h*w). One mask pixel covers several label pixels. This is the share of each segment in the
            annotated ones of these label pixels.
        annotated: (M, 1, h*w), the share of annotated label pixels in each mask pixel.
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
    Computes the targets for masks of size `mask_size`.

    Args:
        numbers: (M, H, W) int64, the number of each pixel's segment, 255 where nothing is annotated.
        mask_size: (h, w).
        num_segments: S.
        segment_labels: (M, S) int64, the label of each segment. None if the number of a segment is its label.
    """
    valid = numbers != IGNORED_LABEL
    segments = torch.stack([numbers == number for number in range(num_segments)], dim=1)
    shares = nn.functional.adaptive_avg_pool2d(segments.float(), mask_size).flatten(2)
    annotated = nn.functional.adaptive_avg_pool2d(valid.unsqueeze(1).float(), mask_size).flatten(2)
    # Pooling gives the share in the whole mask pixel. The matching cost needs the share in its annotated part.
    shares = shares / annotated.clamp(min=1e-6)
    if segment_labels is None:
        segment_labels = torch.arange(num_segments, device=numbers.device).expand(len(numbers), -1)
    return FrameTargets(segments, segment_labels, valid, segments.flatten(2).any(-1), shares, annotated)


__all__ = ["FrameTargets", "frame_targets"]
