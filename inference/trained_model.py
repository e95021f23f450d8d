"""A trained model and its processor, as `auss train` and `save_pretrained` leave them in a folder."""

import json
from pathlib import Path
from typing import Any

import torch

from ..configuration.configuration_auss import AussConfig
from ..files.file_rights import check_readable
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.processing_auss import AussProcessor


def load_trained(
    folder: str | Path, dtype: torch.dtype | None = None
) -> tuple[AussForAudioVisualSegmentation, AussProcessor]:
    """
    The model, in evaluation mode, and the processor saved in `folder`. The weights are of `dtype`, or as saved.

    Raises:
        FileNotFoundError: there is no such folder, or no model in it.
        PermissionError: a file of it may not be read.
        ValueError: the model in it is of another kind, or weights are missing.
    """
    path = Path(folder) / "config.json"
    # safetensors calls a file missing that may not be read.
    for file in (
        Path(folder),
        path,
        *sorted(Path(folder).glob("*.safetensors")),
        *sorted(Path(folder).glob("*.json")),
    ):
        check_readable(file, "model file")
    # Looked at first: for what is no folder Transformers would ask a hub, and another model's weights it would try.
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no folder with a trained model: it has no config.json")
    model_type = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    if model_type != AussConfig.model_type:
        raise ValueError(f"{folder} must hold a model of type {AussConfig.model_type!r}, got {model_type!r}")
    # Annotated to return a model alone.
    loaded: Any = AussForAudioVisualSegmentation.from_pretrained(
        str(folder), dtype=dtype or "auto", output_loading_info=True
    )
    model, report = loaded
    if report["missing_keys"]:
        # Transformers would draw them at random and only warn.
        missing = sorted(report["missing_keys"])
        raise ValueError(
            f"{folder} lacks {len(missing)} of the model's weights, first {missing[0]}: was it saved from AussModel, "
            "without heads?"
        )
    return model, AussProcessor.from_pretrained(str(folder))


__all__ = ["load_trained"]
