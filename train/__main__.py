"""`python -m auss.train` and `accelerate launch -m auss.train` do the same as `auss train`."""

import sys
from collections.abc import Sequence

from .. import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(["train", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
