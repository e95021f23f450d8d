"""`python -m auss.train` and `accelerate launch -m auss.train`: the same as `auss train`."""

import argparse
import sys
from collections.abc import Sequence

from .train import add_arguments, run


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="auss.train", description="Train an audio-visual segmentation model.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
