"""The options of all commands that run a network. This module does not import torch or Transformers."""

import argparse
import numbers
from pathlib import Path
from typing import Any

from ..files.errors import InputError
from ..files.model_files import MODEL_HELP
from .shipped_model import has_default_model


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Adds --model to the parser. It may be left out where the package ships a model."""
    shipped = has_default_model()
    parser.add_argument(
        "--model",
        required=not shipped,
        type=Path,
        metavar="MODEL",
        help=f"{MODEL_HELP}, or what auss export wrote" + " (the small model that comes with auss)" * shipped,
    )


def add_network_options(
    parser: argparse.ArgumentParser,
    default_threads: int | None = None,
    threads_help: str = "CPU threads of the network; default by torch and OMP_NUM_THREADS",
) -> None:
    """Adds --threads and --trust-remote-code to the parser. `load_model` takes their values."""
    parser.add_argument("--threads", type=int, default=default_threads, metavar="N", help=threads_help)
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run an export of torch.export, a pickle, which can run any code when it is read",
    )


def check_threads(threads: Any) -> None:
    """Raises ValueError unless `threads` is a whole number of at least 1 or None."""
    is_integer = isinstance(threads, numbers.Integral) and not isinstance(threads, bool)
    if threads is not None and not (is_integer and int(threads) >= 1):
        raise InputError(f"threads must be a whole number of CPU threads, at least 1, got {threads!r}")


__all__ = ["add_model_option", "add_network_options", "check_threads"]
