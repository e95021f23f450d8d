"""Makes loaders of batches for training, from files or from a stream, and for scoring."""

import logging

import torch
from accelerate import PartialState
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, Dataset, Subset

from ...files.errors import InputError
from ...hub.exported_model import AnyAuss
from ...processing.processing_auss import AussProcessor
from ..arguments import DataArguments, RunArguments, check_at_least
from ..termination import ignore_sigterm
from .augmentation import ClipAugmentation, ClipMixing
from .avsbench import load_avsbench
from .avss_palette import read_class_names
from .collator import AussDataCollator, precompute_input_features
from .parquet_shards import stream_shards
from .rows import SeededRows, SkippingCollator, StreamedRows

logger = logging.getLogger(__name__)


def check_labels_fit(model: AnyAuss, name: str, root: str, source: str) -> None:
    """
    Raises ValueError if a trained model has another number of labels than the data set. The meaning of its masks would
    be misread.

    Args:
        model: the model loaded from `source`, a folder.
        name, root: the data set, as `load_avsbench` takes it.
    """
    expected = len(read_class_names(root)) if name == "avss" else 2
    if model.config.num_labels != expected:
        raise InputError(
            f"{name} needs a model of {expected} labels, the one in {source!r} has {model.config.num_labels}"
        )


def worker_count(workers: int | None) -> int:
    """
    Returns `workers`, or a number that suits the machine if `workers` is None: 4 if the machine has an accelerator,
    else 0. Without an accelerator workers would take the network's cores: on 2 cores a step of `auss-demo` at 112
    pixels takes 0.33 s without workers and 0.51 s with one.
    """
    if workers is not None:
        check_at_least("workers", workers, 0)
        return workers
    return 4 if torch.accelerator.is_available() else 0


def create_train_collator(processor: AussProcessor, data: DataArguments, num_labels: int) -> AussDataCollator:
    """Creates the collator for training, with augmentation if `data` asks for it."""
    video_processor = processor.video_processor
    augmentation = None
    if data.augment:
        augmentation = ClipAugmentation(
            (video_processor.size["height"], video_processor.size["width"]),
            colour=data.colour_jitter,
            scale=(1 / data.scale_jitter, data.scale_jitter),
            stretch=data.stretch_jitter,
            fill=tuple(round(255 * value) for value in video_processor.image_mean),
        )
    mixing = None
    if data.paste_probability:
        mixing = ClipMixing(data.paste_probability, data.paste_sound_share)
    return AussDataCollator(
        processor,
        augmentation=augmentation,
        frames_per_clip=data.frames_per_clip,
        mute_probability=data.mute_probability,
        train=True,
        keep_ids=True,
        num_labels=num_labels,
        mixing=mixing,
    )


def create_train_loader(
    rows: SeededRows, processor: AussProcessor, data: DataArguments, num_labels: int, seed: int
) -> DataLoader:
    """
    Loads shuffled batches with augmentation. A last batch that is not full is left out, unless it is the only batch.

    Raises:
        ValueError: several processes would share the only batch, and it is not full. Some clips would then count more
            than others.
    """
    if len(rows) < data.batch_size and PartialState().num_processes > 1:
        raise InputError(
            f"batch_size must be at most the number of training clips, {len(rows)}, where several processes share a "
            f"batch, got {data.batch_size}"
        )
    return DataLoader(
        rows,
        batch_size=data.batch_size,
        shuffle=True,
        collate_fn=create_train_collator(processor, data, num_labels),
        num_workers=worker_count(data.workers),
        drop_last=len(rows) >= data.batch_size,
        # The loader needs its own generator: making an iterator draws a number, and that number must not come from the
        # global generator.
        generator=torch.Generator().manual_seed(seed),
    )


def open_stream(data: DataArguments, seed: int) -> StreamedRows:
    """Opens this process's share of the training clips as a stream from Parquet shards."""
    state = PartialState()
    stream, num_clips = stream_shards(data.data, data.name, "train")
    return StreamedRows(
        stream, num_clips, data.batch_size, seed, data.shuffle_buffer, state.process_index, state.num_processes
    )


def create_stream_loader(
    rows: StreamedRows,
    processor: AussProcessor,
    data: DataArguments,
    num_labels: int,
    seed: int,
    device: torch.device | None = None,
) -> DataLoader:
    """Loads this process's batches of a stream, with augmentation, on `device`. The accelerator must not prepare this
    loader, because the rows already belong to this process."""
    workers = min(worker_count(data.workers), rows.num_shards)
    if workers < worker_count(data.workers):
        logger.warning("%d workers, since there are no more shards for a process: `auss prepare --shards`", workers)
    elif not rows.shares_evenly(workers):
        logger.warning(
            "%d shards do not divide by %d processes of %d workers: in an epoch clips can come twice, or not at all",
            rows.all_shards,
            rows.world_size,
            max(1, workers),
        )
    loader = DataLoader(
        rows,
        batch_size=rows.batch_size,
        collate_fn=SkippingCollator(create_train_collator(processor, data, num_labels)),
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=ignore_sigterm,  # set here, because `prepare_data_loader` keeps the loader's own function
    )
    prepared = prepare_data_loader(
        loader, device, num_processes=1, process_index=0, put_on_device=True, dispatch_batches=False
    )
    prepared._is_accelerate_prepared = True
    return prepared


def create_eval_loader(
    rows: Dataset, processor: AussProcessor, num_labels: int, batch_size: int, workers: int | None, muted: bool = False
) -> DataLoader:
    """
    Loads batches of whole clips in order, with the clips' names. Shorter clips are padded, and labels keep their own
    size. `muted` silences every clip.

    Raises:
        ValueError: batch_size is less than 1, or workers is less than 0.
    """
    check_at_least("batch_size", batch_size, 1)
    return DataLoader(
        rows,
        batch_size=batch_size,
        collate_fn=AussDataCollator(processor, keep_ids=True, num_labels=num_labels, muted=muted),
        num_workers=worker_count(workers),
        generator=torch.Generator().manual_seed(0),
    )


def load_rows(data: DataArguments, processor: AussProcessor, split: str, seed: int = 0) -> SeededRows:
    """Loads the rows of a split, with their log-mel if `cache_sounds` is set."""
    dataset = load_avsbench(data.data, data.name, split)
    rows = SeededRows(dataset, seed)
    if not data.cache_sounds:
        return rows
    with PartialState().local_main_process_first():  # the first process writes a file, and the others read it
        return SeededRows(dataset, seed, precompute_input_features(rows, processor.feature_extractor))


def create_validation_loader(
    data: DataArguments, run: RunArguments, processor: AussProcessor, num_labels: int
) -> DataLoader | None:
    """Loads the validation clips, or `eval_clips` of them, evenly spread. Returns None if there is no validation."""
    if not run.eval_every:
        return None
    rows = load_rows(data, processor, "val")
    if run.eval_clips is not None and run.eval_clips < len(rows):
        rows = Subset(rows, [index * len(rows) // run.eval_clips for index in range(run.eval_clips)])
    # `batch_size` counts the clips of all processes. Each process gets as many clips as in training.
    batch_size = max(1, data.batch_size // PartialState().num_processes)
    return create_eval_loader(rows, processor, num_labels, batch_size, data.workers)


__all__ = [
    "check_labels_fit",
    "create_eval_loader",
    "create_stream_loader",
    "create_train_collator",
    "create_train_loader",
    "create_validation_loader",
    "load_rows",
    "open_stream",
    "worker_count",
]
