"""What a run starts from: the model, its processor, and the loaders of clips."""

import logging

import torch
from accelerate import PartialState
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, Dataset
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..configuration.configuration_auss import AussConfig
from ..inference.trained_model import load_trained
from ..modeling_auss.audio_weights import load_audio_weights, use_standard_encoder
from ..modeling_auss.backbone_weights import load_backbone_weights
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.feature_extraction_auss import AussFeatureExtractor
from ..processing.processing_auss import AussProcessor
from ..processing.video_processing_auss import AussVideoProcessor
from .arguments import DataArguments, RunArguments
from .augmentation import ClipAugmentation
from .avss_palette import read_class_names
from .collator import AussDataCollator
from .longer_sound import hear_longer
from .parquet_shards import stream_shards
from .schedule import BACKBONE_INFIX
from .seeded_rows import SeededRows
from .streamed_rows import SkippingCollator, StreamedRows
from .termination import ignore_sigterm

logger = logging.getLogger(__name__)

DEFAULT_PRESET = "auss-resnet101"
DEFAULT_IMAGE_SIZE = 224
# AVSS has clips of ten seconds, the others of five.
AVSS_AUDIO_EXAMPLES = 10


def new_config(preset: str, data: DataArguments) -> AussConfig:
    """The preset's configuration with the labels and the length of the data set's clips."""
    if data.name != "avss":
        return AussConfig.from_preset(preset)
    names = read_class_names(data.data)
    logger.warning(
        "avss has clips of 5 and of 10 seconds: the new network gets %d labels and hears %d sound examples a clip "
        "(num_audio_examples), whatever %s says",
        len(names),
        AVSS_AUDIO_EXAMPLES,
        preset,
    )
    return AussConfig.from_preset(
        preset,
        num_audio_examples=AVSS_AUDIO_EXAMPLES,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )


def check_labels_fit(model: AussForAudioVisualSegmentation, name: str, root: str, source: str) -> None:
    """
    Raises ValueError where a trained model has another number of labels than the data set: its masks would be read
    as something that they are not.

    Args:
        model: what was loaded from `source`, a folder.
        name, root: the data set, as `load_avsbench` takes it.
    """
    expected = len(read_class_names(root)) if name == "avss" else 2
    if model.config.num_labels != expected:
        raise ValueError(
            f"{name} needs a model of {expected} labels, the one in {source!r} has {model.config.num_labels}"
        )


def create_model(
    data: DataArguments, run: RunArguments, backbone_rate: float
) -> tuple[AussForAudioVisualSegmentation, AussProcessor]:
    """
    What training starts from, in float32: a trained model with its processor, or random weights but for the given
    backbone's.

    Args:
        data: the data set decides the number of labels, and `image_size` the processor's size.
        run: says where from.
        backbone_rate: 0 freezes the image backbone.

    Raises:
        ValueError: `run.init_from` holds no auss model, one for another number of labels, or for avss one that
            `hear_longer` cannot make hear ten seconds.
    """
    if run.init_from is not None:
        # In bfloat16 or float16 most optimiser steps would round to nothing; `mixed_precision` is there for speed.
        model, processor = load_trained(run.init_from, dtype=torch.float32)
        if data.image_size is not None:
            processor.video_processor.size = {"height": data.image_size, "width": data.image_size}
        check_labels_fit(model, data.name, data.data, run.init_from)
        if data.name == "avss" and model.config.num_audio_examples < AVSS_AUDIO_EXAMPLES:
            logger.warning(
                "the network in %s hears %d sound examples a clip, avss has clips of %d: it gets as many, the new "
                "ones with weights of zero, so that clips of 5 seconds have the masks that they had",
                run.init_from,
                model.config.num_audio_examples,
                AVSS_AUDIO_EXAMPLES,
            )
            hear_longer(model, AVSS_AUDIO_EXAMPLES)
            processor.feature_extractor.num_audio_examples = AVSS_AUDIO_EXAMPLES
    else:
        config = new_config(run.preset or DEFAULT_PRESET, data)
        if run.audio_weights is not None:
            use_standard_encoder(config)
        model = AussForAudioVisualSegmentation(config)
        processor = create_processor(model.config, data.image_size or DEFAULT_IMAGE_SIZE)
        if data.image_size is None:
            use_fixed_size(model, processor)
    check_frame_size(model, processor)
    if run.backbone_weights is not None:
        load_backbone_weights(model, run.backbone_weights)
    if run.audio_weights is not None:
        load_audio_weights(model, run.audio_weights)
    if backbone_rate == 0:
        for name, parameter in model.named_parameters():
            if BACKBONE_INFIX in name:
                parameter.requires_grad_(False)
    return model, processor


def use_fixed_size(model: AussForAudioVisualSegmentation, processor: AussProcessor) -> None:
    """Makes the processor's frames those of the only size that the model's backbone takes, if there is only one."""
    fixed_size = model.auss.image_embedding_extractor.layout.fixed_size
    if fixed_size is not None:
        processor.video_processor.size = {"height": fixed_size[0], "width": fixed_size[1]}


def check_frame_size(model: AussForAudioVisualSegmentation, processor: AussProcessor) -> None:
    """Raises ValueError, before any clip is read, if the backbone takes frames of another size only."""
    fixed_size, size = model.auss.image_embedding_extractor.layout.fixed_size, processor.video_processor.size
    if fixed_size is not None and (size["height"], size["width"]) != fixed_size:
        raise ValueError(
            f"the backbone takes frames of {fixed_size[0]} x {fixed_size[1]} pixels only, got image_size "
            f"{size['height']}: leave --image-size out, or choose another backbone"
        )


def pixel_statistics(config: AussConfig) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of red, green and blue that the backbone's pretrained weights expect."""
    backbone_config = config.backbone_config
    if backbone_config.model_type == "timm_backbone":
        import timm

        pretrained = timm.get_pretrained_cfg(backbone_config.backbone)
        if pretrained is not None:
            return list(pretrained.mean), list(pretrained.std)
    return list(IMAGENET_DEFAULT_MEAN), list(IMAGENET_DEFAULT_STD)


def create_processor(config: AussConfig, image_size: int) -> AussProcessor:
    """A processor for a new model of this configuration; `image_size` is the height and width of its frames."""
    mean, std = pixel_statistics(config)
    return AussProcessor(
        feature_extractor=AussFeatureExtractor(num_audio_examples=config.num_audio_examples),
        video_processor=AussVideoProcessor(
            size={"height": image_size, "width": image_size}, image_mean=mean, image_std=std
        ),
    )


def worker_count(workers: int | None) -> int:
    """
    `workers`, or if None what suits the machine: 4 beside an accelerator. Without one they would take the network's
    cores: on 2 cores a step of `auss-demo` at 112 pixels takes 0.33 s with none and 0.51 s with one.
    """
    if workers is not None:
        return workers
    return 4 if torch.accelerator.is_available() else 0


def create_train_collator(processor: AussProcessor, data: DataArguments, num_labels: int) -> AussDataCollator:
    """Makes batches for training, with augmentation if `data` says so."""
    video_processor = processor.video_processor
    augmentation = None
    if data.augment:
        augmentation = ClipAugmentation(
            (video_processor.size["height"], video_processor.size["width"]),
            fill=tuple(round(255 * value) for value in video_processor.image_mean),
        )
    return AussDataCollator(
        processor,
        augmentation=augmentation,
        frames_per_clip=data.frames_per_clip,
        mute_probability=data.mute_probability,
        train=True,
        keep_ids=True,
        num_labels=num_labels,
    )


def create_train_loader(
    rows: SeededRows, processor: AussProcessor, data: DataArguments, num_labels: int, seed: int
) -> DataLoader:
    """
    Shuffled batches with augmentation. A last batch that is not full is left out, unless it is the only one.

    Raises:
        ValueError: several processes were to share that one: some clips would count more than others.
    """
    if len(rows) < data.batch_size and PartialState().num_processes > 1:
        raise ValueError(
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
        # A generator of its own: making an iterator draws a number, which must not come from the global one.
        generator=torch.Generator().manual_seed(seed),
    )


def open_stream(data: DataArguments, seed: int) -> StreamedRows:
    """This process's share of the training clips, streamed from Parquet shards."""
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
    """This process's batches of a stream, with augmentation, on `device`. The accelerator takes it as prepared, for
    the rows are this process's already."""
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
        worker_init_fn=ignore_sigterm,  # here, for what is prepared keeps its own
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
    Batches in order, whole clips, the shorter ones padded, labels at their own size, with the clips' names; `muted`
    silences every clip.
    """
    return DataLoader(
        rows,
        batch_size=batch_size,
        collate_fn=AussDataCollator(processor, keep_ids=True, num_labels=num_labels, muted=muted),
        num_workers=worker_count(workers),
        generator=torch.Generator().manual_seed(0),
    )


__all__ = [
    "check_labels_fit",
    "create_eval_loader",
    "create_model",
    "create_processor",
    "create_stream_loader",
    "create_train_collator",
    "create_train_loader",
    "new_config",
    "open_stream",
    "pixel_statistics",
    "worker_count",
]
