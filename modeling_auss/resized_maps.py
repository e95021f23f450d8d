"""Feature maps kept small: a bilinear resize commutes with whatever is linear in the channels, and comes after it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from typing_extensions import Self


def resize(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Bilinear resize of (B, C, h, w) to `size`; it commutes with any linear map over C."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def interpolation_matrix(sizes: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """(last of `sizes`, first of `sizes`): a line resized from each size to the next is this matrix times the line."""
    lines = torch.eye(sizes[0], device=like.device)[None]
    for size in sizes[1:]:
        lines = nn.functional.interpolate(lines, size=size, mode="linear", align_corners=False)
    return lines[0].T.to(like.dtype)


def doubled_and_halved(maps: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) resized to (2h, 2w) and back: a line is then 3/4 of itself and 1/8 of each of its neighbours."""
    weights = torch.tensor([0.125, 0.75, 0.125], dtype=maps.dtype, device=maps.device)
    channels = maps.shape[1]
    padded = nn.functional.pad(maps, (1, 1, 1, 1), mode="replicate")
    return nn.functional.conv2d(padded, torch.outer(weights, weights).expand(channels, 1, 3, 3), groups=channels)


@dataclass(frozen=True)
class ResizedMaps:
    """
    Maps that stand for their resize to `size`. Where a step of the pyramid only enlarges, what is linear in their
    channels (keys, values, mask logits) is computed on the smaller maps.

    Args:
        maps: (M, C, h', w').
        size: (h, w).
    """

    maps: torch.Tensor
    size: tuple[int, int]

    def of_frames(self, chosen: torch.Tensor | None) -> Self:
        """Those of the frames that an index or a mask (M,) chooses; of all frames, if None."""
        return self if chosen is None else replace(self, maps=self.maps[chosen])

    def repeated(self, times: int) -> Self:
        """Each frame's maps so many times, one after the other."""
        return self.of_frames(torch.arange(len(self.maps), device=self.maps.device).repeat_interleave(times))

    def to(self, *args, **kwargs) -> Self:
        """As `torch.Tensor.to`; Accelerate moves the inputs of layers on other devices so."""
        tensors = {name: value for name, value in vars(self).items() if torch.is_tensor(value)}
        return replace(self, **{name: value.to(*args, **kwargs) for name, value in tensors.items()})

    def full(self) -> torch.Tensor:
        """(M, C, h, w)."""
        return resize(self.maps, self.size)

    def resized(self, size: tuple[int, int]) -> torch.Tensor:
        """`full()` resized to `size`, (M, C, *size), without ever computing `full()`."""
        height, width = self.maps.shape[-2:]
        if self.size == (height, width):
            return resize(self.maps, size)
        if self.size == (2 * height, 2 * width):
            if size == (height, width):
                return doubled_and_halved(self.maps)
            # Every wanted line then lies between the two lines of `maps` that its neighbours in `full()` do.
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
    f_4 and the h of Eq. 12, from which the masks of all queries are read.

    At the masks' own size h(f_4) would be the largest tensor of the paper's network. It is never computed: with h(x) =
    Wx + b the product g_3(A) . h(f_4) is (g_3(A) W) . f_4 + g_3(A) . b, and the resize comes last.

    Args:
        maps, size: f_4.
        weight: W, (e, e).
        bias: b, (e,).
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def masks_before_resize(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Mask embeddings (M, N, e) to (M, N, h', w')."""
        # Not as a product of matrices, which int8 export would quantise, b being a constant.
        offsets = (embeddings * self.bias).sum(-1, keepdim=True)
        # In place, as a product that starts from them would first copy them to all pixels.
        masks = torch.bmm(embeddings @ self.weight, self.maps.flatten(2)).add_(offsets)
        return masks.unflatten(2, self.maps.shape[-2:])

    def masks(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Mask embeddings g_3(A), (M, N, e), to the logits of their masks, (M, N, h, w), Eq. 12."""
        return resize(self.masks_before_resize(embeddings), self.size)

    def at(self, size: tuple[int, int]) -> "MaskFeatures":
        """Those whose masks are these masks resized to `size`."""
        return replace(self, maps=self.resized(size), size=size)


class MaskProjection(nn.Conv2d):
    """h of Eq. 12, a 1x1 convolution. It joins its weights to f_4 and leaves the product to `MaskFeatures`."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, kernel_size=1)

    # The weights are read only here. Hooks of offloading and of ZeRO load them before a layer is called.
    def forward(self, f_4: ResizedMaps) -> MaskFeatures:
        return MaskFeatures(f_4.maps, f_4.size, self.weight.flatten(1), self.bias)


__all__ = ["MaskFeatures", "MaskProjection", "ResizedMaps", "doubled_and_halved", "interpolation_matrix", "resize"]
