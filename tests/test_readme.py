"""README.md: its Python runs, in its order, and its commands exist. The links between the documents work."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import auss
from auss.cli import build_parser, main
from auss.hub import shipped_model
from auss.train.composer.composed_video import compose_video

FOLDER = Path(auss.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")
SCALE = (FOLDER / "docs" / "scale.md").read_text(encoding="utf-8")
PAGES = sorted([*FOLDER.glob("*.md"), *(FOLDER / "docs").glob("*.md")])


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def command_lines(page: str) -> list[str]:
    """The lines of a page's bash blocks, without comments; a line that ends in a backslash is joined to the next."""
    return [
        line.partition("#")[0] for block in blocks("bash", page) for line in block.replace("\\\n", " ").splitlines()
    ]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return compose_video(tmp_path_factory.mktemp("videos") / "video.mp4", seconds=6.0, size=(90, 160)).path


@pytest.fixture
def shipped(model_folder, monkeypatch):
    """A network that has learned nothing, in the place of the model that comes with auss."""
    (model_folder / shipped_model.KNOWN_FILE).write_text('["cow"]')
    monkeypatch.setattr(shipped_model, "SHIPPED_FOLDER", model_folder)


@pytest.fixture
def workplace(shipped, video, tmp_path, monkeypatch):
    """A folder in which the demo has been run, and that has a video."""
    (tmp_path / "auss-demo").mkdir()
    shutil.copy(video, tmp_path / "auss-demo" / "video.mp4")
    shutil.copy(video, tmp_path / "street.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_runs_in_its_order(workplace, capsys):
    code = blocks("python")
    assert len(code) >= 3
    names: dict = {}  # a name that no block has defined stops the test
    for block in code:
        exec(block, names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0.0 sounding ") and len(lines) == 6 + 30
    masks = sorted(workplace.glob("auss-demo/mask_*s.png"))
    assert [path.name for path in masks] == [f"mask_{second}s.png" for second in range(6)]
    assert {Image.open(path).mode for path in masks} == {"L"}
    height, width = names["frames"][0].shape[:2]
    assert names["clips"][0]["segmentation"].shape == (5, height, width)
    assert Image.open(workplace / "first_second.png").size == (width, height)


def test_the_python_of_the_page_about_masks_runs(workplace):
    names: dict = {}
    for block in blocks("python", (FOLDER / "docs" / "masks.md").read_text(encoding="utf-8")):
        exec(block, names)
    files = {"marked.gif", "animation.mp4", "timeline.png", "masks", "masks.json", "masks.npz", "objects.json"}
    assert {path.name for path in workplace.iterdir()} >= files
    assert names["waveform"].shape == (5 * names["sampling_rate"],) and len(names["pictures"]) == len(names["result"])


@pytest.fixture
def folder_of_videos(shipped, make_video, tmp_path, monkeypatch):
    """A working folder with three short videos, one of them in a subfolder."""
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    for name in ("a.mp4", "b.mp4", "deep/c.mp4"):
        make_video(f"videos/{name}", seconds=1.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class RayInOneProcess:
    """Does what the page about scale asks of Ray Data, one row after the other. Ray itself is not installed here."""

    @staticmethod
    def ActorPoolStrategy(size):
        return size

    def from_items(self, rows, override_num_blocks):
        assert override_num_blocks == len(rows)
        self.rows = rows
        return self

    def map(self, kind, fn_constructor_args, compute, num_cpus):
        self.work = kind(*fn_constructor_args)
        return self

    def iter_rows(self):
        return map(self.work, self.rows)


def test_the_python_of_the_page_about_scale_runs(folder_of_videos, monkeypatch, capsys):
    (folder_of_videos / "videos" / "broken.mp4").write_text("no video")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(data=RayInOneProcess()))
    (code,) = blocks("python", SCALE)
    exec(code, {})
    for name in ("a.mp4", "b.mp4", "deep/c.mp4"):
        masks = sorted(path.name for path in (folder_of_videos / "results" / name).iterdir())
        assert len(masks) == 5 and masks[1] == "00000.200_sounding.png"
    assert capsys.readouterr().out.startswith("videos/broken.mp4 video videos/broken.mp4 cannot be opened")


def test_a_job_array_of_the_page_about_scale_does_every_video_once(folder_of_videos, monkeypatch, capsys):
    """Runs the command of the batch file as Slurm would, once for each job of the array."""
    (script,) = [block for block in blocks("bash", SCALE) if "#SBATCH" in block]
    (line,) = [line for line in command_lines(f"```bash\n{script}```") if line.startswith("exec auss ")]
    for job in ("1", "2"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", job)
        monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
        words = [os.path.expandvars(word) for word in shlex.split(line)[2:]]
        assert main([*words, "--fps", "1"]) == 0
    printed = capsys.readouterr().out
    assert "2 made, 0 there already" in printed and "1 made, 0 there already" in printed
    assert len(list((folder_of_videos / "results").rglob("masks/*.png"))) == 3


def test_commands_are_there():
    lines = command_lines(README)
    commands = [shlex.split(line) for line in lines if line.startswith("auss ")]
    assert {command[1] for command in commands} >= {"demo", "segment", "compose", "train", "evaluate"}
    for _, called, *options in commands:
        build_parser(called).parse_args([called, *options])  # exits if it does not know them
    targets = {line.split()[1] for line in lines if line.startswith("make ")} | set(re.findall(r"`make (\w+)", README))
    makefile = (Path(auss.__file__).parent / "Makefile").read_text(encoding="utf-8")
    assert targets and all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_links_and_pictures_are_there():
    targets = {target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target}
    assert targets >= {"docs/overlay.png", "docs/results.md"}
    for target in targets:
        assert (Path(auss.__file__).parent / target).is_file(), target


def heading_anchors(page: str) -> set[str]:
    """The names by which GitHub links the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_to_headings(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            linked = (page.parent / target) if target else page
            assert anchor in heading_anchors(linked.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_the_launch_files_of_the_documentation_are_there():
    page = (FOLDER / "docs" / "training.md").read_text(encoding="utf-8")
    (folder,) = re.findall(r"^CONFIGS=\$\(.*\)/(\S+)$", page, flags=re.MULTILINE)
    named = set(re.findall(r"\$CONFIGS/(\w+\.yaml)", page))
    assert named == {path.name for path in (FOLDER / folder).iterdir()}


def test_documents_have_no_blanks_to_fill_in():
    for path in (Path(auss.__file__).parent / "docs").glob("*.md"):
        assert not re.search(r"^[A-Z]{5,}$|TODO|QUICK", path.read_text(encoding="utf-8"), flags=re.MULTILINE), path
    assert "QUICK" not in README


def test_the_commands_of_the_papers_two_runs_are_there():
    page = (FOLDER / "docs" / "paper.md").read_text(encoding="utf-8")
    runs = [shlex.split(line)[1:] for line in command_lines(page) if line.startswith("auss train ")]
    parsed = [build_parser("train").parse_args(run) for run in runs]
    assert [run.preset for run in parsed if run.name == "s4"] == ["auss-resnet101", "auss-swin-base"]
    assert all(run.backbone_weights and run.audio_weights for run in parsed if run.name == "s4")
    assert [run.init_from for run in parsed if run.name == "ms3"] == [run.output for run in parsed if run.name == "s4"]
