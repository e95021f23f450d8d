"""
The terms of the loss as numbers, and where the queries lie on which AQDL and AQML act: for the history, and to stop a
run whose loss, or whose weights, are no numbers.
"""

import itertools
import math
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from torch import nn

from ...files.errors import DivergedError
from ...modeling_auss.losses.query_selection import sounding_probabilities
from ...modeling_auss.outputs import AussSegmentationOutput

CONFIDENCE_BINS = 20
DISTANCE_QUANTILES = (0.05, 0.25, 0.5)


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
        raise DivergedError(
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
    parts = ((name, cast(Any, value).to_local() if hasattr(value, "to_local") else value) for name, value in tensors)
    damaged = sorted(set(gather_object([name for name, part in parts if not part.detach().isfinite().all()])))
    if damaged:
        raise DivergedError(
            f"the update of step {step} left {len(damaged)} of the weights infinite or no numbers, first "
            f"{damaged[0]}: lower learning_rate; nothing was saved, --resume goes on from the newest checkpoint"
        )


@torch.no_grad()
def query_statistics(outputs: AussSegmentationOutput, delta: float) -> dict[str, list[float]]:
    """
    Where the confidences of the queries lie, and how far apart those over `delta` of Eq. 22 are, for the history.

    Returns:
        `confidences`, how many queries of a frame, in the mean, have a sounding probability in each of
        `CONFIDENCE_BINS` equal parts of [0, 1]; and `squared_distances`, the least of the squared distances between
        two confident queries of a frame and their `DISTANCE_QUANTILES`, none where no frame has two.
    """
    assert outputs.class_queries_logits is not None and outputs.fused_queries is not None
    probabilities = sounding_probabilities(outputs.class_queries_logits.detach()).flatten(0, -2).cpu()  # (M, N)
    counts = torch.histc(probabilities, CONFIDENCE_BINS, 0, 1) / len(probabilities)
    queries = outputs.fused_queries.detach().float().flatten(0, -3).cpu()  # (M, N, e)
    confident = probabilities > delta
    pairs = (confident.unsqueeze(2) & confident.unsqueeze(1)).triu(diagonal=1)
    distances = torch.cdist(queries, queries).square()[pairs]
    quantiles = distances.quantile(torch.tensor((0.0, *DISTANCE_QUANTILES))).tolist() if len(distances) else []
    return {"confidences": counts.tolist(), "squared_distances": quantiles}


__all__ = ["check_finite_weights", "finite_terms", "means_over_processes", "query_statistics"]
