"""The tests that the source distribution of the installed Transformers carries, made importable as a package."""

import json
import os
import subprocess
import sys
import tarfile
import types
from pathlib import Path

import transformers

PACKAGE = "transformers_tests"
# In the environment that Transformers is in: never in auss' own tree.
FOLDER = Path(sys.prefix) / "transformers-tests" / transformers.__version__
# Where the pipeline tests look for models.
TINY_MODELS = FOLDER / "tiny-models"
# A configuration without parts is made with these, and must then have them.
COMMON_FIELDS = {"return_dict": False, "output_hidden_states": True, "output_attentions": True, "dtype": "float16"}


def fetch() -> None:
    """Downloads the sdist with pip and unpacks its tests, unless that was done before."""
    package = FOLDER / PACKAGE
    if (package / "__init__.py").is_file():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
    subprocess.run([*pip, "--dest", str(FOLDER), f"transformers=={transformers.__version__}"], check=True)
    with tarfile.open(FOLDER / f"transformers-{transformers.__version__}.tar.gz") as archive:
        for member in archive.getmembers():
            path = Path(member.name)
            if member.isfile() and path.parts[1] == "tests" and path.suffix == ".py":
                file = package.joinpath(*path.parts[2:])
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.extractfile(member).read())
    # The pipeline tests import Transformers from beside themselves.
    (FOLDER / "src").mkdir(exist_ok=True)
    if not (FOLDER / "src" / "transformers").exists():
        (FOLDER / "src" / "transformers").symlink_to(Path(transformers.__file__).parent)
    (package / "__init__.py").touch()  # last: a fetch that was stopped is begun anew


def stand_in(name: str, **contents) -> None:
    """A module that the tests import and the sdist leaves out."""
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    sys.modules[name] = module


def make_importable() -> None:
    """After this `import transformers_tests.test_modeling_common` works, and its like."""
    sys.path.insert(0, str(FOLDER))
    # The tests of the exporters, which docs/export.md tells of, and of generating text.
    stand_in(f"{PACKAGE}.exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
    stand_in(f"{PACKAGE}.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
    stand_in(f"{PACKAGE}.utils.test_configuration_utils", config_common_kwargs=COMMON_FIELDS)
    stand_in("fetch_hub_objects_for_ci", url_to_local_path=lambda url: url)
    # The list of the hub's tiny models, which is read at import, and which ours takes the place of.
    parts = {"tokenizer_classes": [], "processor_classes": ["AussFeatureExtractor"]}
    (TINY_MODELS / "reports").mkdir(parents=True, exist_ok=True)
    summary = json.dumps({"AussForAudioVisualSegmentation": parts})
    (TINY_MODELS / "reports" / "tiny_model_summary.json").write_text(summary, encoding="utf-8")
    os.environ["TRANSFORMERS_TINY_MODEL_PATH"] = str(TINY_MODELS)
