"""Files that get their names only when they are complete."""

import os
import stat
from pathlib import Path

from .claims import Claim
from .file_names import printable
from .stopping import stops_deferred


class WholeFile:
    """
    A file that the caller writes to `partial_path`, and that gets its name at the end. Use it in a `with` statement,
    or call `finish` or `abandon`.

    Args:
        path: the file's name. Its folder is made if missing.
        overwrite: whether the new file may replace a file of this name.
        exclusive: False if several runs may write the file at the same time. The last file then stays.

    Raises:
        FileExistsError: a file of this name exists, now or at the end, and `overwrite` is False.
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
            kind = os.lstat(self.path).st_mode  # raises OSError for a name that is too long, before any writing
        except FileNotFoundError:
            return
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(f"{printable(self.path)} is a folder, and a file was to be written there")
        if not self._overwrite:
            raise FileExistsError(f"{printable(self.path)} exists: choose another name, or allow it to be replaced")

    def finish(self) -> None:
        """Gives the file its name. If a link has this name, the link is replaced and its target stays."""
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
            os.link(self.partial_path, self.path)  # fails if the name is taken; renaming would replace the file
        except FileExistsError as error:
            raise FileExistsError(f"{printable(self.path)} was made by somebody else meanwhile, and stays") from error
        except OSError:  # a file system without hard links
            os.rename(self.partial_path, self.path)

    def abandon(self) -> None:
        """Removes the partial file."""
        self._claim.release()

    def __enter__(self) -> "WholeFile":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Writes a small file and replaces an earlier file; text is written as UTF-8. If the writing breaks off, the
    earlier file stays as it was."""
    with WholeFile(path, overwrite=True, exclusive=False) as file:
        if isinstance(content, str):
            content = content.encode("utf-8", errors="backslashreplace")
        file.partial_path.write_bytes(content)


__all__ = ["WholeFile", "write_whole"]
