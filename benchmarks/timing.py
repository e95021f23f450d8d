"""The measuring functions of the benchmarks. Both sides of a comparison take turns, and medians are reported."""

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REPEATS = 5


@dataclass(frozen=True)
class Measured:
    """
    Args:
        ours: the cost of auss, in seconds or GB.
        limit: the cost that `ours` is compared with, in the same unit. None for a measurement without a comparison.
        note: additional information for the table.
    """

    ours: float
    limit: float | None = None
    note: str = ""


def seconds(work: Callable[[], object]) -> float:
    """Returns the seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(ours: Callable[[], object], limit: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """
    Returns the median seconds of both functions.

    Each function is called once to warm up. Then both take turns, so that a slow minute affects both.
    """
    ours(), limit()
    pairs = [(seconds(ours), seconds(limit)) for _ in range(repeats)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def median_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Returns the median seconds of a call, after one call to warm up."""
    work()
    return statistics.median(seconds(work) for _ in range(repeats))


def peak_gigabytes() -> float:
    """Returns the peak memory of this process in GB, including the interpreter and libraries."""
    # On Linux, a child's `ru_maxrss` includes the peak of its parent. VmHWM in this file does not.
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    kilobytes = peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * 1024 / 1e9
