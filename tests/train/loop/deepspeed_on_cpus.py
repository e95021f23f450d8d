"""`python -m auss.train` as a process of `accelerate launch` with DeepSpeed, on CPUs: told of them, Accelerate would
pass DeepSpeed over, and not told it would look for NCCL."""

import sys

from accelerate import PartialState

from auss.train.__main__ import main

PartialState(backend="gloo")

if __name__ == "__main__":
    sys.exit(main())
