"""`make gpu` measures the cost of auss on a GPU and tests its results there; writes docs/benchmarks_gpu.md.

    python benchmarks/gpu.py --device cuda [--minutes 8] [--presets NAME ...]
    python benchmarks/gpu.py --device cpu --quick

First, the tests that accept a device run on it. Then the presets are measured: seconds and peak memory of inference
and of a training step, compared with the image backbone alone and with Mask2Former. After that come the lines at which
a step waits for the device, the kernels that take most of its time, and the speeds of the loader and of the step.

Measurements that do not fit in `--minutes` are left out, and their cells say so. `--quick` runs every part at the
smallest size. It shows that the script works, and its figures mean nothing.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gpu_rows
import torch
from gpu_rows import Cost, Setting

from auss import AussConfig

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "benchmarks_gpu.md"
PRESETS = tuple(AussConfig.preset_names())
PROFILED_PRESET = "auss-fast-resnet50"
LATE = "no time"
RESULTS = "<!-- measured: written by make gpu -->"


class Budget:
    """The time limit of the whole run."""

    def __init__(self, minutes: float):
        self._end = time.monotonic() + 60 * minutes

    @property
    def spent(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._end


def machine(device: torch.device) -> str:
    """Describes the device and the versions of the libraries."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "timm"))
    return f"{name}, Python {platform.python_version()}, {packages}"


def cell(cost: Cost | None) -> str:
    """Returns the text of a cell: milliseconds and, if the device counts its memory, the peak in GB."""
    if cost is None:
        return ""
    memory = "" if cost.peak_gb is None else f" / {cost.peak_gb:.2f} GB"
    return f"{1000 * cost.seconds:.1f} ms{memory}"


def measured_cell(measurement: Callable[[], Cost | None], budget: Budget) -> str:
    """Returns the text of a measurement's cell. If the measurement fails, the cell says so and the run continues."""
    if budget.spent:
        return LATE
    try:
        return cell(measurement())
    except Exception as error:  # devices and compilers raise errors of any type
        print(f"  failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return f"fails: {type(error).__name__}"
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def table(rows: dict[str, dict[str, Callable[[], Cost | None]]], budget: Budget) -> list[str]:
    """Measures row by row, prints each row, and returns the Markdown lines."""
    columns = list(next(iter(rows.values())))
    lines = [f"| preset | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    print("\n".join(lines), flush=True)
    for name, measurements in rows.items():
        cells = [measured_cell(measurement, budget) for measurement in measurements.values()]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def tests_section(device: torch.device, quick: bool) -> list[str]:
    """Runs the tests that accept a device on it, and reports the result. `quick` leaves out the slow tests."""
    chosen = "not slow" if quick else "slow or not slow"
    command = [sys.executable, "-m", "pytest", "-q", "--show-capture=no", "-m", chosen, "tests/test_device.py"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"AUSS_TEST_DEVICE": str(device)}, capture_output=True, text=True
    )
    ending = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    if done.returncode:
        told = [line for line in done.stdout.splitlines() if line.startswith(("E ", "FAILED", "ERROR"))]
        print("\n".join(told[:60]), done.stderr[-2000:], file=sys.stderr)
    return [f"`tests/test_device.py` on `{device}`: {ending}"]


def waits_section(setting: Setting) -> list[str]:
    """Lists the lines at which a training step waits for a CUDA device."""
    if setting.device.type != "cuda":
        return ["A CPU has nothing to wait for."]
    step = gpu_rows.training_step(PROFILED_PRESET, gpu_rows.STEP_VARIANTS[setting.kind][-1], setting)
    waits = gpu_rows.synchronisations(step)
    lines = [f"A training step of `{PROFILED_PRESET}` waits {waits.total()} times for the device:", ""]
    lines += ["| line | times |", "| --- | ---: |"]
    return lines + [f"| `{line}` | {count} |" for line, count in waits.most_common()]


def kernels_section(setting: Setting) -> list[str]:
    """Lists the kernels that take most of the device's time in a training step."""
    step = gpu_rows.training_step(PROFILED_PRESET, gpu_rows.STEP_VARIANTS[setting.kind][-1], setting)
    lines = ["| kernel | share of the device's time | calls a step |", "| --- | ---: | ---: |"]
    for name, share, calls in gpu_rows.kernels(step, setting.device):
        lines.append(f"| `{name[:90].replace('|', '/')}` | {100 * share:.1f} % | {calls} |")
    return lines


def loader_section(setting: Setting, budget: Budget, quick: bool) -> list[str]:
    """Compares the clips per second of the loader and of the step, and says which of the two limits training."""
    from auss.train.composer.composer import compose_data_set

    step = gpu_rows.step_cost(PROFILED_PRESET, gpu_rows.STEP_VARIANTS[setting.kind][-1], setting).seconds
    cores = os.cpu_count() or 1
    clips = 4 * setting.clips if quick else 20 * setting.clips
    lines = [
        "| loader workers | loader, clips a second | step, clips a second | limit |",
        "| ---: | ---: | ---: | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        workers = 1 if quick else cores
        compose_data_set(Path(folder, "data"), (clips, 0, 0), size=max(64, setting.size), workers=workers)
        for workers in (0,) if quick else sorted({4, 8, cores}):
            if budget.spent:
                break
            loader = gpu_rows.loader_seconds(Path(folder, "data"), PROFILED_PRESET, setting, workers, clips)
            limit = "loader" if loader > step else "step"
            lines.append(f"| {workers} | {setting.clips / loader:.1f} | {setting.clips / step:.1f} | {limit} |")
    return lines


def sections(setting: Setting, presets: list[str], budget: Budget, quick: bool) -> dict[str, list[str]]:
    """Returns heading -> Markdown lines."""
    forward = "Clips to masks: milliseconds and peak memory"
    found = {"Tests": tests_section(setting.device, quick)}
    found["Where a training step waits"] = waits_section(setting)
    found["Kernels of a training step"] = kernels_section(setting)
    step_rows = {
        preset: {
            variant: lambda preset=preset, variant=variant: gpu_rows.step_cost(preset, variant, setting)
            for variant in gpu_rows.STEP_VARIANTS[setting.kind]
        }
        for preset in presets
    }
    found[f"A training step of {setting.clips} clips"] = table(step_rows, budget)
    found["Loader and step"] = loader_section(setting, budget, quick)
    for clips in sorted({1, setting.clips}):
        rows = {preset: gpu_rows.forward_columns(setting, preset, clips) for preset in presets}
        found[f"{forward}, batches of {clips}"] = table(rows, budget)
    # Compilation takes most of the time, so the compiled networks come last.
    rows = {preset: gpu_rows.compiled_columns(setting, preset, 1) for preset in presets}
    found[f"{forward}, compiled, batches of 1"] = table(rows, budget)
    return found


def renewed_page(written: str, measured: list[str]) -> str:
    """Returns the page with new results. The text above the mark is written by hand and does not change."""
    by_hand, mark, _ = written.partition(RESULTS)
    return "\n".join([by_hand.rstrip() if mark else "# On a GPU", "", RESULTS, "", *measured]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="as torch names it (cuda)")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--minutes", type=float, default=8.0, help="after so many nothing more is begun (8)")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, and no document is written")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="the Markdown file (docs/benchmarks_gpu.md)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    setting = Setting.quick(device) if arguments.quick else Setting(device)
    budget = Budget(arguments.minutes)
    lines = [
        f"A frame has {setting.size} x {setting.size} pixels, and a clip has five frames and five seconds of sound. "
        "The weights are random, and eight queries have a class. A training step is forward, losses, backward and the "
        "update of AdamW. In float32, torch uses TF32 for convolutions, but not for matrix products. "
        f'"{LATE}" marks a cell that the run did not reach in its minutes.',
        "",
        machine(device),
    ]
    print("\n".join(lines), flush=True)
    for heading, body in sections(setting, arguments.presets, budget, arguments.quick).items():
        lines += ["", f"## {heading}", "", *body]
    if not arguments.quick:
        written = arguments.output.read_text(encoding="utf-8") if arguments.output.is_file() else ""
        arguments.output.write_text(renewed_page(written, lines), encoding="utf-8")
        print(f"saved in {arguments.output}")


if __name__ == "__main__":
    main()
