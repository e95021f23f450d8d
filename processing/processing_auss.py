"""`AussProcessor`: frames and sound in, the network's inputs out; and the network's output back to masks."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from transformers import BatchFeature
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin

from ..files.errors import InputError
from ..files.repository_saving import RepositoryMixin
from .audio_inputs import decoded_audio
from .post_processing_auss import DEFAULT_THRESHOLD, post_process_audio_visual_segmentation
from .video_frames import list_of_videos
from .waveforms import list_of_waveforms


class AussProcessor(RepositoryMixin, ProcessorMixin):
    """Joins an `AussFeatureExtractor` for the sound and an `AussVideoProcessor` for the frames.

    Args:
        feature_extractor: what turns waveforms into log-mel examples.
        video_processor: what turns frames into pixels.
    """

    valid_processor_kwargs = ProcessingKwargs
    # `Trainer` asks the tokenizer of any processor for its special tokens, and fails where there is no tokenizer. This
    # one has no tokens. It is the class's and no argument of `__init__`, hence no part of the processor and not saved.
    tokenizer = SimpleNamespace(eos_token_id=None, bos_token_id=None, pad_token_id=None, init_kwargs={})

    def __init__(self, feature_extractor, video_processor):
        super().__init__(feature_extractor, video_processor)

    def __call__(self, videos: Any = None, audio: Any = None, **kwargs: Any) -> BatchFeature:
        """Prepares one clip or a batch of clips for the model.

        Args:
            videos: the frames, as `AussVideoProcessor` takes them; `None` prepares the sound alone.
            audio: the waveforms, as `AussFeatureExtractor` takes them; `None` prepares the frames alone.
            kwargs: `sampling_rate`, the rate of `audio` in Hz, required with it unless it brings its own: one number,
                or a list of one for each clip; `return_tensors`, `"pt"` or `"np"`; and everything that the two parts
                take, either flat or in the dictionaries `audio_kwargs` and `videos_kwargs`.

        Returns:
            `pixel_values` (B, F, 3, H, W) float32, `input_features` (B, T, 96, 64) float32 log-mel and
            `input_features_mask` (B, T) int64, as far as their input was passed.

        Raises:
            ValueError: neither input, or different numbers of clips in the two; and what the two parts refuse.
            TypeError: an input of another kind (`text`, `images`).
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
        # `_merge_kwargs` is annotated to take an instance of that class.
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
            outputs: what `AussForAudioVisualSegmentation` returned.
            target_sizes: the (height, width) in pixels to resize to, one for each clip; `None` keeps the logits' size.
            threshold: how sure a label must be against silence for a pixel to have it, in [0, 1]; with two labels the
                score over which it sounds.

        Returns:
            For each clip `segmentation` int64, the label of every pixel, and `scores` float32 in [0, 1], how surely
            it is not silent.

        Raises:
            ValueError: no logits in `outputs`, not one size for each clip, a `threshold` that is no number in [0, 1].
        """
        return post_process_audio_visual_segmentation(outputs, target_sizes, threshold)


__all__ = ["AussProcessor"]
