"""Writes the code files of a model repository: one flat folder with every file that loading and saving a model needs.

Transformers loads code from a repository file by file. It reads which files a file imports, and expects them in the
same folder. The sources are therefore copied into one folder, and `from ..folder.file import X` becomes
`from .file import X`. One of the copies gets further imports at its end (`repository_lines`). Code that was itself
loaded from a repository is copied as it is.

The files have ordinary names, like `pipeline.py` and `loss.py`, which a user's own file may have too. auss therefore
signs each file that it writes with a last line, and replaces only files with a valid signature.
"""

import ast
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path

from ..files.whole_files import write_whole

# The files that Transformers loads and the file that writes the repository, each with a name that it defines. A
# repository holds these files and every file that they import, directly or indirectly.
ROOTS = {
    "configuration/configuration_auss.py": "AussConfig",
    "modeling_auss/modeling_auss.py": "AussModel",
    "processing/feature_extraction_auss.py": "AussFeatureExtractor",
    "processing/video_processing_auss.py": "AussVideoProcessor",
    "processing/processing_auss.py": "AussProcessor",
    "inference/pipeline.py": "AudioVisualSegmentationPipeline",
    "hub/repository.py": "save_repository",
}
# Every class that can be saved imports this file. In a repository, `repository_lines` are added to its end.
SAVING_FILE = "repository_saving.py"
IMPORT_ACROSS_FOLDERS = re.compile(r"^(\s*from )\.+(?:\w+\.)*(\w+ import\b)", flags=re.MULTILINE)

SIGNATURE = "# auss wrote this file, and replaces it until it is edited: {digest}\n"
SIGNED_FILE = re.compile(r"(.*)# auss wrote this file, and replaces it until it is edited: \w+\n", flags=re.DOTALL)


def relative_imports(file: Path) -> list[Path]:
    """Returns the files that `file` imports relatively, at the top or inside a function.

    Raises:
        ValueError: an import is impossible in a flat folder: `from . import X`, or an import of something that is not
            a file.
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
    """Whether this file itself lies in the flat folder of a model repository, or in Transformers' copy of one."""
    return all((Path(__file__).resolve().parent / Path(root).name).is_file() for root in ROOTS)


@lru_cache(maxsize=1)
def code_files() -> dict[str, Path]:
    """Returns the code files of a repository: file name -> path of the source, in alphabetical order.

    Raises:
        ValueError: two files have the same name, or a file has an import that is impossible in a flat folder.
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
    """Returns the source text with `from ..folder.file import X` changed to `from .file import X`."""
    return IMPORT_ACROSS_FOLDERS.sub(r"\1.\2", source)


def sign_code(source: str) -> str:
    """Returns the source text with the signature line at its end. An old signature line is replaced."""
    match = SIGNED_FILE.fullmatch(source)
    text = match.group(1) if match else source
    return text + SIGNATURE.format(digest=hashlib.sha256(text.encode()).hexdigest()[:16])


def is_untouched_code(file: Path) -> bool:
    """Whether some release of auss wrote this file and nobody has changed the file since."""
    if not file.is_file():
        return False
    source = file.read_text(encoding="utf-8", errors="replace")
    return SIGNED_FILE.fullmatch(source) is not None and sign_code(source) == source


def repository_lines() -> str:
    """
    Returns the lines that are added to the copy of `repository_saving.py`. The lines register the writer of
    repositories, as `auss/__init__.py` does in the package. They also import every file that `ROOTS` names.
    Transformers reads these imports and downloads every file, whichever class is loaded first. The loaded object can
    therefore be saved again with all code files.
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
    """Returns the signed text that a repository holds for the source `file`."""
    source = file.read_text(encoding="utf-8")
    if is_in_repository():
        return sign_code(source)
    return sign_code(flatten(source) + (repository_lines() if file.name == SAVING_FILE else ""))


@lru_cache(maxsize=1)
def repository_texts() -> dict[str, str]:
    """Returns the code files of a repository: file name -> signed text. The sources are read once in a process."""
    return {name: repository_text(file) for name, file in code_files().items()}


def holds(path: Path, text: str) -> bool:
    """Whether `path` is a file, and no link, with exactly this text."""
    return path.is_file() and not path.is_symlink() and path.read_bytes() == text.encode("utf-8")


def check_code(folder: str | Path, remedy: str = "") -> None:
    """
    Checks that writing the code files would not replace a file of the user.

    Args:
        folder: the folder for the code files.
        remedy: what else the user can do; this text is added to the error message.

    Raises:
        FileExistsError: a file in `folder` has the name of a code file, and auss did not write it or it was edited.
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
    """Writes all code files into the existing folder `folder`. Files that are there and up to date stay.

    Raises:
        FileExistsError: as in `check_code`. Nothing has been written then.
    """
    check_code(folder)
    for name, text in repository_texts().items():
        path = Path(folder) / name
        if not holds(path, text):
            write_whole(path, text)


__all__ = ["check_code", "code_files", "flatten", "relative_imports", "write_code"]
