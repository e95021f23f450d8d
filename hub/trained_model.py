"""Loads a model and its processor from the folder that `auss train`, `save_pretrained` or `auss export` wrote, or from
the Hub."""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from transformers.processing_utils import VideosKwargs

from ..configuration.configuration_auss import AussConfig, read_json_object
from ..files.errors import InputError
from ..files.file_rights import check_readable
from ..files.model_files import check_weight_files
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.feature_extraction_auss import AussFeatureExtractor
from ..processing.processing_auss import AussProcessor
from ..processing.video_processing_auss import AussVideoProcessor
from .exported_model import AnyAuss, ExportedAuss, is_export
from .model_source import model_folder
from .repository import PROCESSOR_FILES

logger = logging.getLogger(__name__)

PART_TYPES = {
    "feature_extractor_type": AussFeatureExtractor.__name__,
    "video_processor_type": AussVideoProcessor.__name__,
    "processor_class": AussProcessor.__name__,
}
PARTS = ("feature_extractor", "video_processor")
# By these Transformers would load weights, and classes of models, that lie beside those of auss or in other folders.
FOREIGN_FILES = ("adapter_config.json", "audio_tokenizer_config.json")
# With these arguments Transformers neither runs code of the folder, nor asks whether it may, nor contacts the Hub.
LOCAL_AND_OWN_CODE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}


def kind_and_message(error: Exception) -> str:
    """Returns the class and the message of an error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def check_configuration(path: Path) -> None:
    """Raises ValueError if config.json belongs to another type of model, or asks for attention code from the Hub."""
    values = read_json_object(path)
    model_type = values.get("model_type")
    if model_type != AussConfig.model_type:
        raise InputError(
            f"{path.parent} must hold a model of type {AussConfig.model_type!r}, got {model_type!r} in {path.name}"
        )
    if values.get("transformers_weights") is not None:
        raise InputError(
            f"{path} names the weights {values['transformers_weights']!r}: auss reads model.safetensors, or what its "
            "index names; delete transformers_weights"
        )
    parts = [values, *(part for part in values.values() if isinstance(part, dict))]
    for name in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        for part in parts:
            if any(mark in str(part.get(name)) for mark in "/:@"):
                raise InputError(
                    f"{path} asks for the attention {part[name]!r}, code from the Hub, which is not run: delete {name}"
                )


def check_report(folder: Path, report: dict[str, Any]) -> None:
    """
    Raises ValueError if the weights do not belong to the network that config.json describes. Transformers would only
    warn. It would draw missing weights at random and ignore superfluous ones, so another network would run.
    """
    if report["mismatched_keys"]:
        name, found, expected = min((str(name), *shapes) for name, *shapes in report["mismatched_keys"])
        raise InputError(
            f"{folder}: the weights do not fit config.json: {name} has shape {tuple(found)}, where config.json asks "
            f"for {tuple(expected)} ({len(report['mismatched_keys'])} of another shape)"
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(
            f"{folder} lacks {len(missing)} of the model's weights, first {missing[0]}: was it saved from AussModel, "
            "without heads, or config.json changed?"
        )
    if report["unexpected_keys"]:
        superfluous = sorted(report["unexpected_keys"])
        raise InputError(
            f"{folder} has {len(superfluous)} weights that the network of its config.json does not have, first "
            f"{superfluous[0]}: config.json is not the one that the model was saved with"
        )


def load_network(folder: Path, dtype: torch.dtype | None) -> AussForAudioVisualSegmentation:
    """Loads the model for `load_trained`."""
    check_configuration(folder / "config.json")
    for name in FOREIGN_FILES:
        if os.path.lexists(folder / name):
            raise InputError(f"{folder} holds {name}, which auss does not load beside a model: move it elsewhere")
    if not check_weight_files(folder):
        if is_export(folder):
            raise InputError(
                f"{folder} is an exported network, which can only be run: give the folder of the model that it was "
                "exported from"
            )
        raise FileNotFoundError(f"{folder} is no folder with a trained model: it has no model.safetensors")
    try:
        # The annotation of `from_pretrained` says that it returns only a model, so `loaded` is annotated as Any.
        loaded: Any = AussForAudioVisualSegmentation.from_pretrained(
            str(folder),
            dtype=dtype or "auto",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `check_report` reports tensors of a wrong size
            **LOCAL_AND_OWN_CODE,
        )
    except MemoryError:
        raise
    except Exception as error:  # torch, safetensors, timm and Transformers raise errors of many classes
        raise InputError(f"the model in {folder} cannot be loaded: {kind_and_message(error)}") from error
    model, report = loaded
    check_report(folder, report)
    return model


def warn_of_unknown_names(path: Path, values: dict[str, Any]) -> None:
    """Warns of names in a processor's file that nothing reads. A misspelt name would have no effect."""
    known = {*PART_TYPES, *PARTS, "auto_map", "processor_class"}
    for part in (AussFeatureExtractor(), AussVideoProcessor()):
        known |= part.to_dict().keys() | set(getattr(part, "valid_kwargs", VideosKwargs).__annotations__)
    found = [*values, *(name for part in PARTS for name in values.get(part, {}))]
    unknown = sorted({name for name in found if name not in known})
    if unknown:
        logger.warning("%s has no field %s: what the file says there has no effect", path, ", ".join(unknown))


def check_processor_files(folder: Path) -> None:
    """
    Raises FileNotFoundError if there is no processor file. Raises ValueError if a processor file is damaged, or names
    a part whose type is not one of auss.
    """
    if not any((folder / name).is_file() for name in PROCESSOR_FILES):
        raise FileNotFoundError(f"{folder} has a model, but no processor: it has no {PROCESSOR_FILES[0]}")
    for name in PROCESSOR_FILES:
        if not (folder / name).is_file():
            continue
        values = read_json_object(folder / name)
        if "audio_tokenizer" in values:
            raise InputError(f"{folder / name} names an audio_tokenizer, another model, which auss does not load")
        for part in (values, *(values.get(part, {}) for part in PARTS)):
            if not isinstance(part, dict):
                raise InputError(f"{folder / name} must describe every part by an object, {{...}}, got {part!r}")
            for key, expected in PART_TYPES.items():
                if part.get(key, expected) != expected:
                    raise InputError(
                        f"{folder / name} names the {key} {part[key]!r}, where auss takes {expected}: code of others "
                        "is not run"
                    )
        warn_of_unknown_names(folder / name, values)


def load_processor(folder: Path) -> AussProcessor:
    """Loads the processor for `load_trained`."""
    check_processor_files(folder)
    try:
        processor = AussProcessor.from_pretrained(str(folder), **LOCAL_AND_OWN_CODE)
    except Exception as error:  # the libraries raise errors of many classes
        raise InputError(f"the processor in {folder} cannot be loaded: {kind_and_message(error)}") from error
    for part, expected in (
        (processor.feature_extractor, AussFeatureExtractor),
        (processor.video_processor, AussVideoProcessor),
    ):
        if not isinstance(part, expected):
            raise InputError(f"the processor in {folder} must have an {expected.__name__}, got {type(part).__name__}")
    try:
        processor.video_processor.check_settings()
    except ValueError as error:
        raise InputError(f"the processor in {folder} cannot be used: {error}") from error
    return processor


def load_trained(
    folder: str | Path, dtype: torch.dtype | None = None
) -> tuple[AussForAudioVisualSegmentation, AussProcessor]:
    """
    Loads the model and the processor saved in `folder`. The model is in evaluation mode. Its weights have the type
    `dtype`, or the saved type by default. No code of the model is run. The Hub is contacted only if nothing here is
    called `folder`, and `folder` is OWNER/NAME; see `model_folder`. Nothing in a folder can make auss read another
    one or contact the Hub.

    Raises:
        FileNotFoundError: the folder is missing, or it holds no model; or as `model_folder`.
        PermissionError: this user may not read a file in the folder.
        ValueError: the model has another type, a file is damaged or names something outside the folder, or the weights
            do not belong to the network of config.json.
    """
    folder = model_folder(folder)
    path = folder / "config.json"
    # safetensors reports an unreadable file as missing, so the permissions are checked first.
    for file in (
        folder,
        path,
        *sorted(folder.glob("*.safetensors")),
        *sorted(folder.glob("*.json")),
    ):
        check_readable(file, "model file")
    # Without config.json, Transformers would take the path for the name of a repository and ask the Hub.
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no folder with a trained model: it has no config.json")
    return load_network(folder, dtype), load_processor(folder)


def load_model(
    folder: str | Path, device: str = "auto", threads: int | None = None, trust_remote_code: bool = False
) -> tuple[AnyAuss, AussProcessor]:
    """
    Loads a model, or a network that `auss export` wrote, and its processor. The model is in evaluation mode.

    Args:
        folder: a folder that `auss train`, `save_pretrained` or `auss export` wrote.
        device: a device as torch names it, or "auto" for the GPU if there is one. An exported network runs on the CPU.
        threads: the number of CPU threads of the network, and of torch in this process. None leaves the number as it
            is.
        trust_remote_code: as `ExportedAuss.from_pretrained` takes it. It has no effect on models.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as `load_trained`, for an export as
            `ExportedAuss.from_pretrained`.
        ImportError: onnxruntime is not installed, and the export needs it.
        ValueError: the device does not exist, or an exported network cannot run on it.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if is_export(folder):
        network: AnyAuss = ExportedAuss.from_pretrained(folder, threads=threads, trust_remote_code=trust_remote_code)
        processor = load_processor(Path(folder))
    else:
        network, processor = load_trained(folder)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() and not isinstance(network, ExportedAuss) else "cpu"
    try:
        return network.to(device), processor
    except (RuntimeError, AssertionError) as error:  # torch's errors for an unknown or missing device
        raise InputError(f"device must be one that torch has here, got {device!r}: {error}") from error


__all__ = ["load_model", "load_trained"]
