"""The folder that a training run writes to: refused before anything is trained, or made ready."""

import re
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from accelerate.utils import broadcast_object_list
from transformers import CONFIG_NAME

from ...files.errors import InputError
from ...files.new_contents import NewContents, entries
from ...hub.flat_code import check_code
from ...hub.model_card import CARD_FILE, write_card
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ...processing.processing_auss import AussProcessor
from ..arguments import DataArguments, OptimArguments, RunArguments, differences, save_arguments
from ..recorded_results import ARGUMENTS_FILE
from .checkpoint import delete_checkpoints

logger = get_logger(__name__)

# What Transformers names weights, in one file or several with an index: those of an earlier run in more files go.
WEIGHTS_NAME = re.compile(r"model(-[0-9]{5}-of-[0-9]{5})?\.safetensors|model\.safetensors\.index\.json")


def check_run_folder(run: RunArguments) -> None:
    """
    Looks whether the run may write into its output folder, and changes nothing.

    Raises:
        ValueError: it is a file, or it has files and neither `resume` nor `overwrite` is given.
        FileExistsError: it has files that the model's code would replace; better now than after the training.
    """
    output = Path(run.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"output must be a folder, got {run.output!r}, which is a file")
    if entries(output) and not (run.resume or run.overwrite):
        raise InputError(
            f"output must be a new or an empty folder, got {run.output!r}, which has files: pass --resume to go on "
            "with its run, or --overwrite to start anew"
        )
    check_code(output)


def claim_output(accelerator: Accelerator, run: RunArguments) -> NewContents | None:
    """
    Keeps other runs out of the output folder, which is made if missing, until what is returned is closed; the trained
    model is saved through it. Every process calls this, and the first one gets it.

    Raises:
        FileExistsError: another run is training into this folder. All processes raise it.
    """
    claim, outcome = None, [None]
    if accelerator.is_main_process:
        try:
            claim = NewContents(run.output)
        except OSError as error:
            outcome = [error]  # for all: the others would wait for ever
    broadcast_object_list(outcome)
    if outcome[0] is not None:
        raise outcome[0]
    return claim


def prepare_output(data: DataArguments, optim: OptimArguments, run: RunArguments) -> None:
    """Makes the output folder, deletes an overwritten run's checkpoints, and writes the arguments."""
    output = Path(run.output)
    output.mkdir(parents=True, exist_ok=True)
    if run.overwrite:
        delete_checkpoints(output)
    if run.resume and (output / ARGUMENTS_FILE).is_file():
        for name, (saved, given) in differences((data, optim, run), output / ARGUMENTS_FILE).items():
            logger.warning(
                "resuming with %s=%r where the run began with %r: the result will be another", name, given, saved
            )
    save_arguments((data, optim, run), output / ARGUMENTS_FILE)


def save_model(
    network: AussForAudioVisualSegmentation,
    weights: dict[str, torch.Tensor],
    processor: AussProcessor,
    folder: NewContents,
) -> None:
    """
    Saves a trained model and its processor: aside first, and then all of it at once in the place of an earlier one.

    Args:
        weights: all of the network's, by name.
        folder: the claim on the output folder.

    Raises:
        FileExistsError: the output folder has Python files of somebody's where the model's code goes.
        OSError, SafetensorError: the disk is full. The earlier model is whole then, and so are the checkpoints.
    """
    output = folder.folder
    processor.save_pretrained(folder.new, with_code=False)  # the model's saving adds it
    network.save_pretrained(folder.new, state_dict=weights)
    # The card tells of the arguments, the history and evaluations, which lie in the output folder.
    (folder.new / CARD_FILE).unlink(missing_ok=True)
    check_code(output)
    old = [path.name for path in output.iterdir() if WEIGHTS_NAME.fullmatch(path.name)]
    folder.install(old, last=[CONFIG_NAME])
    write_card(output)


__all__ = ["ARGUMENTS_FILE", "check_run_folder", "claim_output", "prepare_output", "save_model"]
