"""Pretrained weights for VGGish: the public `torchvggish` file, and its conversion to safetensors."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from ...configuration.configuration_auss import AussAudioConfig, AussConfig
from ...files.errors import InputError
from ...files.file_rights import follow_umask
from ...files.model_files import check_weight_file
from ..audio_encoder import VGGish
from ..pretrained_model import AussPreTrainedModel
from .weight_files import short_reason

logger = logging.get_logger(__name__)

# The fields of the audio configuration that decide the shapes of VGGish's weights.
ENCODER_SIZES = ("stage_channels", "stage_depths", "hidden_features", "embedding_size", "num_mel_bins", "num_frames")


def read_content(path: Path) -> Any:
    """What a weights file holds. Nothing but tensors is ever unpickled. Raises what torch or safetensors raise."""
    check_weight_file(path)
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        return torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "global" in str(error).lower():
            raise InputError(
                "the file has pickled objects beside its tensors, which could run code: save its tensors alone, with "
                "safetensors.torch.save_file(state_dict, ...)"
            ) from error
        raise


def read_audio_weights(source: str | Path) -> dict[str, torch.Tensor]:
    """
    The tensors by name of a VGGish weights file, as `torchvggish` publishes it (`vggish-10086976.pth`) or
    `convert_vggish` writes it: (C_out, C_in, 3, 3) of a convolution, (out, in) of a layer.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: the file may not be read.
        ValueError: the file is no weights file: empty, truncated, a Git LFS pointer, or of pickled objects.
    """
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"audio weights must be a .pth or .safetensors file, there is none at {str(source)!r}")
    try:
        weights = read_content(path)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # torch, pickle, zipfile and safetensors each have their own
        raise InputError(
            f"audio weights at {str(source)!r} cannot be read: expected tensors by name, as torch.save or safetensors "
            f"writes them; {type(error).__name__}: {short_reason(error)}"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(weight, torch.Tensor) for weight in weights.values()):
        raise InputError(f"audio weights at {str(source)!r} must be tensors by name, got {type(weights).__name__}")
    # Beside the network, the file of a model with postprocessing has the projection of its features, which [49] and
    # the paper leave out.
    return {name: weight for name, weight in weights.items() if not name.startswith("pproc.")}


def other_sizes(config: AussAudioConfig) -> list[str]:
    """What of the audio configuration is not VGGish's, "field=value", batch normalisation aside."""
    standard = AussAudioConfig()

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, list | tuple) else value

    values = {name: plain(getattr(config, name)) for name in ENCODER_SIZES}
    return [f"{name}={value}" for name, value in values.items() if value != plain(getattr(standard, name))]


def check_encoder_sizes(config: AussConfig) -> None:
    """Raises ValueError for a network that hears nothing, or whose encoder is smaller or larger than VGGish."""
    if not config.audio_input:
        raise InputError("audio weights need a model that hears, got one with audio_input=False")
    sizes = other_sizes(config.audio_config)
    if sizes:
        fitting = [
            name for name in AussConfig.preset_names() if not other_sizes(AussConfig.from_preset(name).audio_config)
        ]
        raise InputError(
            f"audio weights are those of VGGish, and this network's audio_config is another: {', '.join(sizes)}. "
            f"Start from a preset whose encoder has VGGish's sizes: {', '.join(fitting)}"
        )


def use_standard_encoder(config: AussConfig) -> None:
    """
    Prepares the configuration of a new network for audio weights: its encoder becomes the standard VGGish, without
    batch normalisation, which only an encoder that starts from scratch needs. The log says so.

    Raises:
        ValueError: the encoder has other sizes than VGGish, or the network hears nothing.
    """
    check_encoder_sizes(config)
    if config.audio_config.batch_norm:
        config.audio_config.batch_norm = False
        logger.warning("The audio encoder is the standard VGGish, without batch norm, as audio weights are given.")


def check_fits(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor], source: str | Path) -> None:
    """Raises ValueError, naming the first tensor that is missing, of another shape or too many."""
    for name, tensor in own.items():
        if name not in weights or weights[name].shape != tensor.shape:
            found = "is missing" if name not in weights else f"has shape {tuple(weights[name].shape)}"
            raise InputError(
                f"the audio weights at {str(source)!r} are another network's: {name} {found}, expected "
                f"{tuple(tensor.shape)}"
            )
    extra = weights.keys() - own.keys()
    if extra:
        raise InputError(f"the audio weights at {str(source)!r} are another network's: it has no {min(extra)}")


def load_audio_weights(model: AussPreTrainedModel, source: str | Path) -> None:
    """
    Loads VGGish weights into `model`'s audio encoder, which is frozen from then on, as in [49].

    Args:
        model: `AussModel` or `AussForAudioVisualSegmentation` with the standard VGGish (`AussAudioConfig()`'s sizes,
            no batch norm).
        source: as `read_audio_weights`.

    Raises:
        FileNotFoundError, PermissionError: as `read_audio_weights`.
        ValueError: as `read_audio_weights`; the weights are another network's; the model's encoder is not the standard
            VGGish, or the model hears nothing (`audio_input=False`).
    """
    check_encoder_sizes(model.config)
    if model.config.audio_config.batch_norm:
        raise InputError(
            "audio weights do not fit this model: its audio_config has batch_norm=True, and VGGish has none. Build a "
            'new model without it, AussConfig.from_preset(NAME, audio_config={"batch_norm": False}), or by '
            "`auss train --preset NAME --audio-weights FILE`"
        )
    encoder = next(module for module in model.modules() if isinstance(module, VGGish))
    weights = read_audio_weights(source)
    check_fits(weights, encoder.state_dict(), source)
    encoder.load_state_dict(weights)
    encoder.freeze()
    model.config.audio_config.frozen = True


def convert_vggish(source: str | Path, output: str | Path) -> int:
    """
    Writes the weights in `source`, the public `torchvggish` file, as safetensors.

    Returns:
        The number of weights, 72,141,184 for the standard network.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as `read_audio_weights`; the weights are not the standard
            VGGish's.
    """
    weights = read_audio_weights(source)
    with torch.device("meta"):
        own = VGGish(AussAudioConfig()).state_dict()
    check_fits(weights, own, source)
    save_file({name: weights[name].contiguous() for name in own}, output, metadata={"format": "pt"})
    follow_umask([output])
    return sum(weight.numel() for weight in weights.values())


__all__ = ["convert_vggish", "load_audio_weights", "read_audio_weights", "use_standard_encoder"]
