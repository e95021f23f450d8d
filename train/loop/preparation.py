"""Creates the accelerator, the model and its processor for a run."""

import logging
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DataLoaderConfiguration,
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    ProjectConfiguration,
)
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ...configuration.configuration_auss import AussConfig
from ...files.errors import InputError
from ...hub.trained_model import load_trained
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ...modeling_auss.published_weights.audio_weights import freeze_encoder, load_audio_weights, use_encoder_of
from ...modeling_auss.published_weights.backbone_weights import load_backbone_weights
from ...processing.feature_extraction_auss import AussFeatureExtractor
from ...processing.processing_auss import AussProcessor
from ...processing.video_processing_auss import AussVideoProcessor
from ..arguments import DataArguments, OptimArguments, RunArguments
from ..data.avss_palette import read_class_names
from ..data.loaders import check_labels_fit
from .longer_sound import hear_longer
from .schedule import BACKBONE_INFIX

logger = logging.getLogger(__name__)

DEFAULT_PRESET = "auss-resnet101"
DEFAULT_IMAGE_SIZE = 224
# AVSS has clips of ten seconds. The other subsets have clips of five seconds.
AVSS_AUDIO_EXAMPLES = 10


def new_config(preset: str, data: DataArguments) -> AussConfig:
    """Returns the configuration of the preset with the labels and the clip length of the data set."""
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


def create_model(
    data: DataArguments, run: RunArguments, backbone_rate: float
) -> tuple[AussForAudioVisualSegmentation, AussProcessor]:
    """
    Creates the model and the processor for the start of the training, in float32: a trained model with its processor,
    or a model of random weights whose backbone may get given weights.

    Args:
        data: the data set decides the number of labels, and `image_size` decides the size of the processor's frames.
        run: tells the source of the model.
        backbone_rate: a rate of 0 freezes the image backbone.

    Raises:
        ValueError: `run.init_from` holds no auss model, a model for another number of labels, or for avss a model that
            `hear_longer` cannot extend to ten seconds.
    """
    if run.init_from is not None:
        # In bfloat16 or float16 most optimiser steps would round to nothing. `mixed_precision` makes training fast
        # instead.
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
            use_encoder_of(config, run.audio_weights)
        model = AussForAudioVisualSegmentation(config)
        processor = create_processor(model.config, data.image_size or DEFAULT_IMAGE_SIZE)
        if data.image_size is None:
            use_fixed_size(model, processor)
    check_frame_size(model, processor)
    if run.backbone_weights is not None:
        load_backbone_weights(model, run.backbone_weights)
    if run.audio_weights is not None:
        load_audio_weights(model, run.audio_weights, run.freeze_audio)
    elif run.freeze_audio is not None:
        freeze_encoder(model, run.freeze_audio)
    if backbone_rate == 0:
        for name, parameter in model.named_parameters():
            if BACKBONE_INFIX in name:
                parameter.requires_grad_(False)
    return model, processor


def record_categories(config: AussConfig, rows: Any) -> None:
    """Adds the categories of the training rows to what the model was trained to recognise. Labels of more than two
    classes say it themselves, and a stream does not tell its categories beforehand."""
    dataset: Any = getattr(rows, "dataset", None)
    if config.num_labels > 2 or not hasattr(dataset, "unique"):
        return
    found = {str(name) for name in dataset.unique("category")} - {""}
    config.trained_categories = sorted(found | set(config.trained_categories or ())) or None


def create_accelerator(data: DataArguments, optim: OptimArguments, run: RunArguments, logs: Path) -> Accelerator:
    """
    Creates the accelerator of a run. Its trackers write into the folder `logs`.

    Raises:
        ValueError: this machine does not support the settings, such as fp16 on a CPU, or the processes cannot share
            the clips of a step evenly.
    """
    settings: dict[str, Any] = dict(
        mixed_precision=run.mixed_precision,
        log_with=run.tracker,
        project_config=ProjectConfiguration(logging_dir=str(logs)),
        # Every step has the same number of batches, even if an epoch ends within the step.
        gradient_accumulation_plugin=GradientAccumulationPlugin(optim.accumulation, sync_with_dataloader=False),
        # `batch_size` counts the clips of all processes, so the number of processes does not change the training.
        dataloader_config=DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True, data_seed=run.seed),
        # If no frame of a batch is annotated, the parameters of the heads are unused.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    try:
        accelerator = Accelerator(**settings)
    except (ValueError, ImportError) as error:
        raise InputError(f"Accelerate refuses these settings: {error}") from error
    if data.batch_size % accelerator.num_processes:
        raise InputError(
            f"batch_size must be a multiple of the number of processes ({accelerator.num_processes}), which share the "
            f"clips of a batch, got {data.batch_size}"
        )
    return accelerator


def use_fixed_size(model: AussForAudioVisualSegmentation, processor: AussProcessor) -> None:
    """Sets the size of the processor's frames if the model's backbone takes only one size."""
    fixed_size = model.auss.image_embedding_extractor.layout.fixed_size
    if fixed_size is not None:
        processor.video_processor.size = {"height": fixed_size[0], "width": fixed_size[1]}


def check_frame_size(model: AussForAudioVisualSegmentation, processor: AussProcessor) -> None:
    """Raises ValueError if the backbone takes only frames of another size. No clip has been read by then."""
    fixed_size, size = model.auss.image_embedding_extractor.layout.fixed_size, processor.video_processor.size
    if fixed_size is not None and (size["height"], size["width"]) != fixed_size:
        raise InputError(
            f"the backbone takes frames of {fixed_size[0]} x {fixed_size[1]} pixels only, got image_size "
            f"{size['height']}: leave --image-size out, or choose another backbone"
        )


def pixel_statistics(config: AussConfig) -> tuple[list[float], list[float]]:
    """Returns the mean and the standard deviation of red, green and blue that the backbone's pretrained weights
    expect."""
    backbone_config = config.backbone_config
    if backbone_config.model_type == "timm_backbone":
        import timm

        pretrained = timm.get_pretrained_cfg(backbone_config.backbone)
        if pretrained is not None:
            return list(pretrained.mean), list(pretrained.std)
    return list(IMAGENET_DEFAULT_MEAN), list(IMAGENET_DEFAULT_STD)


def create_processor(config: AussConfig, image_size: int) -> AussProcessor:
    """Creates a processor for a new model of this configuration. `image_size` is the height and the width of its
    frames."""
    mean, std = pixel_statistics(config)
    return AussProcessor(
        feature_extractor=AussFeatureExtractor(num_audio_examples=config.num_audio_examples),
        video_processor=AussVideoProcessor(
            size={"height": image_size, "width": image_size}, image_mean=mean, image_std=std
        ),
    )


__all__ = ["create_accelerator", "create_model", "create_processor", "new_config", "pixel_statistics"]
