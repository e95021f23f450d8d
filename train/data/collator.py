"""`AussDataCollator` makes batches of model inputs from the rows of a data set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from datasets import config as datasets_config
from datasets.fingerprint import Hasher
from PIL import Image
from tqdm import tqdm
from transformers.utils import logging

from ...configuration.configuration_auss import IGNORED_LABEL
from ...files.errors import InputError
from ...files.whole_files import WholeFile
from ...modeling_auss.audio_queries import spread_frames
from ...processing.log_mel import NUM_EXAMPLE_FRAMES, SETTINGS
from .augmentation import ClipAugmentation, ClipMixing
from .clips import clip_row, decode_audio, decode_clip, repeat_last_example
from .rows import SeededRows

logger = logging.get_logger(__name__)

# This number is part of the name of log-mel files. Raise it whenever the reading or the transform of a sound changes.
LOG_MEL_VERSION = 1


def resize_labels(labels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """
    Resizes labels (F, h, w), 0 to 255, to another (height, width). Each output pixel takes the label of the pixel
    nearest to its centre. This is the pixel that Pillow's NEAREST takes, with which the official code of
    AVSBench-semantic resizes its label pictures.
    """
    if tuple(labels.shape[-2:]) == tuple(size):
        return labels
    height, width = size
    # Pillow itself resizes, because its own rounding decides where a centre falls between two pixels.
    pictures = [
        Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
        for frame in labels.to(torch.uint8).cpu().numpy()
    ]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).to(labels)


def pad_frames(values: torch.Tensor, num_frames: int, value: float = 0) -> torch.Tensor:
    """Pads values (F, ...) to (num_frames, ...) with `value`."""
    padding = values.new_full((num_frames - len(values), *values.shape[1:]), value)
    return torch.cat([values, padding]) if len(padding) else values


def extract_audio(
    extractor, waveform: torch.Tensor, sampling_rate: int, clip_id: str, num_frames: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes the log-mel (T, 96, 64) of a waveform (samples,) and its mask (T,). T is the extractor's
    `num_audio_examples`.

    `num_frames` is the number of frames of the whole clip. A sound with fewer examples repeats its last one
    (`repeat_last_example`).
    """
    seconds = len(waveform) / sampling_rate
    if seconds >= extractor.num_audio_examples + 1:
        logger.warning_once(
            f"the sound of clip {clip_id!r} takes {seconds:.1f} s; only the first {extractor.num_audio_examples} "
            "examples of 0.96 s are heard: raise num_audio_examples of the feature extractor and of the configuration "
            "to hear more"
        )
    # Extract one clip at a time: the spectrum of one clip fits the CPU's cache, and that of a batch does not (2.6
    # against 8 ms a clip).
    extracted = extractor(
        [waveform], sampling_rate=sampling_rate, padding="max_length", truncation=True, return_tensors="pt"
    )
    return repeat_last_example(extracted["input_features"][0], extracted["input_features_mask"][0], num_frames)


def sound_stamps(dataset: Dataset) -> list[tuple[int, int]]:
    """Returns size and time of the last change of each sound file that the data set names but does not contain."""
    stamps = []
    for chunk in dataset.data.column("audio").chunks:
        for path in chunk.field("path").filter(chunk.field("bytes").is_null()).to_pylist():
            status = os.stat(path)
            stamps.append((status.st_size, status.st_mtime_ns))
    return stamps


def precompute_input_features(
    rows, feature_extractor, cache_dir: str | os.PathLike | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads and transforms the sound of every row once, for `SeededRows(..., input_features=...)`.

    This saves about half of the collator's time in training. The result is a file of 0.12 MB for a clip of 5 s. The
    file is mapped into memory, so all processes of a machine share it, and a later run finds it again.

    Args:
        rows: `SeededRows` of a `datasets.Dataset`. Other rows with "audio" and "clip_id" are accepted too, but their
            log-mel is not kept in a file.
        feature_extractor: an `AussFeatureExtractor`.
        cache_dir: the folder of the file. The default is `auss_log_mel` in the cache folder of `datasets`.

    Returns:
        Log-mel (rows, T, 96, 64) float32 and its mask (rows, T) int64.
    """
    length, bands = feature_extractor.num_audio_examples, feature_extractor.feature_size
    record = np.dtype([("features", np.float32, (length, NUM_EXAMPLE_FRAMES, bands)), ("mask", np.int64, (length,))])
    dataset = getattr(rows, "dataset", None)
    # A `Subset` has a `dataset` too, but other rows.
    if isinstance(rows, SeededRows) and isinstance(dataset, Dataset):
        settings = (feature_extractor.to_json_string(), SETTINGS, LOG_MEL_VERSION)
        facts = (dataset._fingerprint, sound_stamps(dataset), settings)
        folder = Path(cache_dir or Path(datasets_config.HF_DATASETS_CACHE) / "auss_log_mel")
        path = folder / f"{Hasher.hash(facts)}.bin"
        if not path.is_file() or path.stat().st_size != len(rows) * record.itemsize:
            write_input_features(path, rows, feature_extractor, record)
        # Mode "c" lets torch treat the array as writable. Changes stay in this process.
        records = np.memmap(path, record, mode="c")
    else:
        records = np.array(list(each_input_features(rows, feature_extractor)), record)
    return torch.from_numpy(records["features"]), torch.from_numpy(records["mask"])


def write_input_features(path: Path, rows, feature_extractor, record: np.dtype) -> None:
    """Writes the file of `precompute_input_features`. A whole file that another process wrote meanwhile stays, because
    that process may have mapped it into memory. Only a file of a wrong size is replaced."""
    is_damaged = path.is_file()
    try:
        with WholeFile(path, overwrite=is_damaged, exclusive=False) as whole, open(whole.partial_path, "wb") as file:
            for features in each_input_features(rows, feature_extractor):
                file.write(np.array(features, record).tobytes())
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        logger.info(f"{path} was written by another process meanwhile")


def each_input_features(rows, feature_extractor) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the log-mel (T, 96, 64) and its mask (T,) of each row."""
    for index in tqdm(range(len(rows)), desc="log-mel", unit="clip", delay=2, leave=False):
        row = rows[index]
        clip_id = str(row.get("clip_id", ""))
        waveform, sampling_rate = decode_audio(row["audio"], clip_id)
        num_frames = len(row["frames"]) if "frames" in row else 0
        features, mask = extract_audio(feature_extractor, waveform, sampling_rate, clip_id, num_frames)
        yield features.numpy(), mask.numpy()


class AussDataCollator:
    """Decodes, augments and processes clips. It works as `Trainer`'s `data_collator` and in `DataLoader` workers.

    `Trainer` must keep the columns: `remove_unused_columns=False`. If a row has "augmentation_seed" (`SeededRows` adds
    it), all randomness of its clip comes from that seed, otherwise from torch's global generator. If a row has
    "input_features" (T, 96, 64) and "input_features_mask" (T,), its sound is not decoded.

    Args:
        processor: an `AussProcessor`. Its feature extractor's `num_audio_examples` is the T of every batch. Longer
            sound is cut, with one warning if a second or more is lost.
        augmentation: augmentation of each clip. It needs `train`.
        frames_per_clip: the number of frames taken from a clip. The default is all frames. Annotated frames are drawn
            at random first, then other frames; the chosen frames stand in time order. A clip with fewer frames gives
            all its frames and is padded.
        mute_probability: the probability that the sound of a clip becomes digital silence. The labels of its annotated
            pixels then become 0, because in silence nothing sounds. It needs `train`.
        train: True gives labels at the size of `pixel_values`. False keeps the size of the mask files, so that metrics
            are measured at that size even if the set has masks of other sizes.
        keep_ids: adds "clip_id" and "category", lists of strings, to the batch.
        num_labels: 2 for black and white masks, 71 for the masks of avss.
        muted: silences every clip but keeps the labels. This measures what a model does without sound.
        mixing: mixes the clips of a batch after `augmentation`. It needs `train`.

    Raises:
        ValueError: an argument is out of range, or `train` is False and an argument is only for training.
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
        mixing: ClipMixing | None = None,
    ):
        if frames_per_clip is not None and frames_per_clip < 1:
            raise InputError(f"frames_per_clip must be at least 1, or None for all frames, got {frames_per_clip}")
        if not 0 <= mute_probability <= 1:
            raise InputError(f"mute_probability must be in [0, 1], got {mute_probability}")
        if not train and (augmentation is not None or mixing is not None or mute_probability > 0):
            raise InputError("augmentation, mixing and mute_probability change the labels: they need train=True")
        if num_labels < 2:
            raise InputError(f"num_labels must be at least 2, got {num_labels}")
        self.processor = processor
        self.augmentation = augmentation
        self.frames_per_clip = frames_per_clip
        self.mute_probability = mute_probability
        self.train = train
        self.keep_ids = keep_ids
        self.num_labels = num_labels
        self.muted = muted
        self.mixing = mixing

    def _choose_frames(self, row: dict, generator: torch.Generator) -> list[int] | None:
        count = len(row["frames"])
        if self.frames_per_clip is None or self.frames_per_clip >= count:
            return None
        annotated = set(row["annotated_frames"])
        shuffled = torch.randperm(count, generator=generator).tolist()
        # The sort is stable, so the order stays random within each kind
        preferred = sorted(shuffled, key=lambda index: index not in annotated)
        return sorted(preferred[: self.frames_per_clip])

    def _load_clip(self, row: dict) -> dict:
        """Decodes a clip by `decode_clip` after choosing frames, and mutes and augments it. Adds its "generator"."""
        seed = row.get("augmentation_seed")
        if seed is None:
            seed = torch.randint(2**63 - 1, ()).item()
        generator = torch.Generator().manual_seed(int(seed))
        indices = self._choose_frames(row, generator)
        has_features = row.get("input_features") is not None
        clip = decode_clip(row, indices, num_labels=self.num_labels, with_audio=not has_features)
        clip["generator"] = generator
        clip["frame_count"] = len(row["frames"])
        clip["frame_indices"] = list(range(clip["frame_count"])) if indices is None else indices
        if has_features:
            clip["input_features"] = torch.as_tensor(np.asarray(row["input_features"], dtype=np.float32))
            mask = row.get("input_features_mask")
            length = len(clip["input_features"])
            clip["input_features_mask"] = torch.ones(length).long() if mask is None else torch.as_tensor(mask).long()

        # Always draw this number, so that muting some clips does not change the augmentation of any clip.
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

    def _hear(self, clip: dict) -> None:
        """Gives the clip input_features (T, 96, 64) and input_features_mask (T,), from its waveform if it has one."""
        extractor = self.processor.feature_extractor
        if "waveform" in clip:
            clip["input_features"], clip["input_features_mask"] = extract_audio(
                extractor, clip["waveform"], clip["sampling_rate"], clip["clip_id"], clip["frame_count"]
            )
        length = extractor.num_audio_examples
        features, mask = clip["input_features"][:length], clip["input_features_mask"][:length]
        missing = length - len(features)
        padding = (0, 0, 0, 0, 0, missing)
        clip["input_features"] = torch.nn.functional.pad(features, padding, value=extractor.padding_value)
        clip["input_features_mask"] = torch.nn.functional.pad(mask, (0, missing))

    def _load_named_clip(self, row: dict) -> dict:
        """Does the same as `_load_clip`, but its errors name the clip."""
        try:
            return self._load_clip(row)
        except (OSError, ValueError) as error:
            clip_id = repr(str(row.get("clip_id", "")))
            if clip_id in str(error):
                raise
            kinds = (FileNotFoundError, PermissionError, OSError, InputError, ValueError)
            kind = next(kind for kind in kinds if isinstance(error, kind))
            raise kind(f"clip {clip_id}: {error}") from error

    def _pixel_values(self, clips: list[dict]) -> torch.Tensor:
        """Returns the clips' frames as (B, F, 3, H, W), with 0 in the padding of shorter clips."""
        counts = [len(clip["frames"]) for clip in clips]
        frames = [clip["frames"] for clip in clips]
        if len(set(counts)) == 1:
            return self.processor.video_processor(frames, return_tensors="pt")["pixel_values"]
        # The processor only accepts clips of equal length.
        processed = [self.processor.video_processor([one], return_tensors="pt")["pixel_values"][0] for one in frames]
        sizes = sorted({tuple(one.shape[-2:]) for one in processed})
        if len(sizes) > 1:
            raise InputError(
                f"the frames of a batch must have one size after processing, got (height, width) {sizes}: set "
                "do_resize of the video processor with a height and a width"
            )
        return torch.stack([pad_frames(one, max(counts)) for one in processed])

    def _labels(self, clips: list[dict], size: tuple[int, int]) -> torch.Tensor | list[torch.Tensor]:
        """Returns labels (B, F, h, w), 255 in the padding: in training at `size`, else a list of (F, h, w) if sizes
        differ."""
        longest = max(len(clip["frames"]) for clip in clips)
        labels = [resize_labels(clip["labels"], size) if self.train else clip["labels"] for clip in clips]
        labels = [pad_frames(clip_labels, longest, IGNORED_LABEL) for clip_labels in labels]
        return torch.stack(labels) if len({clip_labels.shape for clip_labels in labels}) == 1 else labels

    def __call__(self, rows: list[dict]) -> dict:
        """Makes a batch.

        Clips with fewer than F frames, where F is the length of the longest clip, are padded at the end: with 0 in
        pixel_values and frame_examples and 255 in labels. `frame_mask` marks the padding, and the model ignores it. So
        each clip is trained on as if it were alone.

        Args:
            rows: rows of `load_avsbench` in any format of `datasets`. Pictures may be decoded or not; rows with
                pictures that are not decoded are faster.

        Returns:
            pixel_values (B, F, 3, H, W) float32, input_features (B, T, 96, 64) float32, input_features_mask (B, T)
            int64, frame_examples (B, F) int64, labels (B, F, h, w) int64 with 255 where nothing is annotated, and
            frame_mask (B, F) int64. frame_examples is the example in which each frame is shown: frames are spread
            evenly over the sound, and the last example is repeated if the sound ends before the frames. frame_mask is
            present if clips differ in their frame counts; it is 1 for frames and 0 for padding. With `keep_ids` the
            batch has clip_id and category. Without `train`, if clips have masks of different sizes, labels is a list
            of (F, h, w), each at its own size.

        Raises:
            ValueError, OSError: `decode_clip` raises an error. The message names the clip.
        """
        clips = [self._load_named_clip(clip_row(row)) for row in rows]
        for clip in clips:
            self._hear(clip)
        if self.mixing is not None:
            clips = self.mixing(clips, [clip["generator"] for clip in clips])
        counts = torch.tensor([len(clip["frames"]) for clip in clips])
        longest = int(counts.max())
        pixel_values = self._pixel_values(clips)
        height, width = pixel_values.shape[-2:]
        input_features, input_features_mask = (
            torch.stack([clip[name] for clip in clips]) for name in ("input_features", "input_features_mask")
        )
        frame_examples = [
            spread_frames(clip["frame_count"], mask[None])[0, clip["frame_indices"]]
            for clip, mask in zip(clips, input_features_mask, strict=True)
        ]
        batch = {
            "pixel_values": pixel_values,
            "input_features": input_features,
            "input_features_mask": input_features_mask,
            "frame_examples": torch.stack([pad_frames(examples, longest) for examples in frame_examples]),
            "labels": self._labels(clips, (height, width)),
        }
        if (counts < longest).any():
            batch["frame_mask"] = (torch.arange(longest) < counts[:, None]).long()
        if self.keep_ids:
            batch["clip_id"] = [clip["clip_id"] for clip in clips]
            batch["category"] = [clip["category"] for clip in clips]
        return batch


__all__ = ["AussDataCollator", "extract_audio", "precompute_input_features", "resize_labels"]
