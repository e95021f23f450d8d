"""Files that appear under their names when they are complete, and not before."""

import os
import stat
from pathlib import Path

from .claims import Claim
from .file_names import printable
from .stopping import stops_deferred


class WholeFile:
    """
    A file that is written as `partial_path` and gets its name at the end. To be used in a `with` statement, or with
    `finish` and `abandon`.

    Args:
        path: the file's name. Its folder is made if missing.
        overwrite: whether a file of this name may be replaced, at the end.
        exclusive: False if several runs may write it at once, and the last one is to stay.

    Raises:
        FileExistsError: the name is taken, now or at the end, and may not be.
        BusyError: another run is writing the same file.
    """

    def __init__(self, path: str | Path, overwrite: bool = False, exclusive: bool = True):
        self.path, self._overwrite = Path(path), overwrite
        self._check()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._claim = Claim(self.path.parent, self.path.name, suffix=self.path.suffix, exclusive=exclusive)
        self.partial_path = self._claim.path

    def _check(self) -> None:
        try:
            kind = os.lstat(self.path).st_mode  # raises where the name is too long, before anything is written
        except FileNotFoundError:
            return
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(f"{printable(self.path)} is a folder, and a file was to be written there")
        if not self._overwrite:
            raise FileExistsError(f"{printable(self.path)} exists: choose another name, or allow it to be replaced")

    def finish(self) -> None:
        """Gives the file its name. A link of this name is replaced, not what it points to."""
        with stops_deferred():
            try:
                self._check()
                if self._overwrite:
                    os.replace(self.partial_path, self.path)
                else:
                    self._link()
            finally:
                self._claim.release()

    def _link(self) -> None:
        try:
            os.link(self.partial_path, self.path)  # which fails, as renaming does not, if the name is taken
        except FileExistsError as error:
            raise FileExistsError(f"{printable(self.path)} was made by somebody else meanwhile, and stays") from error
        except OSError:  # a file system without hard links
            os.rename(self.partial_path, self.path)

    def abandon(self) -> None:
        """Removes what has been written."""
        self._claim.release()

    def __enter__(self) -> "WholeFile":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Writes a small file, text as UTF-8, in the place of an earlier one. It is whole or as it was before."""
    with WholeFile(path, overwrite=True, exclusive=False) as file:
        if isinstance(content, str):
            content = content.encode("utf-8", errors="backslashreplace")
        file.partial_path.write_bytes(content)


__all__ = ["WholeFile", "write_whole"]
