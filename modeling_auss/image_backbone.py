"""The image backbone: any of Transformers or timm is built, its maps are measured, and what cannot work is refused."""

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

# timm's networks of a fixed frame size take any size with one of these; at their own size they compute the same.
TIMM_SIZE_OPTIONS = ({"dynamic_img_size": True}, {"strict_img_size": False})
# Frames of no usual multiple, of which a backbone that rounds down or needs a multiple would lose the last pixels; and
# of a multiple of every usual stride, patch and window. Their sides are no multiples of each other, so that rows,
# columns and channels cannot be confused.
ODD_SIZE, EVEN_SIZE = (385, 321), (672, 448)
POWERS_OF_TWO = tuple(2**exponent for exponent in range(8))

# The layouts of backbones that this process has measured, by their configuration.
measured: dict[str, "BackboneLayout"] = {}


@dataclass(frozen=True)
class BackboneLayout:
    """
    What a backbone's maps are like, as measured on frames of several sizes.

    Args:
        channels: C of every map.
        strides: the pixels that a map's row or column stands for, of every map.
        channels_last: whether the maps come as (M, h, w, C).
        multiple: frames are padded at the bottom and the right to a multiple of it, in pixels; 1 leaves them as they
            are. Without padding such a backbone would fail, or cut off the frame's last rows and columns.
        fixed_size: the only (H, W) that the backbone takes, None if it takes any.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    channels_last: bool
    multiple: int
    fixed_size: tuple[int, int] | None

    def padded(self, frames: torch.Tensor) -> torch.Tensor:
        """
        (M, 3, H, W) with H and W enlarged to multiples of `multiple` by zeros, the mean colour.

        Raises:
            ValueError: the backbone takes frames of one size only, and these are of another.
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
        """The maps as (M, C, ceil(H / stride), ceil(W / stride)), without what lies over the padding."""
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
    """What a backbone is called in messages: its type, and timm's name for it."""
    name = getattr(config, "backbone", None)
    return f"{config.model_type} {name!r}" if name else repr(config.model_type)


def check_backbone_config(config: PreTrainedConfig) -> None:
    """
    Raises ValueError for a configuration whose backbone gives no maps of colour frames, or comes from elsewhere: timm
    would ask the Hub for a name such as "hf-hub:...", or read another folder for "local-dir:...".
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
    """`AutoBackbone.from_config`, without foreign code, and for frames of any size where timm leaves the choice."""
    options = TIMM_SIZE_OPTIONS if config.model_type == "timm_backbone" else ()
    for option in options:
        try:
            return AutoBackbone.from_config(config, trust_remote_code=False, **option)
        except TypeError as error:  # this network has no such option, and is refused before its layers are made
            if next(iter(option)) not in str(error):
                raise
    return AutoBackbone.from_config(config, trust_remote_code=False)


def usable_attention(backbone: PreTrainedModel, requested: str) -> str | None:
    """`requested`, if `backbone` supports that attention implementation, or else the one that it has."""
    try:
        return backbone.get_correct_attn_implementation(requested, is_init_check=True)
    except (ValueError, ImportError) as error:
        # Without sdpa there is no attention to speak of: a ResNet or ConvNeXt.
        if backbone._supports_sdpa:
            logger.warning_once(f"The backbone keeps {backbone.config._attn_implementation} attention: {error}")
        return backbone.config._attn_implementation


def build_backbone(config: PreTrainedConfig) -> PreTrainedModel:
    """
    Any `AutoBackbone`, with the attention implementation that `config` asks for if it supports that one.

    Transformers writes the implementation asked of a model into the configurations of its parts too, and a backbone
    that does not support it would refuse to be built.

    Raises:
        ValueError: `config` is no backbone's; or see `check_backbone_config`.
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
    """A function from a frame's (H, W) to the maps of such a frame on the meta device, where nothing is computed."""
    tensors = {
        # A weight that DeepSpeed has shared out is empty, and knows its shape as `ds_shape`.
        name: torch.empty(getattr(tensor, "ds_shape", tensor.shape), dtype=tensor.dtype, device="meta")
        for name, tensor in itertools.chain(backbone.named_parameters(), backbone.named_buffers())
    }

    def run(size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        frames = torch.empty(1, 3, *size, dtype=backbone.dtype, device="meta")
        with torch.device("meta"):
            return functional_call(backbone, tensors, (frames,), {"output_hidden_states": False}).feature_maps

    return run


def real_maps(backbone: PreTrainedModel) -> Callable[[tuple[int, int]], tuple[torch.Tensor, ...]]:
    """The same by a copy that computes, for backbones that the meta device does not know."""
    with torch.device("cpu"):
        network = from_config(copy.deepcopy(backbone.config)).eval()
    return lambda size: network(torch.zeros(1, 3, *size, dtype=network.dtype), output_hidden_states=False).feature_maps


def try_size(
    maps_of: Callable[[tuple[int, int]], tuple[torch.Tensor, ...]], size: tuple[int, int]
) -> tuple[list[tuple[int, ...]] | None, str]:
    """The shapes of the maps of a frame, or None and why there are none."""
    try:
        with torch.no_grad():
            return [tuple(level.shape) for level in maps_of(size)], ""
    except Exception as error:  # of any kind: a network's own assertion, a shape that does not fit
        return None, f"{type(error).__name__}: {error}"


def own_size(backbone: PreTrainedModel) -> tuple[int, int] | None:
    """The (H, W) that the backbone was made for, as far as its configuration tells."""
    size = getattr(backbone.config, "image_size", None)
    if backbone.config.model_type == "timm_backbone":
        size = (getattr(backbone._backbone, "pretrained_cfg", None) or {}).get("input_size", (0, 0, 0))[1:]
    if isinstance(size, int):
        size = (size, size)
    return cast(tuple[int, int], tuple(size)) if size and all(size) and len(size) == 2 else None


def map_stride(grid: tuple[int, ...], size: tuple[int, int]) -> int | None:
    """The pixels that a row and a column of a map (h, w) of a frame of `size` stand for; None if these differ."""
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
    The channels and strides of maps of a frame by their shapes, and whether the channels come last; None if there is
    no whole stride that rounds up to the maps' sizes.
    """
    readings = []
    for channels_last in (False, True):
        strides = [map_stride(shape[1:3] if channels_last else shape[2:], size) for shape in shapes]
        if None not in strides:
            found = [shape[3] if channels_last else shape[1] for shape in shapes]
            readings.append((found, cast(list[int], strides), channels_last))
    # Of a square frame both readings may fit, and the backbone's own word decides.
    readings.sort(key=lambda reading: reading[0] != channels)
    return readings[0] if readings else None


def check_maps(shapes: list[tuple[int, ...]], size: tuple[int, int], name: str) -> None:
    """Raises ValueError for shapes that are no maps' (M, C, h, w), such as those of ViT's tokens."""
    if any(len(shape) != 4 for shape in shapes):
        raise InputError(
            f"the backbone {name} gives tensors of shapes {shapes} for a frame of {size[0]} x {size[1]} pixels, where "
            "maps (M, C, h, w) are needed: where there is backbone_config.reshape_hidden_states, it must be True"
        )


def candidate_multiples(stride: int, own: tuple[int, int] | None) -> Iterator[int]:
    """What frame sizes may have to be multiples of: the coarsest stride, windows of 2 or 4 of it, or the own size."""
    yield from (stride, 2 * stride, 4 * stride)
    if own is not None and own[0] == own[1] and own[0] % stride == 0:
        yield own[0]


def layout_by(
    maps_of: Callable[[tuple[int, int]], tuple[torch.Tensor, ...]], backbone: PreTrainedModel
) -> tuple[BackboneLayout | None, str]:
    """The layout of a backbone that gives `maps_of` frames of a size; or None, and why no size works."""
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
        if reading is None and size == ODD_SIZE:  # it may round down, and is asked again
            continue
        if reading is None:
            raise InputError(
                f"the backbone {name} gives maps {shapes} for a frame of {size[0]} x {size[1]} pixels, where every "
                "map must have the frame's height and width divided by one and the same whole number"
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
    """The number that a frame's height and width must be multiples of; None if no other size than its own works."""
    for multiple in candidate_multiples(math.lcm(*strides), own):
        size = (3 * multiple, 5 * multiple)
        shapes, _ = try_size(maps_of, size)
        grids = [shape[1:3] if channels_last else shape[2:] for shape in shapes or ()]
        if grids == [(size[0] // stride, size[1] // stride) for stride in strides]:
            return multiple
    return None


def measure_layout(backbone: PreTrainedModel) -> BackboneLayout:
    """
    Runs the backbone on frames of several sizes, on the meta device, to learn what it takes and gives.

    Raises:
        ValueError: it fails at every size, or what it gives are no maps of whole strides.
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
