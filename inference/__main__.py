"""`python -m auss.inference` and `accelerate launch -m auss.inference`: the same as `auss segment-folder`."""

import sys

from ..cli import main

if __name__ == "__main__":
    sys.exit(main(["segment-folder", *sys.argv[1:]]))
