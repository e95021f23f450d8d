"""The small trained model that the package ships. Commands and the pipeline use it where no model is given.

This module does not import torch or Transformers, so that a wrong command line is refused quickly.
"""

import json
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
TRANSFORMERS_LOGGER = logging.getLogger("transformers.pipelines")

# A model as `save_pretrained` writes it, its weights in half precision, and `KNOWN_FILE`.
SHIPPED_FOLDER = Path(__file__).with_name("stamps")
SHIPPED_NAME = "auss-stamps"
# A JSON list of the categories that the model was trained to hear.
KNOWN_FILE = "categories.json"


def has_default_model() -> bool:
    """Whether this installation has the shipped model."""
    return (SHIPPED_FOLDER / "config.json").is_file() and (SHIPPED_FOLDER / "model.safetensors").is_file()


def default_model() -> Path:
    """
    Returns the folder of the shipped model.

    Raises:
        FileNotFoundError: this installation does not have it.
    """
    if not has_default_model():
        raise FileNotFoundError(
            f"no model was given, and this installation of auss has none at {SHIPPED_FOLDER}: name the folder of a "
            "trained model, or install auss anew"
        )
    return SHIPPED_FOLDER


def known_categories() -> list[str]:
    """Returns the categories that the shipped model was trained to hear. FileNotFoundError as `default_model`."""
    return list(json.loads((default_model() / KNOWN_FILE).read_text(encoding="utf-8")))


def known_in_words() -> str:
    """Returns what the shipped model knows, as the object of a sentence. FileNotFoundError as `default_model`."""
    names = [name.replace("_", " ") for name in known_categories()]
    return f"{len(names)} things and little else: {', '.join(names)}"


def default_model_notice() -> str:
    """Returns one line that says which model is used and what it knows. FileNotFoundError as `default_model`."""
    used = f"no model was given, so {SHIPPED_NAME} is used, a small model that comes with auss"
    return f"{used}. It knows {known_in_words()}"


def chosen_model(folder: str | Path | None, quiet: bool = False) -> Path:
    """
    Returns the folder of the model to use: the given one, or the shipped model with a notice, unless `quiet` is set.

    Raises:
        FileNotFoundError: as `default_model`, if no folder is given.
    """
    if folder is not None:
        return Path(folder)
    if not quiet:
        logger.warning("%s", default_model_notice())
    return default_model()


class OwnNotice(logging.Filter):
    """Drops Transformers' next notice of a default model, which names a folder in the package. Ours says more."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("No model was supplied"):
            return True
        TRANSFORMERS_LOGGER.removeFilter(self)
        return False


class PipelineDefault(dict[str, Any]):
    """
    What Transformers looks up where `pipeline` gets no model: {"model": (folder, revision)}. The shipped model is only
    looked for at that moment, so an installation without it can still be imported.
    """

    def __init__(self) -> None:
        super().__init__(model=None)

    def __getitem__(self, name: str) -> Any:
        if name != "model":
            return super().__getitem__(name)
        folder = chosen_model(None)
        TRANSFORMERS_LOGGER.addFilter(OwnNotice())
        return str(folder), None


__all__ = [
    "KNOWN_FILE",
    "PipelineDefault",
    "SHIPPED_NAME",
    "chosen_model",
    "default_model",
    "default_model_notice",
    "has_default_model",
    "known_categories",
    "known_in_words",
]
