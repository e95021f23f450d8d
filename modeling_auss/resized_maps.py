"""
Feature maps that are resized as late as possible.

A bilinear resize commutes with every operation that is linear in the channels. So these operations run on the small
maps, and the resize comes last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from typing_extensions import Self


def resize(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Resizes maps (B, C, h, w) to `size`, bilinearly. The resize commutes with any linear operation over C."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def interpolation_matrix(sizes: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """
    Returns the matrix that resizes a line from each of `sizes` to the next.

    Its shape is (last of `sizes`, first of `sizes`). The matrix times a line of the first size is the resized line.
    """
    lines = torch.eye(sizes[0], device=like.device)[None]
    for size in sizes[1:]:
        lines = nn.functional.interpolate(lines, size=size, mode="linear", align_corners=False)
    return lines[0].T.to(like.dtype)


def doubled_and_halved(maps: torch.Tensor) -> torch.Tensor:
    """
    Computes the result of resizing maps (B, C, h, w) to (2h, 2w) and back.

    After both resizes, a line is 3/4 of itself plus 1/8 of each of its two neighbours.
    """
    weights = torch.tensor([0.125, 0.75, 0.125], dtype=maps.dtype, device=maps.device)
    channels = maps.shape[1]
    padded = nn.functional.pad(maps, (1, 1, 1, 1), mode="replicate")
    return nn.functional.conv2d(padded, torch.outer(weights, weights).expand(channels, 1, 3, 3), groups=channels)


@dataclass(frozen=True)
class ResizedMaps:
    """
    Small maps together with the size to which they should be resized.

    A step of the pyramid may only enlarge its maps. Then everything that is linear in the channels (keys, values and
    mask logits) is computed on the small maps.

    Args:
        maps: (M, C, h', w'), the small maps.
        size: (h, w), the size that the maps represent.
    """

    maps: torch.Tensor
    size: tuple[int, int]

    def of_frames(self, chosen: torch.Tensor | None) -> Self:
        """Returns the maps of the frames that an index or a mask (M,) chooses. None chooses all frames."""
        return self if chosen is None else replace(self, maps=self.maps[chosen])

    def repeated(self, times: int) -> Self:
        """Returns the maps with each frame repeated `times` times. The copies of a frame follow each other."""
        return self.of_frames(torch.arange(len(self.maps), device=self.maps.device).repeat_interleave(times))

    def to(self, *args, **kwargs) -> Self:
        """Moves or converts all tensors, as `torch.Tensor.to` does. Accelerate calls it to move a layer's inputs."""
        tensors = {name: value for name, value in vars(self).items() if torch.is_tensor(value)}
        return replace(self, **{name: value.to(*args, **kwargs) for name, value in tensors.items()})

    def full(self) -> torch.Tensor:
        """Returns the maps at their full size, (M, C, h, w)."""
        return resize(self.maps, self.size)

    def resized(self, size: tuple[int, int]) -> torch.Tensor:
        """Returns `full()` resized to `size`, (M, C, *size). It never computes the large tensor `full()`."""
        height, width = self.maps.shape[-2:]
        if self.size == (height, width):
            return resize(self.maps, size)
        if self.size == (2 * height, 2 * width):
            if size == (height, width):
                return doubled_and_halved(self.maps)
            # The sizes divide, so each line of the result is a mean of two neighbouring lines of `full()`. Both lie
            # between the same two lines of `maps`, so resizing `maps` directly gives the same values.
            if height % (2 * size[0]) == 0 and width % (2 * size[1]) == 0:
                return resize(self.maps, size)
        rows = interpolation_matrix((height, self.size[0], size[0]), like=self.maps)
        columns = interpolation_matrix((width, self.size[1], size[1]), like=self.maps)
        maps = self.maps.permute(0, 2, 3, 1)  # (M, h', w', C)
        maps = (rows @ maps.flatten(2)).unflatten(2, maps.shape[2:])  # (M, size[0], w', C)
        return (columns @ maps).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class MaskFeatures(ResizedMaps):
    """
    f_4 and the projection h of Eq. 12. Together with mask embeddings they give the masks of all queries.

    At the size of the masks, h(f_4) would be the largest tensor of the paper's network. It is never computed. With
    h(x) = Wx + b, the product g_3(A) . h(f_4) equals (g_3(A) W) . f_4 + g_3(A) . b. The resize comes last.

    Args:
        maps, size: f_4.
        weight: W, (e, e).
        bias: b, (e,).
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def masks_before_resize(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Computes mask logits at the size of `maps`: mask embeddings (M, N, e) to (M, N, h', w')."""
        # b is a constant, so the int8 export would quantise a matrix product with b. Multiply and sum instead.
        offsets = (embeddings * self.bias).sum(-1, keepdim=True)
        # `baddbmm` would first copy the offsets to all pixels, so add them in place after the product.
        masks = torch.bmm(embeddings @ self.weight, self.maps.flatten(2)).add_(offsets)
        return masks.unflatten(2, self.maps.shape[-2:])

    def masks(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Computes the mask logits (M, N, h, w) of mask embeddings g_3(A), (M, N, e), by Eq. 12."""
        return resize(self.masks_before_resize(embeddings), self.size)

    def at(self, size: tuple[int, int]) -> "MaskFeatures":
        """Returns mask features for masks of another size. Their masks are these masks resized to `size`."""
        return replace(self, maps=self.resized(size), size=size)


class MaskProjection(nn.Conv2d):
    """The 1x1 convolution h of Eq. 12. It only passes its weights on; `MaskFeatures` computes the product."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, kernel_size=1)

    # Offloading and ZeRO load a layer's weights in hooks that run when the layer is called. So the weights are read
    # here and nowhere else.
    def forward(self, f_4: ResizedMaps) -> MaskFeatures:
        return MaskFeatures(f_4.maps, f_4.size, self.weight.flatten(1), self.bias)


__all__ = ["MaskFeatures", "MaskProjection", "ResizedMaps", "doubled_and_halved", "interpolation_matrix", "resize"]
