"""`pipeline("audio-visual-segmentation")`: the masks of what sounds, from a video or from frames and sound."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.base import ChunkPipeline
from transformers.pipelines.pt_utils import PipelineIterator
from transformers.utils import logging

from ..files.errors import InputError
from ..files.file_names import printable
from ..files.repository_saving import RepositoryMixin
from ..hub.exported_model import AnyAuss, ExportedAuss
from ..hub.model_card import TASK
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.post_processing_auss import DEFAULT_THRESHOLD
from ..processing.processing_auss import AussProcessor
from ..processing.row_formats import plain_row
from .array_clip import ArrayClip
from .clip_batches import ClipBatch, clip_batches, frame_masks, predict
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
from .results.frame_segments import FrameSegments, frame_segments
from .results.separate_objects import DEFAULT_MIN_AREA, check_min_area
from .sound_windows import window_seconds

logger = logging.get_logger(__name__)

PARAMETERS = ("fps", "window", "stride", "threshold", "audio_track", "return_queries", "stream")
PARAMETERS += ("separate_objects", "min_area")
REQUIRED_KEYS, OPTIONAL_KEYS = ("frames", "audio"), ("sampling_rate", "timestamps")
# Other columns of a row of `load_avsbench`. They are ignored, so that a row can be passed unchanged.
ROW_COLUMNS = ("clip_id", "category", "masks", "annotated_frames", "mask_kind")


def open_clip(inputs: str | Path | dict[str, Any], audio_track: int | None = None) -> VideoReader | ArrayClip:
    """Opens a video, or a dict of frames and sound, for reading."""
    if isinstance(inputs, str | Path):
        reader = VideoReader(inputs, audio_track)
        if not reader.info.has_audio:
            logger.warning("%s has no sound track: it is taken as silent, so nothing in it sounds", printable(inputs))
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
    Checks that a model has trained heads.

    Raises:
        ValueError: the model has no heads, or its heads are random because it was loaded from a model without heads.
    """
    # The check is by name: the class of a model from a repository is not the class that is imported here.
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
        fps (`float`, *optional*, defaults to 5): masks per second of a video; `None` makes a mask for every frame. All
            frames of a dict get masks.
        window (`float`, *optional*): seconds of sound that the network combines with a frame. The default is also the
            maximum: what the model takes. If the sound changes within a window, the frame is combined with its own
            side of the change. A sound that is shorter than the window is repeated to the length of the window.
        stride (`float`, *optional*): seconds from the start of one window to the start of the next. The default is
            also the maximum: `window`. If windows overlap, a frame gets the weighted mean of the results for its
            windows. The nearer the frame is to the middle of a window, the more that window counts.
        threshold (`float`, *optional*, defaults to 0.5): a pixel sounds if its score, in [0, 1], is higher. In a model
            with more than two labels a pixel gets its best label if the share of that label against silence is higher.
        audio_track (`int`, *optional*): the number of the sound track of a video that is heard, from 1. The default is
            the track that a player would choose, unless it is silent and another one sounds. A dict has no tracks.
        separate_objects (`bool`, *optional*, defaults to `False`): make a segment of each separate object, the largest
            first, instead of one of each label. Objects that touch are one. They are not followed from frame to frame.
        min_area (`float`, *optional*, defaults to 0.001): with `separate_objects`, the least share of the picture that
            an object covers. Smaller parts are left out.
        batch_size (`int`, *optional*, defaults to 8): the number of frames of one input that the network sees at once.
        return_queries (`bool`, *optional*, defaults to `False`): also return the queries that the masks were made
            from.
        stream (`bool`, *optional*, defaults to `False`): return an iterator of frames instead of a list. An iterator
            needs the same memory for an hour of video as for ten seconds; a list holds all masks.
    """

    model: AnyAuss
    processor: AussProcessor

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: Any, batch_size: int | None = None, **kwargs: Any):
        model = kwargs.get("model", args[0] if args else None)
        if hasattr(model, "auss") and not isinstance(model, PreTrainedModel) and kwargs.get("device") is None:
            kwargs["device"] = -1  # an exported network runs on the CPU; Transformers would choose a GPU
        batch_size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
        check_batch_size(batch_size)
        super().__init__(*args, batch_size=batch_size, **kwargs)
        check_heads(self.model)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Segments one input or several.

        Args:
            inputs: one input, or several. One input is the path or the http(s) URL of a video, or a dict. Several
                inputs are a list, a generator, a data set of `datasets` or a `torch.utils.data.Dataset`. A dict has
                `frames` (a list of PIL images or an array (F, H, W, 3) uint8), `audio` as (samples,) or
                (channels, samples), and `sampling_rate` in Hz. `audio` may also be a dict of `array` and
                `sampling_rate`, or an `AudioDecoder` of `datasets`; it then has its own rate. The dict may have
                `timestamps`, the times of the frames in seconds. By default they are spread evenly over the sound. A
                row of `load_avsbench`, in any format, is such a dict.
            kwargs: the parameters of the class, for this call.

        Returns:
            For one input, a list with an entry for each frame, or with `stream` an iterator of these entries. For a
            list of inputs, a list of such results. For a generator or a data set, an iterator of such results.

            The entry of a frame is a list of segments. A segment is a dict of `timestamp` (`float`, seconds from the
            first frame), `label` (`str`), `score` (`float`, the mean score of the pixels in the mask; 0 if the mask is
            empty) and `mask` (a PIL image of mode L in the size of the upright picture, 255 in the segment and 0
            elsewhere). A model of two labels gives each frame exactly one segment, "sounding"; its mask is empty if
            nothing sounds. A model of more labels gives one segment for each label present; the list is empty if
            nothing sounds. With `separate_objects` there is a segment for each object, and none if nothing sounds.
            The list of a frame also has the attributes `timestamp`, `frame_index` (the number of the frame in the
            video) and `size` (height, width), which an empty list has, too.

            With `return_queries` each segment also has the `audio_queries` (N, e), `fused_queries` (N, e) and
            `class_scores` (N, K + 1) of its frame as float32 tensors. `class_scores` are the probabilities of the
            labels and of "no object". If windows overlap, these come from the audible window whose middle is nearest.
            They are `None` if the sound is silent, since the network does not run then.

        Raises:
            FileNotFoundError, IsADirectoryError: there is no such video.
            ValueError: a parameter is out of its range; the file is no video or holds only sound; or frames and sound
                do not fit.
            DamagedVideoError: a video could not be read to its end. The error is raised after the last readable frame.
                Without `stream`, its attribute `frames` is the list of the readable frames.
        """
        if hasattr(inputs, "features") and hasattr(inputs, "column_names"):  # a data set of `datasets`
            inputs = (row for row in inputs)
        if isinstance(inputs, list) and not inputs:  # Transformers would access the first input
            return []
        return super().__call__(inputs, **kwargs)

    def _save_itself(self, folder: Path, **kwargs: Any) -> None:
        # The code is added once, for the whole pipeline.
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
        if "min_area" in kwargs:
            check_min_area(kwargs["min_area"])
        for name in ("return_queries", "stream", "separate_objects"):
            if name in kwargs:
                check_flag(name, kwargs[name])
        window_and_stride(window_seconds(self.model), kwargs.get("window"), kwargs.get("stride"))

        def chosen(*names: str) -> dict[str, Any]:
            return {name: kwargs[name] for name in names if name in kwargs}

        return (
            chosen("fps", "window", "stride", "audio_track"),
            chosen("return_queries"),
            chosen("threshold", "stream", "separate_objects", "min_area"),
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
        """Yields one result per input. Inputs differ in length, so only the frames of one input form batches."""
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
        """Returns all frames of one input as a list, or with `stream` as an iterator."""
        params = dict(postprocess_params)
        stream = params.pop("stream", False)
        batches = self.preprocess(inputs, **preprocess_params)
        # All frames of a batch are handed out before the next batch is read, so nothing is gathered here.
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
        """Yields the frames of one input in batches, each frame with its windows of sound."""
        window, stride = window_and_stride(window_seconds(self.model), window, stride)
        return self._batches(open_clip(inputs, audio_track), window, stride, fps, batch_size)

    def _batches(self, clip: VideoReader | ArrayClip, *settings: Any) -> Iterator[ClipBatch]:
        yield from clip_batches(clip, self.processor, *settings, hears=self.model.config.audio_input)
        clip.check()

    def _forward(self, batch: ClipBatch, return_queries: bool = False) -> dict[str, Any]:
        return {"batch": batch, **predict(self.model, batch, return_queries)}

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        threshold: float = DEFAULT_THRESHOLD,
        separate_objects: bool = False,
        min_area: float = DEFAULT_MIN_AREA,
    ) -> Iterator[FrameSegments]:
        """Yields the list of segments of each frame of a batch."""
        names, with_queries = self.model.config.id2label, model_outputs["queries"] is not None
        for mask in frame_masks(self.processor, **model_outputs, threshold=threshold):
            yield frame_segments(mask, names, separate_objects, min_area, with_queries)


def register_pipeline(default: dict[str, Any] | None = None) -> None:
    """
    Registers `pipeline("audio-visual-segmentation")` with Transformers. A second call changes nothing.

    Args:
        default: {"model": (folder or repository, revision)}, the model that is used where none is given; or None.
    """
    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            pipeline_class=AudioVisualSegmentationPipeline,
            # `pipeline` tries the classes in turn on a folder. The second one reads what `auss export` wrote.
            pt_model=cast(Any, (AussForAudioVisualSegmentation, ExportedAuss)),
            default=default,
            type="multimodal",
        )


__all__ = ["AudioVisualSegmentationPipeline", "register_pipeline"]
