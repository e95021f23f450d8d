"""Runs `python -m auss.train` on CPUs as a process of `accelerate launch` with FSDP. Accelerate only offers FSDP for
several accelerators, so this script presents CPUs as accelerators."""

import sys

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType

from auss.train.__main__ import main

PartialState._prepare_backend = lambda self, *_, **__: ("gloo", DistributedType.MULTI_GPU)
PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))

if __name__ == "__main__":
    sys.exit(main())
