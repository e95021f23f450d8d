"""`auss export`: writes a trained model as an ONNX or torch.export graph after comparing both."""

import argparse
import contextlib
import copy
import importlib.util
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..configuration.configuration_auss import AussConfig
from ..files.errors import InputError, MissingPackageError
from ..files.file_names import printable
from ..files.file_rights import follow_umask
from ..files.new_contents import NewContents, entries
from ..hub.exported_model import MANIFEST, ExportedAuss
from ..hub.flat_code import check_code
from ..hub.model_card import CARD_FILE
from ..hub.trained_model import load_trained
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.processing_auss import AussProcessor
from .arguments import FORMATS
from .exporting.export_comparison import TRACED_SIZES, Difference, compare, example_inputs
from .exporting.network_parts import export_parts, save_parts, sound_axes, trace

if TYPE_CHECKING:
    from transformers.exporters.base import ExportedModel

GRAPH_FILES = ("model.onnx", "model.onnx.data", "model.pt2", "sound.onnx", "frames.onnx", "sound.pt2", "frames.pt2")
GRAPH_BYTES = 12 * 2**20  # space for the graphs without their weights; they take up to two megabytes each


def check_packages(file_format: str) -> None:
    """
    Checks that a format is known and that the packages it needs are installed.

    Raises:
        ValueError: the format is unknown.
        ImportError: a package is missing, or Transformers is too old.
    """
    if file_format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {file_format!r}")
    missing = [name for name in FORMATS[file_format] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(f"format {file_format} needs {', '.join(missing)}: pip install {' '.join(missing)}")
    if importlib.util.find_spec("transformers.exporters.metadata") is None:
        raise MissingPackageError("export needs transformers>=5.23, which needs Python 3.11 or newer")


def any_clips_and_frames(config: AussConfig) -> dict[str, dict]:
    """The axes of the inputs that may vary: any number of clips and frames, and examples up to the configured T."""
    sound = sound_axes(config)
    pictures = {0: sound[0], 1: torch.export.Dim("frames")}
    return {"pixel_values": pictures, "input_features": sound, "input_features_mask": sound}


def export_network(
    model: AussForAudioVisualSegmentation, file_format: str, size: tuple[int, int], frames: int | None = None
) -> "ExportedModel":
    """
    Exports the network as a graph with the exporters of Transformers.

    Args:
        model: the model in evaluation mode, in float32, on the CPU.
        file_format: "onnx", "torch-export" or "int8". "int8" is an ONNX graph that computes the matrix products with
            weights in int8. The other factor of each product is quantised at run time.
        size: the (height, width) of the frames, in pixels.
        frames: the number F of frames. All axes are then constant, for one clip of F frames with all T examples.
            With `None` the graph takes any number of clips and frames, and up to T examples.

    Returns:
        A `transformers.exporters.ExportedModel`. Called with the inputs, it returns the output of the model with
        `logits`, `class_queries_logits`, `audio_queries` and `fused_queries`.

    Raises:
        ValueError, ImportError: as `check_packages`.
        ValueError: the size or the number of frames is below 1, or the model is in training mode.
    """
    check_packages(file_format)
    if model.training:
        raise InputError("model must be in evaluation mode, got one in training mode: call model.eval()")
    if min(size) < 1 or (frames is not None and frames < 1):
        raise InputError(f"size and frames must be at least 1, got size {tuple(size)} and frames {frames}")
    clips, example_frames = (1, frames) if frames is not None else TRACED_SIZES
    inputs = example_inputs(model.config, size, clips, example_frames)
    return trace(model, inputs, any_clips_and_frames(model.config) if frames is None else None, file_format)


def check_export_folder(output: Path, overwrite: bool) -> None:
    """Raises FileExistsError if the folder is not empty, unless it holds an earlier export that may be replaced. Also
    raises it if other Python files lie where the code of the processor would be written."""
    if os.path.lexists(output) and not (output.is_dir() and not entries(output)):
        if not (output / MANIFEST).is_file():
            raise FileExistsError(f"{printable(output)} exists and is no earlier export: choose another name")
        if not overwrite:
            raise FileExistsError(f"{printable(output)} exists: choose another name, or allow it with --overwrite")
        check_code(output)


def reserve_space(folder: Path, model: AussForAudioVisualSegmentation) -> None:
    """
    Checks that there is space for the weights of the model and for the graph.

    If torch cannot write an archive to its end, it ends the whole process. Nothing could be removed then.

    Raises:
        OSError: the disk is full, or a limit is reached.
    """
    num_bytes = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    path = folder / "reserved"
    with open(path, "wb") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, num_bytes + GRAPH_BYTES)
        finally:
            path.unlink()


def check_difference(difference: Difference, file_format: str) -> None:
    """Raises ValueError if a graph differs from the model. An int8 graph only needs finite outputs."""
    same = math.isfinite(difference.largest) if file_format == "int8" else difference.is_rounding
    if not same:
        raise InputError(
            f"format {file_format}: the graph is not the model, they differ in {difference.frames:.0%} of the frames "
            f"with one sound, of one clip or at one place, by {difference.typical:.1e} typically, and the audio "
            f"queries by {difference.audio_queries:.1e}; nothing was written"
        )


def add_parts(model: AussForAudioVisualSegmentation, folder: Path, file_format: str, size: tuple[int, int]) -> None:
    """Adds the graphs for videos to the folder of an exported network. Raises ValueError if they differ from the
    model."""
    save_parts(export_parts(model, file_format, size), folder, file_format, size)
    check_difference(compare(model, ExportedAuss.from_pretrained(folder, trust_remote_code=True), size), file_format)


def export_model(
    model: AussForAudioVisualSegmentation,
    processor: AussProcessor,
    output: str | Path,
    file_format: str = "onnx",
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    overwrite: bool = False,
) -> Difference:
    """
    Exports a model, compares the graph with the model, and writes a folder.

    The folder holds the graph (`model.onnx` and `model.onnx.data`, or `model.pt2`), its description `export.json`, the
    configuration, and the processor with its code, which makes the inputs of the graph. Two further graphs, `sound`
    and `frames`, share the weights. `ExportedAuss` runs them, so that a video's sound is encoded once for many frames.

    Args:
        model, file_format, frames: as `export_network` takes them.
        processor: the processor that the model was trained with.
        output: a new folder; or with `overwrite` the folder of an earlier export, which is replaced.
        size: (height, width) of the frames in pixels; the size of the processor if None. The saved processor has it.

    Returns:
        The differences between graph and model on random inputs.

    Raises:
        FileExistsError: `output` exists, or another process is exporting into it.
        OSError: the disk is full.
        ValueError: the processor has no height and width, and `size` is None.
        ValueError: the graph differs from the model, and nothing is written. It differs if audio queries are off by
            more than 1e-4, or if the median of another output is off by more than 1e-4 in more than 40 % of the frames
            with one sound, of one clip or at one place of all clips. An int8 graph only needs finite outputs.
        ValueError, ImportError: as `export_network`.
    """
    output = Path(output)
    check_export_folder(output, overwrite)
    processor = copy.deepcopy(processor)
    if size is None:
        own = dict(processor.video_processor.size)
        if not own.keys() >= {"height", "width"}:
            raise InputError(f"size must be given, (height, width), where the processor's has no such sides: {own}")
        size = own["height"], own["width"]
    processor.video_processor.size = {"height": size[0], "width": size[1]}
    exported = export_network(model, file_format, size, frames)
    difference = compare(model, exported, size, frames)
    check_difference(difference, file_format)
    # The files are first written into a hidden folder, so that a failure leaves an earlier export unchanged.
    with NewContents(output) as folder:
        reserve_space(folder.new, model)
        exported.save_pretrained(folder.new)
        add_parts(model, folder.new, file_format, size)
        processor.save_pretrained(folder.new)
        # The model card tells how to load weights, but an export has none.
        (folder.new / CARD_FILE).unlink(missing_ok=True)
        follow_umask(folder.new.iterdir())
        check_export_folder(output, overwrite)  # again, because another program may have written into it
        folder.install(old=[name for name in GRAPH_FILES if (output / name).is_file()], last=[MANIFEST])
    return difference


def load_exported(
    folder: str | Path, device: str | None = None, trust_remote_code: bool = False
) -> tuple["ExportedModel", AussProcessor]:
    """
    Loads the network and the processor that `export_model` wrote.

    Args:
        folder: the folder of the export.
        device: "cpu" or "cuda". With None, a GPU is used if the runtime can use one.
        trust_remote_code: True if you trust the source of the file. A torch.export file is a pickle and may run code
            when it is read. An ONNX file cannot.

    Returns:
        An `ExportedModel`, which is called like the model: `exported(**inputs).logits`; and the `AussProcessor`.

    Raises:
        FileNotFoundError: there is no export in `folder`.
        ValueError: a torch.export file is loaded without `trust_remote_code`, from Transformers 5.24 on.
        ImportError: as `check_packages`.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} is no folder that auss export wrote: it has no {MANIFEST}")
    check_packages("torch-export" if (folder / "model.pt2").is_file() else "onnx")
    from transformers.exporters.base import ExportedModel

    exported = ExportedModel.from_pretrained(folder, device=device, trust_remote_code=trust_remote_code)
    return exported, AussProcessor.from_pretrained(folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides the warnings of the exporters about versions and about operators that this network does not have. The
    comparison shows whether the graph is right. What the exporters print is progress and goes to standard error."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def run(arguments: argparse.Namespace) -> int:
    output, size = Path(arguments.output), tuple(arguments.size) if arguments.size else None
    check_packages(arguments.format)
    check_export_folder(output, arguments.overwrite)
    model, processor = load_trained(arguments.model)
    with quiet():
        difference = export_model(
            model.float(), processor, output, arguments.format, size, arguments.frames, arguments.overwrite
        )
    for file in sorted(output.glob("model.*")):
        print(f"{file.stat().st_size / 2**20:8.1f} MiB  {printable(file)}")
    print(
        f"compared with the model on clips of noise: scores differ by {difference.scores:.1e} at most, all outputs by "
        f"{difference.largest:.1e} at most. In the frame that differs most, the median is {difference.typical:.1e}"
    )
    return 0


__all__ = [
    "any_clips_and_frames",
    "export_model",
    "export_network",
    "load_exported",
    "run",
]
