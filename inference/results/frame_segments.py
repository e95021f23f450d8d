"""The segments of one frame, as the pipeline gives them to the user."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from ..clip_batches import FrameMask
from .separate_objects import separate_objects

QUERY_NAMES = ("audio_queries", "fused_queries", "class_scores")


class FrameSegments(list):
    """The list of the segments of one frame. It also knows what no segment can say if nothing sounds.

    Attributes:
        frame_index: the number of the frame in the video, from 0.
        timestamp: seconds from the first frame.
        size: (height, width) of the picture, in pixels.
        label_ids: the class id of each label.
        audible: whether there is any sound at that time.
    """

    def __init__(
        self,
        segments: Iterable[dict[str, Any]],
        frame_index: int,
        timestamp: float,
        size: tuple[int, int],
        label_ids: dict[str, int],
        audible: bool = True,
    ):
        super().__init__(segments)
        self.frame_index, self.timestamp, self.size, self.label_ids = frame_index, timestamp, size, label_ids
        self.audible = audible


def mask_parts(
    mask: FrameMask, names: dict[int, str], separate: bool = False, min_area: float = 0.0
) -> Iterator[tuple[str, float, np.ndarray]]:
    """Yields label, score and mask (H, W) bool of each segment of a frame, as `frame_segments` describes them."""
    labels = [1] if len(names) == 2 else [label for label in np.unique(mask.segmentation).tolist() if label]
    for label in labels:
        whole = mask.segmentation == label
        for chosen in separate_objects(whole, min_area) if separate else [whole]:
            yield names[label], float(mask.scores[chosen].mean()) if chosen.any() else 0.0, chosen


def frame_segments(
    mask: FrameMask, names: dict[int, str], separate: bool = False, min_area: float = 0.0, with_queries: bool = False
) -> FrameSegments:
    """Turns the mask of a frame into segments.

    Args:
        mask: the mask of the frame.
        names: the name of each class id, `id2label` of the model's configuration.
        separate: whether each separate object is a segment of its own; see `separate_objects`.
        min_area: as `separate_objects` takes it.
        with_queries: whether each segment gets the queries of the frame, which are None if the sound is silent.

    Returns:
        The segments. With two labels and without `separate` there is exactly one, and its mask may be empty. Otherwise
        there is one for each label that is present, or for each object, and none if nothing sounds.
    """
    queries: dict[str, Any] = {}
    if with_queries:
        queries = mask.queries or dict.fromkeys(QUERY_NAMES)
    segments = [
        {
            "timestamp": mask.time,
            "label": label,
            "score": score,
            "mask": Image.fromarray(chosen.astype(np.uint8) * 255),
            **queries,
        }
        for label, score, chosen in mask_parts(mask, names, separate, min_area)
    ]
    height, width = mask.segmentation.shape
    label_ids = {name: label for label, name in names.items()}
    return FrameSegments(segments, mask.index, mask.time, (height, width), label_ids, mask.audible)


__all__ = ["FrameSegments", "frame_segments", "mask_parts"]
