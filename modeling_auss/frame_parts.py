"""Some frames at a time: on a CPU a window of many is slower than its parts, which its caches hold, and larger."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

# Five frames of 224 x 224. A ResNet's largest map then takes 16 MB; 32 MB and more are new pages at every call.
BACKBONE_PIXELS = 5 * 224 * 224
# 16 MB of float32.
FUSION_ELEMENTS = 2**22


def splits_frames(module: nn.Module, frames: torch.Tensor) -> bool:
    """
    Whether `module` may see `frames` in parts, which changes no result. It does so only on a CPU and outside training:
    gradients keep all the maps anyway, and batch norm would see parts. Compiled graphs stay whole, and layers whose
    weights are shared out must be called equally often by all processes.
    """
    return not (
        frames.device.type != "cpu"
        or torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        or any(part.training or isinstance(part, (FSDPModule, FullyShardedDataParallel)) for part in module.modules())
    )


def frame_parts(num_frames: int, frame_elements: int, most_elements: int) -> Iterator[slice]:
    """Consecutive slices of `num_frames` frames, with `most_elements` elements at most, but one frame at least."""
    step = max(1, most_elements // frame_elements)
    return (slice(start, start + step) for start in range(0, num_frames, step))


__all__ = ["BACKBONE_PIXELS", "FUSION_ELEMENTS", "frame_parts", "splits_frames"]
