"""`make bench` compares the cost of auss with the smallest possible cost of the same work; writes docs/benchmarks.md.

    python benchmarks/bench.py [--rows NAME ...] [--no-scaling]

Each row is measured in its own process. Run the benchmark on an idle machine: torch's threads wait for one another, so
another busy process makes all figures useless.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import media_rows
import network_rows
from timing import Measured

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
RESULTS = "<!-- measured: written by make bench -->"


@dataclass(frozen=True)
class Row:
    """
    Args:
        work: the text of the first cell of the row.
        measure: the measurement. It runs in its own process.
        must, aim: the bound that the project must reach, and the stricter one that it aims for.
        kind: the figure that `must` and `aim` bound. "cost" is our time divided by the limit, and may be at most the
            bound. "faster" is the time of the plain way divided by ours, and must be at least the bound. "memory" is
            in GB, and may be at most the bound.
        environment: environment variables for the process.
    """

    work: str
    measure: Callable[[], Measured]
    must: float | None = None
    aim: float | None = None
    kind: str = "cost"
    environment: dict[str, str] = field(default_factory=dict)

    def figure(self, measured: Measured) -> float:
        """Returns the figure that `must` and `aim` bound."""
        if self.kind == "memory":
            return measured.ours
        assert measured.limit is not None  # only rows of the kind "memory" have no limit
        return measured.ours / measured.limit if self.kind == "cost" else measured.limit / measured.ours

    def verdict(self, measured: Measured) -> str:
        """Returns the reached bound, "aim" or "must", or "missed". The text is empty for a row without bounds."""
        if self.must is None or self.aim is None:
            return ""
        sign = -1 if self.kind == "faster" else 1
        figure = sign * self.figure(measured)
        return "aim" if figure <= sign * self.aim else "must" if figure <= sign * self.must else "missed"


SMALL, FAST, RESNET, SWIN = "auss-demo", "auss-fast-resnet50", "auss-resnet101", "auss-swin-base"
STEP = "a training step (forward, losses, backward)"
# With this variable glibc returns freed feature maps to the system. Otherwise it keeps them for later maps.
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "8000000"}
RETURNED_NAME = " ".join(f"`{name}={value}`" for name, value in RETURNED.items())
ROWS = {
    "fast": Row(f"`{FAST}`: a clip to masks", partial(network_rows.forward, FAST), 2.2, 1.7),
    "resnet101": Row(f"`{RESNET}`: a clip to masks", partial(network_rows.forward, RESNET), 4.0, 3.0),
    "swin": Row(f"`{SWIN}`: a clip to masks", partial(network_rows.forward, SWIN), 2.0, 1.6),
    "fast-every": Row(f"`{FAST}`, a mask of every query", partial(network_rows.forward, FAST, classes=10_000)),
    "resnet101-every": Row(
        f"`{RESNET}`, a mask of every query", partial(network_rows.forward, RESNET, classes=10_000)
    ),
    **{
        f"mask2former-{name}": Row(
            f"`{preset}`, against Mask2Former's forward pass",
            partial(network_rows.beside_mask2former, preset),
            kind="faster",
        )
        for name, preset in (("fast", FAST), ("resnet101", RESNET), ("swin", SWIN))
    },
    "step": Row(f"`{FAST}`: {STEP}", partial(network_rows.training_step, FAST, False), 2.5, 2.0),
    "step-frozen": Row(f"`{FAST}`, VGGish frozen: {STEP}", partial(network_rows.training_step, FAST, True), 2.5, 2.0),
    "memory": Row(
        f"`{FAST}`: peak memory of a training step",
        partial(network_rows.training_memory, FAST, False),
        2.5,
        1.8,
        "memory",
    ),
    "memory-frozen": Row(
        f"`{FAST}`, VGGish frozen: peak memory of a training step",
        partial(network_rows.training_memory, FAST, True),
        2.5,
        1.8,
        "memory",
    ),
    "memory-returned": Row(
        f"`{FAST}`, {RETURNED_NAME}: peak memory of a training step",
        partial(network_rows.training_memory, FAST, False),
        2.5,
        1.8,
        "memory",
        RETURNED,
    ),
    "step-returned": Row(
        f"`{FAST}`, {RETURNED_NAME}: {STEP}",
        partial(network_rows.training_step, FAST, False),
        2.5,
        2.0,
        environment=RETURNED,
    ),
    "frame": Row(f"`{FAST}`: each further frame of a window", partial(network_rows.further_frame, FAST), 1.6, 1.4),
    "log-mel": Row("log-mel of 5 s at 44.1 kHz stereo", media_rows.log_mel, 8, 15, "faster"),
    "f-score": Row("M_F of a clip", media_rows.clip_f_score, 15, 40, "faster"),
    "segment": Row(
        f"`auss segment`, `{FAST}`: 60 s of 720p, a mask a second, against decoding, backbone and encoding",
        partial(media_rows.segmented_video, FAST),
        1.6,
        1.4,
    ),
    "segment-small": Row(
        f"`auss segment`, `{SMALL}`: 60 s of 720p, five masks a second, against decoding and encoding alone",
        partial(media_rows.segmented_video, SMALL, masks_per_second=5, with_backbone=False),
        1.3,
        1.15,
    ),
    "compiled": Row(f"`{FAST}` under `torch.compile`", partial(network_rows.compiled_forward, FAST), kind="faster"),
}
SCALING = network_rows.scaling_measurements()
MEASUREMENTS = {name: row.measure for name, row in ROWS.items()} | {
    f"{name}={value}": measure for (name, value), measure in SCALING.items()
}


def measure_apart(name: str) -> Measured:
    """Measures in a new process. The text that the process writes to stderr is shown only if the process fails."""
    environment = os.environ | (ROWS[name].environment if name in ROWS else {})
    command = [sys.executable, __file__, "--measure", name]
    child = subprocess.run(command, capture_output=True, text=True, env=environment)
    if child.returncode:
        raise RuntimeError(f"{name} failed:\n{child.stderr[-4000:]}")
    return Measured(**json.loads(child.stdout.splitlines()[-1]))


def table_line(row: Row, measured: Measured) -> str:
    """Returns a row of the table."""
    if row.kind == "memory":
        ours, limit, figure = f"{measured.ours:.2f} GB", "", f"{measured.ours:.2f} GB"
    else:
        assert measured.limit is not None
        unit, scale = ("ms", 1e3) if measured.ours < 0.1 else ("s", 1.0)
        ours, limit = (f"{value * scale:.3g} {unit}" for value in (measured.ours, measured.limit))
        figure = f"{row.figure(measured):.3g} x"
    sign = "≥" if row.kind == "faster" else "≤"
    must, aim = (f"{sign} {value:g}" if value is not None else "" for value in (row.must, row.aim))
    return f"| {row.work} | {ours} | {limit} | {figure} | {must} | {aim} | {row.verdict(measured)} | {measured.note} |"


def machine() -> str:
    """Describes the machine and the versions of the measurement."""
    import torch

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "timm", "av"))
    threads = torch.get_num_threads()
    cpu = platform.processor() or platform.machine()
    return f"{cpu}, {threads} threads, Python {platform.python_version()}, {packages}"


def report(names: list[str], scaling: bool) -> str:
    """Measures all rows, prints each line when it is done, and returns the Markdown."""
    lines = [machine(), ""]
    lines += [
        "| work | auss | comparison | figure | must | aim | reached | remarks |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for name in names:
        lines.append(table_line(ROWS[name], measure_apart(name)))
        print(lines[-1], flush=True)
    if scaling:
        start = len(lines)
        lines += ["", "| size | value | seconds | peak GB |", "| --- | ---: | ---: | ---: |"]
        print("\n".join(lines[start:]), flush=True)
        for name, value in SCALING:
            measured = measure_apart(f"{name}={value}")
            lines.append(f"| {name} | {value} | {measured.ours:.3f} | {measured.note} |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), help="only these, and the document is left alone")
    parser.add_argument("--no-scaling", action="store_true", help="leave the second table out, and the document alone")
    parser.add_argument("--measure", choices=list(MEASUREMENTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(dataclasses.asdict(MEASUREMENTS[arguments.measure]())))
        return
    text = report(arguments.rows or list(ROWS), scaling=arguments.rows is None and not arguments.no_scaling)
    if arguments.rows is None and not arguments.no_scaling:
        before, _, _ = DOCUMENT.read_text(encoding="utf-8").partition(RESULTS)
        DOCUMENT.write_text(f"{before}{RESULTS}\n\n{text}", encoding="utf-8")
        print(f"saved in {DOCUMENT}")


if __name__ == "__main__":
    main()
