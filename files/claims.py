"""Hidden files and folders that one run writes into before its results appear under their names.

A run creates its claim exclusively: if the name is taken, the creation fails. A claim is therefore never somebody's
link or another run's file. The run locks its claim. The operating system ends the lock when the process ends, however
the process ends. A claim without a lock is therefore a leftover, and the next run removes it. If the file system has
no locks, a run leaves the claims of other runs alone.
"""

import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .file_names import printable
from .installation import finish_installation, was_installing
from .stopping import stops_deferred

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

logger = logging.getLogger(__name__)

# The name holds a digest of the result's name, the time of creation, and a random number.
CLAIM_NAME = re.compile(r"\.auss-([0-9a-f]{12})-([0-9a-f]{16}[0-9a-f]{8})(\.[0-9A-Za-z]{1,8})?", re.ASCII)
ATTEMPTS = 100


class BusyError(FileExistsError):
    """Another run, which is still alive, is making the same result."""


def try_lock(handle: int) -> bool | None:
    """Locks an open file or folder. Returns False if another process holds the lock, None if locks are missing."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None


def is_at(handle: int, path: Path) -> bool:
    """Whether `path` is still the name of the open file or folder."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def digest_of(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def open_existing(path: Path) -> int | None:
    """Opens a regular file or a folder and returns the handle. Returns None for anything else, including a link."""
    try:
        kind = os.lstat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            return None
        return os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None


@contextmanager
def locked(path: Path) -> Iterator[bool | None]:
    """Tries to lock the file or folder at `path` for the `with` statement. Yields True if this process holds the lock,
    False if another process holds it, and None if neither is certain."""
    handle = open_existing(path)
    if handle is None:
        yield None
        return
    try:
        state = try_lock(handle)
        yield None if state and not is_at(handle, path) else state
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Removes a file, or a folder with its contents. A link is removed itself; its target stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_own(path: Path, process: int) -> None:
    """Removes a claim of this process. In a process that was forked, the claims are still those of its parent."""
    if os.getpid() == process:
        remove(path)


def is_claim(name: str) -> bool:
    """Whether `name` has the form of a claim's name."""
    return name.startswith(".auss-") and CLAIM_NAME.fullmatch(name) is not None


def claims_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder) if is_claim(name))
    except OSError:
        return []


def tidy(folder: Path) -> None:
    """
    Removes the claims that killed runs left in a folder. If a killed run was just moving its results into place, this
    function first moves the remaining results.
    """
    for path in claims_in(folder):
        with locked(path) as state:
            if not state:
                continue
            try:
                if was_installing(path):
                    logger.warning("%s: finishing what an earlier run was replacing", printable(folder))
                    finish_installation(path, folder)
                remove(path)
            except (OSError, ValueError) as error:  # another user's claim, or changed by hand; it does no harm
                logger.warning("%s, left by an earlier run, stays: %s", printable(path), error)


class Claim:
    """
    A new hidden file or folder in which a run makes its result. The caller must release the claim at the end.

    Args:
        folder: an existing folder. Leftovers of killed runs in the folder are removed first.
        target: the name of the result. In one folder only one claim can have the same target.
        directory: True makes a folder, False makes a file.
        suffix: the suffix of the file's name, for libraries that choose the format by the suffix.
        exclusive: False if several runs may make this result at the same time. The last result then stays.

    Raises:
        BusyError: another run has a claim on the same target.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, target: str, directory: bool = False, suffix: str = "", exclusive: bool = True):
        tidy(folder)
        self._directory, self._digest = directory, digest_of(target)
        suffix = suffix if re.fullmatch(r"\.[0-9A-Za-z]{1,8}", suffix, re.ASCII) else ""
        with stops_deferred():
            self.path, self._handle = self._make(folder, suffix)
            # A signal may come before the caller's `with` statement has begun. Nobody but the collector then ends it.
            self._forgotten = weakref.finalize(self, remove_own, self.path, os.getpid())
        try:
            rival = self._rival(folder) if exclusive else None
        except BaseException:
            self.release()
            raise
        if rival is not None:
            self.release()
            shown = printable(folder / target if target else folder)
            raise BusyError(f"{shown} is being made by another run: wait for it, or choose another name")

    def _make(self, folder: Path, suffix: str) -> tuple[Path, int | None]:
        for _ in range(ATTEMPTS):
            token = f"{time.time_ns():016x}{secrets.token_hex(4)}"
            path = folder / f".auss-{self._digest}-{token}{suffix}"
            if self._directory:
                path.mkdir()
                handle = open_existing(path)
            else:
                flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
                handle = os.open(path, flags, 0o666)
            # Another run may have removed the claim before it was locked. The loop then makes the claim again.
            if handle is None:
                if os.path.lexists(path):
                    return path, None
                continue
            try_lock(handle)
            if is_at(handle, path):
                return path, handle
            os.close(handle)
        raise OSError(errno.EBUSY, f"{printable(folder)}: every new file in this folder was removed at once")

    def _rival(self, folder: Path) -> Path | None:
        """Returns an older claim on the same target whose run is alive, or None. If two runs start together, each sees
        both claims, so exactly the run with the older claim goes on."""
        for path in claims_in(folder):
            match = CLAIM_NAME.fullmatch(path.name)
            own = CLAIM_NAME.fullmatch(self.path.name)
            assert match is not None and own is not None
            if match[1] != own[1] or match[2] >= own[2]:
                continue
            with locked(path) as state:
                if state is False:
                    return path
        return None

    def release(self) -> None:
        """Removes the file or folder that still has the claim's name, and unlocks it. A second call does no harm."""
        self._forgotten.detach()
        remove(self.path)
        self.unlock()

    def unlock(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


__all__ = ["BusyError", "Claim", "is_claim", "locked", "remove", "tidy"]
