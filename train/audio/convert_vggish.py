"""`auss convert-vggish` converts the public VGGish weights to safetensors for `auss train --audio-weights`."""

import argparse
from pathlib import Path

from ...files.errors import InputError


def add_convert_vggish_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the arguments of `auss convert-vggish`."""
    parser.add_argument(
        "weights", metavar="FILE.pth", type=Path, help="the file that torchvggish publishes, vggish-10086976.pth"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="the .safetensors file to write (beside FILE by default)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    # Import here, so that the command line reads the arguments without torch.
    from ...modeling_auss.published_weights.audio_weights import convert_vggish

    output = arguments.output or arguments.weights.with_suffix(".safetensors")
    if output.suffix != ".safetensors":
        raise InputError(f"--output must end in .safetensors, got {str(output)!r}")
    if output.exists() and not arguments.overwrite:
        raise FileExistsError(f"{output} exists: choose another name, or allow it with --overwrite")
    count = convert_vggish(arguments.weights, output)
    print(f"{output}: {count:,} weights")
    return 0


__all__ = ["add_convert_vggish_arguments", "run"]
