"""The arguments of `auss web`. This module does not import torch, Transformers or Gradio."""

import argparse
import math
from pathlib import Path

from ..files.errors import InputError
from ..inference.arguments import add_mask_options, check_mask_options
from .settings import DEFAULT_LIMITS, MEGABYTE, Limits

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7860


def add_web_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `auss web` to the parser."""
    parser.add_argument(
        "--host",
        default=DEFAULT_HOST,
        help=f"the address at which the page answers; 0.0.0.0 lets other machines in, without a password "
        f"({DEFAULT_HOST}, this machine alone)",
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"({DEFAULT_PORT})")
    add_mask_options(parser)
    parser.add_argument(
        "--more-models",
        nargs="+",
        type=Path,
        default=[],
        metavar="MODEL",
        help="further models to choose from on the page, named as for --model",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, ...; auto takes a GPU if there is one (auto)")
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=DEFAULT_LIMITS.seconds,
        metavar="S",
        help=f"the longest video that the page takes ({DEFAULT_LIMITS.seconds:g})",
    )
    parser.add_argument(
        "--max-megabytes",
        type=float,
        default=DEFAULT_LIMITS.bytes / MEGABYTE,
        metavar="MB",
        help=f"the largest file that the page takes ({DEFAULT_LIMITS.bytes / MEGABYTE:g})",
    )
    parser.set_defaults(check=check_web_arguments)


def check_web_arguments(arguments: argparse.Namespace) -> None:
    """Raises ValueError for a number out of its range."""
    check_mask_options(arguments)
    if not 1 <= arguments.port <= 65_535:
        raise InputError(f"--port must be 1 to 65535, got {arguments.port}")
    for option, value in (("--max-seconds", arguments.max_seconds), ("--max-megabytes", arguments.max_megabytes)):
        if not 0 < value < math.inf:
            raise InputError(f"{option} must be a positive number, got {value:g}")


def upload_limits(arguments: argparse.Namespace) -> Limits:
    """The limits that the arguments set."""
    return Limits(bytes=round(arguments.max_megabytes * MEGABYTE), seconds=arguments.max_seconds)


__all__ = ["add_web_arguments", "upload_limits"]
