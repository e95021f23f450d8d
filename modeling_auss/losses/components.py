"""Segments by connected component: objects of one label that do not touch are separate segments (design, Sec. 4)."""

from typing import Any

import numpy as np
import torch
from scipy import ndimage

from ...configuration.configuration_auss import IGNORED_LABEL

# A component that covers a smaller share of the frame is not a segment of its own. It is merged into the largest
# component of its label.
SMALLEST_SHARE = 1e-3
DIAGONAL_TOO = np.ones((3, 3), dtype=bool)


def label_components(labels: np.ndarray, label: int, smallest: float) -> list[np.ndarray]:
    """
    Returns the components of one label in a frame (H, W), each (H, W) bool, the largest first.

    The list is empty if the frame does not have the label.
    """
    found: Any = ndimage.label(labels == label, DIAGONAL_TOO)  # scipy annotates one return type for all options
    numbers, count = found
    if count == 0:
        return []
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    order = 1 + np.argsort(-sizes, kind="stable")
    large = [number for number in order if sizes[number - 1] >= smallest] or [order[0]]
    components = [numbers == number for number in large]
    components[0] = components[0] | ((numbers > 0) & ~np.isin(numbers, large))
    return components


@torch.no_grad()
def component_segments(labels: torch.Tensor, num_labels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Numbers the segments of every frame.

    Silence, label 0, is one segment. Every other label has one segment for each connected component. Pixels that touch
    only at a corner are connected.

    Args:
        labels: (M, H, W) int64, 255 where nothing is annotated.
        num_labels: K.

    Returns:
        (M, H, W) int64, the number of each pixel's segment, 0 for silence and 255 where nothing is annotated; and
        (M, S) int64, the label of each segment. S is the largest number of segments of a frame, and at least K. A
        frame with fewer segments has the label 0 in the remaining places.
    """
    frames = labels.cpu().numpy()
    smallest = SMALLEST_SHARE * frames.shape[1] * frames.shape[2]
    numbers = np.where(frames == IGNORED_LABEL, IGNORED_LABEL, 0)
    labels_of = []
    for frame, number in zip(frames, numbers, strict=True):
        of_frame = [0]
        for label in range(1, num_labels):
            for component in label_components(frame, label, smallest):
                if len(of_frame) == IGNORED_LABEL:  # there are no numbers left
                    number[component] = IGNORED_LABEL
                    continue
                number[component] = len(of_frame)
                of_frame.append(label)
        labels_of.append(of_frame)
    most = max([num_labels, *map(len, labels_of)])
    table = np.zeros((len(frames), most), dtype=np.int64)
    for row, of_frame in zip(table, labels_of, strict=True):
        row[: len(of_frame)] = of_frame
    return torch.from_numpy(numbers).to(labels), torch.from_numpy(table).to(labels.device)


__all__ = ["component_segments"]
