"""The output folder of a training run: checked before the training, then prepared and written."""

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
from ..recorded_results import ARGUMENTS_FILE, record_data
from .checkpoint import delete_checkpoints

logger = get_logger(__name__)

# The names that Transformers gives to files of weights, one file or several with an index. Weights of an earlier run
# in several files are removed.
WEIGHTS_NAME = re.compile(r"model(-[0-9]{5}-of-[0-9]{5})?\.safetensors|model\.safetensors\.index\.json")


def check_run_folder(run: RunArguments) -> None:
    """
    Checks whether the run may write into its output folder. Nothing is changed.

    Raises:
        ValueError: the path is a file, or the folder has files and neither `resume` nor `overwrite` is given.
        FileExistsError: the folder has files that the model's code would replace. The error comes before the training,
            not after it.
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
    Claims the output folder, which is created if it is missing. Other runs are kept out until the claim is closed, and
    the trained model is saved through the claim. Every process calls this function; the first process gets the claim.

    Raises:
        FileExistsError: another run is training into this folder. All processes raise it.
    """
    claim, outcome = None, [None]
    if accelerator.is_main_process:
        try:
            claim = NewContents(run.output)
        except OSError as error:
            outcome = [error]  # send the error to all processes; otherwise they would wait for ever
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
    record_data(output, data.name, data.data)


def save_model(
    network: AussForAudioVisualSegmentation,
    weights: dict[str, torch.Tensor],
    processor: AussProcessor,
    folder: NewContents,
) -> None:
    """
    Saves a trained model and its processor. The files are first written to a temporary folder and then replace an
    earlier model all at once.

    Args:
        weights: all weights of the network, by name.
        folder: the claim on the output folder.

    Raises:
        FileExistsError: the output folder has Python files of the user with the names of the model's code.
        OSError, SafetensorError: the disk is full. The earlier model and the checkpoints stay complete.
    """
    output = folder.folder
    processor.save_pretrained(folder.new, with_code=False)  # saving the model adds the code
    network.save_pretrained(folder.new, state_dict=weights)
    # The card describes the arguments, the history and the evaluations, which lie in the output folder. So
    # `write_card` writes it there at the end.
    (folder.new / CARD_FILE).unlink(missing_ok=True)
    check_code(output)
    old = [path.name for path in output.iterdir() if WEIGHTS_NAME.fullmatch(path.name)]
    folder.install(old, last=[CONFIG_NAME])
    write_card(output)


__all__ = ["ARGUMENTS_FILE", "check_run_folder", "claim_output", "prepare_output", "save_model"]
