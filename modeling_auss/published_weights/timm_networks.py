"""Weights under timm's names. timm's own filters convert them for the network that they come from."""

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
# timm hides its filter inside the function that builds a network. The filter is a function with one of these names in
# the module of the network.
FILTER_NAMES = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")


def check_name(name: str | None, source: str) -> str:
    """
    Checks a timm name and returns it without its tag.

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
    """Builds timm's classifier on the meta device, without values."""
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
    Renames tensors to the names of timm's classifier, and keeps their published shapes.

    timm's filters also resize position tables to another window or frame size. A resized table would make a different
    network, so such a tensor keeps its published values.
    """
    named = to_timm_names(tensors)
    convert = timm_filter(network)
    try:
        converted = convert(dict(named), network)
    except TypeError:
        converted = convert(dict(named))  # type: ignore[call-arg]  # some filters take no network
    except (KeyError, AttributeError, RuntimeError, AssertionError, IndexError, ValueError):
        converted = named  # the names belong to another network, which the later comparison reports
    converted = {name: tensor for name, tensor in converted.items() if isinstance(tensor, torch.Tensor)}
    return {
        name: named[name] if name in named and named[name].numel() != tensor.numel() else tensor
        for name, tensor in converted.items()
    }


def wrapped_names(config: TimmBackboneConfig, network: nn.Module) -> dict[str, str]:
    """
    Returns a table from the tensor names of a `TimmBackbone` to the names of timm's classifier.

    timm's wrapper for backbones renames modules and leaves some out. To find the table, every tensor of the classifier
    is filled with its own number and loaded into the wrapper. The numbers then show which tensor went where.
    """
    own = {name: tensor for name, tensor in network.state_dict().items() if tensor.dtype != torch.bool}
    numbered = {
        name: torch.full(tensor.shape, number, dtype=tensor.dtype, device="cpu")
        for number, (name, tensor) in enumerate(own.items())
    }
    wrapper = timm.create_model(
        str(config.backbone),
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": numbered},  # timm uses it instead of any address
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
    """Returns those of `names` that belong to the classifier layer. Any number of classes is accepted there."""
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    prefixes = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    return {name for name in names if prefixes and name.startswith(prefixes)}


def fitted_timm_state(backbone: PreTrainedModel, tensors: Tensors, found: str, source: str) -> Tensors:
    """
    Returns the published tensors for a `TimmBackbone`, under the backbone's names.

    Args:
        backbone: the `TimmBackbone`.
        tensors: the published tensors, under timm's or another publisher's names.
        found: a short description of the tensors.
        source: the name or path that the user gave.

    Raises:
        AnotherNetworkError: tensors that the maps depend on are missing, or the network does not have some of the
            tensors.
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
    """Returns the tensors of a saved `TimmBackbone` under the names of timm's classifier."""
    network = plain_network(check_name(backbone_config.backbone, source), backbone_config.num_channels)
    names = wrapped_names(backbone_config, network)
    return {names.get(name, name): tensor for name, tensor in state.items()}


__all__ = ["check_name", "fitted_timm_state", "native_tensors", "plain_network", "plain_tensors", "wrapped_names"]
