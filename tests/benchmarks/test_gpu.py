"""`make gpu`: its parts at the smallest size on the CPU, and what it writes of what failed or found no time."""

from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    return gpu


def test_cells_say_time_and_memory_and_what_went_wrong(gpu, capsys):
    plenty, none = gpu.Budget(1.0), gpu.Budget(0.0)
    assert gpu.measured_cell(lambda: gpu.Cost(0.0123, 1.5), plenty) == "12.3 ms / 1.50 GB"
    assert gpu.measured_cell(lambda: gpu.Cost(0.5, None), plenty) == "500.0 ms"
    assert gpu.measured_cell(lambda: None, plenty) == ""
    assert gpu.measured_cell(lambda: gpu.Cost(1.0, None), none) == gpu.LATE

    def fails():
        raise RuntimeError("out of memory")

    assert gpu.measured_cell(fails, plenty) == "fails: RuntimeError"
    assert "out of memory" in capsys.readouterr().err


def test_a_call_is_timed_as_often_as_the_setting_says(gpu):
    calls = []
    setting = gpu.Setting.quick(CPU)
    cost = gpu.gpu_rows.measure(lambda: calls.append(1), setting)
    assert len(calls) == 3 + setting.repeats and cost.seconds >= 0 and cost.peak_gb is None


def test_operators_are_ranked_by_their_share(gpu):
    layer, frames = torch.nn.Conv2d(3, 16, 3), torch.randn(1, 3, 64, 64)
    ranked = gpu.gpu_rows.kernels(lambda: layer(frames).relu(), CPU)
    shares = [share for _, share, _ in ranked]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1
    calls = {name: count for name, _, count in ranked}
    assert calls["aten::relu"] == 1 and any("conv" in name for name in calls)


def test_every_column_of_the_forward_table_is_measured(gpu):
    setting = gpu.Setting.quick(CPU)
    columns = gpu.gpu_rows.forward_columns(setting, "auss-demo", clips=1)
    cells = {name: gpu.measured_cell(measurement, gpu.Budget(5.0)) for name, measurement in columns.items()}
    assert all(cell.endswith(" ms") for name, cell in cells.items() if not name.startswith("Mask2Former"))
    # The demo's backbone is timm's, for which there is no Mask2Former here.
    assert [cell for name, cell in cells.items() if name.startswith("Mask2Former")] == [""]


def test_new_results_leave_the_text_above_the_mark(gpu):
    first = gpu.renewed_page("", ["old"])
    assert first == f"# On a GPU\n\n{gpu.RESULTS}\n\nold\n"
    noted = first.replace("# On a GPU\n", "# On a GPU\n\nA note.\n")
    assert gpu.renewed_page(noted, ["new"]) == noted.replace("old", "new")


def test_the_page_has_the_mark(gpu):
    assert gpu.DOCUMENT.read_text(encoding="utf-8").count(gpu.RESULTS) == 1


@pytest.mark.slow
def test_the_script_runs_on_a_cpu_from_end_to_end(gpu, monkeypatch, capsys, tmp_path):
    output = tmp_path / "gpu.md"
    command = ["gpu.py", "--device", "cpu", "--quick", "--presets", "auss-demo", "--output", str(output)]
    monkeypatch.setattr("sys.argv", command)
    gpu.main()
    printed = capsys.readouterr().out
    assert "auss-demo" in printed and "fails" not in printed and not output.exists()
