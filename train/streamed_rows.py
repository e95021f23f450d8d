"""Rows of Parquet shards as a stream for training: shared among processes and workers, shuffled, each with a seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import datasets
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import get_worker_info

from .parquet_shards import check_holds_bytes
from .seeded_rows import augmentation_seed


class StreamedRows(torch.utils.data.IterableDataset):
    """What `SeededRows` is for random access, for a stream: "augmentation_seed" comes from (seed, epoch, clip).

    An epoch has as many batches in every process: those of `num_clips` clips, without a last one that is not full. A
    process or worker whose shards hold fewer clips than its share begins them again, one that has more leaves the
    rest; so nobody waits for another, and where shards divide evenly no clip comes twice.

    The order follows from the seed, the epoch, and the numbers of processes and workers. To go on within an epoch the
    rows already trained on are read again, but not decoded: `skip_batches`.

    Args:
        stream: its rows are dicts with "clip_id"; pictures should not be decoded.
        num_clips: the rows of the whole stream.
        batch_size: clips of a batch, over all processes together.
        seed: 0 or more.
        buffer_size: clips among which the next one is drawn; every worker holds so many in memory.
        rank, world_size: this process and how many there are.

    Raises:
        ValueError: batch_size is no multiple of world_size.
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
            raise ValueError(
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
        """The shards of this process, and so the most workers that it can use."""
        return self.stream.num_shards

    def shares_evenly(self, workers: int) -> bool:
        """Whether every worker of every process, `workers` in each, reads equally many shards."""
        return self.all_shards % (self.world_size * max(1, workers)) == 0

    def set_epoch(self, epoch: int) -> None:
        """Changes the order and the seeds; to be called before the data loader starts its workers."""
        self.epoch = epoch
        self.stream.set_epoch(epoch)

    def skip_batches(self, count: int) -> None:
        """Gives None instead of the rows of the first `count` batches of an epoch, so that nothing decodes them."""
        self.skipped_batches = count

    def _endless_rows(self) -> Iterator[dict]:
        """This worker's rows of the epoch, again and again, with their seeds."""
        passes = 0
        while True:
            row = None
            for row in self.stream:
                check_holds_bytes(row)
                clip = zlib.crc32(f"{row.get('category', '')}/{row['clip_id']}".encode())
                yield {**row, "augmentation_seed": augmentation_seed(self.seed, self.epoch, clip + passes)}
            if row is None:
                raise ValueError(f"workers must be at most the {self.num_shards} shards of this process, got more")
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
    """Makes batches as `collator` does, and None of skipped rows."""

    collator: Callable[[list[dict]], dict]

    def __call__(self, rows: list[dict | None]) -> dict | None:
        present = [row for row in rows if row is not None]
        return self.collator(present) if present else None


__all__ = ["SkippingCollator", "StreamedRows"]
