"""Gives each row of a data set its own seed: rows of files in any order, or rows of a stream."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow as pa
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import get_worker_info

from ...files.errors import InputError
from .parquet_shards import check_holds_bytes


class StreamedRows(torch.utils.data.IterableDataset):
    """Streams rows, each with "augmentation_seed" from (seed, epoch, clip). `SeededRows` does this for random access.

    An epoch has equally many batches in every process: the full batches of `num_clips` clips. If the shards of a
    process or worker hold fewer clips than its share, it begins them again; if they hold more, it skips the rest. So
    no process waits for another. If the shards divide evenly, no clip comes twice.

    The order follows from the seed, the epoch, and the numbers of processes and workers. To resume within an epoch,
    `skip_batches` reads the finished rows again without decoding them.

    Args:
        stream: an iterable of dicts with "clip_id". Pictures should not be decoded.
        num_clips: the number of rows of the whole stream.
        batch_size: the clips of a batch over all processes together.
        seed: 0 or more.
        buffer_size: the number of clips among which the next one is drawn. Every worker holds that many clips in
            memory.
        rank, world_size: the number of this process, and the number of processes.

    Raises:
        ValueError: batch_size is not a multiple of world_size.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        num_clips: int,
        batch_size: int,
        seed: int = 0,
        buffer_size: int = 128,
        rank: int = 0,
        world_size: int = 1,
    ):
        if batch_size % world_size:
            raise InputError(
                f"batch_size must be a multiple of the number of processes ({world_size}), got {batch_size}"
            )
        self.all_shards = stream.num_shards
        shuffled = stream.shuffle(seed=seed, buffer_size=buffer_size)
        self.stream = split_dataset_by_node(shuffled, rank=rank, world_size=world_size)
        self.num_batches = max(1, num_clips // batch_size)
        self.batch_size = batch_size // world_size
        self.seed = seed
        self.world_size = world_size
        self.epoch = 0
        self.skipped_batches = 0

    @property
    def num_shards(self) -> int:
        """Returns the number of shards of this process. It cannot use more workers than shards."""
        return self.stream.num_shards

    def shares_evenly(self, workers: int) -> bool:
        """Tells whether every worker reads equally many shards if each process has `workers` of them."""
        return self.all_shards % (self.world_size * max(1, workers)) == 0

    def set_epoch(self, epoch: int) -> None:
        """Changes the order and the seeds. Call it before the data loader starts its workers."""
        self.epoch = epoch
        self.stream.set_epoch(epoch)

    def skip_batches(self, count: int) -> None:
        """Makes the first `count` batches of an epoch give None instead of rows, so that nothing decodes them."""
        self.skipped_batches = count

    def _whole_rows(self) -> Iterator[dict]:
        """Yields the rows of the stream. Raises InputError if a shard is damaged."""
        rows = iter(self.stream)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except pa.ArrowException as error:
                raise InputError(f"a shard of the stream cannot be read: {error}") from error
            yield row

    def _endless_rows(self) -> Iterator[dict]:
        """Yields this worker's rows of the epoch with their seeds, again and again."""
        passes = 0
        while True:
            row = None
            for row in self._whole_rows():
                check_holds_bytes(row)
                clip = zlib.crc32(f"{row.get('category', '')}/{row['clip_id']}".encode())
                yield {**row, "augmentation_seed": augmentation_seed(self.seed, self.epoch, clip + passes)}
            if row is None:
                raise InputError(f"workers must be at most the {self.num_shards} shards of this process, got more")
            passes += 1

    def __iter__(self) -> Iterator[dict | None]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # A data loader takes the batches of its workers in turn.
        mine = len(range(number, self.num_batches, workers)) * self.batch_size
        skipped = len(range(number, self.skipped_batches, workers)) * self.batch_size
        rows = self._endless_rows()
        for index in range(mine):
            row = next(rows)
            yield None if index < skipped else row


@dataclass
class SkippingCollator:
    """Makes batches as `collator` does. Skipped rows give None."""

    collator: Callable[[list[dict]], dict]

    def __call__(self, rows: list[dict | None]) -> dict | None:
        present = [row for row in rows if row is not None]
        return self.collator(present) if present else None


def augmentation_seed(seed: int, epoch: int, index: int) -> int:
    """Returns a 63-bit seed: a fixed and well mixed function of the three arguments, each 0 or more."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class SeededRows(torch.utils.data.Dataset):
    """Wraps a data set for training: each row gets "augmentation_seed" from (seed, epoch, index).

    The augmentation of a clip only depends on the seed, the epoch and the index of the clip. So a resumed run, or a
    run with another number of workers, sees the same pictures. Rows of a `datasets.Dataset` are read as they are
    stored: pictures stay {"path", "bytes"}, so the collator only decodes the chosen frames.

    Args:
        dataset: a `datasets.Dataset`, or any object that has a length and returns a dict for an index.
        seed: 0 or more.
        input_features: the result of `precompute_input_features` for the same data set. Rows then carry their log-mel
            as "input_features" and "input_features_mask", and the collator does not read their sound.

    Raises:
        ValueError: the seed is negative, or input_features has another number of rows.
    """

    def __init__(self, dataset, seed: int = 0, input_features: tuple[torch.Tensor, torch.Tensor] | None = None):
        if seed < 0:
            raise InputError(f"seed must be 0 or more, got {seed}")
        if input_features is not None and {len(part) for part in input_features} != {len(dataset)}:
            raise InputError(
                f"input_features must be a pair of {len(dataset)} rows, got {[len(part) for part in input_features]}"
            )
        self.seed = seed
        self.input_features = input_features
        self._stored = isinstance(dataset, datasets.Dataset)
        self.dataset = dataset.with_format("arrow") if self._stored else dataset
        # The epoch lies in shared memory, so that workers that live through several epochs see the new number.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Changes the seeds of all rows. Accelerate's data loaders call this method."""
        if epoch < 0:
            raise InputError(f"epoch must be 0 or more, got {epoch}")
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


__all__ = ["SeededRows", "SkippingCollator", "StreamedRows", "augmentation_seed"]
