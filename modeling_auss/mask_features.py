"""The mask features h(f_4) of Eq. 12, from which the masks of all queries are read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


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


@dataclass(frozen=True)
class MaskFeatures:
    """
    h(f_4), kept at the size before its last step where that step only enlarges the map.

    A resize commutes with h and with the product by a query, so the features at the masks' own size, the largest
    tensor of the paper's network, are never computed.

    Args:
        maps: (M, e, h', w').
        size: (h, w), that of the masks; h(f_4) is `maps` resized to it.
    """

    maps: torch.Tensor
    size: tuple[int, int]

    def of_frames(self, chosen: torch.Tensor) -> "MaskFeatures":
        """Those of the frames that an index or a mask (M,) chooses."""
        return MaskFeatures(self.maps[chosen], self.size)

    def masks(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Mask embeddings (M, N, e) to the logits of their masks, (M, N, h, w), Eq. 12."""
        small = (embeddings @ self.maps.flatten(2)).unflatten(2, self.maps.shape[-2:])
        return resize(small, self.size)

    def resized(self, size: tuple[int, int]) -> torch.Tensor:
        """h(f_4) resized to `size`, (M, e, *size)."""
        if self.size == tuple(self.maps.shape[-2:]):
            return resize(self.maps, size)
        height, width = self.maps.shape[-2:]
        rows = interpolation_matrix((height, self.size[0], size[0]), like=self.maps)
        columns = interpolation_matrix((width, self.size[1], size[1]), like=self.maps)
        maps = self.maps.permute(0, 2, 3, 1)  # (M, h', w', e)
        maps = (rows @ maps.flatten(2)).unflatten(2, maps.shape[2:])  # (M, size[0], w', e)
        return (columns @ maps).permute(0, 3, 1, 2)


__all__ = ["MaskFeatures", "interpolation_matrix", "resize"]
