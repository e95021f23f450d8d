"""The layout that CONTRIBUTING.md describes: small folders, and imports that go one way."""

import ast
import graphlib

from . import layout

MOST_FILES = 12
MOST_LINES = 400


def test_every_folder_is_small_and_says_what_is_in_it():
    for folder in layout.folders():
        files = [path for path in folder.glob("*.py") if not path.stem.startswith("__")]
        assert len(files) <= MOST_FILES, f"{folder} has {len(files)} files"
        if folder.name == "metric_scripts":  # loaded by path, as `evaluate` wants it; no package
            continue
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))), folder


def test_no_file_is_too_long_to_read():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in layout.modules().items()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_imports_go_down_the_layers():
    ranks = {name: rank for rank, name in enumerate(layout.LAYERS, start=1)} | {"": 0}
    wrong = [
        f"{one} imports {other}"
        for one, other in set(layout.imports())
        if ranks[layout.layer(other)] < ranks[layout.layer(one)] and one not in layout.ENTRY_POINTS
    ]
    assert sorted(wrong) == []


def test_no_file_imports_in_a_circle():
    graph: dict[str, set[str]] = {}
    for one, other in layout.imports():
        graph.setdefault(one, set()).add(other)
    graph["__init__"] = set()  # it imports the public names lazily, and every submodule's import runs it first
    order = tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert set(graph) <= set(order)


def test_every_import_is_of_a_module_that_exists():
    known = layout.modules()
    imported = list(layout.imports())
    assert len(imported) > 300
    assert [pair for pair in imported if pair[1] not in known and f"{pair[1]}/__init__" not in known] == []


# Every command has a `run`, and every file that is called as a program a `main`.
SHARED_NAMES = {"run", "main"}


def test_no_two_functions_or_classes_share_a_name():
    places: dict[str, list[str]] = {}
    for module, path in layout.modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert len(places) > 500
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in SHARED_NAMES} == {}


def test_builds_of_torch_without_distributed_can_import_every_file():
    """`import torch` gives them `torch.distributed.is_available`, and nothing below it."""
    found = []
    for name, path in layout.modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # what runs at import, and not inside functions
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [name for one in imported if one.startswith("torch.distributed")]
    assert found == []
