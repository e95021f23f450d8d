"""The notebooks of `examples/notebooks/`: how they are written, what `run.py` saves of them, and that they run."""

import ast
import base64
import importlib.util
import io
import re
import shlex
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

import auss
from auss.cli import build_parser

FOLDER = Path(auss.__file__).resolve().parent / "examples" / "notebooks"
NAMES = ("segment_a_video", "fine_tune_on_your_clips", "reproduce_a_row")
# The shortest runs in which every cell still has something to do.
SHORT = {
    "segment_a_video": {"SECONDS": 1, "MASKS_PER_SECOND": 2},
    "fine_tune_on_your_clips": {"NUM_VIDEOS": 4, "SECONDS": 5, "STEPS": 1},
    "reproduce_a_row": {"TRAIN_CLIPS": 16, "VAL_CLIPS": 4, "TEST_CLIPS": 5, "PIXELS": 64, "EPOCHS": 1, "STEPS": 1},
}
# What each notebook shows: the number of pictures, with the strips of its videos, and of tables.
SHOWN = {"segment_a_video": (4, 2), "fine_tune_on_your_clips": (6, 4), "reproduce_a_row": (4, 1)}
TABLES = {"text/html", "text/markdown"}
MODULES = {"IPython", "PIL", "auss", "json", "numpy", "pandas", "pathlib", "transformers"}


@pytest.fixture(scope="module")
def runner():
    """`run.py` as a module."""
    spec = importlib.util.spec_from_file_location("notebook_runner", FOLDER / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells_of(name, kind):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def python_of(cell):
    """The Python of a cell, without its commands."""
    return "\n".join(
        line for line in cell.source.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("!")
    )


def test_run_knows_the_notebooks_of_the_folder(runner):
    assert set(runner.NAMES) == set(NAMES) == {path.stem for path in FOLDER.glob("*.ipynb")}
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"({name}.ipynb)" in page for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_plain_and_small(runner, name):
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size <= runner.MOST_BYTES
    assert nbformat.writes(notebook) + "\n" == path.read_text(encoding="utf-8")
    kinds = [cell.cell_type for cell in notebook.cells]
    assert all(before == "markdown" for before, kind in zip(kinds, kinds[1:], strict=False) if kind == "code")
    for cell in cells_of(name, "code"):
        assert cell.execution_count is None and len(cell.source.splitlines()) <= 32
        assert runner.ADDED not in cell.metadata.get("tags", ())
    assert len(cells_of("segment_a_video", "code")) <= 10


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_uses_only_what_is_public(name):
    trees = [ast.parse(python_of(cell)) for cell in cells_of(name, "code")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "auss"
    }
    assert used and used <= set(auss.__all__)
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} <= MODULES
    assert not any(module.startswith("auss.") for module in imported)


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_and_links_of_a_notebook_are_there(name):
    source = "\n".join(cell.source.replace("\\\n", " ") for cell in cells_of(name, "code"))
    commands = [shlex.split(re.sub(r"\{\w+\}", "1", line)) for line in re.findall(r"^!(.*)$", source, re.MULTILINE)]
    assert commands and all(command[0] == "auss" for command in commands)
    for _, called, *options in commands:
        build_parser(called).parse_args([called, *options])  # exits if it does not know them
    text = "\n".join(cell.source for cell in cells_of(name, "markdown"))
    assert all((FOLDER / target).is_file() for target in re.findall(r"\]\(([^)#]+)", text))


def test_parameters_are_put_behind_the_notebooks_own(runner):
    cells = runner.read_notebook("segment_a_video", {"SECONDS": 2}).cells
    (place,) = [index for index, cell in enumerate(cells) if runner.PARAMETERS in cell.metadata.get("tags", ())]
    assert cells[place + 1].source == "SECONDS = 2"
    with pytest.raises(ValueError, match="segment_a_video has no parameter MINUTES"):
        runner.read_notebook("segment_a_video", {"MINUTES": 2})


def test_a_notebook_runs_in_its_folder_and_a_failed_command_stops_it(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    cells = [
        new_code_cell("!echo hello > file.txt"),
        new_code_cell("open('file.txt').read()"),
        new_code_cell("!false"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "small.ipynb")
    notebook = runner.read_notebook("small")
    with pytest.raises(CellExecutionError, match="_exit_code == 0"):
        runner.execute(notebook, tmp_path)
    assert [cell.outputs[0].data["text/plain"] for cell in notebook.cells[2:3]] == ["'hello\\n'"]


def png(width, height):
    memory = io.BytesIO()
    Image.new("RGBA", (width, height), (0, 0, 0, 0)).save(memory, "PNG")
    return base64.b64encode(memory.getvalue()).decode()


def saved_picture(output):
    assert set(output.data) == {"image/jpeg", "text/plain"}
    return Image.open(io.BytesIO(base64.b64decode(output.data["image/jpeg"])), formats=["JPEG"])


def test_pictures_are_saved_small_on_white(runner):
    output = new_output("display_data", {"image/png": png(1800, 600), "text/plain": "<Figure>"})
    picture = saved_picture(runner.small_output(output))
    assert picture.size == (900, 300) and min(np.asarray(picture).flat) > 250


def test_a_large_picture_is_saved_in_less_detail(runner):
    noise = np.random.default_rng(0).integers(0, 256, (800, 1000, 3), np.uint8)
    content = base64.b64decode(runner.as_jpeg(Image.fromarray(noise)))
    assert len(content) <= runner.PICTURE_BYTES
    assert Image.open(io.BytesIO(content), formats=["JPEG"]).width < 900
    calm = Image.fromarray(np.full((800, 1000, 3), 90, np.uint8))
    assert Image.open(io.BytesIO(base64.b64decode(runner.as_jpeg(calm))), formats=["JPEG"]).width == 900


def test_three_frames_are_saved_in_place_of_a_video(runner, tmp_path):
    from IPython.display import Video

    auss.sample_video(tmp_path / "video.mp4", 0, 1.0, 5, (64, 96), drawn=True)
    html = Video(str(tmp_path / "video.mp4"), embed=True)._repr_html_()
    output = runner.small_output(new_output("execute_result", {"text/html": html, "text/plain": "<Video>"}))
    assert saved_picture(output).size == (3 * 96, 64) and output.data["text/plain"] == "<Video>"


def test_progress_bars_and_counts_are_not_saved(runner):
    told = f"compose: 100%|#####| 4/4 [00:01<00:00]\nread {runner.PACKAGE}/hub/stamps\n"
    bar = new_output("stream", name="stderr", text="import:  50%|## | 2/4 [00:01<00:01]\n")
    html = "\n    <div>\n <progress value='1' max='1'></progress>\n [1/1 : < :]\n </div>\n    "
    trainer_bar = new_output("display_data", {"text/html": html, "text/plain": "<HTML>"})
    table = new_output("execute_result", {"text/html": "<table></table>"}, execution_count=3)
    cell = new_code_cell("1", execution_count=3, outputs=[new_output("stream", text=told), bar, trainer_bar, table])
    notebook = new_notebook(cells=[cell, new_code_cell("2", metadata={"tags": [runner.ADDED]})])
    runner.tidy(notebook)
    (kept,) = notebook.cells
    assert [output.get("text") for output in kept.outputs] == ["read auss/hub/stamps\n", None]
    assert kept.execution_count is None and kept.outputs[1].execution_count is None
    assert kept.outputs[1].data == {"text/html": "<table></table>"}


def test_the_command_saves_what_a_notebook_shows_unless_it_is_large(runner, tmp_path, monkeypatch, capsys):
    def execute(notebook, folder):
        notebook.cells[0].outputs = [new_output("stream", text="shown\n")]

    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    monkeypatch.setattr(runner, "execute", execute)
    monkeypatch.setattr(sys, "argv", ["run.py", "segment_a_video"])
    path = tmp_path / "segment_a_video.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("!true")]), path)
    assert runner.main() == 0 and re.search(r"segment_a_video: \d+ s, saved in", capsys.readouterr().out)
    (cell,) = nbformat.read(path, as_version=4).cells
    assert (cell.source, [output.text for output in cell.outputs]) == ("!true", ["shown\n"])
    before = path.read_bytes()
    monkeypatch.setattr(runner, "MOST_BYTES", 10)
    with pytest.raises(SystemExit, match="segment_a_video takes .* more than 10; nothing saved"):
        runner.main()
    assert path.read_bytes() == before
    monkeypatch.setattr(sys, "argv", ["run.py", "unknown"])
    with pytest.raises(SystemExit):
        runner.main()


def run_offline(runner, name, folder, parameters=None, left_out=()):
    """Executes a notebook without network, and returns the numbers of pictures and of tables that it shows."""
    notebook = runner.read_notebook(name, parameters, left_out)
    runner.execute(notebook, folder, {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")})
    runner.tidy(notebook)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = [set(output.get("data", ())) for output in outputs]
    assert len(nbformat.writes(notebook)) <= runner.MOST_BYTES
    return sum("image/jpeg" in kind for kind in kinds), sum(bool(kind & TABLES) for kind in kinds)


def test_the_first_notebook_runs_without_its_command(runner, tmp_path):
    """The command loads everything once more, so the slow tests run it."""
    pictures, tables = SHOWN["segment_a_video"]
    shown = run_offline(runner, "segment_a_video", tmp_path, SHORT["segment_a_video"], left_out=["overlay"])
    assert shown == (pictures - 1, tables) and (tmp_path / "masks.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_of_a_notebook_runs(runner, name, tmp_path):
    assert run_offline(runner, name, tmp_path, SHORT[name]) == SHOWN[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_as_it_stands(runner, name, tmp_path):
    assert run_offline(runner, name, tmp_path) == SHOWN[name]
