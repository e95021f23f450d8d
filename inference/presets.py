"""`auss presets`: lists the shipped networks with their parameters and floating-point operations."""

import argparse
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..configuration.configuration_auss import AussConfig
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from .arguments import DEFAULT_SIZE


def forward_flops(model: AussForAudioVisualSegmentation, num_frames: int, size: int) -> int:
    """
    Counts the floating-point operations of a forward pass of one clip with all its sound.

    The count covers convolutions, linear layers, attention, and the masks of all queries. A multiplication with its
    addition counts as two operations.

    Args:
        model: the model, best on the meta device, which computes nothing.
        num_frames: the number F of frames.
        size: H = W of the frames, in pixels.
    """
    audio = model.config.audio_config
    pixel_values = torch.empty(1, num_frames, 3, size, size, device=model.device)
    input_features = torch.empty(
        1, model.config.num_audio_examples, audio.num_frames, audio.num_mel_bins, device=model.device
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        outputs = model.auss(pixel_values, input_features)
        _, mask_embeddings = model.heads(outputs.last_hidden_state)
        model.auss.mask_features(outputs, pixel_values).masks(mask_embeddings)
    return counter.get_total_flops()


def describe(name: str, size: int = DEFAULT_SIZE) -> dict[str, Any]:
    """
    Counts the parameters and the operations of a preset.

    Args:
        name: as `AussConfig.from_preset` takes it.
        size: H = W of the frames, in pixels.

    Returns:
        A dict of `preset`, `backbone`, `parameters` (which include `backbone_parameters` and `audio_parameters`),
        `gflops_frame` (10^9 operations for each further frame) and `gflops_sound` (10^9 operations once per clip).
    """
    with torch.device("meta"):
        model = AussForAudioVisualSegmentation(AussConfig.from_preset(name)).eval()
    backbone = model.auss.image_embedding_extractor.backbone
    encoder = model.auss.audio_encoder
    one, two = (forward_flops(model, num_frames, size) for num_frames in (1, 2))
    backbone_config = model.config.backbone_config
    return {
        "preset": name,
        "backbone": getattr(backbone_config, "backbone", None) or backbone_config.model_type,
        "parameters": model.num_parameters(),
        "backbone_parameters": sum(weight.numel() for weight in backbone.parameters()),
        "audio_parameters": sum(weight.numel() for weight in encoder.parameters()) if encoder is not None else 0,
        "gflops_frame": (two - one) / 1e9,
        "gflops_sound": (2 * one - two) / 1e9,
    }


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    rows = [describe(name, arguments.size) for name in arguments.names or AussConfig.preset_names()]
    print(f"{'preset':<20} {'parameters':>11} {'backbone':>9} {'VGGish':>8} {'GFLOP a frame':>14} {'and a clip':>11}")
    for row in rows:
        millions = [f"{row[key] / 1e6:.1f} M" for key in ("parameters", "backbone_parameters", "audio_parameters")]
        print(
            f"{row['preset']:<20} {millions[0]:>11} {millions[1]:>9} {millions[2]:>8} {row['gflops_frame']:>14.1f} "
            f"{row['gflops_sound']:>11.1f}"
        )
    return 0


__all__ = ["describe", "forward_flops", "run"]
