"""Tests of a repository's code files: they are complete, lie in one folder, and differ only in their imports."""

import ast
import re
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_relative_import_files

import auss
from auss.hub import flat_code
from auss.hub.flat_code import check_code, code_files, flatten, relative_imports, sign_code, write_code
from auss.hub.model_card import REQUIREMENTS, TIMM_REQUIREMENT

ROOT = Path(auss.__file__).parent
# Module -> its distribution, where the two names differ.
DISTRIBUTIONS = {"PIL": "pillow"}
# transformers and torch install these modules.
COME_ALONG = {"huggingface_hub", "safetensors", "tqdm", "typing_extensions"}


def imported_modules(file):
    """Yields the modules of other packages that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def test_models_processors_and_pipeline_are_there_and_the_command_line_is_not():
    files = code_files()
    assert {"configuration_auss.py", "modeling_auss.py", "processing_auss.py", "pipeline.py"} <= files.keys()
    assert {"feature_extraction_auss.py", "video_processing_auss.py", "repository.py"} <= files.keys()
    assert not {"cli.py", "drawing.py", "train.py", "__init__.py"} & files.keys()
    assert all(files[name].name == name and files[name].is_relative_to(ROOT.resolve()) for name in files)


def test_every_import_of_a_flat_file_lies_beside_it(tmp_path):
    write_code(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(code_files())
    for path in tmp_path.iterdir():
        assert {found.parent for found in relative_imports(path)} <= {tmp_path}
        # The loader of Transformers finds imports by this regular expression and takes each match for a file's name.
        names = re.findall(r"^\s*from\s+\.(\S+)\s+import", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(names) == {found.stem for found in relative_imports(path)}


def test_flat_code_is_flattened_to_itself_and_finds_itself_whole(tmp_path, monkeypatch):
    write_code(tmp_path / ".")
    monkeypatch.setattr(flat_code, "__file__", str(tmp_path / "flat_code.py"))
    again = code_files.__wrapped__()
    assert list(again) == list(code_files())
    assert all(path.parent == tmp_path.resolve() for path in again.values())
    for path in again.values():
        source = path.read_text(encoding="utf-8")
        assert sign_code(flatten(source)) == source


def test_transformers_fetches_every_file_whichever_saved_class_it_loads(tmp_path):
    write_code(tmp_path)
    for name in ("modeling_auss", "processing_auss", "feature_extraction_auss", "video_processing_auss", "pipeline"):
        fetched = {Path(path).name for path in get_relative_import_files(tmp_path / f"{name}.py")}
        assert fetched | {f"{name}.py"} == code_files().keys()


def test_the_added_imports_name_what_their_files_define(tmp_path):
    write_code(tmp_path)
    added = (tmp_path / flat_code.SAVING_FILE).read_text(encoding="utf-8")
    assert added.startswith(code_files()[flat_code.SAVING_FILE].read_text(encoding="utf-8"))
    imports = re.findall(r"^ *from \.(\w+) import (.+)$", added, flags=re.MULTILINE)
    assert len(imports) > len(flat_code.ROOTS)
    for file, names in imports:
        source = code_files()[f"{file}.py"].read_text(encoding="utf-8")
        assert all(re.search(rf"^(class|def) {name}\(", source, flags=re.MULTILINE) for name in names.split(", "))


def test_only_imports_across_folders_are_rewritten():
    source = '"""from ..a.b, as text"""\nfrom ..a.b import C\nfrom .d import E\nimport numpy\n\n\ndef f():\n'
    source += "    from ..g.h import (\n        I,\n    )\n"
    flat = '"""from ..a.b, as text"""\nfrom .b import C\nfrom .d import E\nimport numpy\n\n\ndef f():\n'
    assert flatten(source) == flat + "    from .h import (\n        I,\n    )\n"
    for name, file in code_files().items():
        before, after = file.read_text(encoding="utf-8").splitlines(), flatten(file.read_text(encoding="utf-8"))
        changed = [new for old, new in zip(before, after.splitlines(), strict=True) if old != new]
        assert all(re.fullmatch(r"\s*from \.\w+ import .*", line) for line in changed), name


def test_the_card_requires_what_the_code_imports_as_auss_does():
    imported = {module for file in code_files().values() for module in imported_modules(file)}
    others = imported - sys.stdlib_module_names - COME_ALONG
    required = {re.match(r"[\w-]+", requirement).group(): requirement for requirement in REQUIREMENTS}
    # The video processors of Transformers need torchvision, even if no file of auss imports it.
    assert {DISTRIBUTIONS.get(module, module) for module in others} | {"torchvision"} == required.keys()
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    for requirement in (*REQUIREMENTS, TIMM_REQUIREMENT):
        assert re.search(rf"^    {re.escape(requirement)}(;.*)?$", setup, flags=re.MULTILINE), requirement


@pytest.mark.parametrize("line", ["from . import beside", "from .nowhere import X", "from .. import __version__"])
def test_what_no_flat_folder_can_have_is_refused(tmp_path, line):
    (tmp_path / "file.py").write_text(f"import os\n{line}\n")
    with pytest.raises(ValueError, match=f"file.py, line 2: a model repository takes files .* got `{line}`"):
        relative_imports(tmp_path / "file.py")


def test_files_of_one_name_are_refused(tmp_path, monkeypatch):
    for folder, source in (("hub", "from ..a.x import X\nfrom ..b.x import Y\n"), ("a", ""), ("b", "")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ("x.py" if source == "" else "flat_code.py")).write_text(source)
    monkeypatch.setattr(flat_code, "__file__", str(tmp_path / "hub" / "flat_code.py"))
    monkeypatch.setattr(flat_code, "ROOTS", {"hub/flat_code.py": "code_files"})
    with pytest.raises(ValueError, match=r"one folder, but .*x\.py and .*x\.py have the same name"):
        code_files.__wrapped__()


def test_own_files_are_replaced_of_whatever_release(tmp_path):
    write_code(tmp_path)
    current = (tmp_path / "loss.py").read_text(encoding="utf-8")
    (tmp_path / "loss.py").write_text(sign_code("# as an earlier release had it\n"))
    check_code(tmp_path)
    write_code(tmp_path)
    assert (tmp_path / "loss.py").read_text(encoding="utf-8") == current


@pytest.mark.parametrize("content", [b"", b"print('mine')\n", b"# Fran\xe7ois\n", None])
def test_files_of_others_stay_and_nothing_is_written(tmp_path, content):
    if content is None:
        (tmp_path / "loss.py").symlink_to("nowhere")
    else:
        (tmp_path / "loss.py").write_bytes(content)
    with pytest.raises(FileExistsError, match=r"would write its code: loss\.py\. Nothing was written"):
        write_code(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["loss.py"]
    assert content is None or (tmp_path / "loss.py").read_bytes() == content


def test_edited_files_are_somebodys(tmp_path):
    write_code(tmp_path)
    for name, change in (
        ("loss.py", ("import", "import  ")),
        ("pipeline.py", ("replaces it until", "replaces until")),
    ):
        source = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(source.replace(*change), encoding="utf-8")
    with pytest.raises(FileExistsError, match=r": loss\.py, pipeline\.py\. Nothing"):
        check_code(tmp_path)
