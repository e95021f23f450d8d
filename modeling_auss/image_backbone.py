"""Builds an image backbone of Transformers or timm, measures its maps, and refuses backbones that cannot work."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.func import functional_call
from transformers import AutoBackbone, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..files.errors import InputError

logger = logging.get_logger(__name__)

# Some timm networks have a fixed frame size. With one of these options they take any size, and at their own size they
# compute the same values.
TIMM_SIZE_OPTIONS = ({"dynamic_img_size": True}, {"strict_img_size": False})
# The sides of the odd size are not multiples of any usual stride: a backbone that rounds down or needs a multiple
# cannot process all of its pixels. The sides of the even size are multiples of every usual stride, patch and window.
# Height and width are not multiples of each other, so that rows, columns and channels cannot be confused.
ODD_SIZE, EVEN_SIZE = (385, 321), (672, 448)
POWERS_OF_TWO = tuple(2**exponent for exponent in range(8))

# The backbone layouts that this process has already measured. The key is the backbone's configuration as JSON.
measured: dict[str, "BackboneLayout"] = {}


@dataclass(frozen=True)
class BackboneLayout:
    """
    The shape of a backbone's maps, measured on frames of several sizes.

    Args:
        channels: the number of channels C of each map.
        strides: for each map, the number of pixels that one row or column of the map stands for.
        channels_last: whether the backbone returns maps as (M, h, w, C).
        multiple: in pixels. Frames are padded at the bottom and at the right until H and W are multiples of it. 1
            means no padding. Without the padding the backbone would fail or ignore the frame's last rows and columns.
        fixed_size: the only (H, W) that the backbone takes. None if the backbone takes any size.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    channels_last: bool
    multiple: int
    fixed_size: tuple[int, int] | None

    def padded(self, frames: torch.Tensor) -> torch.Tensor:
        """
        Pads frames (M, 3, H, W) with zeros until H and W are multiples of `multiple`. Zero is the mean colour.

        Raises:
            ValueError: the backbone takes frames of one size only, and these frames have another size.
        """
        size = tuple(frames.shape[-2:])
        if self.fixed_size is not None and size != self.fixed_size:
            raise InputError(
                f"pixel_values must have frames of {self.fixed_size[0]} x {self.fixed_size[1]} pixels (height x "
                f"width), the only size that the backbone takes, got {size[0]} x {size[1]}: set the video processor's "
                "size"
            )
        if self.multiple == 1:
            return frames
        bottom, right = (-side % self.multiple for side in size)
        return nn.functional.pad(frames, (0, right, 0, bottom))

    def trimmed(
        self, maps: tuple[torch.Tensor, ...], frame_size: tuple[int, int] | torch.Size
    ) -> tuple[torch.Tensor, ...]:
        """Returns the maps as (M, C, ceil(H / stride), ceil(W / stride)), without the parts that cover the padding."""
        if self.channels_last:
            maps = tuple(level.permute(0, 3, 1, 2) for level in maps)
        if self.multiple == 1:
            return maps
        height, width = frame_size
        return tuple(
            level[..., : -(-height // stride), : -(-width // stride)]
            for level, stride in zip(maps, self.strides, strict=True)
        )


def backbone_name(config: PreTrainedConfig) -> str:
    """Returns the backbone's name for messages: its model type and, for a timm network, timm's name."""
    name = getattr(config, "backbone", None)
    return f"{config.model_type} {name!r}" if name else repr(config.model_type)


def check_backbone_config(config: PreTrainedConfig) -> None:
    """
    Checks that a configuration describes a backbone that auss can use.

    Raises:
        ValueError: the backbone does not take frames with three colours or returns no maps; or timm would load the
            network's description from elsewhere. For "hf-hub:..." timm would ask the Hub, and for "local-dir:..."
            timm would read another folder.
    """
    if getattr(config, "num_channels", 3) != 3:
        raise InputError(f"backbone_config.num_channels must be 3, for frames have colours, got {config.num_channels}")
    if config.model_type != "timm_backbone":
        return
    name = config.backbone
    if not isinstance(name, str) or any(mark in name for mark in ":/\\"):
        raise InputError(
            f"backbone_config.backbone must be the plain name of a timm network, such as 'resnet50', got {name!r}: "
            "auss takes no network's description from the Hub or another folder. Load its weights with "
            "load_backbone_weights or --backbone-weights"
        )
    if not config.features_only:
        raise InputError("backbone_config.features_only must be True: the network needs the backbone's maps")


def from_config(config: PreTrainedConfig) -> PreTrainedModel:
    """
    Calls `AutoBackbone.from_config` without running foreign code.

    A timm network that has an option to take frames of any size is built with that option.
    """
    options = TIMM_SIZE_OPTIONS if config.model_type == "timm_backbone" else ()
    for option in options:
        try:
            return AutoBackbone.from_config(config, trust_remote_code=False, **option)
        except TypeError as error:  # a network without this option raises before it builds its layers
            if next(iter(option)) not in str(error):
                raise
    return AutoBackbone.from_config(config, trust_remote_code=False)


def usable_attention(backbone: PreTrainedModel, requested: str) -> str | None:
    """Returns `requested` if the backbone supports that attention implementation, otherwise its current one."""
    try:
        return backbone.get_correct_attn_implementation(requested, is_init_check=True)
    except (ValueError, ImportError) as error:
        # A backbone that does not support sdpa, such as a ResNet or ConvNeXt, has no attention. It needs no warning.
        if backbone._supports_sdpa:
            logger.warning_once(f"The backbone keeps {backbone.config._attn_implementation} attention: {error}")
        return backbone.config._attn_implementation


def build_backbone(config: PreTrainedConfig) -> PreTrainedModel:
    """
    Builds any `AutoBackbone`. It uses the attention implementation that `config` requests, if it supports that one.

    Transformers copies the attention implementation requested for a model into the configurations of the model's
    parts. A backbone that does not support that implementation would raise an error while it is built.

    Raises:
        ValueError: no backbone can be built from `config`; or see `check_backbone_config`.
        ImportError: the backbone needs a package that is not installed.
    """
    check_backbone_config(config)
    requested = config._attn_implementation
    config._attn_implementation = None
    try:
        backbone = from_config(config)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise InputError(
            f"the backbone {backbone_name(config)} cannot be built from backbone_config: {error}"
        ) from error
    if requested is not None:
        config._attn_implementation = usable_attention(backbone, requested)
    return backbone


def meta_maps(backbone: PreTrainedModel) -> Callable[[tuple[int, int]], tuple[torch.Tensor, ...]]:
    """Returns a function from (H, W) to a frame's maps on the meta device, which computes shapes but no values."""
    tensors = {
        # A weight that DeepSpeed has split over the processes is empty. Its full shape is in `ds_shape`.
        name: torch.empty(getattr(tensor, "ds_shape", tensor.shape), dtype=tensor.dtype, device="meta")
        for name, tensor in itertools.chain(backbone.named_parameters(), backbone.named_buffers())
    }

    def run(size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        frames = torch.empty(1, 3, *size, dtype=backbone.dtype, device="meta")
        with torch.device("meta"):
            return functional_call(backbone, tensors, (frames,), {"output_hidden_states": False}).feature_maps

    return run


def real_maps(backbone: PreTrainedModel) -> Callable[[tuple[int, int]], tuple[torch.Tensor, ...]]:
    """Does the same as `meta_maps`, but on the CPU, for backbones whose operations do not run on the meta device."""
    with torch.device("cpu"):
        network = from_config(copy.deepcopy(backbone.config)).eval()
    return lambda size: network(torch.zeros(1, 3, *size, dtype=network.dtype), output_hidden_states=False).feature_maps


def try_size(
    maps_of: Callable[[tuple[int, int]], tuple[torch.Tensor, ...]], size: tuple[int, int]
) -> tuple[list[tuple[int, ...]] | None, str]:
    """Returns the shapes of a frame's maps and an empty text. If the backbone fails: None and the reason."""
    try:
        with torch.no_grad():
            return [tuple(level.shape) for level in maps_of(size)], ""
    except Exception as error:  # networks raise errors of any type, for example an assertion or a shape mismatch
        return None, f"{type(error).__name__}: {error}"


def own_size(backbone: PreTrainedModel) -> tuple[int, int] | None:
    """Returns the (H, W) that the backbone was made for. None if its configuration does not name it."""
    size = getattr(backbone.config, "image_size", None)
    if backbone.config.model_type == "timm_backbone":
        size = (getattr(backbone._backbone, "pretrained_cfg", None) or {}).get("input_size", (0, 0, 0))[1:]
    if isinstance(size, int):
        size = (size, size)
    return cast(tuple[int, int], tuple(size)) if size and all(size) and len(size) == 2 else None


def map_stride(grid: tuple[int, ...], size: tuple[int, int]) -> int | None:
    """
    Returns the stride of a map of size `grid` (h, w) for a frame of `size` (H, W), in pixels.

    None if no whole stride leads to this size, or if rows and columns have different strides.
    """
    if all(cells and side % cells == 0 for cells, side in zip(grid, size, strict=True)):
        rows, columns = (side // cells for cells, side in zip(grid, size, strict=True))
        return rows if rows == columns else None
    for stride in POWERS_OF_TWO:
        if tuple(-(-side // stride) for side in size) == grid:
            return stride
    return None


def read_maps(
    shapes: list[tuple[int, ...]], size: tuple[int, int], channels: list[int]
) -> tuple[list[int], list[int], bool] | None:
    """
    Reads the channels and the strides of a frame's maps from their shapes.

    Returns:
        The channels, the strides, and whether the channels come last. None if no whole strides give the maps' sizes
        when the division is rounded up.
    """
    readings = []
    for channels_last in (False, True):
        strides = [map_stride(shape[1:3] if channels_last else shape[2:], size) for shape in shapes]
        if None not in strides:
            found = [shape[3] if channels_last else shape[1] for shape in shapes]
            readings.append((found, cast(list[int], strides), channels_last))
    # For a square frame both readings may fit. Then prefer the reading with the channels that the backbone declares.
    readings.sort(key=lambda reading: reading[0] != channels)
    return readings[0] if readings else None


def check_maps(shapes: list[tuple[int, ...]], size: tuple[int, int], name: str) -> None:
    """Raises ValueError for shapes other than (M, C, h, w), such as the shapes of ViT's tokens."""
    if any(len(shape) != 4 for shape in shapes):
        raise InputError(
            f"the backbone {name} gives tensors of shapes {shapes} for a frame of {size[0]} x {size[1]} pixels, but "
            "the network needs maps (M, C, h, w): if backbone_config has the field reshape_hidden_states, it must be "
            "True"
        )


def candidate_multiples(stride: int, own: tuple[int, int] | None) -> Iterator[int]:
    """
    Yields the numbers that frame sizes may have to be multiples of.

    These are `stride`, the coarsest stride; 2 and 4 times it, for backbones with windows; and the backbone's own size.
    """
    yield from (stride, 2 * stride, 4 * stride)
    if own is not None and own[0] == own[1] and own[0] % stride == 0:
        yield own[0]


def layout_by(
    maps_of: Callable[[tuple[int, int]], tuple[torch.Tensor, ...]], backbone: PreTrainedModel
) -> tuple[BackboneLayout | None, str]:
    """
    Measures a backbone's layout with `maps_of`, the function from a frame's (H, W) to its maps.

    Returns:
        The layout and an empty text. If the backbone fails at every size: None and the reason.
    """
    name, own, channels = backbone_name(backbone.config), own_size(backbone), list(cast(list[int], backbone.channels))
    failure = ""
    for size in (ODD_SIZE, EVEN_SIZE, own):
        if size is None:
            continue
        shapes, reason = try_size(maps_of, size)
        if shapes is None:
            failure = reason
            continue
        check_maps(shapes, size, name)
        reading = read_maps(shapes, size, channels)
        if reading is None and size == ODD_SIZE:  # the backbone may round sizes down, so try the next size
            continue
        if reading is None:
            raise InputError(
                f"the backbone {name} gives maps {shapes} for a frame of {size[0]} x {size[1]} pixels. Each map must "
                "have the frame's height and width, divided by one and the same whole number"
            )
        found, strides, last = reading
        multiple = 1 if size == ODD_SIZE else find_multiple(maps_of, strides, last, own)
        fixed_size = size if multiple is None else None
        return BackboneLayout(tuple(found), tuple(strides), last, multiple or 1, fixed_size), ""
    return None, failure


def find_multiple(
    maps_of: Callable[[tuple[int, int]], tuple[torch.Tensor, ...]],
    strides: list[int],
    channels_last: bool,
    own: tuple[int, int] | None,
) -> int | None:
    """
    Returns the number that a frame's height and width must be multiples of.

    None if the backbone works only at its own size.
    """
    for multiple in candidate_multiples(math.lcm(*strides), own):
        size = (3 * multiple, 5 * multiple)
        shapes, _ = try_size(maps_of, size)
        grids = [shape[1:3] if channels_last else shape[2:] for shape in shapes or ()]
        if grids == [(size[0] // stride, size[1] // stride) for stride in strides]:
            return multiple
    return None


def measure_layout(backbone: PreTrainedModel) -> BackboneLayout:
    """
    Runs the backbone on frames of several sizes to measure which sizes it takes and which maps it returns.

    The backbone runs on the meta device. If it cannot run there, a copy runs on the CPU.

    Raises:
        ValueError: the backbone fails at every size, or does not return maps with whole strides.
    """
    key = backbone.config.to_json_string(use_diff=False)
    if key in measured:
        return measured[key]
    training = backbone.training
    backbone.eval()
    try:
        layout, _ = layout_by(meta_maps(backbone), backbone)
        failure = ""
        if layout is None:
            layout, failure = layout_by(real_maps(backbone), backbone)
    finally:
        backbone.train(training)
    if layout is None:
        raise InputError(f"the backbone {backbone_name(backbone.config)} gives no maps: {failure}")
    return measured.setdefault(key, layout)


__all__ = ["BackboneLayout", "build_backbone", "measure_layout", "usable_attention"]
