"""The image embedding extractor (paper, Sec. 3.1): a frame to the embeddings f_1 ... f_4 at ever finer strides."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from transformers import AutoBackbone, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..configuration.configuration_auss import AussConfig
from .resized_maps import MaskFeatures, ResizedMaps, linear_parts, resize

logger = logging.get_logger(__name__)


def map_size(frame_size: Sequence[int], stride: int) -> tuple[int, int]:
    """(ceil(H / stride), ceil(W / stride))."""
    return math.ceil(frame_size[0] / stride), math.ceil(frame_size[1] / stride)


def projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 1x1 convolution and a group norm, so that maps of any backbone meet at one scale, as in [5]."""
    norm = nn.GroupNorm(math.gcd(32, out_channels), out_channels)
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False), norm)


class UpsamplingStep(nn.Module):
    """
    One step of "gradually upsample": bilinear, and a depthwise 3x3 refinement where there is something to refine. That
    is after a lateral map has been added; without one the larger map has nothing new, and the smaller one is refined.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.refine = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)
        self.norm = nn.GroupNorm(math.gcd(32, channels), channels)

    def refined(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) to (B, C, h, w)."""
        return maps + nn.functional.gelu(self.norm(self.refine(maps)))

    def forward(self, maps: torch.Tensor, size: tuple[int, int], lateral: torch.Tensor | None) -> ResizedMaps:
        if lateral is None:
            return ResizedMaps(self.refined(maps), size)
        # A backbone that rounds sizes down, as ConvNeXt does, gives a map one row smaller.
        return ResizedMaps(self.refined(resize(maps, size) + resize(lateral, size)), size)


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
    """
    requested = config._attn_implementation
    config._attn_implementation = None
    backbone = AutoBackbone.from_config(config)
    if requested is not None:
        config._attn_implementation = usable_attention(backbone, requested)
    return backbone


class ImageEmbeddingExtractor(nn.Module):
    """
    Any `AutoBackbone`, whose last map is f_ori, and a pyramid upsampled from it.

    f_ori is projected to e channels before it is upsampled, not after: a bilinear resize commutes with the 1x1
    projection, and the maps stay e instead of C_v channels wide.
    """

    def __init__(self, config: AussConfig):
        super().__init__()
        self.strides = (*config.feature_strides, config.mask_stride)
        self.backbone = build_backbone(config.backbone_config)
        *lateral_channels, top_channels = cast(list[int], self.backbone.channels)
        self.top_projection = projection(top_channels, config.hidden_size)
        self.lateral_projections = nn.ModuleList(
            projection(channels, config.hidden_size)
            for channels in (lateral_channels if config.lateral_connections else ())
        )
        self.upsampling_steps = nn.ModuleList(UpsamplingStep(config.hidden_size) for _ in self.strides)
        self.mask_projection = nn.Conv2d(config.hidden_size, config.hidden_size, kernel_size=1)

    def lateral_maps(self, maps: tuple[torch.Tensor, ...], frame_size: Sequence[int]) -> dict[int, torch.Tensor]:
        """The projected lateral maps by their stride, which a backbone does not tell: it is read off their sizes."""
        laterals = {}
        for project, lateral in zip(self.lateral_projections, maps, strict=False):
            # Finest first, as the maps come. The ratio alone would take 17 rows over ceil(17 / 16) = 2 for stride 8.
            fitting = [
                stride
                for stride in reversed(self.strides)
                if stride not in laterals and map_size(frame_size, stride) == tuple(lateral.shape[-2:])
            ]
            stride = fitting[0] if fitting else 2 ** round(math.log2(frame_size[0] / lateral.shape[-2]))
            if stride not in self.strides:
                raise ValueError(
                    f"backbone_config.out_features gives a map of stride {stride}, but lateral_connections can only "
                    f"add maps at feature_strides and mask_stride, {self.strides}: leave that stage out"
                )
            laterals[stride] = project(lateral)
        return laterals

    def backbone_maps(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B*F, 3, H, W), any H and W, to the backbone's maps, f_ori being the last."""
        # The rest of the model's hidden states and attentions does not include the backbone's.
        return self.backbone(pixel_values, output_hidden_states=False, output_attentions=False).feature_maps

    def forward(
        self, maps: tuple[torch.Tensor, ...], frame_size: Sequence[int]
    ) -> tuple[list[ResizedMaps], MaskFeatures]:
        """
        Args:
            maps: those of `backbone_maps`.
            frame_size: (H, W).

        Returns:
            f_1 ... f_3, each (B*F, e, ceil(H / stride), ceil(W / stride)), and f_4 with h of Eq. 12.
        """
        laterals = self.lateral_maps(maps[:-1], frame_size)
        # A pixel's channels side by side, as attention reads them: no map is copied again.
        top = self.top_projection(maps[-1]).contiguous(memory_format=torch.channels_last)
        levels = [ResizedMaps(top, tuple(top.shape[-2:]))]
        for stride, step in zip(self.strides, self.upsampling_steps, strict=True):
            levels.append(step(levels[-1].full(), map_size(frame_size, stride), laterals.get(stride)))
        _, *embeddings, f_4 = levels
        return embeddings, self.mask_features(f_4)

    def mask_features(self, f_4: ResizedMaps) -> MaskFeatures:
        """f_4 with h of Eq. 12."""
        weight, bias = linear_parts(self.mask_projection, f_4.maps.shape[1], like=f_4.maps)
        return MaskFeatures(f_4.maps, f_4.size, weight, bias)


__all__ = ["ImageEmbeddingExtractor", "UpsamplingStep", "map_size"]
