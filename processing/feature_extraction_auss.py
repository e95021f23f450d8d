"""`AussFeatureExtractor`: waveforms of any rate to the log-mel examples that VGGish hears (section 3.1, as [49])."""

import math
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.utils.generic import PaddingStrategy, TensorType

from ..files.errors import InputError
from ..files.repository_saving import PartRepositoryMixin
from .audio_inputs import decoded_audio
from .log_mel import LOG_OFFSET, NUM_EXAMPLE_FRAMES, NUM_MEL_BINS, SAMPLING_RATE, log_mel_examples
from .waveforms import resample, to_mono, waveforms_and_rates


def check_return_tensors(return_tensors: Any) -> None:
    """Raises ValueError for a kind of tensors that Transformers does not make."""
    try:
        TensorType(return_tensors) if return_tensors is not None else None
    except ValueError as error:
        raise InputError(f"return_tensors must be 'pt', 'np' or None, got {return_tensors!r}") from error


def check_padding(padding: Any) -> None:
    """Raises ValueError for what is neither True, False nor the name of a padding."""
    try:
        padding if isinstance(padding, bool) else PaddingStrategy(padding)
    except ValueError as error:
        names = ", ".join(repr(strategy.value) for strategy in PaddingStrategy)
        raise InputError(f"padding must be True, False or one of {names}, got {padding!r}") from error


class AussFeatureExtractor(PartRepositoryMixin, SequenceFeatureExtractor):
    """Turns waveforms into log-mel examples of 0.96 s: 16 kHz mono, 96 frames of 10 ms by 64 mel bands.

    Args:
        feature_size: mel bands; VGGish fixes it at 64.
        sampling_rate: Hz at which the log-mel is computed; VGGish fixes it at 16000. Audio of any other rate is
            resampled to it.
        padding_value: what stands in an example that a shorter clip of a batch lacks; log(0.01), which is silence.
        num_audio_examples: T, how many examples `padding="max_length"` and `truncation=True` aim at unless
            `max_length` is passed; 5, a clip of 5 s, which is what AVSBench's clips are.

    Raises:
        ValueError: a `feature_size` or `sampling_rate` that VGGish does not have.
    """

    model_input_names = ["input_features", "input_features_mask"]

    def __init__(
        self,
        feature_size: int = NUM_MEL_BINS,
        sampling_rate: int = SAMPLING_RATE,
        padding_value: float = math.log(LOG_OFFSET),
        num_audio_examples: int = 5,
        **kwargs,
    ):
        if feature_size != NUM_MEL_BINS:
            raise InputError(f"feature_size must be {NUM_MEL_BINS}, the mel bands of VGGish, got {feature_size}")
        if sampling_rate != SAMPLING_RATE:
            raise InputError(
                f"sampling_rate must be {SAMPLING_RATE} Hz, the rate of VGGish, got {sampling_rate}; the rate of your "
                "audio is passed with the audio, which is then resampled"
            )
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.num_audio_examples = num_audio_examples

    def __call__(
        self,
        audio: Any,
        sampling_rate: float | list[float] | None = None,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
        device: str | torch.device | None = None,
    ) -> BatchFeature:
        """Computes the log-mel examples of one clip or of a batch of clips.

        Args:
            audio: one waveform or a list of them (a batch): NumPy, torch or lists of numbers. A waveform is
                (samples,), or two-dimensional with one or two channels, which the shorter axis counts. Two channels
                are averaged; where they cancel each other, the louder one is heard. Floating point is taken as it
                is, nominally in [-1, 1]; int16 and int32 are PCM and scaled to that. In place of each waveform, what
                `datasets` makes of sound: an `AudioDecoder`, a dict of `array` and `sampling_rate`, or one of `bytes`
                and `path`, which is then decoded.
            sampling_rate: the rate of `audio` in Hz: one for all clips, or a list of one for each. Required, unless
                `audio` has it.
            padding: `True` or `"longest"` pads to the batch's longest clip, `"max_length"` to `max_length`, `False`
                not at all.
            max_length: examples, `num_audio_examples` unless passed.
            truncation: cuts clips to `max_length` examples. Off by default, so that no sound is lost unsaid.
            pad_to_multiple_of: makes the padded length a multiple of this many examples.
            return_attention_mask: whether `input_features_mask` is returned; as the constructor said, which says yes.
            return_tensors: `"pt"`, `"np"`, or `None` for a list of arrays, one a clip.
            device: where the tensors of `return_tensors="pt"` are put. They are computed on the CPU.

        Returns:
            `input_features` (B, T, 96, 64) float32, and `input_features_mask` (B, T) int64, 1 where an example is
            sound of the clip and 0 where it is padding. Silent audio is legal: all its values are log(0.01).

        Raises:
            ValueError: no `sampling_rate`, one that is not positive or not the one that `audio` has; audio without
                samples, with NaN or infinite samples or floating-point ones far beyond [-1, 1], of more than two
                dimensions or channels, or of another type;
                `return_tensors` for clips whose lengths `padding` leaves unequal.
        """
        check_return_tensors(return_tensors)
        check_padding(padding)
        clips, rates = waveforms_and_rates(decoded_audio(audio), sampling_rate)
        names = [f"audio[{index}]" if len(clips) > 1 else "audio" for index in range(len(clips))]
        waveforms = [resample(to_mono(clip, name), rate) for clip, name, rate in zip(clips, names, rates, strict=True)]
        features = [clip.flatten(1).numpy() for clip in log_mel_examples(waveforms)]  # (T, 96 * 64) each

        # The base class pads two-dimensional features, and calls their mask by another name.
        to_max_length = truncation or padding == PaddingStrategy.MAX_LENGTH
        padded = self.pad(
            BatchFeature({"input_features": features}),
            padding=padding,
            max_length=self.num_audio_examples if max_length is None and to_max_length else max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=return_attention_mask,
            return_tensors=TensorType.NUMPY,
        )
        shape = (-1, NUM_EXAMPLE_FRAMES, NUM_MEL_BINS)
        outputs = {"input_features": [clip.astype(np.float32).reshape(shape) for clip in padded["input_features"]]}
        if "attention_mask" in padded:
            outputs["input_features_mask"] = [mask.astype(np.int64) for mask in padded["attention_mask"]]

        lengths = [len(clip) for clip in outputs["input_features"]]
        if return_tensors is not None and len(set(lengths)) > 1:
            raise InputError(
                f"return_tensors={return_tensors!r} needs clips of equal length, got {lengths} examples with "
                f"padding={padding!r}: pass padding=True, or truncation=True with padding='max_length'"
            )
        batch = BatchFeature(outputs, tensor_type=return_tensors)
        return batch.to(device) if device is not None and return_tensors == TensorType.PYTORCH else batch


__all__ = ["AussFeatureExtractor", "check_return_tensors"]
