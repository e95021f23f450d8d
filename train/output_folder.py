"""The folder that a training run writes to: refused before anything is trained, or made ready."""

from pathlib import Path

from accelerate.logging import get_logger

from ..hub.flat_code import check_code
from .arguments import DataArguments, OptimArguments, RunArguments, differences, save_arguments
from .checkpoint import delete_checkpoints

logger = get_logger(__name__)

ARGUMENTS_FILE = "arguments.json"


def check_output(run: RunArguments) -> None:
    """
    Looks whether the run may write into its output folder, and changes nothing.

    Raises:
        ValueError: it is a file, or it has files and neither `resume` nor `overwrite` is given.
        FileExistsError: it has files that the model's code would replace; better now than after the training.
    """
    output = Path(run.output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"output must be a folder, got {run.output!r}, which is a file")
    if output.is_dir() and any(output.iterdir()) and not (run.resume or run.overwrite):
        raise ValueError(
            f"output must be a new or an empty folder, got {run.output!r}, which has files: pass --resume to go on "
            "with its run, or --overwrite to start anew"
        )
    check_code(output)


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


__all__ = ["ARGUMENTS_FILE", "check_output", "prepare_output"]
