"""The site of `make docs`: it has every page, and every public name."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import auss

ROOT = Path(auss.__file__).resolve().parent


class SiteLoader(yaml.SafeLoader):
    """Reads mkdocs.yml, which names a Python function."""


SiteLoader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, suffix, node: suffix)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), SiteLoader)


def pages(entries: list) -> list[str]:
    """The files of a navigation, in its order."""
    found = []
    for entry in entries:
        (target,) = entry.values()
        found += pages(target) if isinstance(target, list) else [target]
    return found


def test_the_navigation_has_every_page_once():
    listed = pages(SITE["nav"])
    assert len(listed) == len(set(listed))
    written = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert {page for page in listed if (ROOT / "docs" / page).exists()} == written


def test_the_navigation_has_the_reference_of_every_folder_with_public_names():
    folders = {module.split(".")[1] for module in auss._PUBLIC_NAMES.values()}
    reference = {Path(page).stem for page in pages(SITE["nav"]) if page.startswith("reference/")}
    assert reference == folders


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs pip install '.[docs]'")
def test_the_site_is_built_without_a_warning(tmp_path):
    importable = ROOT / ".venv" / "importable"
    importable.mkdir(parents=True, exist_ok=True)
    if not (importable / "auss").exists():
        (importable / "auss").symlink_to(ROOT)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    for name, module in auss._PUBLIC_NAMES.items():
        page = tmp_path / "site" / "reference" / module.split(".")[1] / "index.html"
        assert f'id="auss{module}.{name}"' in page.read_text(encoding="utf-8")
