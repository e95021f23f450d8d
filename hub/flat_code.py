"""The code files of a model repository: all that the models, the processors and the pipeline import, in one folder.

Transformers loads code from a repository file by file: it reads which files a file imports, and wants them beside it.
So the sources are copied into one folder, and `from ..folder.file import X` becomes `from .file import X`. One of the
copies gets further imports at its end (`repository_lines`). Code that was itself loaded from a repository is copied as
it is.

The files have ordinary names, like `pipeline.py` and `loss.py`. A last line marks those that auss wrote, which it may
replace, so that it never replaces the user's own.
"""

import ast
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path

# Where the files of a repository start, and a name that each defines: what Transformers loads, and what writes the
# repository. All that these files import comes along.
ROOTS = {
    "configuration/configuration_auss.py": "AussConfig",
    "modeling_auss/modeling_auss.py": "AussModel",
    "processing/feature_extraction_auss.py": "AussFeatureExtractor",
    "processing/video_processing_auss.py": "AussVideoProcessor",
    "processing/processing_auss.py": "AussProcessor",
    "inference/pipeline.py": "AudioVisualSegmentationPipeline",
    "hub/repository.py": "save_repository",
}
# Every class that is saved imports this file. Its copy in a repository has lines of its own at the end.
SAVING_FILE = "repository_saving.py"
IMPORT_ACROSS_FOLDERS = re.compile(r"^(\s*from )\.+(?:\w+\.)*(\w+ import\b)", flags=re.MULTILINE)

SIGNATURE = "# auss wrote this file, and replaces it until it is edited: {digest}\n"
SIGNED_FILE = re.compile(r"(.*)# auss wrote this file, and replaces it until it is edited: \w+\n", flags=re.DOTALL)


def relative_imports(file: Path) -> list[Path]:
    """The files that `file` imports relatively, wherever in it the import stands.

    Raises:
        ValueError: an import that a flat folder cannot have: `from . import X`, or of something that is no file.
    """
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        folder = file.parents[node.level - 1]
        imported = folder.joinpath(*(node.module or "").split(".")).with_suffix(".py")
        if node.module is None or not imported.is_file():
            raise ValueError(
                f"{file}, line {node.lineno}: a model repository takes files imported as `from .file import X` or "
                f"`from ..folder.file import X`, got `{ast.unparse(node)}`"
            )
        found.append(imported)
    return found


def is_in_repository() -> bool:
    """Whether this very code lies flat in a model repository, or in the place to which Transformers copied it."""
    return all((Path(__file__).resolve().parent / Path(root).name).is_file() for root in ROOTS)


@lru_cache(maxsize=1)
def code_files() -> dict[str, Path]:
    """The files of a repository: name there -> where it is here, in alphabetical order.

    Raises:
        ValueError: two of the files have the same name, or one imports what a flat folder cannot have.
    """
    files: dict[str, Path] = {}
    here = Path(__file__).resolve().parent
    waiting = [here / Path(root).name if is_in_repository() else here.parent / root for root in ROOTS]
    while waiting:
        file = waiting.pop()
        known = files.setdefault(file.name, file)
        if known != file:
            raise ValueError(f"a model repository is one folder, but {known} and {file} have the same name")
        waiting += [imported for imported in relative_imports(file) if files.get(imported.name) != imported]
    return dict(sorted(files.items()))


def flatten(source: str) -> str:
    """The source text with `from ..folder.file import X` turned into `from .file import X`."""
    return IMPORT_ACROSS_FOLDERS.sub(r"\1.\2", source)


def sign_code(source: str) -> str:
    """The source text with a last line by which `is_untouched_code` knows it; the line it may have is renewed."""
    match = SIGNED_FILE.fullmatch(source)
    text = match.group(1) if match else source
    return text + SIGNATURE.format(digest=hashlib.sha256(text.encode()).hexdigest()[:16])


def is_untouched_code(file: Path) -> bool:
    """Whether auss wrote this file, of whatever release, and nobody has changed it since."""
    if not file.is_file():
        return False
    source = file.read_text(encoding="utf-8", errors="replace")
    return SIGNED_FILE.fullmatch(source) is not None and sign_code(source) == source


def repository_lines() -> str:
    """
    The lines at the end of the copy of `repository_saving.py`. They register the writer of repositories, as
    `auss/__init__.py` does in the package. And they import every file that `ROOTS` names: Transformers reads these
    imports and fetches the files, whichever class is loaded first, so that it can be saved again with all of the code.
    """
    imports = [f"    from .{Path(root).stem} import {name}" for root, name in ROOTS.items()]
    lines = [
        *("", ""),
        "# auss wrote these lines into this copy, so that what is loaded from here can be saved again.",
        "from .repository import push_repository, save_repository",
        "",
        "register_repository_writer(save_repository, push_repository)",
        *("", ""),
        "def files_to_fetch():",
        '    """Not called: Transformers reads these imports and fetches the files that they name."""',
        *imports,
    ]
    return "\n".join([*lines, ""])


def repository_text(file: Path) -> str:
    """What a repository has of a code file, signed."""
    source = file.read_text(encoding="utf-8")
    if is_in_repository():
        return sign_code(source)
    return sign_code(flatten(source) + (repository_lines() if file.name == SAVING_FILE else ""))


def check_code(folder: str | Path, remedy: str = "") -> None:
    """
    Args:
        folder: where the code files are to be written.
        remedy: what else the caller can do, for the message.

    Raises:
        FileExistsError: `folder` has files with names of code files that auss did not write, or that were edited.
    """
    found = [name for name in code_files() if os.path.lexists(Path(folder) / name)]
    others = [name for name in found if not is_untouched_code(Path(folder) / name)]
    if others:
        raise FileExistsError(
            f"{folder} has files that auss did not write, or that were edited, where it would write its code: "
            f"{', '.join(others)}. Nothing was written: choose another folder, or move them"
            + (f", or {remedy}" if remedy else "")
        )


def write_code(folder: str | Path) -> None:
    """Writes all code files into `folder`, which exists.

    Raises:
        FileExistsError: as `check_code`, before anything is written.
    """
    check_code(folder)
    for name, file in code_files().items():
        (Path(folder) / name).write_text(repository_text(file), encoding="utf-8")


__all__ = ["check_code", "code_files", "flatten", "relative_imports", "write_code"]
