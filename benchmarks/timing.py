"""How every benchmark here measures: in turns with what it is held against, medians, in a process of its own."""

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
        ours: seconds, or GB.
        limit: of what ours is held against, in the same unit; None for a measurement that stands alone.
        note: what the reader of the table should know.
    """

    ours: float
    limit: float | None = None
    note: str = ""


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(ours: Callable[[], object], limit: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """The median seconds of both, after a call of each that warms up; in turns, so that a slow minute meets both."""
    ours(), limit()
    pairs = [(seconds(ours), seconds(limit)) for _ in range(repeats)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def median_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median seconds of a call, after one that warms up."""
    work()
    return statistics.median(seconds(work) for _ in range(repeats))


def peak_gigabytes() -> float:
    """The most memory that this process had at once, interpreter and libraries included, in GB."""
    # Linux counts a parent's peak in a child's `ru_maxrss`, but not in this.
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    kilobytes = peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * 1024 / 1e9
