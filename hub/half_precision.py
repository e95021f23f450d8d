"""Writes a copy of a saved model whose weights take half the space."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from ..files.errors import InputError
from ..files.whole_files import write_whole
from .card_facts import read_json
from .repository import MODEL_FILE, PROCESSOR_FILES, edit_json

WEIGHTS_FILE = "model.safetensors"


def halved(weights: torch.Tensor) -> torch.Tensor:
    """Returns weights in float16 if they are float32 and none of them becomes infinite; otherwise the same weights."""
    if weights.dtype != torch.float32:
        return weights
    half = weights.half()
    return half if bool(half.isfinite().all()) else weights


def write_half_precision(folder: str | Path, output: str | Path) -> Path:
    """
    Copies configuration, processor and weights of a saved model into a new folder, the weights in half precision.

    The network still computes in float32, since config.json says so: a CPU is slow in half precision.

    Args:
        folder: a folder that `auss train` or `save_pretrained` wrote.
        output: a folder that does not exist or is empty.

    Returns:
        `output`.

    Raises:
        FileNotFoundError: `folder` has no model.safetensors or no config.json.
        ValueError: `output` has files, or config.json is damaged.
    """
    folder, output = Path(folder), Path(output)
    for name in (MODEL_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no folder with a trained model: it has no {name}")
    if read_json(folder / MODEL_FILE) is None:
        raise InputError(f"{folder / MODEL_FILE} is damaged: it is no JSON")
    if output.exists() and any(output.iterdir()):
        raise InputError(f"output must be a new or an empty folder, got {output}")
    output.mkdir(parents=True, exist_ok=True)
    for name in (MODEL_FILE, *PROCESSOR_FILES):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, output / name)
    edit_json(output / MODEL_FILE, {"dtype": "float32"})
    weights = {name: halved(value).contiguous() for name, value in load_file(folder / WEIGHTS_FILE).items()}
    write_whole(output / WEIGHTS_FILE, save(weights, {"format": "pt"}))
    return output


__all__ = ["write_half_precision"]
