"""
Converts published weights to the state of a backbone.

The library that published the weights converts them. For weights of another library, a map of names does.
"""

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
# The prefix of all tensor names of a `TimmBackbone`.
TIMM_WRAPPER = "_backbone."
# A config.json may not set arguments of timm's networks whose names contain one of these words. Such arguments name
# files and addresses, or choose the maps.
REFUSED_ARGUMENTS = ("pretrained", "checkpoint", "cache", "features_only", "out_indices", "weights", "file", "url")


@dataclasses.dataclass
class TimmTensors:
    """
    Attributes:
        tensors: tensors under timm's names, or under the names of another publisher that `layouts.py` knows.
        architecture: timm's name of their network. None if the weights come without a configuration.
        arguments: the arguments of that network in its config.json.
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
    Returns the network arguments of a config.json.

    Raises:
        ValueError: the config.json sets an argument that a model folder may not set.
    """
    arguments = config.get("model_args") or {}
    refused = [name for name in arguments if any(word in name for word in REFUSED_ARGUMENTS)]
    if refused or not isinstance(arguments, dict):
        raise InputError(f"backbone weights {source!r}: its config.json sets model_args {refused or arguments!r}")
    return {name: value for name, value in arguments.items() if name not in ("num_classes", "in_chans")}


def as_timm_tensors(weights: WeightSource, backbone: PreTrainedModel) -> TimmTensors | None:
    """Returns weights that use timm's names. None if the weights use Transformers' names."""
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
    """Returns a copy of a configuration with other sizes."""
    declared = {field.name for field in dataclasses.fields(type(config)) if not field.name.startswith("_")}
    fields = {name: value for name, value in config.to_dict().items() if name in declared}
    return type(config)(**(fields | sizes))


def told_config(
    config: PreTrainedConfig, family: Family, tensors: Tensors, source: str, found: str
) -> PreTrainedConfig:
    """
    Returns a configuration with the sizes that follow from the shapes of the tensors.

    The tensors are under Transformers' names. All other fields come from `config`.

    Raises:
        AnotherNetworkError: a tensor that shows a size is missing.
    """
    try:
        return resized_config(config, family.sizes(tensors))
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise another_network(source, describe_config(config), found, f"it has no tensor {error}") from error


def check_fixed_fields(config: PreTrainedConfig, family: Family, source: str, found: str) -> None:
    """
    Raises:
        AnotherNetworkError: a field of the configuration has another value than the one that timm's network fixes.
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
    Returns the state of a Transformers backbone from tensors under timm's or another publisher's names.

    Raises:
        AnotherNetworkError: the tensors belong to another network, or there is no map between the names of the two
            libraries.
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
        if all(number.isdigit() for number in numbers):  # timm does not return the map that "stem" returns
            reference = timm_backbone_of(published, [int(number) + family.stage_shift for number in numbers], source)
            check_same_maps(backbone, state, reference, source, found)
    return state


def timm_backbone_of(published: TimmTensors, indices: list[int], source: str) -> PreTrainedModel:
    """Returns timm's own network with the published tensors, as a backbone that returns the maps of `indices`."""
    fields: dict[str, Any] = {"use_pretrained_backbone": False, "out_indices": indices}
    config = TimmBackboneConfig(backbone=published.architecture, **fields)
    reference = TimmBackbone(config, **published.arguments).eval()
    state = fitted_timm_state(reference, published.tensors, published.description, source)
    reference.load_state_dict(state, strict=False)
    return reference


def transformers_to_timm(backbone: PreTrainedModel, weights: WeightSource) -> TimmTensors:
    """
    Converts weights under Transformers' names to timm's names.

    Raises:
        AnotherNetworkError: there is no map between the names of the two libraries.
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
    # A Transformers backbone may normalise its output maps, and timm's networks have no such norms. Untrained norms
    # are the identity and can be left out. Trained norms are a problem.
    trained = [name for name in unknown if not torch.all(own[name] == (0 if name.endswith("bias") else 1))]
    check_same_network(weights.name, expected, describe_config(config), [superfluous(trained)])
    return TimmTensors(renamed)


def state_for_timm(backbone: PreTrainedModel, weights: WeightSource) -> Tensors:
    """Returns the state of a `TimmBackbone`."""
    published = as_timm_tensors(weights, backbone)
    if published is None:
        published = transformers_to_timm(backbone, weights)
    state = fitted_timm_state(backbone, published.tensors, published.description, weights.name)
    own = check_name(backbone.config.backbone, weights.name)
    if published.architecture is not None and (published.architecture != own or published.arguments):
        # Different networks may have equal tensors, so compare the maps. For example, tf_efficientnet_b0 and
        # efficientnet_b0 differ only in their padding.
        reference = timm_backbone_of(published, list(backbone.config.out_indices or [-1]), weights.name)
        check_same_maps(backbone, state, reference, weights.name, published.description)
    return state


def state_for_transformers(backbone: PreTrainedModel, weights: WeightSource) -> Tensors:
    """Returns the state of a backbone that is not a `TimmBackbone`."""
    published = as_timm_tensors(weights, backbone)
    if published is not None:
        return timm_to_transformers(backbone, published, weights.name)
    if weights.config is not None:
        config = read_network_config(weights.config, weights.name)
    else:
        family = family_in_own_names(weights.tensors)
        config = backbone.config
        expected_family = family_of_model(config.model_type)
        # A backbone that belongs to no family, such as ConvNeXt V2, may still use the names of a family. Such weights
        # are loaded first, and `own_network` checks whether they fit.
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
    Returns the published tensors under the backbone's names, for all tensors that the weights have.

    Raises:
        AnotherNetworkError: the weights belong to another network.
        ValueError: the weights do not belong to a known image network, or their values are not finite.
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
