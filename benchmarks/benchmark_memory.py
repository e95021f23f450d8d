"""Measures peak memory and time of a training step of each preset, in float32 and under bfloat16 autocast.

    python benchmarks/benchmark_memory.py [--presets NAME ...] [--precisions float32 bfloat16] [--clips 1] [--size 224]

A step is forward, losses, backward and AdamW, on clips of five annotated frames, on a CPU with one thread. Each figure
comes from its own process. The peak memory includes Python and its libraries. Seconds are processor time, because
other work on the machine affects processor time least. The result is a Markdown table.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import torch
from network_rows import FRAMES, SIZE, inputs, network
from timing import peak_gigabytes

PRESETS = ["auss-demo", "auss-fast-resnet50", "auss-fast-swin-tiny", "auss-resnet101", "auss-swin-base"]
PRECISIONS = ["float32", "bfloat16"]
STEPS = 3
# A float32 parameter, its gradient and AdamW's two moments take 4 bytes each.
BYTES_PER_PARAMETER = 16


@dataclass(frozen=True)
class StepCost:
    """
    Args:
        seconds: the processor time of a step, as the median over all steps but the first.
        peak_gb: the peak memory of the process, in 10^9 bytes.
        libraries_gb: the peak memory of the process before the network was built, in 10^9 bytes.
        parameters: the number of parameters of the network. All of them are trained.
    """

    seconds: float
    peak_gb: float
    libraries_gb: float
    parameters: int


def measure(preset: str, precision: str, clips: int, size: int) -> StepCost:
    """Trains `STEPS` steps in this process and measures them."""
    libraries_gb = peak_gigabytes()
    torch.set_num_threads(1)
    model = network(preset).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    batch = inputs(size=size, batch=clips) | {"labels": (torch.rand(clips, FRAMES, size, size) > 0.8).long()}

    def step() -> float:
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(**batch).loss
        if not loss.isfinite():
            raise FloatingPointError(f"the loss of {preset} in {precision} is {loss.item()}")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - began

    taken = [step() for _ in range(STEPS)]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return StepCost(statistics.median(taken[1:]), peak_gigabytes(), libraries_gb, parameters)


def measure_apart(preset: str, precision: str, clips: int, size: int) -> StepCost | None:
    """Measures in a new process. None if the system killed the process, for example because memory ran out."""
    command = [sys.executable, __file__, "--measure", "--presets", preset, "--precisions", precision]
    child = subprocess.run([*command, "--clips", str(clips), "--size", str(size)], capture_output=True, text=True)
    if child.returncode < 0:
        return None
    if child.returncode:
        raise RuntimeError(f"{preset} in {precision} failed:\n{child.stderr[-4000:]}")
    return StepCost(**json.loads(child.stdout.splitlines()[-1]))


def table_line(preset: str, precision: str, cost: StepCost | None) -> str:
    """Returns a row of the table."""
    if cost is None:
        return f"| `{preset}` | {precision} | | | | killed |"
    fixed = cost.parameters * BYTES_PER_PARAMETER / 1e9
    return (
        f"| `{preset}` | {precision} | {cost.parameters / 1e6:.1f} | {fixed:.2f} | {cost.peak_gb:.2f} | "
        f"{cost.seconds:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=PRESETS)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--clips", type=int, default=1, help="clips of a step (1)")
    parser.add_argument("--size", type=int, default=SIZE, help="height and width of the frames (224)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        cost = measure(arguments.presets[0], arguments.precisions[0], arguments.clips, arguments.size)
        print(json.dumps(dataclasses.asdict(cost)))
        return
    print("| preset | precision | M parameters | GB of those, gradients, AdamW | peak GB | s a step |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    libraries = []
    for preset in arguments.presets:
        for precision in arguments.precisions:
            cost = measure_apart(preset, precision, arguments.clips, arguments.size)
            libraries += [] if cost is None else [cost.libraries_gb]
            print(table_line(preset, precision, cost), flush=True)
    if libraries:
        print(f"\nBefore the network was made the processes took {max(libraries):.2f} GB at most.")


if __name__ == "__main__":
    main()
