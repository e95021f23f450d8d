"""`AussProcessor` turns frames and sound into the network's inputs, and the network's output into masks."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from transformers import BatchFeature, FeatureExtractionMixin
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin
from transformers.video_processing_utils import VideoProcessorMixin

from ..files.errors import InputError
from ..files.repository_saving import RepositoryMixin
from .audio_inputs import decoded_audio
from .post_processing_auss import DEFAULT_THRESHOLD, post_process_audio_visual_segmentation
from .video_frames import list_of_videos
from .waveforms import list_of_waveforms


class AussProcessor(RepositoryMixin, ProcessorMixin):
    """Joins an `AussFeatureExtractor` for the sound and an `AussVideoProcessor` for the frames.

    Args:
        feature_extractor: an `AussFeatureExtractor`, which turns waveforms into log-mel examples.
        video_processor: an `AussVideoProcessor`, which turns frames into normalised pixels.
    """

    valid_processor_kwargs = ProcessingKwargs
    # `Trainer` reads the special tokens of a processor's tokenizer and fails without a tokenizer. This stand-in has no
    # tokens. It is a class attribute and not an argument of `__init__`, so it is not saved as a part of the processor.
    tokenizer = SimpleNamespace(eos_token_id=None, bos_token_id=None, pad_token_id=None, init_kwargs={})

    def __init__(self, feature_extractor, video_processor):
        super().__init__(feature_extractor, video_processor)

    @staticmethod
    def get_possibly_dynamic_module(module_name: str) -> Any:
        """
        Returns the class that a processor's file names, as Transformers does.

        Raises:
            ValueError: it is a class of models. Transformers would load a model for it, from any folder or repository
                that the file names.
        """
        found = ProcessorMixin.get_possibly_dynamic_module(module_name)
        if not (isinstance(found, type) and issubclass(found, (FeatureExtractionMixin, VideoProcessorMixin))):
            raise InputError(f"a processor's file names {module_name!r}, which is no part of AussProcessor")
        return found

    def __call__(self, videos: Any = None, audio: Any = None, **kwargs: Any) -> BatchFeature:
        """Prepares one clip or a batch of clips for the model.

        Args:
            videos: the frames, as `AussVideoProcessor` takes them; `None` prepares the sound alone.
            audio: the waveforms, as `AussFeatureExtractor` takes them; `None` prepares the frames alone.
            kwargs: `sampling_rate` is the rate of `audio` in Hz: one number, or a list with one number for each clip.
                It is required with `audio`, unless `audio` holds the rate. `return_tensors` is `"pt"` or `"np"`. All
                arguments of the two parts are accepted too, directly or in the dictionaries `audio_kwargs` and
                `videos_kwargs`.

        Returns:
            `pixel_values` (B, F, 3, H, W) float32 if `videos` is passed. `input_features` (B, T, 96, 64) float32
            log-mel and `input_features_mask` (B, T) int64 if `audio` is passed.

        Raises:
            ValueError: both inputs are missing, or they hold different numbers of clips, or one of the two parts
                refuses its input.
            TypeError: an input of another kind (`text`, `images`) is passed.
        """
        for name in ("text", "images"):
            if kwargs.pop(name, None) is not None:
                raise TypeError(f"AussProcessor takes videos and audio, got {name}; frames are passed as videos")
        if videos is None and audio is None:
            raise InputError("AussProcessor needs videos, audio or both, got neither")
        if audio is not None:
            audio = decoded_audio(audio)
        if videos is not None and audio is not None:
            num_videos, num_waveforms = len(list_of_videos(videos)), len(list_of_waveforms(audio))
            if num_videos != num_waveforms:
                raise InputError(
                    f"videos and audio must hold equally many clips, got {num_videos} in videos and {num_waveforms} "
                    "in audio"
                )
        # The annotation of `_merge_kwargs` asks for an instance, but the method takes the class.
        merged_kwargs = self._merge_kwargs(cast(Any, self.valid_processor_kwargs), **kwargs)
        data = {}
        if videos is not None:
            data.update(self.video_processor(videos, **merged_kwargs["videos_kwargs"]))
        if audio is not None:
            data.update(self.feature_extractor(audio, **merged_kwargs["audio_kwargs"]))
        return BatchFeature(data)

    def post_process_audio_visual_segmentation(
        self,
        outputs: Any,
        target_sizes: Sequence[tuple[int, int]] | None = None,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> list[dict[str, torch.Tensor]]:
        """Turns the model's output into a dictionary for each clip: `segmentation` and `scores`, (F, height, width).

        Args:
            outputs: the output of `AussForAudioVisualSegmentation`.
            target_sizes: the (height, width) in pixels to resize to, one for each clip. `None` keeps the logits' size.
            threshold: the certainty that a label needs against silence, in [0, 1]. With two labels, a pixel sounds if
                its score exceeds the threshold.

        Returns:
            For each clip `segmentation` int64, the label of every pixel, and `scores` float32 in [0, 1], the certainty
            that a pixel is not silent.

        Raises:
            ValueError: `outputs` has no logits, `target_sizes` does not hold one size for each clip, or `threshold` is
                not a number in [0, 1].
        """
        return post_process_audio_visual_segmentation(outputs, target_sizes, threshold)


__all__ = ["AussProcessor"]
