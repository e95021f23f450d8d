"""`python -m auss`: the same as the command `auss`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
