"""`LiveSegmenter`: takes sound and frames as they come, and returns the mask of a frame at once."""

import copy
import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from ...configuration.score_threshold import DEFAULT_THRESHOLD, check_threshold
from ...files.errors import InputError
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ...processing.log_mel import SAMPLING_RATE
from ...processing.post_processing_auss import check_logits
from ...processing.processing_auss import AussProcessor
from ...processing.video_frames import clip_to_tensor
from .frozen_network import FrozenNetwork
from .sound_queries import SoundQueries


class LiveMask:
    """
    The mask of one live frame.

    Attributes:
        index: the number of the frame among those that were pushed, from 0.
        time: the time of the frame in seconds, as it was pushed.
        sound_end: the time up to which sound had come, in seconds; None if no sound had come.
        segmentation: (H, W) uint8 class ids, 0 where nothing sounds.
    """

    def __init__(
        self,
        index: int,
        time: float,
        sound_end: float | None,
        segmentation: np.ndarray,
        logits: torch.Tensor | None,
        processor: AussProcessor,
        threshold: float,
    ):
        self.index = index
        self.time = time
        self.sound_end = sound_end
        self.segmentation = segmentation
        self._logits = logits
        self._processor = processor
        self._threshold = threshold

    @cached_property
    def scores(self) -> np.ndarray:
        """(H, W) float32 in [0, 1], the score that something sounds. It is computed when it is first read."""
        if self._logits is None:
            return np.zeros(self.segmentation.shape, np.float32)
        (clip,) = self._processor.post_process_audio_visual_segmentation(
            LiveLogits(self._logits), [self.segmentation.shape], self._threshold
        )
        return clip["scores"][0].float().cpu().numpy()


class LiveLogits:
    """The output of a network that post-processing reads."""

    def __init__(self, logits: torch.Tensor):
        self.logits = logits


def labels_of(logits: torch.Tensor, size: tuple[int, int], threshold: float, processor: AussProcessor) -> np.ndarray:
    """
    The labels (H, W) uint8 of the logits (1, 1, K, h, w) of a frame. They are those of the processor.

    With two labels, only the difference of the labels is resized and compared with zero. Resizing is linear, so this
    gives the processor's labels, except where both labels are equal to within rounding. It takes a tenth of the time.
    """
    check_logits(logits, "the network's output")
    if logits.shape[2] > 2:
        (clip,) = processor.post_process_audio_visual_segmentation(LiveLogits(logits), [size], threshold)
        return clip["segmentation"][0].to(torch.uint8).cpu().numpy()
    if not ((logits >= 0) & (logits < torch.inf)).all():
        raise InputError("the network's logits must be numbers, got NaN, infinite or negative ones")
    values = logits[0].float()
    margin = (1 - threshold) * values[:, 1:] - threshold * values[:, :1]
    if tuple(margin.shape[-2:]) != size:
        margin = interpolate(margin, size=size, mode="bilinear", align_corners=False)
    return (margin[0, 0] > 0).cpu().numpy().view(np.uint8)


class LiveSegmenter:
    """
    Makes masks while sound and pictures still come in, for example from a camera with a microphone.

    Push sound with `push_audio` and frames with `push_frame`, in the order in which they come and from one thread.
    Both have times in seconds on the same clock, with any origin. `push_frame` returns the mask of its frame at once,
    from the sound that has come by then. Nothing waits for later sound or frames, so the delay of a mask is the time
    that the network takes for one frame.

    How the window of sound slides: a window ends at a multiple of 0.24 s and reaches back over the examples that the
    model takes, T of 0.96 s each, so 4.8 s for most models. All frames use the queries of the newest window until
    0.24 s more of sound have come. The next window then computes 24 new rows of the log-mel, encodes one new example,
    and runs A2U once. If the sound changes, a window hears only what came after the change, which is noticed after
    0.5 s. Sound that is shorter than the window is repeated.

    A frame is heard with the newest window that ends at most 0.48 s after it. It counts as silent if the window is
    silent, and if no sound has come for its last second.

    Args:
        model: an `AussForAudioVisualSegmentation` in evaluation mode; or any object with
            `config` (`num_audio_examples`, `num_labels`, `audio_input`), `device`, `dtype`,
            `auss.frame_queries(num_frames, input_features, input_features_mask, frame_examples)` as of `AussModel`,
            and `__call__(pixel_values, frame_queries)`, which returns an object with `logits` (1, 1, K, h, w).
        processor: the processor that the model was trained with.
        threshold: a pixel sounds if its score, in [0, 1], is higher.
        freeze: whether a model on a CPU is traced, which halves the time of small networks; see `FrozenNetwork`. The
            weights must not change afterwards.

    Raises:
        ValueError: `threshold` is no number in [0, 1].

    Example:

    ```python
    import auss
    from auss import LiveSegmenter
    from auss.inference.segment import load_model

    model, processor = load_model(auss.default_model(), device="cpu")
    live = LiveSegmenter(model, processor)
    live.push_audio(samples, sampling_rate, time=0.0)  # (samples,) or (2, samples), whenever some have come
    mask = live.push_frame(picture, time=0.04)         # (H, W, 3) uint8
    mask.segmentation                                  # (H, W) uint8, 1 where something sounds
    ```
    """

    def __init__(
        self,
        model: AussForAudioVisualSegmentation | Any,
        processor: AussProcessor,
        threshold: float = DEFAULT_THRESHOLD,
        freeze: bool = True,
    ):
        check_threshold(threshold)
        self.model = model
        self.processor = processor
        self.threshold = float(threshold)
        self.sound = SoundQueries(model)
        freezes = freeze and isinstance(model, AussForAudioVisualSegmentation) and model.device.type == "cpu"
        self._network = FrozenNetwork(model) if freezes else model
        self._count = 0

    def warm_up(self, size: tuple[int, int]) -> None:
        """Runs the network once on noise and a grey picture of the size (height, width), so that tracing it does not
        delay the first frames. Sound and frames that were pushed are not touched."""
        trial = copy.copy(self)
        trial.sound = SoundQueries(self.model)
        trial.push_audio(np.random.default_rng(0).normal(0, 0.1, SAMPLING_RATE), SAMPLING_RATE)
        trial.push_frame(np.full((*size, 3), 127, np.uint8), 1.0)

    def push_audio(self, samples: Any, sampling_rate: float, time: float | None = None) -> None:
        """
        Adds the next piece of the sound. Only the last ten seconds are kept.

        Args:
            samples: (samples,), (channels, samples) or (samples, channels) with at most two channels, as
                `AussFeatureExtractor` takes a waveform. A piece without samples does nothing.
            sampling_rate: the rate of the piece in Hz. It may change from piece to piece.
            time: the time of the first sample, in seconds; None if the piece directly follows the piece before. A gap
                of more than 0.05 s is filled with silence. Sound that overlaps with earlier sound is left out. After a
                gap of more than ten seconds, or a step back of more than ten seconds, the sound begins anew.

        Raises:
            ValueError: the samples are refused as by `AussFeatureExtractor`, or `time` is not finite.
        """
        self.sound.memory.push(samples, sampling_rate, time)

    @torch.inference_mode()
    def push_frame(self, picture: Any, time: float) -> LiveMask:
        """
        Makes the mask of a frame.

        Args:
            picture: (H, W, 3) uint8 RGB, or another picture that `AussVideoProcessor` takes. The size may change from
                frame to frame.
            time: the time of the frame in seconds, on the clock of the sound.

        Returns:
            The mask, of the size of the picture.

        Raises:
            ValueError: the picture is refused as by `AussVideoProcessor`, or `time` is not finite.
        """
        if not math.isfinite(time):
            raise InputError(f"time must be a finite number of seconds, got {time!r}")
        index, self._count = self._count, self._count + 1
        pictures = clip_to_tensor([picture], "picture")
        size = (int(pictures.shape[-2]), int(pictures.shape[-1]))
        queries, sound_end = self.sound.at(time), self.sound.memory.end
        if queries is None:
            segmentation, logits = np.zeros(size, np.uint8), None
        else:
            pixel_values = self.processor(videos=pictures, return_tensors="pt")["pixel_values"]
            pixel_values = pixel_values.to(self.model.device, self.model.dtype)
            logits = self._network(pixel_values=pixel_values, frame_queries=queries[None, None]).logits
            segmentation = labels_of(logits, size, self.threshold, self.processor)
        return LiveMask(index, time, sound_end, segmentation, logits, self.processor, self.threshold)


__all__ = ["LiveMask", "LiveSegmenter"]
