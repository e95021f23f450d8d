"""Rows that carry their own augmentation seed and whose pictures are not decoded yet."""

from __future__ import annotations

import datasets
import numpy as np
import torch


def augmentation_seed(seed: int, epoch: int, index: int) -> int:
    """A 63-bit seed that is a fixed and well mixed function of its three parts, each 0 or more."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class SeededRows(torch.utils.data.Dataset):
    """Wraps a data set for training: each row gets "augmentation_seed" from (seed, epoch, index).

    What a clip becomes then depends on the seed, the epoch and its index alone, so that a resumed run, or one with
    another number of workers, sees the same pictures. Rows of a `datasets.Dataset` are read as they are stored:
    pictures stay {"path", "bytes"}, so that the collator decodes only the frames it chooses.

    Args:
        dataset: a `datasets.Dataset`, or anything with a length that gives a dict for an index.
        seed: 0 or more.
        input_features: what `precompute_input_features` made of the same data set: rows then carry their log-mel as
            "input_features" and "input_features_mask", and the collator does not read their sound.

    Raises:
        ValueError: a negative seed, or input_features of another number of rows.
    """

    def __init__(self, dataset, seed: int = 0, input_features: tuple[torch.Tensor, torch.Tensor] | None = None):
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        if input_features is not None and {len(part) for part in input_features} != {len(dataset)}:
            raise ValueError(
                f"input_features must be a pair of {len(dataset)} rows, got {[len(part) for part in input_features]}"
            )
        self.seed = seed
        self.input_features = input_features
        self._stored = isinstance(dataset, datasets.Dataset)
        self.dataset = dataset.with_format("arrow") if self._stored else dataset
        # Shared memory: workers that stay alive over epochs see the new number.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Changes the seeds of all rows; Accelerate's data loaders call this by themselves."""
        if epoch < 0:
            raise ValueError(f"epoch must be 0 or more, got {epoch}")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"index must be 0 to {len(self) - 1}, got {index}")
        row = self.dataset[int(index)]
        row = row.to_pylist()[0] if self._stored else dict(row)
        if self.input_features is not None:
            row["input_features"], row["input_features_mask"] = (part[index] for part in self.input_features)
        row["augmentation_seed"] = augmentation_seed(self.seed, self.epoch, int(index))
        return row


__all__ = ["SeededRows", "augmentation_seed"]
