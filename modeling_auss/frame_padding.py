"""Clips of unequal frame counts in one batch: the network sees the real frames only, never the padding."""

from collections.abc import Callable

import torch

from .input_checks import check_frame_mask, check_label_shape
from .outputs import AussModelOutput, AussSegmentationOutput

# The class logit of "no object" in a frame that is padding; the others are 0. exp(100) is far beyond rounding.
CERTAIN = 100.0


def no_object(class_logits: torch.Tensor) -> torch.Tensor:
    """The class logits (K + 1,) of a query that is sure of "no object"; of the type of those given, (..., K + 1)."""
    logits = class_logits.new_zeros(class_logits.shape[-1])
    logits[-1] = CERTAIN
    return logits


class RealFrames:
    """
    Where the real frames of a padded batch are. Batch norm, attention and losses work frame by frame or over all
    frames of a batch, so that a network without the padded frames gives each clip what it gives it alone.
    """

    def __init__(self, frame_mask: torch.Tensor):
        """`frame_mask` is (B, F), 1 for the M real frames, which may lie anywhere, and 0 for padding."""
        self.frame_mask = frame_mask
        self.shape = frame_mask.shape
        self.places = frame_mask.flatten().nonzero().squeeze(-1)  # (M,)

    def pack(self, values: torch.Tensor) -> torch.Tensor:
        """(B, F, ...) to the real frames, each a clip of one: (M, 1, ...)."""
        return values.flatten(0, 1).index_select(0, self.places).unsqueeze(1)

    def unpack_flat(self, values: torch.Tensor) -> torch.Tensor:
        """(M, ...) to (B*F, ...), 0 in the padding."""
        padded = values.new_zeros(self.shape.numel(), *values.shape[1:])
        return padded.index_copy(0, self.places, values)

    def unpack(self, values: torch.Tensor) -> torch.Tensor:
        """(M, 1, ...) to (B, F, ...), 0 in the padding."""
        return self.unpack_flat(values.squeeze(1)).unflatten(0, self.shape)

    def _unpacked_states(self, outputs: AussModelOutput | AussSegmentationOutput) -> dict[str, tuple | None]:
        """The recorded states of each frame, (B*F, ...)."""
        recorded = {name: outputs.get(name) for name in ("hidden_states", "attentions")}
        return {name: states and tuple(map(self.unpack_flat, states)) for name, states in recorded.items()}

    def fuse(
        self,
        forward: Callable[..., AussModelOutput],
        pixel_values: torch.Tensor,
        queries: tuple[torch.Tensor | None, torch.Tensor],
        **kwargs,
    ) -> AussModelOutput:
        """
        What `AussModel` returns for the batch.

        Args:
            forward: of the model.
            pixel_values: (B, F, 3, H, W).
            queries: the audio queries (B, N, e), or None, and those that each frame starts from, (B, F, N, e).
            kwargs: what else `forward` takes.
        """
        audio_queries, frame_queries = queries
        kwargs["return_dict"] = True
        outputs = forward(self.pack(pixel_values), frame_queries=self.pack(frame_queries), **kwargs)
        assert outputs.layer_queries is not None and outputs.mask_features is not None
        layer_queries = tuple(map(self.unpack, outputs.layer_queries))
        return AussModelOutput(
            last_hidden_state=layer_queries[-1],
            audio_queries=audio_queries,
            mask_features=self.unpack(outputs.mask_features),
            layer_queries=layer_queries,
            **self._unpacked_states(outputs),
        )

    def segment(
        self,
        forward: Callable[..., AussSegmentationOutput],
        pixel_values: torch.Tensor,
        queries: tuple[torch.Tensor | None, torch.Tensor],
        labels: torch.Tensor | None,
        **kwargs,
    ) -> AussSegmentationOutput:
        """
        What `AussForAudioVisualSegmentation` returns for the batch, labels (B, F, H, W), if any, included; the other
        arguments are those of `fuse`. In the padding nothing sounds: every query is sure of "no object".
        """
        audio_queries, frame_queries = queries
        kwargs["return_dict"] = True
        if labels is not None:
            check_label_shape(labels, pixel_values)
            kwargs["labels"] = self.pack(labels)
        outputs = forward(self.pack(pixel_values), frame_queries=self.pack(frame_queries), **kwargs)
        assert outputs.class_queries_logits is not None and outputs.logits is not None
        assert outputs.fused_queries is not None
        class_queries_logits = self.unpack(outputs.class_queries_logits)
        class_queries_logits[~self.frame_mask.bool()] = no_object(class_queries_logits)
        masks = outputs.masks_queries_logits
        return AussSegmentationOutput(
            loss=outputs.loss,
            loss_dict=outputs.loss_dict,
            logits=self.unpack(outputs.logits),
            class_queries_logits=class_queries_logits,
            masks_queries_logits=None if masks is None else self.unpack(masks),
            audio_queries=audio_queries,
            fused_queries=self.unpack(outputs.fused_queries),
            **self._unpacked_states(outputs),
        )


def real_frames(frame_mask: torch.Tensor | None, pixel_values: torch.Tensor) -> RealFrames | None:
    """
    Where the real frames are; None if all are real.

    Args:
        frame_mask: (B, F), 1 for frames and 0 for padding, or None.
        pixel_values: (B, F, 3, H, W).

    Raises:
        ValueError: a mask of another shape or of other values, or a clip without a frame.
    """
    if frame_mask is None:
        return None
    check_frame_mask(frame_mask, pixel_values)
    return None if frame_mask.all() else RealFrames(frame_mask)


__all__ = ["RealFrames", "real_frames"]
