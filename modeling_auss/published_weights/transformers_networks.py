"""Weights under Transformers' names: loaded by the library itself into the network that they come from."""

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
# Fields that say what a backbone returns, not what network it is: the backbone's own values count.
BACKBONE_FIELDS = ("apply_layernorm", "reshape_hidden_states")
logger = logging.get_logger(__name__)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without Transformers' report and its progress bar: we say ourselves what matters of them."""
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
    The configuration of a config.json, by a class of Transformers' own; code that it names is never run.

    Raises:
        ValueError: Transformers has no such model, or its fields are wrong.
    """
    model_type = str(content.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        raise InputError(
            f"backbone weights {source!r}: its config.json has model_type {content.get('model_type')!r}, which "
            f"Transformers {transformers.__version__} does not know; auss runs no code from a model folder"
        )
    # Its weights are loaded as they are, in float32, and by no code but Transformers'.
    fields = {name: value for name, value in content.items() if name not in ("quantization_config", "auto_map")}
    try:
        return CONFIG_MAPPING[model_type].from_dict(fields)
    except Exception as error:  # each model checks its fields in its own way
        raise InputError(f"backbone weights {source!r}: its config.json is wrong: {error}") from error


def network_config(config: PreTrainedConfig, backbone: PreTrainedModel, source: str) -> PreTrainedConfig:
    """
    `config` with the output maps of `backbone`.

    Raises:
        AnotherNetworkError: it has no such stages.
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
    """Names of the tensors of `cls(config)`; empty if there is no such network."""
    build = cls.from_config if hasattr(cls, "from_config") else cls._from_config
    try:
        with torch.device("meta"), quiet_loading():
            return set(build(copy.deepcopy(config)).state_dict())
    except (ValueError, AttributeError, TypeError):
        return set()


def without_prefix(names: set[str], prefix: str) -> set[str]:
    return {name.removeprefix(f"{prefix}.") for name in names}


def foreign_names(unexpected: set[str], config: PreTrainedConfig, prefix: str) -> list[str]:
    """Of the tensors that the backbone lacks, those that the published model, with its head, lacks as well."""
    published = (getattr(transformers, name, None) for name in config.architectures or ())
    classes = [cls for cls in published if isinstance(cls, type) and issubclass(cls, PreTrainedModel)]
    known = set().union(*(names_of(cls, config) for cls in (*classes, AutoModel, AutoModelForImageClassification)))
    return sorted(without_prefix(unexpected, prefix) - without_prefix(known, prefix))


def identity_norms(network: PreTrainedModel, missing: set[str]) -> set[str]:
    """
    Of the missing tensors those of norms that only a backbone has, for its output maps. No published classifier has
    them, and `AutoBackbone.from_pretrained` starts them as the identity, too.
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
    The network that the tensors come from, as a backbone with the same output maps, loaded by Transformers.

    Args:
        backbone: whose class and output maps are taken.
        config: what the weights' own configuration says, or what the tensors tell.
        tensors: under any name that Transformers has or had for them.

    Raises:
        AnotherNetworkError: tensors that the maps depend on are missing, or there are some that no such network has.
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
    The tensors of `network` that `backbone`'s maps depend on.

    Raises:
        AnotherNetworkError: `network` is another one: its maps depend on other tensors, or have other values.
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
    Raises:
        AnotherNetworkError: with `state` in it, the backbone's maps are not those of `network`.
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
