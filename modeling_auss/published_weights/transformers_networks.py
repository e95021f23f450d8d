"""Weights under Transformers' names. Transformers itself loads them into the network that they come from."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ...files.errors import InputError
from .comparison import (
    MAPS_TOLERANCE,
    AnotherNetworkError,
    check_finite,
    check_same_network,
    describe_config,
    missing_or_misshapen,
    superfluous,
)
from .used_tensors import largest_difference, used_tensors

Tensors = dict[str, torch.Tensor]
# These fields set what a backbone returns. They do not change the network, so they are taken from auss's backbone.
BACKBONE_FIELDS = ("apply_layernorm", "reshape_hidden_states")
logger = logging.get_logger(__name__)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hides Transformers' loading report and its progress bar. auss reports the important parts itself."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_network_config(content: dict[str, Any], source: str) -> PreTrainedConfig:
    """
    Returns the configuration of a config.json, as a class of Transformers. Code that the file names is never run.

    Raises:
        ValueError: Transformers has no such model, or the fields of the file are wrong.
    """
    model_type = str(content.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        raise InputError(
            f"backbone weights {source!r}: its config.json has model_type {content.get('model_type')!r}, which "
            f"Transformers {transformers.__version__} does not know; auss runs no code from a model folder"
        )
    # The weights are loaded unquantised, in float32, and only by code of Transformers.
    fields = {name: value for name, value in content.items() if name not in ("quantization_config", "auto_map")}
    try:
        return CONFIG_MAPPING[model_type].from_dict(fields)
    except Exception as error:  # each model checks its fields in its own way
        raise InputError(f"backbone weights {source!r}: its config.json is wrong: {error}") from error


def network_config(config: PreTrainedConfig, backbone: PreTrainedModel, source: str) -> PreTrainedConfig:
    """
    Returns a copy of `config` that requests the same output maps as `backbone`.

    Raises:
        AnotherNetworkError: the network of `config` does not have all of these stages.
    """
    config = copy.deepcopy(config)
    for name in BACKBONE_FIELDS:
        if hasattr(backbone.config, name):
            setattr(config, name, getattr(backbone.config, name))
    wanted = cast(list[str], backbone.out_features)
    lacking = [name for name in wanted if name not in config.stage_names]
    check_same_network(
        source,
        describe_config(backbone.config),
        describe_config(config),
        [f"it has no {lacking[0]!r}, only {', '.join(config.stage_names)}"] if lacking else [],
    )
    config.out_features = list(wanted)
    return config


def names_of(cls: Any, config: PreTrainedConfig) -> set[str]:
    """Returns the tensor names of the network that `cls` builds from `config`. Empty if `cls` cannot build it."""
    build = cls.from_config if hasattr(cls, "from_config") else cls._from_config
    try:
        with torch.device("meta"), quiet_loading():
            return set(build(copy.deepcopy(config)).state_dict())
    except (ValueError, AttributeError, TypeError):
        return set()


def without_prefix(names: set[str], prefix: str) -> set[str]:
    return {name.removeprefix(f"{prefix}.") for name in names}


def foreign_names(unexpected: set[str], config: PreTrainedConfig, prefix: str) -> list[str]:
    """Returns those of the `unexpected` tensors that the published model with its head does not have either."""
    published = (getattr(transformers, name, None) for name in config.architectures or ())
    classes = [cls for cls in published if isinstance(cls, type) and issubclass(cls, PreTrainedModel)]
    known = set().union(*(names_of(cls, config) for cls in (*classes, AutoModel, AutoModelForImageClassification)))
    return sorted(without_prefix(unexpected, prefix) - without_prefix(known, prefix))


def identity_norms(network: PreTrainedModel, missing: set[str]) -> set[str]:
    """
    Returns those of the missing tensors that belong to norms of the output maps.

    Only backbones have these norms, so published classifiers never contain them. `AutoBackbone.from_pretrained` also
    starts them as the identity.
    """
    base = without_prefix(names_of(AutoModel, network.config), network.base_model_prefix)
    found = set()
    for prefix, module in network.named_modules():
        names = {f"{prefix}.{name}" for name, _ in module.named_parameters(recurse=False)}
        if names and names <= missing and "norm" in type(module).__name__.lower():
            weight, bias = cast(torch.Tensor, module.weight), cast(torch.Tensor | None, getattr(module, "bias", None))
            if not names & without_prefix(base, network.base_model_prefix) and torch.all(weight == 1):
                found |= names if bias is None or not torch.any(bias) else set()
    return found


def own_network(backbone: PreTrainedModel, config: PreTrainedConfig, tensors: Tensors, source: str) -> PreTrainedModel:
    """
    Lets Transformers load the tensors into their own network, as a backbone with the output maps of `backbone`.

    Args:
        backbone: the network has the class and the output maps of this backbone.
        config: the configuration that came with the weights, or the one that follows from the tensors.
        tensors: the tensors under current or older names of Transformers.
        source: the name or path that the user gave.

    Raises:
        AnotherNetworkError: tensors that the maps depend on are missing, or no such network has some of the tensors.
    """
    expected = describe_config(backbone.config)
    if type(config) is not type(backbone.config):
        check_same_network(source, expected, describe_config(config), ["Transformers has another class for it"])
    config = network_config(config, backbone, source)
    with quiet_loading():
        network, report = cast(Any, type(backbone)).from_pretrained(
            None,
            config=config,
            state_dict=dict(tensors),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    network.eval()
    used = used_tensors(network)
    mismatched = {entry[0]: torch.Size(entry[1]) for entry in report["mismatched_keys"]}
    missing = set(report["missing_keys"])
    norms = identity_norms(network, missing)
    lacking = missing - norms - mismatched.keys()
    found = {name: mismatched.get(name, shape) for name, shape in used.items() if name not in lacking}
    check_same_network(
        source,
        expected,
        describe_config(config),
        [
            missing_or_misshapen(used, found),
            superfluous(foreign_names(set(report["unexpected_keys"]), config, network.base_model_prefix)),
        ],
    )
    if norms & used.keys():
        logger.info(f"{source}: the norms of the output maps are no part of it, and start as the identity")
    return network


def fitted_state(backbone: PreTrainedModel, network: PreTrainedModel, source: str) -> Tensors:
    """
    Returns the tensors of `network` that fit `backbone`, after checking that both are the same network.

    Raises:
        AnotherNetworkError: the maps of `network` depend on other tensors than the maps of `backbone`, or have other
            values.
    """
    theirs, ours = used_tensors(network), used_tensors(backbone)
    expected, found = describe_config(backbone.config), describe_config(network.config)
    extra = superfluous(name for name in theirs if name not in ours)
    check_same_network(source, expected, found, [missing_or_misshapen(ours, theirs), extra])
    published, own = network.state_dict(), backbone.state_dict()
    state = {name: tensor for name, tensor in published.items() if name in own and tensor.shape == own[name].shape}
    check_same_maps(backbone, state, network, source, found)
    return state


def check_same_maps(
    backbone: PreTrainedModel, state: Tensors, network: PreTrainedModel, source: str, found: str
) -> None:
    """
    Compares the maps of `network` with the maps of `backbone` after loading `state` into a copy of it.

    Raises:
        AnotherNetworkError: the maps differ.
        ValueError: `state` has values that are not finite.
    """
    check_finite(state, source)
    candidate = copy.deepcopy(backbone).cpu().float().eval()
    candidate.load_state_dict(state, strict=False)
    difference = largest_difference(network, candidate)
    if not difference <= MAPS_TOLERANCE:
        raise AnotherNetworkError(
            f"the weights at {source!r} are another network's than the backbone's. Expected "
            f"{describe_config(backbone.config)}, found {found}: its tensors fit, but its maps differ by "
            f"{difference:.1%} of their largest value on a random frame"
        )


__all__ = ["check_same_maps", "fitted_state", "own_network", "quiet_loading", "read_network_config"]
