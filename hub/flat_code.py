"""The code files of a model repository: all that the models, the processors and the pipeline import, in one folder.

Transformers loads code from a repository file by file and wants every file beside the first. So the sources are taken
as they are, but for imports across folders: `from ..folder.file import X` becomes `from .file import X`. Code that was
itself loaded from a repository is flat already, and is copied by the same rule. The names are ordinary ones, like
`pipeline.py` and `loss.py`: a last line tells files that auss wrote, which it may replace, from the user's own.
"""

import ast
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Never run. `code_files` starts from these imports, and so does Transformers' loader, which looks for lines like
    # them: whatever part of auss came out of a repository, the rest lies beside it, and can be saved again.
    from ..configuration.configuration_auss import AussConfig  # noqa: F401
    from ..inference.pipeline import AudioVisualSegmentationPipeline  # noqa: F401
    from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation, AussModel  # noqa: F401
    from ..processing.feature_extraction_auss import AussFeatureExtractor  # noqa: F401
    from ..processing.processing_auss import AussProcessor  # noqa: F401
    from ..processing.video_processing_auss import AussVideoProcessor  # noqa: F401
    from .repository import RepositoryMixin  # noqa: F401

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


@lru_cache(maxsize=1)
def code_files() -> dict[str, Path]:
    """The files of a repository: name there -> where it is here, in alphabetical order.

    Raises:
        ValueError: two of the files have the same name, or one imports what a flat folder cannot have.
    """
    files: dict[str, Path] = {}
    waiting = [Path(__file__).resolve()]
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


def check_code(folder: str | Path) -> None:
    """
    Raises:
        FileExistsError: `folder` has files with names of code files that auss did not write, or that were edited.
    """
    found = [name for name in code_files() if os.path.lexists(Path(folder) / name)]
    others = [name for name in found if not is_untouched_code(Path(folder) / name)]
    if others:
        raise FileExistsError(
            f"{folder} has files that auss did not write, or that were edited, where it would write its code: "
            f"{', '.join(others)}. Nothing was written: choose another folder, or move them"
        )


def write_code(folder: str | Path) -> None:
    """Writes all code files into `folder`, which exists.

    Raises:
        FileExistsError: as `check_code`, before anything is written.
    """
    check_code(folder)
    for name, file in code_files().items():
        source = sign_code(flatten(file.read_text(encoding="utf-8")))
        (Path(folder) / name).write_text(source, encoding="utf-8")


__all__ = ["check_code", "code_files", "flatten", "relative_imports", "write_code"]
