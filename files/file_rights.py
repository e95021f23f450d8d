"""Rights of files: those that the umask gives, and a plain word where a file cannot be read."""

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path


def new_file_mode(folder: str | Path) -> int:
    """The permission bits that a file gets which is newly made in `folder`. The umask and the folder's own default
    rights decide them. A file is made and removed to find out, because asking for the umask would change it for all
    threads."""
    path = Path(folder) / f".auss-{secrets.token_hex(8)}"
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
        os.unlink(path)


def follow_umask(paths: Iterable[str | Path]) -> None:
    """Gives each regular file the rights that any newly made file gets in its folder. Libraries that write through
    temporary files, as safetensors does, leave files that only their owner can read."""
    modes: dict[Path, int] = {}
    for path in map(Path, paths):
        if path.is_symlink() or not path.is_file():
            continue
        if path.parent not in modes:
            modes[path.parent] = new_file_mode(path.parent)
        os.chmod(path, modes[path.parent])


def file_stamps(folder: str | Path, pattern: str = "*.safetensors") -> dict[Path, tuple[int, int]]:
    """(inode, time of change) of the files in `folder`, by which a later look tells which of them were written."""
    found = {}
    for path in Path(folder).glob(pattern):
        facts = path.lstat()
        found[path] = (facts.st_ino, facts.st_mtime_ns)
    return found


def check_readable(path: str | Path, name: str = "file") -> None:
    """
    Args:
        path: a file that is about to be read by a library.
        name: what the message calls the file.

    Raises:
        PermissionError: the file is there and may not be read. Some libraries call such a file missing.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))
    except PermissionError as error:
        raise PermissionError(errno.EACCES, f"{name} {path} cannot be read: permission denied") from error
    except OSError:
        return  # missing, or a folder: the reader has words of its own for it


__all__ = ["check_readable", "file_stamps", "follow_umask", "new_file_mode"]
