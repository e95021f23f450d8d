"""Loads sounds with their categories: from S4, from AVSS's labels, or from a folder of sounds by category."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ...configuration.configuration_auss import IGNORED_LABEL
from ...files.errors import InputError
from ...processing.audio_inputs import read_sound
from ...processing.channel_mix import mix_channels
from ...processing.feature_extraction_auss import AussFeatureExtractor
from ..composer.object_library import SOUND_SUFFIXES, is_hidden
from ..data.avsbench import load_avsbench
from ..data.avss_palette import read_class_names
from ..data.clips import decode_clip
from ..data.collator import precompute_input_features
from ..data.rows import SeededRows

# In a folder, every fifth recording of a category is used for validation.
VALIDATION_STRIDE = 5


@dataclass(frozen=True)
class LabelledSounds:
    """
    Args:
        features: (S, T, 96, 64) float32 log-mel.
        mask: (S, T), 1 for examples of sound and 0 for padding.
        targets: (S, C) float32, the share of each category in a sound. If a sound has one category, its share is 1.
    """

    features: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.features)


def shares(present: list[set[int]], num_categories: int) -> torch.Tensor:
    """Returns (S, C) float32: all categories of a sound get equal shares."""
    targets = torch.zeros(len(present), num_categories)
    for row, categories in zip(targets, present, strict=True):
        row[sorted(categories)] = 1 / max(1, len(categories))
    return targets


def split_of_avsbench(
    root: str, name: str, split: str, extractor: AussFeatureExtractor, names: list[str]
) -> LabelledSounds:
    """Loads the sounds of a split of S4 by category, or of AVSS by the classes in its label pictures."""
    rows = SeededRows(load_avsbench(root, name, split))
    if name == "s4":
        numbers = {category: {number} for number, category in enumerate(names)}
        present = [numbers.get(str(category), set()) for category in rows.dataset["category"].to_pylist()]
    else:
        present = []
        for index in tqdm(range(len(rows)), desc="labels", unit="clip", delay=2, leave=False):
            row = rows[index]
            labels = decode_clip(row, row["annotated_frames"], len(names) + 1, with_audio=False)["labels"]
            present.append({label - 1 for label in labels.unique().tolist()} - {-1, IGNORED_LABEL - 1})
    features, mask = precompute_input_features(rows, extractor)
    # Clips without any sounding class are of no use here.
    kept = torch.tensor([bool(categories) for categories in present])
    return LabelledSounds(features[kept], mask[kept], shares(present, len(names))[kept])


def category_files(root: Path) -> dict[str, list[Path]]:
    """Returns the sound files of each subfolder of a folder, at any depth.

    Raises ValueError if fewer than two subfolders have sound files.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data must be a folder with a folder of sounds for each category, there is no {root}")
    found = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path)):
        files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SOUND_SUFFIXES]
        files = [path for path in files if not any(map(is_hidden, path.relative_to(root).parents))]
        if files := [path for path in files if not is_hidden(path)]:
            found[folder.name] = files
    if len(found) < 2:
        raise InputError(
            f"data must hold sounds ({', '.join(SOUND_SUFFIXES)}) of two categories at least, each in a folder of its "
            f"own, found {sorted(found)} in {root}"
        )
    return found


def read_recording(path: Path, extractor: AussFeatureExtractor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the log-mel (T, 96, 64) of a recording and its mask (T,). A short recording is repeated, a long one
    gives its middle."""
    samples, rate = read_sound(path, f"sound file {path}")
    wave = mix_channels(samples.T) if samples.ndim == 2 else samples
    length = int(np.ceil((extractor.num_audio_examples + 0.1) * rate))
    if len(wave) < length:
        wave = np.tile(wave, -(-length // len(wave)))
    start = (len(wave) - length) // 2
    extracted = extractor(
        [wave[start : start + length]], rate, padding="max_length", truncation=True, return_tensors="pt"
    )
    return extracted["input_features"][0], extracted["input_features_mask"][0]


def folder_sounds(
    files: Iterable[tuple[int, Path]], num_categories: int, extractor: AussFeatureExtractor
) -> LabelledSounds:
    """Loads the sounds of files, each with the number of its category."""
    files = list(files)
    bar = tqdm(files, desc="log-mel", unit="sound", delay=2, leave=False)
    extracted = [read_recording(path, extractor) for _, path in bar]
    empty = torch.empty(0, extractor.num_audio_examples, 96, 64), torch.empty(0, extractor.num_audio_examples)
    features, mask = (torch.stack(part) for part in zip(*extracted, strict=True)) if files else empty
    return LabelledSounds(features, mask, shares([{category} for category, _ in files], num_categories))


def load_labelled_sounds(
    root: str, name: str, extractor: AussFeatureExtractor
) -> tuple[list[str], LabelledSounds, LabelledSounds]:
    """
    Returns the names of the categories, the sounds for training and the sounds for validation, which may be none.

    Args:
        root: the data set's root as `load_avsbench` takes it, or the folder that has a subfolder for each category.
        name: "s4", "avss" or "folder".
        extractor: the feature extractor. Its `num_audio_examples` is T.

    Raises:
        FileNotFoundError, ValueError: `load_avsbench` raises the error, the folder has sounds of fewer than two
            categories, or a file is no sound.
    """
    if name == "folder":
        files = category_files(Path(root))
        numbered = [
            (category, index, path)
            for category, paths in enumerate(files.values())
            for index, path in enumerate(paths, start=1)
        ]
        parts = (
            [(category, path) for category, index, path in numbered if (index % VALIDATION_STRIDE == 0) == validates]
            for validates in (False, True)
        )
        train, validation = (folder_sounds(part, len(files), extractor) for part in parts)
        return list(files), train, validation
    if name == "s4":
        names = sorted(set(load_avsbench(root, name, "train")["category"][:]))
    else:
        names = read_class_names(root)[1:]  # the first class is the background
    train, validation = (split_of_avsbench(root, name, split, extractor, names) for split in ("train", "val"))
    return names, train, validation


__all__ = ["LabelledSounds", "load_labelled_sounds"]
