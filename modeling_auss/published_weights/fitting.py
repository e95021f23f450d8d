"""From published weights to the state of a backbone: by the library that published them, or by a map of names."""

import copy
import dataclasses
from typing import Any, cast

import torch
from transformers import CONFIG_MAPPING, AutoBackbone, PreTrainedConfig, PreTrainedModel, TimmBackboneConfig
from transformers.models.timm_backbone.modeling_timm_backbone import TimmBackbone

from ...files.errors import InputError
from .comparison import (
    another_network,
    check_finite,
    check_same_network,
    describe_config,
    describe_tensors,
    superfluous,
)
from .key_maps import Family, family_in_own_names, family_in_timm_names, family_of_model
from .layouts import backbone_part, to_timm_names
from .timm_networks import check_name, fitted_timm_state, native_tensors, plain_network, plain_tensors
from .transformers_networks import check_same_maps, fitted_state, own_network, quiet_loading, read_network_config
from .weight_sources import WeightSource

Tensors = dict[str, torch.Tensor]
# How a `TimmBackbone` begins the names of its tensors.
TIMM_WRAPPER = "_backbone."
# Arguments of timm's networks that a config.json may not set, since they name files and addresses.
REFUSED_ARGUMENTS = ("pretrained", "checkpoint", "cache", "features_only", "out_indices", "weights", "file", "url")


@dataclasses.dataclass
class TimmTensors:
    """
    Attributes:
        tensors: under timm's names or another maker's.
        architecture: timm's name of their network; None if only the tensors tell.
        arguments: of that network, as a config.json has them.
    """

    tensors: Tensors
    architecture: str | None = None
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def description(self) -> str:
        if self.architecture is not None:
            return f"timm's {self.architecture}"
        return describe_tensors(self.tensors)


def model_arguments(config: dict[str, Any], source: str) -> dict[str, Any]:
    """
    Raises:
        ValueError: an argument that a model folder may not set.
    """
    arguments = config.get("model_args") or {}
    refused = [name for name in arguments if any(word in name for word in REFUSED_ARGUMENTS)]
    if refused or not isinstance(arguments, dict):
        raise InputError(f"backbone weights {source!r}: its config.json sets model_args {refused or arguments!r}")
    return {name: value for name, value in arguments.items() if name not in ("num_classes", "in_chans")}


def as_timm_tensors(weights: WeightSource, backbone: PreTrainedModel) -> TimmTensors | None:
    """The weights under timm's names, as published or saved; None if they are under Transformers' names."""
    config = weights.config or {}
    if any(name.startswith(TIMM_WRAPPER) for name in weights.tensors):
        fields = {name: config[name] for name in ("backbone", "num_channels", "out_indices") if name in config}
        own = TimmBackboneConfig(**fields) if fields else backbone.config
        if not isinstance(own, TimmBackboneConfig):
            raise another_network(
                weights.name,
                describe_config(backbone.config),
                "a timm_backbone of an unknown network",
                "its config.json is missing, which names the network",
            )
        return TimmTensors(plain_tensors(own, weights.tensors, weights.name), check_name(own.backbone, weights.name))
    if "architecture" in config:
        architecture = check_name(config["architecture"], weights.name)
        return TimmTensors(weights.tensors, architecture, model_arguments(config, weights.name))
    if weights.config is not None:
        return None
    if family_in_own_names(weights.tensors) is not None:
        return None
    is_timm = isinstance(backbone, TimmBackbone) or family_in_timm_names(to_timm_names(weights.tensors)) is not None
    return TimmTensors(weights.tensors) if is_timm else None


def resized_config(config: PreTrainedConfig, sizes: dict[str, Any]) -> PreTrainedConfig:
    """A configuration of the same kind with other sizes, and all its stages."""
    declared = {field.name for field in dataclasses.fields(type(config)) if not field.name.startswith("_")}
    fields = {name: value for name, value in config.to_dict().items() if name in declared}
    return type(config)(**(fields | sizes))


def told_config(
    config: PreTrainedConfig, family: Family, tensors: Tensors, source: str, found: str
) -> PreTrainedConfig:
    """
    What the tensors, under Transformers' names, tell of their network; of the rest, `config`.

    Raises:
        AnotherNetworkError: tensors are missing without which no size is known.
    """
    try:
        return resized_config(config, family.sizes(tensors))
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise another_network(source, describe_config(config), found, f"it has no tensor {error}") from error


def check_fixed_fields(config: PreTrainedConfig, family: Family, source: str, found: str) -> None:
    """
    Raises:
        AnotherNetworkError: Transformers' network of this configuration computes something that timm's does not.
    """

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    problems = [
        f"its {name} is {value!r}, that of the backbone's configuration is {getattr(config, name)!r}"
        for name, value in family.fixed.items()
        if plain(getattr(config, name)) != value
    ]
    check_same_network(source, describe_config(config), found, problems)


def timm_to_transformers(backbone: PreTrainedModel, published: TimmTensors, source: str) -> Tensors:
    """
    The state of a backbone of Transformers' from tensors under timm's names or another maker's.

    Raises:
        AnotherNetworkError: they are another network's, or there is no map between the two libraries' names.
    """
    config, tensors, found = backbone.config, to_timm_names(published.tensors), published.description
    if published.architecture is not None:
        tensors = native_tensors(tensors, plain_network(published.architecture, **published.arguments))
    family = family_in_timm_names(tensors)
    expected = describe_config(config)
    if family is None or family.model_type != config.model_type:
        other = "no map of names leads from them to it" if family is None else f"they are a {family.model_type}'s"
        raise another_network(source, expected, found, other)
    check_fixed_fields(config, family, source, found)
    own, unknown = family.to_transformers(tensors)
    check_same_network(source, expected, found, [superfluous(unknown)])
    network = own_network(backbone, told_config(config, family, own, source, found), own, source)
    state = fitted_state(backbone, network, source)
    if published.architecture is not None and family.stage_shift is not None:
        numbers = [stage.removeprefix("stage") for stage in cast(list[str], backbone.out_features)]
        if all(number.isdigit() for number in numbers):  # timm gives no map of the stem before its pooling
            reference = timm_backbone_of(published, [int(number) + family.stage_shift for number in numbers], source)
            check_same_maps(backbone, state, reference, source, found)
    return state


def timm_backbone_of(published: TimmTensors, indices: list[int], source: str) -> PreTrainedModel:
    """timm's own network with the published tensors, as a backbone that returns the maps of these indices."""
    fields: dict[str, Any] = {"use_pretrained_backbone": False, "out_indices": indices}
    config = TimmBackboneConfig(backbone=published.architecture, **fields)
    reference = TimmBackbone(config, **published.arguments).eval()
    state = fitted_timm_state(reference, published.tensors, published.description, source)
    reference.load_state_dict(state, strict=False)
    return reference


def transformers_to_timm(backbone: PreTrainedModel, weights: WeightSource) -> TimmTensors:
    """
    Tensors of Transformers' under timm's names.

    Raises:
        AnotherNetworkError: there is no map between the two libraries' names.
    """
    if weights.config is not None:
        config = read_network_config(weights.config, weights.name)
        family, found = family_of_model(config.model_type), describe_config(config)
    else:
        family = family_in_own_names(weights.tensors)
        if family is None:
            raise InputError(f"backbone weights {weights.name!r} have names that belong to no known network")
        config, found = CONFIG_MAPPING[family.model_type](), f"a file of a {family.model_type}"
    expected = describe_config(backbone.config)
    if family is None:
        raise another_network(weights.name, expected, found, "no map of names leads from it to timm")
    tensors = family.own_names(weights.tensors)
    if weights.config is None:
        config = told_config(config, family, tensors, weights.name, found)
    check_fixed_fields(config, family, weights.name, found)
    with quiet_loading():
        like = AutoBackbone.from_config(copy.deepcopy(config))
    network = own_network(like, config, tensors, weights.name)
    own = family.own_names(network.state_dict())
    renamed, unknown = family.to_timm(own)
    # A backbone's own norms of its output maps, which timm's networks lack: carried over if they were never trained.
    trained = [name for name in unknown if not torch.all(own[name] == (0 if name.endswith("bias") else 1))]
    check_same_network(weights.name, expected, describe_config(config), [superfluous(trained)])
    return TimmTensors(renamed)


def state_for_timm(backbone: PreTrainedModel, weights: WeightSource) -> Tensors:
    """The state of a `TimmBackbone`."""
    published = as_timm_tensors(weights, backbone)
    if published is None:
        published = transformers_to_timm(backbone, weights)
    state = fitted_timm_state(backbone, published.tensors, published.description, weights.name)
    own = check_name(backbone.config.backbone, weights.name)
    if published.architecture is not None and (published.architecture != own or published.arguments):
        # Such as tf_efficientnet_b0 beside efficientnet_b0: the same tensors, and another padding.
        reference = timm_backbone_of(published, list(backbone.config.out_indices or [-1]), weights.name)
        check_same_maps(backbone, state, reference, weights.name, published.description)
    return state


def state_for_transformers(backbone: PreTrainedModel, weights: WeightSource) -> Tensors:
    """The state of a backbone of Transformers' own."""
    published = as_timm_tensors(weights, backbone)
    if published is not None:
        return timm_to_transformers(backbone, published, weights.name)
    if weights.config is not None:
        config = read_network_config(weights.config, weights.name)
    else:
        family = family_in_own_names(weights.tensors)
        config = backbone.config
        expected_family = family_of_model(config.model_type)
        # Networks of no family, such as ConvNeXt V2, may have names of one: whether they fit is seen once loaded.
        if expected_family is not None and family is not expected_family:
            found = describe_tensors(weights.tensors) if family is None else f"a file of a {family.model_type}"
            problem = f"their names are not those of a {config.model_type}"
            check_same_network(weights.name, describe_config(config), found, [problem])
        elif family is not None and family is expected_family:
            found = f"a file of a {family.model_type}"
            config = told_config(config, family, family.own_names(weights.tensors), weights.name, found)
    return fitted_state(backbone, own_network(backbone, config, weights.tensors, weights.name), weights.name)


def published_state(backbone: PreTrainedModel, weights: WeightSource) -> Tensors:
    """
    The tensors of `backbone` that the weights have, under its names.

    Raises:
        AnotherNetworkError: the weights are another network's.
        ValueError: they are no image network's, or their values are not finite.
    """
    config = weights.config
    if config is not None and "backbone_config" in config and config.get("model_type") == "auss":
        config = config["backbone_config"]
    weights = WeightSource(weights.name, backbone_part(weights.tensors), config)
    build = state_for_timm if isinstance(backbone, TimmBackbone) else state_for_transformers
    state = build(backbone, weights)
    check_finite(state, weights.name)
    return state


__all__ = ["published_state"]
