"""The files for a Space in `examples/space/`: they belong together, and the app serves the page."""

import configparser
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import auss

from .pages import free_port

ROOT = Path(auss.__file__).resolve().parent
SPACE = ROOT / "examples" / "space"


def front_matter():
    _, head, _ = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head)


def test_the_front_matter_fits_the_package():
    head, setup = front_matter(), configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert head["sdk"] == "gradio" and (SPACE / head["app_file"]).is_file()
    assert head["python_version"] in SpecifierSet(setup["options"]["python_requires"])
    (gradio,) = (
        Requirement(line) for line in setup["options.extras_require"]["web"].split("\n") if line.startswith("gradio")
    )
    assert head["sdk_version"] in gradio.specifier


def test_the_requirements_are_the_wheel_with_the_pages_extra():
    lines = (SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    (requirement,) = (Requirement(line) for line in lines if not line.startswith("#"))
    assert (requirement.name, requirement.extras) == ("auss", {"web"})
    wheel = f"auss-{auss.__version__}-py3-none-any.whl"
    assert requirement.url and requirement.url.endswith(f"/{wheel}")
    assert wheel in (SPACE / "README.md").read_text(encoding="utf-8")


def test_the_app_serves_the_page_with_its_limits(model_folder, monkeypatch):
    pytest.importorskip("gradio", reason="the extra 'web' is not installed")
    import httpx

    port, pages = free_port(), []
    monkeypatch.setenv("AUSS_MODEL", str(model_folder))
    monkeypatch.setenv("AUSS_MAX_SECONDS", "45")
    monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
    spec = importlib.util.spec_from_file_location("space_app", SPACE / "app.py")
    assert spec is not None and spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)

    class VisitInsteadOfWaiting:
        def wait(self):
            pages.append(httpx.get(f"http://127.0.0.1:{port}/config").json())

    # Only the app's own waiting is replaced: the server behind the page uses events, too.
    monkeypatch.setattr(app, "threading", SimpleNamespace(Event=VisitInsteadOfWaiting))
    app.main()
    texts = [str(one["props"].get("value")) for one in pages[0]["components"]]
    assert any("At most 45 seconds and 100 MB." in text for text in texts)
