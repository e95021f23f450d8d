"""Gives clips the sound of another clip. The model's output then shows whether it listens."""

from collections.abc import Sequence

import datasets
import numpy as np
from torch.utils.data import Dataset

from ...files.errors import InputError
from ..data.rows import SeededRows


def other_categories(categories: Sequence[str], seed: int = 0) -> list[int]:
    """
    Draws for each clip the index of a clip of another category, with the seed `seed`.

    Raises:
        ValueError: the clips have fewer than two categories, or a clip has no category.
    """
    names = np.asarray(categories)
    if "" in categories or len(set(categories)) < 2:
        raise InputError(
            f"swapping sounds needs clips of at least two named categories, got {sorted(set(categories))}; "
            "ms3 has none"
        )
    generator = np.random.default_rng(seed)
    return [int(generator.choice(np.flatnonzero(names != name))) for name in categories]


class SwappedSounds(Dataset):
    """
    The rows of a data set, each with the sound of a clip of another category. The same seed gives the same sounds.

    Args:
        rows: the data set, which returns a row for an index.
        stored: the `datasets.Dataset` behind `rows`. Categories and sounds are read from it.
        seed: the seed of the draw.
    """

    def __init__(self, rows: SeededRows, stored: datasets.Dataset, seed: int = 0):
        self.rows = rows
        # Select this column only. Reading whole rows would decode the partners' pictures.
        self.sounds = stored.select_columns("audio")
        self.partners = other_categories(stored["category"][:], seed)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return {**self.rows[index], "audio": self.sounds[self.partners[index]]["audio"]}


__all__ = ["SwappedSounds", "other_categories"]
