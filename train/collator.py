"""`AussDataCollator`: rows of a data set to a batch of the model's inputs."""

from __future__ import annotations

import numpy as np
import torch
from tqdm import tqdm
from transformers.utils import logging

from ..configuration.configuration_auss import IGNORED_LABEL
from ..modeling_auss.audio_queries import spread_frames
from .augmentation import ClipAugmentation
from .clips import clip_row, decode_audio, decode_clip
from .short_sounds import repeat_last_example

logger = logging.get_logger(__name__)


def resize_labels(labels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Labels (F, h, w) at another (height, width), each from the pixel nearest to its centre."""
    if tuple(labels.shape[-2:]) == tuple(size):
        return labels
    rows, columns = (
        ((torch.arange(new) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for old, new in zip(labels.shape[-2:], size, strict=True)
    )
    return labels[:, rows[:, None], columns[None, :]]


def extract_audio(
    extractor, waveform: torch.Tensor, sampling_rate: int, clip_id: str, num_frames: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel (T, 96, 64) of a waveform (samples,) and its mask (T,), T being the extractor's `num_audio_examples`.

    `num_frames` are those of the whole clip: a sound with fewer examples repeats its last one (`repeat_last_example`).
    """
    seconds = len(waveform) / sampling_rate
    if seconds >= extractor.num_audio_examples + 1:
        logger.warning_once(
            f"the sound of clip {clip_id!r} takes {seconds:.1f} s; only the first {extractor.num_audio_examples} "
            "examples of 0.96 s are heard: raise num_audio_examples of the feature extractor and of the configuration "
            "to hear more"
        )
    # One clip at a time: its spectrum stays in the CPU's cache, a batch's does not (2.6 against 8 ms a clip).
    extracted = extractor(
        [waveform], sampling_rate=sampling_rate, padding="max_length", truncation=True, return_tensors="pt"
    )
    return repeat_last_example(extracted["input_features"][0], extracted["input_features_mask"][0], num_frames)


def precompute_input_features(rows, feature_extractor) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads and transforms the sound of every row once, for `SeededRows(..., input_features=...)`.

    It saves about half of what the collator does in training, for 0.12 MB of memory a clip of 5 s.

    Args:
        rows: `SeededRows`, or anything with a length whose rows have "audio" and "clip_id".
        feature_extractor: an `AussFeatureExtractor`.

    Returns:
        Log-mel (rows, T, 96, 64) float32 and its mask (rows, T) int64.
    """
    features, masks = [], []
    for index in tqdm(range(len(rows)), desc="log-mel", unit="clip", delay=2, leave=False):
        row = rows[index]
        clip_id = str(row.get("clip_id", ""))
        waveform, sampling_rate = decode_audio(row["audio"], clip_id)
        num_frames = len(row["frames"]) if "frames" in row else 0
        clip_features, mask = extract_audio(feature_extractor, waveform, sampling_rate, clip_id, num_frames)
        features.append(clip_features)
        masks.append(mask)
    return torch.stack(features), torch.stack(masks)


class AussDataCollator:
    """Decodes, augments and processes clips; works as `Trainer`'s `data_collator` and in `DataLoader` workers.

    `Trainer` must keep the columns: `remove_unused_columns=False`. A row may carry "augmentation_seed" (`SeededRows`
    adds it): all randomness of its clip then comes from that seed; otherwise from torch's global generator. A row may
    carry "input_features" (T, 96, 64), and "input_features_mask" (T,): its sound is then not decoded.

    Args:
        processor: an `AussProcessor`. Its feature extractor's `num_audio_examples` is the T of every batch: sound that
            is longer is cut, with one warning where a second or more is lost.
        augmentation: applied to each clip; needs `train`.
        frames_per_clip: how many frames of a clip to take, all unless told: annotated ones first, drawn at random,
            then others, in time order. A clip with fewer frames gives all it has.
        mute_probability: how often a clip's sound becomes digital silence and the labels of its annotated pixels 0,
            for silence means that nothing sounds; needs `train`.
        train: labels come at the size of `pixel_values`. Otherwise they keep the size of the mask files, so that
            metrics are measured there.
        keep_ids: adds "clip_id" and "category", lists of strings, to the batch.
        num_labels: 2 for black and white masks, 71 for those of avss.
        muted: silences every clip but keeps the labels: to measure what a model does without sound.

    Raises:
        ValueError: an argument is out of range, or is of use in training only while `train` is False.
    """

    def __init__(
        self,
        processor,
        augmentation: ClipAugmentation | None = None,
        frames_per_clip: int | None = None,
        mute_probability: float = 0.0,
        train: bool = False,
        keep_ids: bool = False,
        num_labels: int = 2,
        muted: bool = False,
    ):
        if frames_per_clip is not None and frames_per_clip < 1:
            raise ValueError(f"frames_per_clip must be at least 1, or None for all frames, got {frames_per_clip}")
        if not 0 <= mute_probability <= 1:
            raise ValueError(f"mute_probability must be in [0, 1], got {mute_probability}")
        if not train and (augmentation is not None or mute_probability > 0):
            raise ValueError("augmentation and mute_probability change the labels: they need train=True")
        if num_labels < 2:
            raise ValueError(f"num_labels must be at least 2, got {num_labels}")
        self.processor = processor
        self.augmentation = augmentation
        self.frames_per_clip = frames_per_clip
        self.mute_probability = mute_probability
        self.train = train
        self.keep_ids = keep_ids
        self.num_labels = num_labels
        self.muted = muted

    def _choose_frames(self, row: dict, generator: torch.Generator) -> list[int] | None:
        count = len(row["frames"])
        if self.frames_per_clip is None or self.frames_per_clip >= count:
            return None
        annotated = set(row["annotated_frames"])
        shuffled = torch.randperm(count, generator=generator).tolist()
        preferred = sorted(shuffled, key=lambda index: index not in annotated)  # stable: random within each kind
        return sorted(preferred[: self.frames_per_clip])

    def _load_clip(self, row: dict) -> dict:
        """The clip as `decode_clip` gives it, after choosing, muting and augmentation."""
        seed = row.get("augmentation_seed")
        if seed is None:
            seed = torch.randint(2**63 - 1, ()).item()
        generator = torch.Generator().manual_seed(int(seed))
        indices = self._choose_frames(row, generator)
        has_features = row.get("input_features") is not None
        clip = decode_clip(row, indices, num_labels=self.num_labels, with_audio=not has_features)
        clip["frame_count"] = len(row["frames"])
        clip["frame_indices"] = list(range(clip["frame_count"])) if indices is None else indices
        if has_features:
            clip["input_features"] = torch.as_tensor(np.asarray(row["input_features"], dtype=np.float32))
            mask = row.get("input_features_mask")
            length = len(clip["input_features"])
            clip["input_features_mask"] = torch.ones(length).long() if mask is None else torch.as_tensor(mask).long()

        # Drawn whatever the probability is, so that muting some clips leaves the augmentation of all as it was.
        mute = torch.rand((), generator=generator).item() < self.mute_probability
        if mute:
            clip["labels"] = clip["labels"].masked_fill(clip["labels"] != IGNORED_LABEL, 0)
        if mute or self.muted:
            self._silence(clip)
        if self.augmentation is not None:
            clip["frames"], clip["labels"] = self.augmentation(clip["frames"], clip["labels"], generator)
        return clip

    def _silence(self, clip: dict) -> None:
        if "input_features" in clip:
            silence = self.processor.feature_extractor.padding_value  # the log-mel of digital silence
            clip["input_features"] = torch.full_like(clip["input_features"], silence)
        else:
            clip["waveform"] = torch.zeros_like(clip["waveform"])

    def _audio_inputs(self, clips: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
        """input_features (B, T, 96, 64) and input_features_mask (B, T), in the clips' order."""
        extractor = self.processor.feature_extractor
        for clip in clips:
            if "waveform" in clip:
                clip["input_features"], clip["input_features_mask"] = extract_audio(
                    extractor, clip["waveform"], clip["sampling_rate"], clip["clip_id"], clip["frame_count"]
                )
        # Extracted here or brought by the row: all are made T long.
        length = extractor.num_audio_examples
        features, masks = [], []
        for clip in clips:
            missing = max(0, length - len(clip["input_features"]))
            padding = (0, 0, 0, 0, 0, missing)
            features.append(
                torch.nn.functional.pad(clip["input_features"][:length], padding, value=extractor.padding_value)
            )
            masks.append(torch.nn.functional.pad(clip["input_features_mask"][:length], (0, missing)))
        return torch.stack(features), torch.stack(masks)

    def __call__(self, rows: list[dict]) -> dict:
        """Makes a batch.

        Args:
            rows: rows of `load_avsbench`, their pictures decoded or, faster, not; in any format of `datasets`.

        Returns:
            pixel_values (B, F, 3, H, W) float32, input_features (B, T, 96, 64) float32, input_features_mask (B, T)
            int64, frame_examples (B, F) int64, the example in which each frame is shown, frames spread evenly over
            the sound, whose last example is repeated where it ends before the frames do, labels (B, F, h, w) int64
            with 255 where nothing is annotated; clip_id and category with `keep_ids`.

        Raises:
            ValueError: clips of unequal frame counts, or masks of unequal size; and what `decode_clip` raises.
        """
        clips = [self._load_clip(clip_row(row)) for row in rows]
        frame_counts = [len(clip["frames"]) for clip in clips]
        if len(set(frame_counts)) > 1:
            raise ValueError(
                f"the clips of a batch must have equally many frames, got {frame_counts}: set frames_per_clip to "
                f"{min(frame_counts)} or less, or use batches of one clip"
            )
        pixel_values = self.processor.video_processor([clip["frames"] for clip in clips], return_tensors="pt")[
            "pixel_values"
        ]
        labels = [clip["labels"] for clip in clips]
        if self.train:
            labels = [resize_labels(clip_labels, pixel_values.shape[-2:]) for clip_labels in labels]
        sizes = sorted({tuple(clip_labels.shape[-2:]) for clip_labels in labels})
        if len(sizes) > 1:
            raise ValueError(
                f"the masks of a batch must have one size, got (height, width) {sizes}: evaluate such clips in "
                "batches of one"
            )
        input_features, input_features_mask = self._audio_inputs(clips)
        batch = {
            "pixel_values": pixel_values,
            "input_features": input_features,
            "input_features_mask": input_features_mask,
            "frame_examples": torch.stack(
                [
                    spread_frames(clip["frame_count"], mask[None])[0, clip["frame_indices"]]
                    for clip, mask in zip(clips, input_features_mask, strict=True)
                ]
            ),
            "labels": torch.stack(labels),
        }
        if self.keep_ids:
            batch["clip_id"] = [clip["clip_id"] for clip in clips]
            batch["category"] = [clip["category"] for clip in clips]
        return batch


__all__ = ["AussDataCollator", "extract_audio", "precompute_input_features", "resize_labels"]
