"""A user's script, which `make quality` checks with pyright and nobody runs: what the public names give has types."""

from collections.abc import Iterator

import datasets
import evaluate
import numpy as np
import torch
from PIL import Image
from transformers import Trainer, TrainingArguments

import auss
from auss import (
    AussAudioConfig,
    AussConfidenceCallback,
    AussConfig,
    AussDataCollator,
    AussFeatureExtractor,
    AussForAudioVisualSegmentation,
    AussModel,
    AussProcessor,
    AussTrainerMetrics,
    AussVideoProcessor,
    load_avsbench,
    metric_path,
)
from auss.inference.clip_batches import FrameMask
from auss.inference.pipeline import AudioVisualSegmentationPipeline
from auss.inference.segment import segment_video

version: str = auss.__version__


def make_config() -> AussConfig:
    config = AussConfig(num_labels=3, audio_config=AussAudioConfig(embedding_size=64), feature_strides=(16, 8, 4))
    config = AussConfig(audio_config={"embedding_size": 64}, backbone_config={"model_type": "resnet"}, num_queries=50)
    numbers: tuple[int, int] = (config.num_labels, config.audio_config.embedding_size)
    names: list[str] = [config.id2label[index] for index in range(numbers[0])]
    return AussConfig.from_preset("auss-demo", id2label=dict(enumerate(names)))


def segment(frames: list[Image.Image], waveform: np.ndarray) -> list[dict[str, torch.Tensor]]:
    processor = AussProcessor(feature_extractor=AussFeatureExtractor(), video_processor=AussVideoProcessor())
    model = AussForAudioVisualSegmentation(make_config()).to("cpu").eval()
    inputs = processor(videos=frames, audio=waveform, sampling_rate=44_100, return_tensors="pt")
    outputs = model.forward(**inputs)
    if outputs.logits is not None:
        shape: torch.Size = outputs.logits.shape
        print(shape)
    queries: torch.Tensor = model.auss.audio_queries(inputs["input_features"])
    print(queries.shape, AussModel(model.config).num_parameters())
    model(**inputs)
    return processor.post_process_audio_visual_segmentation(outputs, target_sizes=[(480, 640)])


def segment_file(folder: str) -> None:
    model = AussForAudioVisualSegmentation.from_pretrained(folder)
    processor = AussProcessor.from_pretrained(folder)
    masks: Iterator[FrameMask] = segment_video("street.mp4", model, processor, fps=5)
    for mask in masks:
        time: float = mask.time
        print(time, mask.scores.shape, mask.scores.max())
    segmenter = AudioVisualSegmentationPipeline(model=model, processor=processor)
    for frame in segmenter("street.mp4", fps=5):
        print(frame)


def train(folder: str) -> float:
    model = AussForAudioVisualSegmentation.from_pretrained(folder)
    processor = AussProcessor.from_pretrained(folder)
    clips: datasets.Dataset = load_avsbench("DATA", "s4", "train")
    trainer = Trainer(
        model=model,
        args=TrainingArguments("runs", batch_eval_metrics=True, remove_unused_columns=False),
        data_collator=AussDataCollator(processor, train=True),
        train_dataset=clips,
        eval_dataset=load_avsbench("DATA", "s4", "val"),
        compute_metrics=AussTrainerMetrics(),
        callbacks=[AussConfidenceCallback()],
    )
    trainer.train()
    path: str = metric_path("m_j")
    result = evaluate.load(path).compute(predictions=[np.zeros((1, 2, 2))], references=[np.ones((1, 2, 2))])
    return result["m_j"] if result is not None else 0.0
