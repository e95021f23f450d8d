"""The folders of auss and the imports between them, read from the sources: `python tests/layout.py` draws them."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Imports go down this list, never up.
LAYERS = ("demo", "web", "inference", "train", "hub", "modeling_auss", "processing", "configuration", "files")
# These start a command and so need the command line, which stands above all folders.
ENTRY_POINTS = ("inference/__main__", "train/__main__")


def folders() -> list[Path]:
    """The folders with code of auss, without tests and benchmarks."""
    return [folder for layer in LAYERS for folder in sorted({path.parent for path in (ROOT / layer).rglob("*.py")})]


def modules() -> dict[str, Path]:
    """Every module of auss: its path from the root, without suffix -> its file."""
    files = [*ROOT.glob("*.py"), *(path for folder in folders() for path in sorted(folder.glob("*.py")))]
    return {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in files if path.name != "setup.py"}


def imports() -> Iterator[tuple[str, str]]:
    """Pairs of a module and a module of auss that it imports, wherever in the file the import stands."""
    known = modules()
    for module, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level == 0:
                continue
            place = [*module.split("/")[: -node.level], *(node.module or "").split(".")]
            target = "/".join(part for part in place if part)
            for name in node.names:
                inner = f"{target}/{name.name}".lstrip("/")
                yield module, inner if inner in known else target or "__init__"


def layer(module: str) -> str:
    """The folder at the root in which a module lies; of one at the root itself, nothing."""
    return module.split("/")[0] if "/" in module else ""


def mermaid() -> str:
    """A drawing of the folders at the root and the number of imports from one to another."""
    counts = Counter((layer(one), layer(other)) for one, other in set(imports()))
    sizes = Counter(layer(module) for module in modules())
    lines = ["graph TD", f'    root["auss, cli: {sizes[""]} files"]']
    lines += [f'    {name}["{name}: {sizes[name]} files"]' for name in LAYERS]
    for (one, other), count in sorted(counts.items()):
        if one != other:
            lines.append(f"    {one or 'root'} -->|{count}| {other or 'root'}")
    return "\n".join(lines)


def main() -> int:
    print(mermaid())
    return 0


if __name__ == "__main__":
    sys.exit(main())
