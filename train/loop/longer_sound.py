"""Extends a trained network to longer clips than those it was trained on."""

import torch
from torch import nn

from ...files.errors import InputError
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation


def hear_longer(model: AussForAudioVisualSegmentation, num_audio_examples: int) -> None:
    """
    Extends a network in place to more sound examples: W_1 of Eq. 1, (N, T), gets a column of zeros for each new
    example. So a clip that is not longer than before keeps its masks. Training then fills the new columns.

    Args:
        model: a network with weights on any device and of any dtype.
        num_audio_examples: the new T, at least the old one.

    Raises:
        ValueError: the new T is smaller, or the network has no W_1 because its queries are the examples.
    """
    config, projector = model.config, model.auss.audio_query_generator.space_projector
    if num_audio_examples < config.num_audio_examples:
        raise InputError(
            f"num_audio_examples must be at least the network's {config.num_audio_examples}, got {num_audio_examples}"
        )
    old = projector.number_projector
    if old is None and config.audio_input:
        raise InputError(
            f"a network without number_projector has a query for each of its {config.num_audio_examples} sound "
            f"examples and cannot hear {num_audio_examples}: train a new one"
        )
    if old is not None:
        new = old.new_zeros(len(old), num_audio_examples - old.shape[1])
        projector.number_projector = nn.Parameter(torch.cat([old.detach(), new], dim=1), old.requires_grad)
    config.num_audio_examples = num_audio_examples


__all__ = ["hear_longer"]
