"""
Turns the terms of the loss, and statistics of the queries that AQDL and AQML act on, into numbers for the history.
Stops a run if its loss or its weights are not finite.
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
    Converts the loss and its terms to numbers.

    Raises:
        FloatingPointError: the loss is not finite. The error names the step, the terms and the clips.
    """
    # Both exist, because the model got labels.
    assert outputs.loss is not None and outputs.loss_dict is not None
    tensors: dict[str, torch.Tensor] = {"loss": outputs.loss, **outputs.loss_dict}
    # Stack the terms, so that the CPU waits for the accelerator only once.
    values = torch.stack([term.detach().float() for term in tensors.values()]).tolist()
    loss, *terms = zip(tensors, values, strict=True)
    if not math.isfinite(loss[1]):
        raise DivergedError(
            f"the loss of step {step} is {loss[1]} ({', '.join(f'{name} {value:.4g}' for name, value in terms)}) on "
            f"clips {', '.join(clip_ids)}: lower learning_rate, or look at these clips"
        )
    return dict((loss, *terms))


def means_over_processes(sums: dict[str, float]) -> dict[str, float]:
    """Returns the mean of each entry over all processes, sorted by name. Every process calls this function with the
    same names."""
    everyones = gather_object([sums])
    return {name: sum(one[name] for one in everyones) / len(everyones) for name in sorted(sums)}


def check_finite_weights(model: nn.Module, step: int) -> None:
    """
    Checks the weights and buffers after the update of a step. The loss would only show a fault at the next step, and
    after the last step there is no next one. Every process calls this function.

    Raises:
        FloatingPointError: a value is infinite or NaN in some process. Every process raises the error.
    """
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    # If processes share the weights, each process checks its own part. `DTensor` is not imported, because builds of
    # torch without `torch.distributed` lack it.
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
    Computes two statistics for the history: the distribution of the confidences of the queries, and the distances
    between the queries with a confidence over `delta` of Eq. 22.

    Returns:
        `confidences`: for each of `CONFIDENCE_BINS` equal parts of [0, 1], the mean number of queries of a frame whose
        sounding probability lies there. `squared_distances`: the smallest squared distance between two confident
        queries of a frame, and the `DISTANCE_QUANTILES` of these distances; empty if no frame has two confident
        queries.
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
