"""The arguments of `auss demo`. This module does not import torch or Transformers."""

import argparse


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `auss demo` to the parser."""
    parser.add_argument(
        "--output", default="auss-demo", help="a new folder, or that of an earlier demo, which is replaced"
    )
    parser.add_argument("--clips", type=int, nargs=3, default=[400, 24, 60], metavar=("TRAIN", "VAL", "TEST"))
    parser.add_argument("--steps", type=int, default=400, help="training steps of 16 clips")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of the video; a sound lasts five")
    parser.add_argument("--seed", type=int, default=0)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter


__all__ = ["add_demo_arguments"]
