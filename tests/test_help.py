"""What `help()` shows of the public names, and what type checkers and editors are told."""

import ast
import importlib
import inspect
import pydoc
import re
from pathlib import Path

import pytest

import auss

ROOT = Path(auss.__file__).parent
PUBLIC = [name for name in auss.__all__ if name != "__version__"]
# (B, F, 3, H, W), (samples,), (..., 3), (B*F, N, K + 1)
SHAPE = re.compile(r"\((?:\.\.\.|[A-Za-z][\w*+ ]*),[\w*+ ,.]*\)")


def public_modules():
    """The modules that public names come from, and those of what the README's examples import."""
    modules = {importlib.import_module(getattr(auss, name).__module__) for name in PUBLIC}
    others = ("inference.pipeline", "inference.segment", "modeling_auss.outputs", "train.evaluation.evaluate")
    modules |= {
        importlib.import_module(f"auss.{name}") for name in (*others, "train.evaluation.metrics", "train.loop.train")
    }
    return sorted(modules, key=lambda module: module.__name__)


def members(module):
    """(name, object) of a module's public functions and classes, and of the methods that its classes define."""
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) and value.__module__ == module.__name__:
            yield name, value
            for attribute, member in vars(value).items():
                function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                if inspect.isfunction(function) and (not attribute.startswith("_") or attribute == "__call__"):
                    yield f"{name}.{attribute}", getattr(value, attribute)
        elif inspect.isfunction(value):
            yield name, value


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_public_names_have_a_docstring_and_tensors_a_shape(module):
    names = dict(members(module))
    undocumented = [name for name, value in names.items() if not inspect.getdoc(value)]
    assert undocumented == []
    shapeless = []
    for name, value in names.items():
        if inspect.isclass(value) or isinstance(value, property):
            continue
        annotations = str(inspect.signature(value))
        takes_arrays = "Tensor" in annotations or "ndarray" in annotations
        if takes_arrays and not SHAPE.search(inspect.getdoc(value)):
            shapeless.append(name)
    assert shapeless == []


def test_the_modules_looked_at_are_those_of_the_public_names():
    assert len(public_modules()) >= 12
    assert {name for module in public_modules() for name, _ in members(module)} >= set(PUBLIC)


@pytest.mark.parametrize(
    "of, shapes",
    [
        (
            auss.AussForAudioVisualSegmentation.forward,
            ["(B, F, 3, H, W)", "(B, T, 96, 64)", "(B, T)", "(B, F, H, W)", "(B, F, K, h, w)"],
        ),
        (auss.AussModel.forward, ["(B, F, 3, H, W)", "(B, T, 96, 64)", "(B, F, N, e)"]),
        (auss.AussProcessor.__call__, ["(B, F, 3, H, W) float32", "(B, T, 96, 64) float32", "(B, T) int64"]),
        (auss.AussProcessor.post_process_audio_visual_segmentation, ["(F, height, width)"]),
        (auss.AussFeatureExtractor.__call__, ["(B, T, 96, 64)"]),
        (auss.AussDataCollator.__call__, ["(B, F, 3, H, W) float32", "(B, F, h, w) int64"]),
        (auss.AussTrainerMetrics, ["(B, F, K, h, w)", "(B, F, H, W)"]),
        (auss.metric_path, ["(F, H, W)"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_help_shows_the_shapes(of, shapes):
    """Decorators keep the docstring and the parameters' names."""
    shown = pydoc.plain(pydoc.render_doc(of))
    for shape in shapes:
        assert shape in shown


def test_help_on_forward_shows_its_parameters():
    shown = pydoc.plain(pydoc.render_doc(auss.AussForAudioVisualSegmentation.forward)).replace("\n", " ")
    assert re.search(r"forward\(self, pixel_values: torch.Tensor, .*labels: torch.Tensor | None = None", shown)


def test_type_checkers_see_the_names_that_are_imported_at_run_time():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {alias.name: f".{node.module}" for node in block.body for alias in node.names}
    assert imported == auss._PUBLIC_NAMES
    assert set(auss.__all__) == {*imported, "__version__"}
    assert auss.__all__ == sorted(auss.__all__)
    assert (ROOT / "py.typed").read_bytes() == b""
