"""
Pretrained weights for the audio encoder.

They come from the public `torchvggish` file of VGGish, from its conversion to safetensors, or from
`auss pretrain-audio`.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
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

# The metadata of a safetensors file stores the audio configuration of the weights under this key.
CONFIG_KEY = "auss_audio_config"
# The fields of the audio configuration that decide the shapes of VGGish's weights.
ENCODER_SIZES = ("stage_channels", "stage_depths", "hidden_features", "embedding_size", "num_mel_bins", "num_frames")


def read_content(path: Path) -> Any:
    """Reads a weights file. It unpickles nothing but tensors. Errors of torch and safetensors are passed on."""
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
    Reads the tensors of a VGGish weights file, by name.

    The file is the one that `torchvggish` publishes (`vggish-10086976.pth`) or one that `convert_vggish` writes. The
    weight of a convolution is (C_out, C_in, 3, 3), and the weight of a linear layer is (out, in).

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: the file may not be read.
        ValueError: the file is not a weights file. It is empty, truncated or a Git LFS pointer, or it has pickled
            objects.
    """
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"audio weights must be a .pth or .safetensors file, there is none at {str(source)!r}")
    try:
        weights = read_content(path)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # torch, pickle, zipfile and safetensors each raise their own error types
        raise InputError(
            f"audio weights at {str(source)!r} cannot be read: expected tensors by name, as torch.save or safetensors "
            f"writes them; {type(error).__name__}: {short_reason(error)}"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(weight, torch.Tensor) for weight in weights.values()):
        raise InputError(f"audio weights at {str(source)!r} must be tensors by name, got {type(weights).__name__}")
    # A file of VGGish with postprocessing also has a projection of the features. [49] and the paper do not use it.
    return {name: weight for name, weight in weights.items() if not name.startswith("pproc.")}


def other_sizes(config: AussAudioConfig) -> list[str]:
    """Returns the size fields that differ from the standard VGGish, as "field=value". Batch norm is not a size."""
    standard = AussAudioConfig()

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, list | tuple) else value

    values = {name: plain(getattr(config, name)) for name in ENCODER_SIZES}
    return [f"{name}={value}" for name, value in values.items() if value != plain(getattr(standard, name))]


def check_encoder_sizes(config: AussConfig) -> None:
    """Raises ValueError for a network without audio input, or with an encoder whose sizes are not those of VGGish."""
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


def encoder_config(source: str | Path) -> AussAudioConfig | None:
    """
    Reads the audio configuration that is stored in a weights file.

    None if the file stores no configuration. The public VGGish file stores none.

    Raises:
        ValueError: the stored text is not a valid audio configuration.
    """
    path = Path(source)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            saved = (file.metadata() or {}).get(CONFIG_KEY)
    except (SafetensorError, OSError):
        return None  # `read_audio_weights` says what is wrong with the file
    if saved is None:
        return None
    try:
        values = json.loads(saved)
        AussAudioConfig.check_names(values)
        return AussAudioConfig.from_dict(values)
    except Exception as error:  # JSON and strict dataclasses raise different error types
        raise InputError(
            f"audio weights at {str(source)!r} are for no audio_config that auss knows: {short_reason(error)}"
        ) from error


def use_encoder_of(config: AussConfig, source: str | Path) -> None:
    """
    Changes the configuration of a new network so that the audio weights fit.

    The network gets the audio encoder that the weights belong to. If this changes the encoder, the log says so.

    Raises:
        ValueError: the network has no audio input; or the weights are those of VGGish and the network's encoder has
            other sizes.
    """
    pretrained = encoder_config(source)
    if pretrained is None:
        use_standard_encoder(config)
        return
    if not config.audio_input:
        raise InputError("audio weights need a model that hears, got one with audio_input=False")
    if pretrained.to_diff_dict() != config.audio_config.to_diff_dict():
        logger.warning("The audio encoder is the one that %s was pretrained with, not the preset's.", source)
    config.audio_config = pretrained


def use_standard_encoder(config: AussConfig) -> None:
    """
    Changes the configuration of a new network so that the weights of the standard VGGish fit.

    The standard VGGish has no batch norm, so batch norm is removed and the log says so. Only an encoder that starts
    from random weights needs batch norm.

    Raises:
        ValueError: the encoder's sizes are not those of VGGish, or the network has no audio input.
    """
    check_encoder_sizes(config)
    if config.audio_config.batch_norm:
        config.audio_config.batch_norm = False
        logger.warning("The audio encoder is the standard VGGish, without batch norm, as audio weights are given.")


def check_fits(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor], source: str | Path) -> None:
    """Raises ValueError if a tensor is missing, has a wrong shape or is superfluous. The message names the tensor."""
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


def freeze_encoder(model: AussPreTrainedModel, frozen: bool) -> None:
    """Freezes the audio encoder of a model, or makes it trainable. The choice is saved with the model."""
    encoder = next((module for module in model.modules() if isinstance(module, VGGish)), None)
    if encoder is None:
        raise InputError("freeze_audio needs a model that hears, got one with audio_input=False")
    if frozen:
        encoder.freeze()
    else:
        encoder.frozen = False
    encoder.requires_grad_(not frozen)
    model.config.audio_config.frozen = frozen


def load_audio_weights(model: AussPreTrainedModel, source: str | Path, frozen: bool | None = None) -> None:
    """
    Loads pretrained weights into `model`'s audio encoder.

    Args:
        model: `AussModel` or `AussForAudioVisualSegmentation`. Its encoder must be the one that the weights belong to:
            the standard VGGish (sizes of `AussAudioConfig()`, no batch norm), or the one of `auss pretrain-audio`.
        source: see `read_audio_weights`.
        frozen: whether to freeze the encoder. With None, the public weights of VGGish are frozen, as in [49], because
            they were trained on far more sounds than any data set here. Weights of `auss pretrain-audio` stay
            trainable.

    Raises:
        FileNotFoundError, PermissionError: see `read_audio_weights`.
        ValueError: see `read_audio_weights`; or the weights belong to another network than the model's encoder; or the
            model has no audio input (`audio_input=False`).
    """
    pretrained = encoder_config(source)
    if pretrained is None:
        check_encoder_sizes(model.config)
        if model.config.audio_config.batch_norm:
            raise InputError(
                "audio weights do not fit this model: its audio_config has batch_norm=True, and VGGish has none. "
                'Build a new model without it, AussConfig.from_preset(NAME, audio_config={"batch_norm": False}), or '
                "by `auss train --preset NAME --audio-weights FILE`"
            )
    elif not model.config.audio_input:
        raise InputError("audio weights need a model that hears, got one with audio_input=False")
    encoder = next(module for module in model.modules() if isinstance(module, VGGish))
    weights = read_audio_weights(source)
    check_fits(weights, encoder.state_dict(), source)
    encoder.load_state_dict(weights)
    freeze_encoder(model, pretrained is None if frozen is None else frozen)


def convert_vggish(source: str | Path, output: str | Path) -> int:
    """
    Converts `source`, the public `torchvggish` file, to a safetensors file.

    Returns:
        The number of weights, which is 72,141,184 for the standard network.

    Raises:
        FileNotFoundError, PermissionError: see `read_audio_weights`.
        ValueError: see `read_audio_weights`; or the weights are not those of the standard VGGish.
    """
    weights = read_audio_weights(source)
    with torch.device("meta"):
        own = VGGish(AussAudioConfig()).state_dict()
    check_fits(weights, own, source)
    save_file({name: weights[name].contiguous() for name in own}, output, metadata={"format": "pt"})
    follow_umask([output])
    return sum(weight.numel() for weight in weights.values())


__all__ = [
    "convert_vggish",
    "encoder_config",
    "freeze_encoder",
    "load_audio_weights",
    "read_audio_weights",
    "use_encoder_of",
    "use_standard_encoder",
]
