"""`AussFeatureExtractor` turns waveforms of any rate into log-mel examples for VGGish (section 3.1, as in [49])."""

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
    """Raises ValueError if Transformers does not know this kind of tensors."""
    try:
        TensorType(return_tensors) if return_tensors is not None else None
    except ValueError as error:
        raise InputError(f"return_tensors must be 'pt', 'np' or None, got {return_tensors!r}") from error


def check_padding(padding: Any) -> None:
    """Raises ValueError unless `padding` is True, False or the name of a padding strategy."""
    try:
        padding if isinstance(padding, bool) else PaddingStrategy(padding)
    except ValueError as error:
        names = ", ".join(repr(strategy.value) for strategy in PaddingStrategy)
        raise InputError(f"padding must be True, False or one of {names}, got {padding!r}") from error


def check_equal_lengths(lengths: list[int], return_tensors: Any, padding: Any) -> None:
    """Raises ValueError if clips cannot become one tensor, because they have different numbers of examples."""
    if len(set(lengths)) > 1:
        raise InputError(
            f"return_tensors={return_tensors!r} needs clips of equal length, got {lengths} examples with "
            f"padding={padding!r}: pass padding=True, or truncation=True with padding='max_length'"
        )


class AussFeatureExtractor(PartRepositoryMixin, SequenceFeatureExtractor):
    """Turns waveforms into log-mel examples of 0.96 s: 16 kHz mono, 96 frames of 10 ms by 64 mel bands.

    Args:
        feature_size: mel bands; VGGish fixes it at 64.
        sampling_rate: Hz at which the log-mel is computed; VGGish fixes it at 16000. Audio of any other rate is
            resampled to it.
        padding_value: the value that fills the examples that a shorter clip of a batch lacks. The default log(0.01)
            means silence.
        num_audio_examples: T, the default of `max_length` for `padding="max_length"` and `truncation=True`. The
            default of 5 fits a clip of 5 s, as in AVSBench.

    Raises:
        ValueError: `feature_size` or `sampling_rate` differs from VGGish.
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
            audio: one waveform, or a list of waveforms (a batch): NumPy, torch or lists of numbers. A waveform is
                (samples,), or two-dimensional with one or two channels. The shorter axis is the axis of channels. Two
                channels are averaged; if they cancel each other, the louder channel is used. Floating-point samples
                are used as they are, nominally in [-1, 1]. int16 and int32 samples are PCM and are scaled to [-1, 1].
                A waveform may also be a sound object of `datasets`: an `AudioDecoder`, a dict of `array` and
                `sampling_rate`, or a dict of `bytes` and `path`, which is decoded.
            sampling_rate: the rate of `audio` in Hz: one rate for all clips, or a list with one rate for each clip.
                Required, unless `audio` holds the rate.
            padding: `True` or `"longest"` pads to the longest clip of the batch, `"max_length"` pads to `max_length`,
                `False` does not pad.
            max_length: a number of examples, by default `num_audio_examples`.
            truncation: cut clips to `max_length` examples. Off by default, so that no sound is lost silently.
            pad_to_multiple_of: makes the padded length a multiple of this many examples.
            return_attention_mask: whether to return `input_features_mask`. The constructor sets the default, which is
                True unless changed.
            return_tensors: `"pt"`, `"np"`, or `None` for a list with one array for each clip.
            device: the device for the tensors of `return_tensors="pt"`. They are computed on the CPU.

        Returns:
            `input_features` (B, T, 96, 64) float32, and `input_features_mask` (B, T) int64. The mask is 1 for an
            example of the clip and 0 for padding. Silent audio is allowed: all its values are log(0.01).

        Raises:
            ValueError: `sampling_rate` is missing, not positive, or different from the rate in `audio`; the audio has
                no samples, NaN or infinite samples, floating-point samples far beyond [-1, 1], more than two
                dimensions or channels, or another type; or `return_tensors` is set and the clips have unequal lengths
                after padding.
        """
        check_return_tensors(return_tensors)
        check_padding(padding)
        clips, rates = waveforms_and_rates(decoded_audio(audio), sampling_rate)
        names = [f"audio[{index}]" if len(clips) > 1 else "audio" for index in range(len(clips))]
        waveforms = [resample(to_mono(clip, name), rate) for clip, name, rate in zip(clips, names, rates, strict=True)]
        features = [clip.flatten(1).numpy() for clip in log_mel_examples(waveforms)]  # (T, 96 * 64) each

        outputs = self._padded(features, padding, max_length, truncation, pad_to_multiple_of, return_attention_mask)
        if return_tensors is not None:
            check_equal_lengths([len(clip) for clip in outputs["input_features"]], return_tensors, padding)
        batch = BatchFeature(outputs, tensor_type=return_tensors)
        return batch.to(device) if device is not None and return_tensors == TensorType.PYTORCH else batch

    def _padded(
        self,
        features: list[np.ndarray],
        padding: bool | str | PaddingStrategy,
        max_length: int | None,
        truncation: bool,
        pad_to_multiple_of: int | None,
        return_attention_mask: bool | None,
    ) -> dict[str, list[np.ndarray]]:
        """Pads clips (T, 96 * 64) as `__call__` says. Returns the `input_features` (T, 96, 64) of each clip, and on
        request the masks."""
        # The base class pads only two-dimensional features, and it calls the mask `attention_mask`.
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
        return outputs


__all__ = ["AussFeatureExtractor", "check_return_tensors"]
