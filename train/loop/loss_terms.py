"""The terms of the loss as numbers: for the history, and to stop a run whose loss, or whose weights, are none."""

import itertools
import math

import torch
from accelerate.utils import gather_object
from torch import nn

from ...modeling_auss.outputs import AussSegmentationOutput


def finite_terms(outputs: AussSegmentationOutput, step: int, clip_ids: list[str]) -> dict[str, float]:
    """
    The loss and its terms as numbers.

    Raises:
        FloatingPointError: the loss is not finite; names the step, the terms and the clips.
    """
    # The model was given labels.
    assert outputs.loss is not None and outputs.loss_dict is not None
    tensors: dict[str, torch.Tensor] = {"loss": outputs.loss, **outputs.loss_dict}
    # Stacked, so that an accelerator is waited for once.
    values = torch.stack([term.detach().float() for term in tensors.values()]).tolist()
    loss, *terms = zip(tensors, values, strict=True)
    if not math.isfinite(loss[1]):
        raise FloatingPointError(
            f"the loss of step {step} is {loss[1]} ({', '.join(f'{name} {value:.4g}' for name, value in terms)}) on "
            f"clips {', '.join(clip_ids)}: lower learning_rate, or look at these clips"
        )
    return dict((loss, *terms))


def means_over_processes(sums: dict[str, float]) -> dict[str, float]:
    """The mean of each entry over all processes, by name in order. Every process calls this with the same names."""
    everyones = gather_object([sums])
    return {name: sum(one[name] for one in everyones) / len(everyones) for name in sorted(sums)}


def check_finite_weights(model: nn.Module, step: int) -> None:
    """
    Looks at the weights and buffers that the update of a step left; the loss tells of them at the next step only, and
    after the last one there is none. Every process calls this.

    Raises:
        FloatingPointError: in every process, if some are infinite or no numbers in any of them.
    """
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    # Where processes share the weights, each looks at its own part. `DTensor` is not imported: builds of torch without
    # `torch.distributed` lack it.
    parts = ((name, value.to_local() if hasattr(value, "to_local") else value) for name, value in tensors)
    damaged = sorted(set(gather_object([name for name, part in parts if not part.detach().isfinite().all()])))
    if damaged:
        raise FloatingPointError(
            f"the update of step {step} left {len(damaged)} of the weights infinite or no numbers, first "
            f"{damaged[0]}: lower learning_rate; nothing was saved, --resume goes on from the newest checkpoint"
        )


__all__ = ["check_finite_weights", "finite_terms", "means_over_processes"]
