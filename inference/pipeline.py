"""`pipeline("audio-visual-segmentation")`: the masks of what sounds, from a video file or from frames and sound."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.base import ChunkPipeline

from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from .clip_batches import FrameMask, array_windows, clip_batches, frame_masks, predict, window_seconds
from .segment import DEFAULT_BATCH_SIZE, DEFAULT_FPS
from .video_reader import VideoReader

TASK = "audio-visual-segmentation"


class AudioVisualSegmentationPipeline(ChunkPipeline):
    """Finds, frame by frame, what makes the sound.

    ```python
    segmenter = pipeline("audio-visual-segmentation", model="path/to/model")
    for frame in segmenter("street.mp4", fps=5):
        for segment in frame:
            print(segment["timestamp"], segment["label"], segment["score"], segment["mask"].size)
    ```

    Input: the path of a video, or a dict of `frames` (PIL images or (F, H, W, 3) uint8), `audio` (samples,) or
    (channels, samples), `sampling_rate` in Hz, and optionally `timestamps`, the frames' times in seconds (by default
    they are spread evenly over the sound); or a list of such inputs.

    Parameters, when making or when calling the pipeline:
        fps: masks per second of a video file (5), `None` for every frame. Frames of a dict all get masks.
        frames_per_pass: frames that the network sees at once (8).

    Output: a list with an entry for each frame, itself a list of segments: dicts of `timestamp` (seconds from the
    first frame), `label`, `score` (mean over the mask, 0 without one) and `mask`, a PIL image of mode L that is 255 in
    the segment. A model of two labels gives each frame exactly one segment, "sounding", whose mask is empty where
    nothing sounds; a model of more labels gives one for each label present.
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        unknown = kwargs.keys() - {"fps", "frames_per_pass"}
        if unknown:
            raise ValueError(f"{TASK} takes fps and frames_per_pass, got {', '.join(sorted(unknown))}")
        return kwargs, {}, {}

    def preprocess(
        self,
        inputs: str | Path | dict[str, Any],
        fps: float | None = DEFAULT_FPS,
        frames_per_pass: int = DEFAULT_BATCH_SIZE,
    ) -> Iterator[dict[str, Any]]:
        seconds = window_seconds(self.model)
        reader = None
        if isinstance(inputs, dict):
            missing = {"frames", "audio", "sampling_rate"} - inputs.keys()
            if missing:
                raise ValueError(f"a dict needs frames, audio and sampling_rate, got none for {sorted(missing)}")
            windows = array_windows(**inputs, seconds=seconds)
        elif isinstance(inputs, str | Path):
            reader = VideoReader(inputs)
            windows = reader.windows(seconds, fps)
        else:
            raise ValueError(
                f"inputs must be a video's path or a dict of frames and audio, got {type(inputs).__name__}"
            )
        # Transformers gathers the pieces of an input until one is marked as the last.
        piece = None
        for following in clip_batches(windows, self.processor, frames_per_pass):
            if piece is not None:
                yield {**piece, "is_last": False}
            piece = following
        if reader is not None:
            reader.check()
        yield {**piece, "is_last": True}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        logits = predict(self.model, model_inputs)
        kept = {name: value for name, value in model_inputs.items() if name != "inputs"}
        return {**kept, "logits": logits}

    def postprocess(self, model_outputs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        frames = []
        for batch in model_outputs:
            masks = frame_masks(self.processor, batch, batch["logits"])
            frames += [self._segments(mask) for mask in masks]
        return frames

    def _segments(self, mask: FrameMask) -> list[dict[str, Any]]:
        names = self.model.config.id2label
        labels = [1] if len(names) == 2 else [label for label in np.unique(mask.segmentation).tolist() if label]
        segments = []
        for label in labels:
            chosen = mask.segmentation == label
            segments.append(
                {
                    "timestamp": mask.time,
                    "label": names[label],
                    "score": float(mask.scores[chosen].mean()) if chosen.any() else 0.0,
                    "mask": Image.fromarray(chosen.astype(np.uint8) * 255),
                }
            )
        return segments


def register_pipeline() -> None:
    """Makes `pipeline("audio-visual-segmentation")` known to Transformers; calling it again changes nothing."""
    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            pipeline_class=AudioVisualSegmentationPipeline,
            pt_model=AussForAudioVisualSegmentation,
            type="multimodal",
        )


__all__ = ["AudioVisualSegmentationPipeline", "register_pipeline"]
