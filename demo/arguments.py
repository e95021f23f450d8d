"""The arguments of `auss demo`. This module does not import torch or Transformers."""

import argparse


class TrainingOption(argparse.Action):
    """An option that only the training of the demo uses. Giving it asks for the training."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, values)
        namespace.train = True


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `auss demo` to the parser."""
    parser.add_argument(
        "--output", default="auss-demo", help="a new folder, or that of an earlier demo, which is replaced"
    )
    parser.add_argument(
        "--train",
        action="store_true",
        help="compose clips and train a model on them, in place of the model that comes with auss",
    )
    parser.add_argument(
        "--clips",
        type=int,
        nargs=3,
        action=TrainingOption,
        default=[400, 24, 60],
        metavar=("TRAIN", "VAL", "TEST"),
        help="counts of clips for --train",
    )
    parser.add_argument("--steps", type=int, action=TrainingOption, default=400, help="steps of 16 clips for --train")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of the video; a sound lasts five")
    parser.add_argument("--seed", type=int, default=0)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter


__all__ = ["add_demo_arguments"]
