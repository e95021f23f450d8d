"""Weights under timm's names: converted by timm's own filters for the network that they come from."""

import sys
from collections.abc import Callable
from typing import Any, cast

import timm
import torch
from torch import nn
from transformers import PreTrainedModel, TimmBackboneConfig

from ...files.errors import InputError
from .comparison import check_same_network, describe_config, missing_or_misshapen, superfluous
from .layouts import to_timm_names
from .used_tensors import used_tensors

Tensors = dict[str, torch.Tensor]
# timm passes its filter on inside the function that builds a network. It is this function of that network's module.
FILTER_NAMES = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")


def check_name(name: str | None, source: str) -> str:
    """
    The name without its tag.

    Raises:
        ValueError: timm has no such network. A name such as "hf-hub:..." would make timm ask the Hub.
    """
    architecture = str(name).partition(".")[0]
    if not timm.is_model(architecture):
        raise InputError(
            f"backbone weights {source!r}: its configuration names {name!r}, which is none of the networks of timm "
            f"{timm.__version__}"
        )
    return architecture


def plain_network(architecture: str, in_chans: int = 3, **arguments: Any) -> nn.Module:
    """timm's classifier without values."""
    with torch.device("meta"):
        return timm.create_model(architecture, pretrained=False, in_chans=in_chans, **arguments)


def timm_filter(network: nn.Module) -> Callable[[Tensors, nn.Module], Tensors]:
    module = sys.modules[type(network).__module__]
    for name in FILTER_NAMES:
        if hasattr(module, name):
            return getattr(module, name)
    return lambda tensors, _: tensors


def native_tensors(tensors: Tensors, network: nn.Module) -> Tensors:
    """
    The tensors under the names of timm's classifier, with the shapes that they are published with: timm's filters also
    resize tables of positions to another window or frame size, which makes another network of it.
    """
    named = to_timm_names(tensors)
    convert = timm_filter(network)
    try:
        converted = convert(dict(named), network)
    except TypeError:
        converted = convert(dict(named))  # type: ignore[call-arg]  # some take no network
    except (KeyError, AttributeError, RuntimeError, AssertionError, IndexError, ValueError):
        converted = named  # timm's filter has met names of another network; the comparison will say which
    converted = {name: tensor for name, tensor in converted.items() if isinstance(tensor, torch.Tensor)}
    return {
        name: named[name] if name in named and named[name].numel() != tensor.numel() else tensor
        for name, tensor in converted.items()
    }


def wrapped_names(config: TimmBackboneConfig, network: nn.Module) -> dict[str, str]:
    """
    The names of timm's classifier for those of a `TimmBackbone`, whose wrapper renames and leaves out modules. They
    are read off timm's own wrapper, which is loaded with numbered tensors.
    """
    own = {name: tensor for name, tensor in network.state_dict().items() if tensor.dtype != torch.bool}
    numbered = {
        name: torch.full(tensor.shape, number, dtype=tensor.dtype, device="cpu")
        for number, (name, tensor) in enumerate(own.items())
    }
    wrapper = timm.create_model(
        str(config.backbone),
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": numbered},  # wins over every address that timm knows
        features_only=config.features_only,
        in_chans=config.num_channels,
        out_indices=tuple(config.out_indices) if config.out_indices is not None else (-1,),
        output_stride=config.output_stride,
    )
    names = list(own)
    return {
        f"_backbone.{name}": names[int(tensor.flatten()[0])]
        for name, tensor in wrapper.state_dict().items()
        if tensor.dtype != torch.bool
    }


def head_names(network: nn.Module, names: list[str]) -> set[str]:
    """Of `names` those of the classifier, whose number of classes may be any."""
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    prefixes = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    return {name for name in names if prefixes and name.startswith(prefixes)}


def fitted_timm_state(backbone: PreTrainedModel, tensors: Tensors, found: str, source: str) -> Tensors:
    """
    The tensors for a `TimmBackbone`, under its names.

    Args:
        tensors: under timm's names or another maker's.
        found: what they are, in a few words.

    Raises:
        AnotherNetworkError: tensors that the maps depend on are missing, or there are some that the network lacks.
    """
    config = cast(TimmBackboneConfig, backbone.config)
    network = plain_network(check_name(config.backbone, source), config.num_channels)
    converted = native_tensors(tensors, network)
    names, used, own = wrapped_names(config, network), used_tensors(backbone), backbone.state_dict()
    expected = {names.get(name, name): shape for name, shape in used.items()}
    known = network.state_dict().keys()
    extra = [name for name in converted if name not in known]
    extra = [name for name in extra if name not in head_names(network, extra)]
    shapes = {name: tensor.shape for name, tensor in converted.items()}
    check_same_network(
        source, describe_config(config), found, [missing_or_misshapen(expected, shapes), superfluous(extra)]
    )
    return {
        name: converted[plain].to(own[name].dtype)
        for name, plain in names.items()
        if plain in converted and name in own and converted[plain].shape == own[name].shape
    }


def plain_tensors(backbone_config: TimmBackboneConfig, state: Tensors, source: str) -> Tensors:
    """The tensors of a saved `TimmBackbone` under the names of timm's classifier."""
    network = plain_network(check_name(backbone_config.backbone, source), backbone_config.num_channels)
    names = wrapped_names(backbone_config, network)
    return {names.get(name, name): tensor for name, tensor in state.items()}


__all__ = ["check_name", "fitted_timm_state", "native_tensors", "plain_network", "plain_tensors", "wrapped_names"]
