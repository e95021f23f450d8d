"""New contents of a folder, made aside inside it and put into their places when all of them are complete."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from .claims import Claim, is_claim, tidy
from .file_names import printable
from .installation import NEW, install


def missing_folders(folder: Path) -> list[Path]:
    """Those of a folder and the folders around it that are not there, the innermost first."""
    missing = []
    for path in (folder, *folder.parents):
        if os.path.lexists(path):
            break
        missing.append(path)
    return missing


def entries(folder: Path) -> list[Path]:
    """What is in a folder, without what runs of auss have in the making there. Empty if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_claim(path.name))


class NewContents:
    """
    A hidden workspace in a folder; what is written to `new` in it is installed by `install`, or gone after the `with`
    statement. A killed run's workspace is tidied up by the next one.

    Args:
        folder: is made if missing, and removed again if nothing comes into it.
        target: the name in `folder` that is made, so that runs which make others may work beside this one; "" for the
            folder as a whole.

    Raises:
        BusyError: another run is at work on the same.
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
        """Puts everything in `new` into the folder; see `installation.install`."""
        install(self._claim.path, self.folder, old, last)

    def close(self) -> None:
        """Removes the workspace, and folders that were made for it and are empty."""
        self._claim.release()
        self._remove_empty()

    def _remove_empty(self) -> None:
        for path in self._missing:
            try:
                path.rmdir()
            except OSError:  # something is in it
                return

    def __enter__(self) -> "NewContents":
        return self

    def __exit__(self, *_) -> None:
        self.close()


__all__ = ["NewContents", "entries", "tidy"]
