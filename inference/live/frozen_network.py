"""The part of the network that runs for every frame, frozen for a CPU.

Batch norms are folded into convolutions, and no Python code runs between the operators.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from ...files.file_names import printable
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ...modeling_auss.semantic_inference import semantic_scores

logger = logging.getLogger(__name__)

LARGEST_DIFFERENCE = 1e-3  # of logits in [0, 1]; folding a batch norm changes the rounding
MOST_SHAPES = 4  # sizes of pictures for which a graph is kept


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Tracing reads all properties of a model, also those that auss does not use and that Transformers warns of."""
    source = logging.getLogger("transformers")
    level = source.level
    source.setLevel(logging.ERROR)
    try:
        yield
    finally:
        source.setLevel(level)


class FramePart(nn.Module):
    """What the network does for one frame, up to the queries' classes and masks. Semantic inference follows: how many
    queries take part in it depends on the frame, and a traced graph has fixed shapes."""

    def __init__(self, model: AussForAudioVisualSegmentation):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor, frame_queries: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.model.auss(pixel_values=pixel_values, frame_queries=frame_queries)
        class_logits, mask_embeddings = self.model.heads(outputs.last_hidden_state)
        return class_logits, mask_embeddings, outputs.mask_features


class FrozenNetwork:
    """
    Computes the same logits as the model, about twice as fast for small pictures on one thread of a CPU.

    The graph is traced and frozen for each size of `pixel_values`. It is compared with the model before it is used. If
    tracing fails or the results differ, the model itself is used, and a warning says so.

    Args:
        model: the model in evaluation mode, on a CPU.
    """

    def __init__(self, model: AussForAudioVisualSegmentation):
        self.model = model
        self._graphs: dict[tuple, Any] = {}

    def __call__(self, pixel_values: torch.Tensor, frame_queries: torch.Tensor) -> SimpleNamespace:
        """
        Args:
            pixel_values: (1, 1, 3, H, W).
            frame_queries: (1, 1, N, e).

        Returns:
            An object with `logits` (1, 1, K, h, w).
        """
        key = (*pixel_values.shape, pixel_values.dtype)
        if key not in self._graphs:
            if len(self._graphs) >= MOST_SHAPES:
                self._graphs.clear()
            self._graphs[key] = self._frozen(pixel_values, frame_queries)
        return SimpleNamespace(logits=self._logits(self._graphs[key], pixel_values, frame_queries))

    def _logits(self, part: Any, pixel_values: torch.Tensor, frame_queries: torch.Tensor) -> torch.Tensor:
        class_logits, mask_embeddings, maps = part(pixel_values, frame_queries)
        outputs: Any = SimpleNamespace(mask_features=maps)
        features = self.model.auss.mask_features(outputs, pixel_values)
        return semantic_scores(class_logits, mask_embeddings, features)[None]

    def _frozen(self, pixel_values: torch.Tensor, frame_queries: torch.Tensor) -> Any:
        part = FramePart(self.model).eval()
        # Tracing refuses tensors of `torch.inference_mode`, so the frame is copied outside of it.
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every check of a shape, and of being old
            frame, queries = pixel_values.clone(), frame_queries.clone()
            try:
                with quiet_transformers():
                    graph = torch.jit.freeze(torch.jit.trace(part, (frame, queries), check_trace=False))
            except Exception as error:
                reason = printable(" ".join(str(error).split()))
                logger.warning("the network cannot be traced (%s): it runs as it is, which is slower", reason)
                return part
            # The first runs of a graph optimise it. Another frame must give the model's result too.
            for values in (frame, frame, frame.flip(-1)):
                expected = self._logits(part, values, queries)
                difference = float((self._logits(graph, values, queries) - expected).abs().max())
        if not difference <= LARGEST_DIFFERENCE:  # also true for NaN
            logger.warning("the traced network differs by %.2g: the network runs as it is, slower", difference)
            return part
        return graph


__all__ = ["FrozenNetwork"]
