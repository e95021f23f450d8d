"""`pipeline("audio-visual-segmentation")`: the masks of what sounds, from a video or from frames and sound."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.base import ChunkPipeline
from transformers.pipelines.pt_utils import PipelineIterator
from transformers.utils import logging

from ..files.errors import InputError
from ..files.repository_saving import RepositoryMixin
from ..hub.model_card import TASK
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.post_processing_auss import DEFAULT_THRESHOLD
from ..processing.processing_auss import AussProcessor
from ..processing.row_formats import plain_row
from .array_clip import ArrayClip
from .clip_batches import ClipBatch, FrameMask, clip_batches, frame_masks, predict
from .media.containers.decoding import DamagedVideoError
from .media.video_reader import VideoReader
from .parameters import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_FPS,
    check_audio_track,
    check_batch_size,
    check_flag,
    check_fps,
    check_threshold,
    window_and_stride,
)
from .sound_windows import window_seconds

logger = logging.get_logger(__name__)

PARAMETERS = ("fps", "window", "stride", "threshold", "audio_track", "return_queries", "stream")
REQUIRED_KEYS, OPTIONAL_KEYS = ("frames", "audio"), ("sampling_rate", "timestamps")
# What a row of `load_avsbench` holds besides: a row can be passed as it is.
ROW_COLUMNS = ("clip_id", "category", "masks", "annotated_frames", "mask_kind")


def open_clip(inputs: str | Path | dict[str, Any], audio_track: int | None = None) -> VideoReader | ArrayClip:
    """A video or a dict of frames and sound, ready to be read."""
    if isinstance(inputs, str | Path):
        reader = VideoReader(inputs, audio_track)
        if not reader.info.has_audio:
            logger.warning("%s has no sound track: it is taken as silent, so nothing in it sounds", inputs)
        return reader
    try:
        inputs = plain_row(inputs)
    except InputError as error:
        raise InputError(
            f"inputs must be a video's path or URL, or a dict of frames and audio, got {type(inputs).__name__}"
        ) from error
    inputs = {key: value for key, value in inputs.items() if key not in ROW_COLUMNS}
    missing = [key for key in REQUIRED_KEYS if inputs.get(key) is None]
    unknown = sorted(map(str, inputs.keys() - {*REQUIRED_KEYS, *OPTIONAL_KEYS}))
    if missing or unknown:
        raise InputError(
            f"a dict of inputs needs {' and '.join(REQUIRED_KEYS)} and may have {' and '.join(OPTIONAL_KEYS)}, got "
            f"none for {missing} and unknown {unknown}"
        )
    return ArrayClip(**inputs)


def check_heads(model: Any) -> None:
    """
    Raises:
        ValueError: a model without heads, or one whose heads are random since it was loaded from one without.
    """
    # By name: of a model out of a repository the class is another one than that imported here.
    if not hasattr(model, "auss"):
        raise InputError(f"model must be an AussForAudioVisualSegmentation, got {type(model).__name__}, without heads")
    if getattr(model.config, "architectures", None) == ["AussModel"]:
        name = getattr(model, "name_or_path", "") or "the model"
        raise InputError(
            f"{name} was saved from AussModel, without heads, and masks of random ones mean nothing: load an "
            "AussForAudioVisualSegmentation. If these heads have been trained since, save the model first"
        )


class AudioVisualSegmentationPipeline(RepositoryMixin, ChunkPipeline):
    """Finds, frame by frame, what makes the sound.

    ```python
    segmenter = pipeline("audio-visual-segmentation", model="path/to/model")
    for frame in segmenter("street.mp4", fps=5, stream=True):
        for segment in frame:
            print(segment["timestamp"], segment["label"], segment["score"], segment["mask"].size)
    ```

    Parameters, when making or when calling the pipeline:
        fps (`float`, *optional*, defaults to 5): masks per second of a video, `None` for every frame. Frames of a dict
            all get masks.
        window (`float`, *optional*): seconds of sound that a frame is seen with, at most what the model takes, which
            is the default. Where the sound changes within them, a frame is seen with its own side of the change, and
            a sound that is shorter than the window is repeated until it is as long.
        stride (`float`, *optional*): seconds from the start of one window to that of the next, at most `window`, which
            is the default. Where windows overlap, a frame gets the mean of what the network makes of it with each,
            the more of a window's the nearer its middle the frame is.
        threshold (`float`, *optional*, defaults to 0.5): the score over which a pixel sounds, in [0, 1]. With more
            labels a pixel has the best of them where that one's share against silence is over the threshold.
        audio_track (`int`, *optional*): the number of the sound track of a video that is heard, from 1. By default the
            one that a player would choose, unless it is silent and another one sounds. The sound of a dict has none.
        batch_size (`int`, *optional*, defaults to 8): frames that the network sees at once, of one input.
        return_queries (`bool`, *optional*, defaults to `False`): also return what the masks were made of.
        stream (`bool`, *optional*, defaults to `False`): return an iterator of a video's frames instead of a list. It
            takes no more memory for an hour than for ten seconds; a list grows by its masks.
    """

    model: AussForAudioVisualSegmentation
    processor: AussProcessor

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: Any, batch_size: int | None = None, **kwargs: Any):
        batch_size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
        check_batch_size(batch_size)
        super().__init__(*args, batch_size=batch_size, **kwargs)
        check_heads(self.model)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Segments one input or several.

        Args:
            inputs: the path or the http(s) URL of a video; or a dict of `frames` (a list of PIL images or an array
                (F, H, W, 3) uint8), `audio` (samples,) or (channels, samples), `sampling_rate` in Hz unless `audio` is
                a dict of `array` and `sampling_rate` or an `AudioDecoder` of `datasets`, and optionally `timestamps`,
                the frames' times in seconds (by default they are spread evenly over the sound). A row of
                `load_avsbench`, in whatever format, is such a dict. Or a list of such inputs, a generator, a data set
                of `datasets` or a `torch.utils.data.Dataset`.
            kwargs: the parameters of the class, for this call.

        Returns:
            For one input a list with an entry for each frame, or an iterator of these with `stream`; for a list of
            inputs a list of that, for a generator or a data set an iterator. A frame's entry is a list of segments,
            dicts of `timestamp` (`float`, seconds from the first frame), `label` (`str`), `score` (`float`, the mean
            of the pixels' scores over the mask, 0 without one) and `mask` (a PIL image of mode L, of the upright
            picture's size, 255 in the segment and 0 elsewhere). A model of two labels gives each frame exactly one
            segment, "sounding", whose mask is empty where nothing sounds; a model of more labels gives one for each
            label present, and a frame where nothing sounds is then an empty list. With `return_queries` each segment
            also has its frame's `audio_queries` (N, e), `fused_queries` (N, e) and `class_scores` (N, K + 1), the
            probabilities of the labels and of "no object", as float32 tensors; of overlapping windows, those of the
            one whose middle is nearest; `None` where the sound is silent, since the network is then not asked.

        Raises:
            FileNotFoundError, IsADirectoryError: there is no such video.
            ValueError: a parameter out of its range; no video, only sound, frames and sound that do not fit.
            DamagedVideoError: a video could not be read to its end. It is raised after the last frame that could; a
                list of those is then in the error's `frames`.
        """
        if hasattr(inputs, "features") and hasattr(inputs, "column_names"):  # a data set of `datasets`
            inputs = (row for row in inputs)
        if isinstance(inputs, list) and not inputs:  # Transformers would look at the first one
            return []
        return super().__call__(inputs, **kwargs)

    def _save_itself(self, folder: Path, **kwargs: Any) -> None:
        # The code is added once, for all of the pipeline.
        self.processor.save_pretrained(folder, with_code=False)
        self.model.save_pretrained(folder, with_code=False, **kwargs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        unknown = kwargs.keys() - set(PARAMETERS)
        if unknown:
            raise InputError(f"{TASK} takes {', '.join(PARAMETERS)} and batch_size, got {', '.join(sorted(unknown))}")
        if "fps" in kwargs:
            check_fps(kwargs["fps"])
        if "threshold" in kwargs:
            check_threshold(kwargs["threshold"])
        if kwargs.get("audio_track") is not None:
            check_audio_track(kwargs["audio_track"])
        for name in ("return_queries", "stream"):
            if name in kwargs:
                check_flag(name, kwargs[name])
        window_and_stride(window_seconds(self.model), kwargs.get("window"), kwargs.get("stride"))

        def chosen(*names: str) -> dict[str, Any]:
            return {name: kwargs[name] for name in names if name in kwargs}

        return (
            chosen("fps", "window", "stride", "audio_track"),
            chosen("return_queries"),
            chosen("threshold", "stream"),
        )

    def get_iterator(
        self,
        inputs: Iterable,
        num_workers: int,
        batch_size: int,
        preprocess_params: dict,
        forward_params: dict,
        postprocess_params: dict,
    ) -> PipelineIterator:
        """One result after the other. Inputs differ in length and are no batch; the frames of each are batched."""
        check_batch_size(batch_size)
        if num_workers:
            logger.warning_once(f"{TASK} reads videos while it goes along: num_workers={num_workers} has no effect")
        if isinstance(inputs, Dataset):
            inputs = DataLoader(inputs, batch_size=None, collate_fn=lambda item: item)
        params = {
            "preprocess_params": {**preprocess_params, "batch_size": batch_size},
            "forward_params": forward_params,
            "postprocess_params": postprocess_params,
        }
        return PipelineIterator(inputs, self.run_single, params)

    def run_single(
        self, inputs: Any, preprocess_params: dict, forward_params: dict, postprocess_params: dict
    ) -> list | Iterator:
        """All frames of one input, as a list or, with `stream`, as an iterator."""
        params = dict(postprocess_params)
        stream = params.pop("stream", False)
        batches = self.preprocess(inputs, **preprocess_params)
        # Each frame is handed out before the next batch is read: nothing is gathered here.
        frames = (
            frame
            for batch in batches
            for frame in self.postprocess(cast(dict[str, Any], self.forward(batch, **forward_params)), **params)
        )
        if stream:
            return frames
        found = []
        try:
            for frame in frames:
                found.append(frame)
        except DamagedVideoError as error:
            message = f"{error}. The {len(found)} frames that could be segmented are in this error's `frames`"
            raise DamagedVideoError(message, found) from error
        return found

    def preprocess(
        self,
        inputs: str | Path | dict[str, Any],
        fps: float | None = DEFAULT_FPS,
        window: float | None = None,
        stride: float | None = None,
        audio_track: int | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> Iterator[ClipBatch]:
        """One input's frames, a batch at a time, each with its windows of sound."""
        window, stride = window_and_stride(window_seconds(self.model), window, stride)
        return self._batches(open_clip(inputs, audio_track), window, stride, fps, batch_size)

    def _batches(self, clip: VideoReader | ArrayClip, *settings: Any) -> Iterator[ClipBatch]:
        yield from clip_batches(clip, self.processor, *settings, hears=self.model.config.audio_input)
        clip.check()

    def _forward(self, batch: ClipBatch, return_queries: bool = False) -> dict[str, Any]:
        return {"batch": batch, **predict(self.model, batch, return_queries)}

    def postprocess(
        self, model_outputs: dict[str, Any], threshold: float = DEFAULT_THRESHOLD
    ) -> Iterator[list[dict[str, Any]]]:
        """The segments of each frame of a batch."""
        for mask in frame_masks(self.processor, **model_outputs, threshold=threshold):
            yield self._segments(mask, with_queries=model_outputs["queries"] is not None)

    def _segments(self, mask: FrameMask, with_queries: bool) -> list[dict[str, Any]]:
        names = self.model.config.id2label
        labels = [1] if len(names) == 2 else [label for label in np.unique(mask.segmentation).tolist() if label]
        queries: dict[str, Any] = {}
        if with_queries:
            queries = mask.queries or dict.fromkeys(("audio_queries", "fused_queries", "class_scores"))
        segments = []
        for label in labels:
            chosen = mask.segmentation == label
            segments.append(
                {
                    "timestamp": mask.time,
                    "label": names[label],
                    "score": float(mask.scores[chosen].mean()) if chosen.any() else 0.0,
                    "mask": Image.fromarray(chosen.astype(np.uint8) * 255),
                    **queries,
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
