"""A collated batch to the masks of its clips, a few frames at a time on a CPU, without the padding."""

from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn

from ...processing.processing_auss import AussProcessor
from ...processing.video_frames import frames_per_pass
from .metrics import OFFICIAL_SIZE


def kept_frames(batch: dict) -> torch.Tensor:
    """Returns which frames of a collated batch are real: (B, F) bool, on the device of the batch."""
    pixel_values = batch["pixel_values"]
    shape = pixel_values.shape[:2]
    return batch.get("frame_mask", torch.ones(shape, device=pixel_values.device)).bool()


def clip_labels(batch: dict) -> list[torch.Tensor]:
    """Returns the labels (F, h, w) of each clip of a collated batch, without padding, on the CPU."""
    return [labels.cpu()[kept] for labels, kept in zip(batch["labels"], kept_frames(batch).cpu(), strict=True)]


def frame_logits(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """
    Returns the network's `logits` (M, K, h, w) for the M frames of a batch that are not padding. `inputs` are the
    arguments of the network's `forward`. If a CPU gets too many frames for one pass, the frames come in several
    passes. The sound is encoded once.
    """
    kept = kept_frames(inputs)
    places = kept.nonzero()  # (M, 2): clip and frame of each kept frame
    step = frames_per_pass(inputs["pixel_values"], len(places))
    if step == len(places):
        return model(**inputs).logits[kept]
    sound = {name: value for name, value in inputs.items() if name != "pixel_values"}
    _, queries = cast(Any, model).auss.frame_queries(kept.shape[1], **sound)
    logits: torch.Tensor | None = None
    for few in torch.arange(len(places), device=places.device).split(step):
        clips, frames = places[few].unbind(1)
        one_frame_clips = inputs["pixel_values"][clips, frames].unsqueeze(1)
        found: torch.Tensor = model(
            pixel_values=one_frame_clips, frame_queries=queries[clips, frames].unsqueeze(1)
        ).logits[:, 0]
        # Allocate the result once. Small results of every pass, kept among large maps that are freed, would fragment
        # the heap.
        if logits is None:
            logits = found.new_empty(len(places), *found.shape[1:])
        logits[few] = found
    assert logits is not None  # every clip has a frame
    return logits


@torch.no_grad()
def segment_clips(model: nn.Module, processor: AussProcessor, batch: dict) -> list[dict[str, torch.Tensor]]:
    """
    Returns for each clip of a collated batch, without padding, `segmentation` and `scores`, (F, h, w) at the size of
    the clip's labels. A model of more than two labels also gives `official_segmentation`, (F, 224, 224).
    """
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "clip_id", "category")}
    counts = kept_frames(batch).sum(1).tolist()
    clips = []
    for logits, labels in zip(frame_logits(model, inputs).split(counts), batch["labels"], strict=True):
        outputs = SimpleNamespace(logits=logits.unsqueeze(0))
        (clip,) = processor.post_process_audio_visual_segmentation(outputs, [tuple(labels.shape[-2:])])
        if logits.shape[1] > 2:
            (official,) = processor.post_process_audio_visual_segmentation(outputs, [OFFICIAL_SIZE])
            clip["official_segmentation"] = official["segmentation"]
        clips.append(clip)
    return clips


__all__ = ["clip_labels", "frame_logits", "kept_frames", "segment_clips"]
