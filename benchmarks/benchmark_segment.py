"""Measures `auss segment` as a user runs it, a process for each run, with models and exports in turns.

    python benchmarks/benchmark_segment.py VIDEO auss-demo/model exported exported-int8 --repeats 3 -- --stride 1

Options after `--` are given to `auss segment`. Each process has one thread. Wall time includes the start of Python; on
a machine with other work, the CPU time is the more reliable figure. The result is a Markdown table.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def timed_run(video: str, model: str, options: list[str]) -> tuple[float, float]:
    """Runs `auss segment` once and returns its wall time and its CPU time, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "auss", "segment", video, "-o", str(Path(folder, "out.mp4"))]
        command += ["--model", model, "--threads", "1", *options]
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
        began, before = time.perf_counter(), os.times()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return time.perf_counter() - began, cpu


def table(times: dict[str, list[tuple[float, float]]]) -> str:
    """Formats the times of each model's runs: the medians, and the least and the largest CPU time."""
    lines = ["| model | wall, s | CPU, s | CPU, least to most |", "| --- | ---: | ---: | ---: |"]
    for model, runs in times.items():
        wall, cpu = zip(*runs, strict=True)
        spread = f"{min(cpu):.1f} to {max(cpu):.1f}"
        lines.append(f"| {model} | {statistics.median(wall):.1f} | {statistics.median(cpu):.1f} | {spread} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("models", nargs="+", help="folders of models and of exports")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each model (3)")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    words, rest = words[:split], words[split + 1 :]
    arguments = parser.parse_args(words)
    times: dict[str, list[tuple[float, float]]] = {model: [] for model in arguments.models}
    for _ in range(arguments.repeats):
        for model, runs in times.items():
            runs.append(timed_run(arguments.video, model, rest))
            print(f"{model}: {runs[-1][0]:.1f} s, {runs[-1][1]:.1f} s of CPU", file=sys.stderr)
    print(f"options: {' '.join(rest) or 'the defaults'}; one thread\n\n{table(times)}")


if __name__ == "__main__":
    main()
