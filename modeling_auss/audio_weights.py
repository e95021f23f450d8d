"""Pretrained weights for VGGish: the public `torchvggish` file, and its conversion to safetensors."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..configuration.configuration_auss import AussAudioConfig
from ..files.file_rights import check_readable, follow_umask
from .audio_encoder import VGGish
from .pretrained_model import AussPreTrainedModel


def read_audio_weights(source: str | Path) -> dict[str, torch.Tensor]:
    """
    The tensors by name of a VGGish weights file, as `torchvggish` publishes it (`vggish-10086976.pth`) or
    `convert_vggish` writes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no weights file, or another network's.
    """
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"audio weights must be a .pth or .safetensors file, there is none at {str(source)!r}")
    try:
        check_readable(path, "audio weights")
        # Never a pickle of anything but tensors.
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # torch, pickle, zipfile and safetensors each have their own
        raise ValueError(
            f"audio weights at {str(source)!r} cannot be read: expected tensors by name, as torch.save or safetensors "
            f"writes them; {type(error).__name__}: {error}"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(weight, torch.Tensor) for weight in weights.values()):
        raise ValueError(f"audio weights at {str(source)!r} must be tensors by name, got {type(weights).__name__}")
    # Beside the network, the file of a model with postprocessing has the projection of its features, which [49] and
    # the paper leave out.
    return {name: weight for name, weight in weights.items() if not name.startswith("pproc.")}


def check_fits(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor], source: str | Path) -> None:
    """Raises ValueError, naming the first tensor that is missing, of another shape or too many."""
    for name, tensor in own.items():
        if name not in weights or weights[name].shape != tensor.shape:
            found = "is missing" if name not in weights else f"has shape {tuple(weights[name].shape)}"
            raise ValueError(
                f"the audio weights at {str(source)!r} are another network's: {name} {found}, expected "
                f"{tuple(tensor.shape)}"
            )
    extra = weights.keys() - own.keys()
    if extra:
        raise ValueError(f"the audio weights at {str(source)!r} are another network's: it has no {min(extra)}")


def load_audio_weights(model: AussPreTrainedModel, source: str | Path) -> None:
    """
    Loads VGGish weights into `model`'s audio encoder, which is frozen from then on, as in [49].

    Args:
        model: `AussModel` or `AussForAudioVisualSegmentation` with the standard VGGish (`AussAudioConfig()`'s sizes).
        source: as `read_audio_weights`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the weights are another network's, or the model hears nothing (`audio_input=False`).
    """
    encoder = next((module for module in model.modules() if isinstance(module, VGGish)), None)
    if encoder is None:
        raise ValueError("audio weights need a model that hears, got one with audio_input=False")
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
        FileNotFoundError, ValueError: as `read_audio_weights`; the weights are not the standard VGGish's.
    """
    weights = read_audio_weights(source)
    with torch.device("meta"):
        own = VGGish(AussAudioConfig()).state_dict()
    check_fits(weights, own, source)
    save_file({name: weights[name].contiguous() for name in own}, output, metadata={"format": "pt"})
    follow_umask([output])
    return sum(weight.numel() for weight in weights.values())


__all__ = ["convert_vggish", "load_audio_weights", "read_audio_weights"]
