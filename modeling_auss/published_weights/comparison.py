"""Checks that published tensors belong to the backbone's network, and builds the error if they do not."""

from collections.abc import Iterable

import torch

from ...files.errors import InputError
from .key_maps import family_of_model

# Two networks with equal tensor shapes may still differ, for example in the padding or in the number of heads. Then
# their maps differ by more than this share of the largest value.
MAPS_TOLERANCE = 1e-4


class AnotherNetworkError(InputError):
    """The weights belong to another network than the backbone."""


def describe_shape(tensor: torch.Tensor | torch.Size) -> str:
    return str(tuple(tensor.shape if isinstance(tensor, torch.Tensor) else tensor))


def missing_or_misshapen(expected: dict[str, torch.Size], found: dict[str, torch.Size]) -> str:
    """
    Returns a sentence about the expected tensors that are missing or have another shape.

    The text is empty if there are no such tensors.
    """
    wrong = [name for name, shape in expected.items() if found.get(name) != shape]
    if not wrong:
        return ""
    first = wrong[0]
    other = f"found {describe_shape(found[first])}" if first in found else "found none of that name"
    return (
        f"{len(wrong)} of {len(expected)} tensors are missing or of another shape, first {first!r} "
        f"{describe_shape(expected[first])}, {other}"
    )


def superfluous(names: Iterable[str]) -> str:
    """
    Returns a sentence about the tensors that the backbone's network does not have.

    The text is empty if there are no such tensors. The batch counters of batch norm do not count.
    """
    extra = [name for name in names if not name.endswith("num_batches_tracked")]
    return f"{len(extra)} tensors belong to layers that it lacks, first {extra[0]!r}" if extra else ""


def another_network(source: str, expected: str, found: str, problem: str) -> AnotherNetworkError:
    """Returns the error that `check_same_network` raises. `problem` is the last sentence of its message."""
    return AnotherNetworkError(
        f"the weights at {source!r} are another network's than the backbone's. Expected {expected}, found {found}: "
        f"{problem}"
    )


def check_same_network(source: str, expected: str, found: str, problems: Iterable[str]) -> None:
    """
    Args:
        source: the name or path that the user gave.
        expected: a short description of the backbone.
        found: a short description of the weights.
        problems: sentences. Empty sentences are ignored.

    Raises:
        AnotherNetworkError: at least one sentence is not empty.
    """
    sentences = [problem for problem in problems if problem]
    if sentences:
        raise another_network(source, expected, found, "; ".join(sentences))


def check_finite(tensors: dict[str, torch.Tensor], source: str) -> None:
    """
    Raises:
        ValueError: a tensor has values that are infinite or NaN.
    """
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise InputError(f"the weights at {source!r} are damaged: {broken[0]!r} has values that are not finite")


def describe_tensors(tensors: dict[str, torch.Tensor]) -> str:
    """Describes a file without a configuration by its tensors."""
    return f"a file of {len(tensors)} tensors ({', '.join(list(tensors)[:3])}, ...)"


def describe_config(config) -> str:
    """Describes the backbone of a configuration by its type and its sizes."""
    if config.model_type == "timm_backbone":
        return f"timm's {config.backbone}"
    names = ("depths", "hidden_sizes", "embed_dim", "num_heads", "window_size", "layer_type", "num_hidden_layers")
    names += ("hidden_size", "num_attention_heads", "patch_size", "image_size")
    known = family_of_model(config.model_type)
    left_out = {"hidden_size", "num_attention_heads", "num_hidden_layers", "image_size"} if known else set()
    sizes = {name: getattr(config, name, None) for name in names if name not in left_out}
    listed = ", ".join(f"{name}={value}" for name, value in sizes.items() if value is not None)
    return f"{config.model_type} ({listed})"


__all__ = [
    "MAPS_TOLERANCE",
    "AnotherNetworkError",
    "another_network",
    "check_finite",
    "check_same_network",
    "describe_config",
    "describe_tensors",
    "missing_or_misshapen",
    "superfluous",
]
