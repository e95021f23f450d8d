"""Adds to the site what does not lie in docs/: the pages at the root of the repository, and the reference of the
public names. mkdocs calls the functions of this file (mkdocs.yml, `hooks`)."""

import ast
import re
from collections import defaultdict
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# A page of the site -> the file that it is made of.
ROOT_PAGES = {
    "index.md": "README.md",
    "SECURITY.md": "SECURITY.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "auss-stamps.md": "hub/stamps/README.md",
}
# Where the links of the site's pages lead. On the site all pages lie in one folder.
LINKS = (
    (r"\]\((?:\.\./|docs/)", "]("),
    (r"\]\(README\.md", "](index.md"),
    (r"\]\(hub/stamps/README\.md", "](auss-stamps.md"),
)


def public_names() -> dict[str, list[str]]:
    """Returns the public names of auss with their modules, `auss.configuration...AussConfig`, by folder."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    tables = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(one, "id", "") == "_PUBLIC_NAMES" for one in node.targets)
    )
    names = defaultdict(list)
    for name, module in ast.literal_eval(next(tables)).items():
        names[module.split(".")[1]].append(f"auss{module}.{name}")
    return dict(names)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    for page, source in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for folder, names in public_names().items():
        text = f"# auss.{folder}\n\nThese names are imported from `auss` itself.\n\n"
        text += "\n".join(f"::: {name}\n" for name in names)
        files.append(File.generated(config, f"reference/{folder}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links between pages of the site."""
    for pattern, replacement in LINKS:
        markdown = re.sub(pattern, replacement, markdown)
    return markdown
