"""The peak memory and the time of training steps, measured in processes of their own."""

import subprocess
from types import SimpleNamespace

import pytest

from .test_bench import BENCHMARKS


@pytest.fixture
def benchmark_memory(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import benchmark_memory

    return benchmark_memory


@pytest.mark.slow
def test_a_step_of_more_clips_takes_more_memory_and_time(benchmark_memory):
    one, eight = (benchmark_memory.measure_apart("auss-demo", "float32", clips, size=64) for clips in (1, 8))
    assert one.parameters == eight.parameters > 4e6
    fixed = one.parameters * benchmark_memory.BYTES_PER_PARAMETER / 1e9
    assert one.libraries_gb + fixed < one.peak_gb < eight.peak_gb - 0.1
    assert 0 < one.seconds < eight.seconds


def test_a_process_that_was_killed_has_a_row_and_one_that_failed_is_told(benchmark_memory, monkeypatch):
    ended = SimpleNamespace(returncode=-9, stdout="", stderr="out of words")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    assert benchmark_memory.measure_apart("auss-demo", "float32", 1, 64) is None
    ended.returncode = 1
    with pytest.raises(RuntimeError, match="auss-demo in bfloat16 failed:\nout of words"):
        benchmark_memory.measure_apart("auss-demo", "bfloat16", 1, 64)


def test_lines_of_the_table(benchmark_memory):
    cost = benchmark_memory.StepCost(seconds=1.25, peak_gb=2.5, libraries_gb=0.8, parameters=10**8)
    assert benchmark_memory.table_line("auss-demo", "float32", cost) == (
        "| `auss-demo` | float32 | 100.0 | 1.60 | 2.50 | 1.2 |"
    )
    assert benchmark_memory.table_line("auss-demo", "bfloat16", None) == "| `auss-demo` | bfloat16 | | | | killed |"
