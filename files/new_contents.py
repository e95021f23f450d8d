"""Makes new contents for a folder in a hidden workspace, and moves them into place when all of them are complete."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from .claims import Claim, is_claim, tidy
from .file_names import printable
from .installation import NEW, install


def missing_folders(folder: Path) -> list[Path]:
    """Returns `folder` and those folders above it that do not exist, the innermost first."""
    missing = []
    for path in (folder, *folder.parents):
        if os.path.lexists(path):
            break
        missing.append(path)
    return missing


def entries(folder: Path) -> list[Path]:
    """Returns the entries of a folder, except unfinished results of auss. The list is empty without such a folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_claim(path.name))


class NewContents:
    """
    A hidden workspace in a folder. The caller writes into the subfolder `new` and calls `install`. Whatever is not
    installed is removed at the end of the `with` statement. If a run is killed, the next run removes its workspace.

    Args:
        folder: made if missing, and removed again if it stays empty.
        target: the name of the entry of `folder` that is made. Runs that make other entries may work at the same time.
            "" stands for the folder as a whole.

    Raises:
        BusyError: another run makes the same target.
        NotADirectoryError: `folder` is a file.
    """

    def __init__(self, folder: str | Path, target: str = ""):
        self.folder = Path(folder)
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise NotADirectoryError(f"{printable(self.folder)} is no folder")
        self._missing = missing_folders(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._claim = Claim(self.folder, target, directory=True)
            self.new = self._claim.path / NEW
            self.new.mkdir()
        except BaseException:
            self._remove_empty()
            raise

    def install(self, old: Iterable[str] = (), last: Sequence[str] = ()) -> None:
        """Moves everything in `new` into the folder; see `installation.install`."""
        install(self._claim.path, self.folder, old, last)

    def close(self) -> None:
        """Removes the workspace. Also removes the folders that were made for it, if they are empty."""
        self._claim.release()
        self._remove_empty()

    def _remove_empty(self) -> None:
        for path in self._missing:
            try:
                path.rmdir()
            except OSError:  # the folder is not empty
                return

    def __enter__(self) -> "NewContents":
        return self

    def __exit__(self, *_) -> None:
        self.close()


__all__ = ["NewContents", "entries", "tidy"]
