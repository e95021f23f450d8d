"""File permissions: give files the permissions of the umask, and raise a clear error for a file that is unreadable."""

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path


def new_file_mode(folder: str | Path) -> int:
    """Returns the permission bits of a new file in `folder`. The umask and the folder's default permissions decide
    them. The function makes a file and removes it, because reading the umask would change it for all threads."""
    path = Path(folder) / f".auss-{secrets.token_hex(8)}"
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
        os.unlink(path)


def follow_umask(paths: Iterable[str | Path]) -> None:
    """Gives each regular file the permissions that a new file in its folder gets. Some libraries, such as safetensors,
    write through temporary files. Their files would otherwise be readable only for their owner."""
    modes: dict[Path, int] = {}
    for path in map(Path, paths):
        if path.is_symlink() or not path.is_file():
            continue
        if path.parent not in modes:
            modes[path.parent] = new_file_mode(path.parent)
        os.chmod(path, modes[path.parent])


def file_stamps(folder: str | Path, pattern: str = "*.safetensors") -> dict[Path, tuple[int, int]]:
    """Returns (inode, time of change) of each matching file in `folder`. A later call gives other values for the files
    that were written in between."""
    found = {}
    for path in Path(folder).glob(pattern):
        facts = path.lstat()
        found[path] = (facts.st_ino, facts.st_mtime_ns)
    return found


def check_readable(path: str | Path, name: str = "file") -> None:
    """
    Checks a file's permissions before a library reads the file. Some libraries report an unreadable file as missing.

    Args:
        path: the file.
        name: how the error message calls the file.

    Raises:
        PermissionError: the file exists, but this user may not read it.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))
    except PermissionError as error:
        raise PermissionError(errno.EACCES, f"{name} {path} cannot be read: permission denied") from error
    except OSError:
        return  # the file is missing or a folder; the library reports that itself


__all__ = ["check_readable", "file_stamps", "follow_umask", "new_file_mode"]
