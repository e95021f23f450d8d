"""`make bench`: verdicts and lines of the table, and that its rows measure what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import bench

    return bench


@pytest.mark.parametrize(
    ("kind", "ours", "limit", "figure", "verdict"),
    [
        ("cost", 3.0, 2.0, 1.5, "aim"),
        ("cost", 4.0, 2.0, 2.0, "must"),
        ("cost", 6.0, 2.0, 3.0, "missed"),
        ("faster", 1.0, 1.4, 1.4, "missed"),
        ("faster", 1.0, 1.8, 1.8, "must"),
        ("faster", 1.0, 3.0, 3.0, "aim"),
        ("memory", 1.4, None, 1.4, "aim"),
        ("memory", 2.5, None, 2.5, "missed"),
    ],
)
def test_verdicts(bench, kind, ours, limit, figure, verdict):
    must, aim = (1.5, 2.0) if kind == "faster" else (2.0, 1.5)
    row, measured = bench.Row("work", None, must, aim, kind), bench.Measured(ours, limit)
    assert row.figure(measured) == pytest.approx(figure)
    assert row.verdict(measured) == verdict


def test_a_line_has_times_figure_and_demands(bench):
    row = bench.Row("work", None, 2.0, 1.5)
    assert bench.table_line(row, bench.Measured(0.09, 0.05, "note")) == (
        "| work | 90 ms | 50 ms | 1.8 x | ≤ 2 | ≤ 1.5 | must | note |"
    )
    memory = bench.Row("work", None, 2.5, 1.8, "memory")
    assert (
        bench.table_line(memory, bench.Measured(2.25)) == "| work | 2.25 GB |  | 2.25 GB | ≤ 2.5 | ≤ 1.8 | must |  |"
    )


@pytest.mark.slow
def test_a_row_is_measured_in_a_process_of_its_own():
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--measure", "f-score"]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    assert 0 < measured["ours"] < measured["limit"]


def test_the_process_of_a_row_gets_its_environment(bench, monkeypatch):
    given = {}

    def run(command, env, **options):
        given.update(env)
        return subprocess.CompletedProcess(command, 0, json.dumps({"ours": 1.0}))

    monkeypatch.setattr(bench.subprocess, "run", run)
    monkeypatch.setenv("KEPT", "1")
    assert bench.measure_apart("memory-returned") == bench.Measured(1.0)
    assert given["MALLOC_MMAP_THRESHOLD_"] == "8000000" and given["KEPT"] == "1"


def test_flops_are_those_that_the_presets_are_listed_with(bench):
    import torch
    from network_rows import flops, inputs, network

    from auss.inference.presets import forward_flops

    model = network("auss-demo", classes=10_000)
    counted = flops(model, **inputs(frames=2, size=64))
    with torch.device("meta"):
        expected = forward_flops(type(model)(model.config).eval(), num_frames=2, size=64)
    assert counted == pytest.approx(expected, rel=0.01)


def test_as_many_queries_of_a_network_have_a_class_as_are_asked_for(bench):
    import torch
    from network_rows import inputs, network

    for wanted, expected in ((8, 8), (10_000, 32)):
        model = network("auss-demo", wanted)
        with torch.no_grad():
            found = model(**inputs(frames=1, size=64)).class_queries_logits.argmax(-1) != model.config.num_labels
        assert found.sum() == expected


@pytest.mark.slow
@pytest.mark.parametrize("with_backbone", [True, False])
def test_a_short_video_is_segmented(bench, with_backbone):
    from media_rows import segmented_video

    measured = segmented_video("auss-demo", length=3, with_backbone=with_backbone, repeats=1)
    assert measured.ours > 0 and measured.limit > 0 and "75 frames" in measured.note


def test_the_plain_copy_has_every_frame_and_the_sound(bench, make_video, tmp_path):
    from media_rows import plain_copy

    from auss import VideoReader

    video, output = make_video("in.mp4", seconds=1.0), tmp_path / "out.mp4"
    plain_copy(video, output)
    before, after = VideoReader(video), VideoReader(output)
    times = [[frame.time for frame in reader.frames()] for reader in (before, after)]
    assert times[1] == pytest.approx(times[0], abs=1e-4) and after.info.has_audio
