"""The image embedding extractor (paper, Sec. 3.1). It turns a frame into f_1 ... f_4, from coarse to fine strides."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers.utils import logging

from ..configuration.configuration_auss import AussConfig
from ..files.errors import InputError
from .image_backbone import backbone_name, build_backbone, measure_layout
from .resized_maps import MaskFeatures, MaskProjection, ResizedMaps, resize

logger = logging.get_logger(__name__)


def map_size(frame_size: Sequence[int], stride: int) -> tuple[int, int]:
    """Returns the size of a map of this stride: (ceil(H / stride), ceil(W / stride))."""
    return math.ceil(frame_size[0] / stride), math.ceil(frame_size[1] / stride)


def projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 1x1 convolution and a group norm. They bring the maps of any backbone to the same scale, as in [5]."""
    norm = nn.GroupNorm(math.gcd(32, out_channels), out_channels)
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False), norm)


class UpsamplingStep(nn.Module):
    """
    One step of the paper's "gradually upsample": a bilinear resize and a depthwise 3x3 refinement.

    With a lateral map, the refinement works on the larger map, to which the lateral map is added. Without a lateral
    map, enlarging adds no information, so the refinement works on the smaller map, which is cheaper.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.refine = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)
        self.norm = nn.GroupNorm(math.gcd(32, channels), channels)

    def refined(self, maps: torch.Tensor) -> torch.Tensor:
        """Refines maps (B, C, h, w) and keeps their shape."""
        return maps + nn.functional.gelu(self.norm(self.refine(maps)))

    def forward(self, maps: torch.Tensor, size: tuple[int, int], lateral: torch.Tensor | None) -> ResizedMaps:
        if lateral is None:
            return ResizedMaps(self.refined(maps), size)
        # A lateral map of 14-pixel patches does not have exactly the size of a pyramid level, so resize it.
        return ResizedMaps(self.refined(resize(maps, size) + resize(lateral, size)), size)


class ImageEmbeddingExtractor(nn.Module):
    """
    An `AutoBackbone`, whose last map is f_ori, and a pyramid of maps that are upsampled from f_ori.

    f_ori is projected to e channels before it is upsampled, not after. The bilinear resize commutes with the 1x1
    projection, and the upsampled maps then have e channels instead of C_v.
    """

    def __init__(self, config: AussConfig):
        super().__init__()
        self.strides = (*config.feature_strides, config.mask_stride)
        self.backbone = build_backbone(config.backbone_config)
        self.layout = measure_layout(self.backbone)
        *lateral_channels, top_channels = self.layout.channels
        self.lateral_strides = self.find_lateral_strides() if config.lateral_connections else ()
        if self.layout.fixed_size is not None:
            height, width = self.layout.fixed_size
            logger.warning(
                f"The backbone {backbone_name(config.backbone_config)} takes frames of {height} x {width} pixels only"
            )
        self.top_projection = projection(top_channels, config.hidden_size)
        self.lateral_projections = nn.ModuleList(
            projection(channels, config.hidden_size)
            for channels in (lateral_channels if config.lateral_connections else ())
        )
        self.upsampling_steps = nn.ModuleList(UpsamplingStep(config.hidden_size) for _ in self.strides)
        self.mask_projection = MaskProjection(config.hidden_size)

    def find_lateral_strides(self) -> tuple[int, ...]:
        """
        Returns a stride for every map of the backbone except the last. The map is added to the pyramid level of that
        stride.

        Raises:
            ValueError: the pyramid has no level of that stride, or two maps have the same stride.
        """
        # A stride that is not a power of two, such as a patch size of 14, is rounded to the nearest power of two.
        strides = tuple(2 ** round(math.log2(stride)) for stride in self.layout.strides[:-1])
        for index, stride in enumerate(strides):
            if stride not in self.strides:
                raise InputError(
                    f"backbone_config.out_features gives a map of stride {stride}, but lateral_connections can only "
                    f"add maps at feature_strides and mask_stride, {self.strides}: leave that stage out"
                )
            if stride in strides[:index]:
                raise InputError(
                    f"backbone_config.out_features gives several maps of stride {stride}, but lateral_connections can "
                    "only add one of them: leave the others out, or set lateral_connections=False if all stages of "
                    "the backbone have the same stride"
                )
        return strides

    def backbone_maps(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Runs the backbone on frames (M, 3, H, W).

        Returns:
            The backbone's maps, each (M, C, ceil(H / stride), ceil(W / stride)). The last one is f_ori.

        Raises:
            ValueError: the backbone takes frames of one size only, and these frames have another size.
        """
        frames = self.layout.padded(pixel_values)
        # The model's hidden states and attentions do not include those of the backbone, so do not compute them here.
        maps = self.backbone(frames, output_hidden_states=False, output_attentions=False).feature_maps
        return self.layout.trimmed(maps, pixel_values.shape[-2:])

    def forward(self, pixel_values: torch.Tensor) -> tuple[list[ResizedMaps], MaskFeatures]:
        """
        Args:
            pixel_values: (M, 3, H, W) frames.

        Returns:
            f_1 ... f_3, each (M, e, ceil(H / stride), ceil(W / stride)); and f_4 together with h of Eq. 12.
        """
        maps = self.backbone_maps(pixel_values)
        laterals = {
            stride: project(lateral)
            for stride, project, lateral in zip(self.lateral_strides, self.lateral_projections, maps, strict=False)
        }
        # Attention reads the channels of a pixel together. The channels-last layout here avoids later copies.
        top = self.top_projection(maps[-1]).contiguous(memory_format=torch.channels_last)
        levels = [ResizedMaps(top, tuple(top.shape[-2:]))]
        for stride, step in zip(self.strides, self.upsampling_steps, strict=True):
            size = map_size(pixel_values.shape[-2:], stride)
            levels.append(step(levels[-1].full(), size, laterals.get(stride)))
        _, *embeddings, f_4 = levels
        return embeddings, self.mask_projection(f_4)


__all__ = ["ImageEmbeddingExtractor", "UpsamplingStep", "map_size"]
