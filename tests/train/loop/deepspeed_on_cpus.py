"""Runs `python -m auss.train` on CPUs as a process of `accelerate launch` with DeepSpeed. If Accelerate were told to
use CPUs, it would skip DeepSpeed. Without being told, it would look for NCCL. So this script chooses gloo itself."""

import sys

from accelerate import PartialState

from auss.train.__main__ import main

PartialState(backend="gloo")

if __name__ == "__main__":
    sys.exit(main())
