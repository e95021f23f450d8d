"""Fixtures with a network that is small enough for every test. The network has a two-stage ResNet, eight queries of
sixteen features, and three fusion blocks."""

import shutil
from pathlib import Path

import pytest
import torch
from torchvggish import torchvggish
from transformers import ResNetConfig

from auss.configuration.configuration_auss import AussAudioConfig, AussConfig
from auss.inference.pipeline import TASK, AudioVisualSegmentationPipeline
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor

from .exported_models import exports, torch_export, whole_export  # noqa: F401
from .small_videos import make_tracks, make_video, media, red_sounds, serve  # noqa: F401


def make_tiny_config(**overrides) -> AussConfig:
    fields = dict(
        backbone_config=ResNetConfig(
            embedding_size=4,
            hidden_sizes=[4, 8],
            depths=[1, 1],
            layer_type="basic",
            out_features=["stage1", "stage2"],
        ),
        audio_config=AussAudioConfig(
            stage_channels=(2, 2, 4, 4), stage_depths=(1, 1, 1, 1), hidden_features=8, embedding_size=8
        ),
        num_queries=8,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=16,
        num_audio_layers=1,
        num_fusion_layers=3,
        feature_strides=(8, 4),
        mask_stride=2,
    )
    return AussConfig(**(fields | overrides))


@pytest.fixture
def tiny_config():
    return make_tiny_config()


def make_tiny_model(config: AussConfig) -> AussForAudioVisualSegmentation:
    torch.manual_seed(0)
    return AussForAudioVisualSegmentation(config).eval()


@pytest.fixture
def tiny_model(tiny_config):
    return make_tiny_model(tiny_config)


@pytest.fixture(scope="session")
def make_config():
    return make_tiny_config


def make_tiny_processor() -> AussProcessor:
    return AussProcessor(
        feature_extractor=AussFeatureExtractor(),
        video_processor=AussVideoProcessor(size={"height": 32, "width": 32}),
    )


@pytest.fixture
def tiny_processor():
    return make_tiny_processor()


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory) -> Path:
    """The tiny random model and its processor, saved once a run. `model_folder` is a copy for one test."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    make_tiny_model(make_tiny_config()).save_pretrained(folder)
    make_tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def model_folder(saved_model, tmp_path):
    """A folder with the tiny random model and its processor."""
    torch.manual_seed(0)  # what a test draws does not depend on the tests before it
    return shutil.copytree(saved_model, tmp_path / "model")


@pytest.fixture
def segmenter(tiny_model, tiny_processor):
    return AudioVisualSegmentationPipeline(model=tiny_model, processor=tiny_processor, task=TASK, device=-1)


@pytest.fixture(scope="session")
def public_file(tmp_path_factory):
    """A weights file like the public VGGish file: the network of torchvggish, but with random weights."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "vggish-10086976.pth"
    torch.save(torchvggish._vgg(postprocess=False).state_dict(), path)
    yield path
    path.unlink()


@pytest.fixture
def make_inputs():
    def make(batch=2, frames=3, examples=5, size=(32, 32)):
        generator = torch.Generator().manual_seed(1)
        return {
            "pixel_values": torch.randn(batch, frames, 3, *size, generator=generator),
            "input_features": torch.randn(batch, examples, 96, 64, generator=generator),
        }

    return make
