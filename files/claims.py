"""Hidden files and folders that one run writes into before its results appear under their names.

A claim is made new and exclusively, so that it can neither be somebody's link nor another run's file. It is locked as
long as its process lives: the lock ends with the process, however that ends, so a claim without a lock is a leftover
and is cleaned up by the next run. Where a file system has no locks, claims are passed over instead.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .file_names import printable
from .installation import finish_installation, was_installing

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

logger = logging.getLogger(__name__)

# Whose claim it is (a digest of the result's name), when it was made, and a random number.
CLAIM_NAME = re.compile(r"\.auss-([0-9a-f]{12})-([0-9a-f]{16}[0-9a-f]{8})(\.[0-9A-Za-z]{1,8})?", re.ASCII)
ATTEMPTS = 100


class BusyError(FileExistsError):
    """Another run, which is still alive, is making the same result."""


def try_lock(handle: int) -> bool | None:
    """Locks an open file or folder. False if another process has it locked, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None


def is_at(handle: int, path: Path) -> bool:
    """Whether the open file or folder still has this name."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def digest_of(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def open_existing(path: Path) -> int | None:
    """An open handle on a regular file or a folder; None for anything else, links included."""
    try:
        kind = os.lstat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            return None
        return os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None


@contextmanager
def locked(path: Path) -> Iterator[bool | None]:
    """Tries to lock what lies at `path`: True while it is locked here, False if another process has it, and None where
    that cannot be told."""
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
    """Removes a file or a folder with all that is in it; a link itself, not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_claim(name: str) -> bool:
    """Whether an entry of a folder is named as claims are."""
    return CLAIM_NAME.fullmatch(name) is not None


def claims_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder) if is_claim(name))
    except OSError:
        return []


def tidy(folder: Path) -> None:
    """Removes the claims that killed runs left in a folder, after finishing what one of them was just installing."""
    for path in claims_in(folder):
        with locked(path) as state:
            if not state:
                continue
            try:
                if was_installing(path):
                    logger.warning("%s: finishing what an earlier run was replacing", printable(folder))
                    finish_installation(path, folder)
                remove(path)
            except (OSError, ValueError) as error:  # somebody else's, or changed by hand: it is in nobody's way
                logger.warning("%s, left by an earlier run, stays: %s", printable(path), error)


class Claim:
    """
    A new hidden file or folder beside a result that is being made, or inside it. To be released when it is over.

    Args:
        folder: is there; what killed runs left in it is tidied up first.
        target: names the result; of the claims with the same target in the same folder only one can be.
        directory: whether a folder is made, or a file.
        suffix: of the file's name, for libraries that go by it.
        exclusive: False if several runs may make this result, and the last one is to stay.

    Raises:
        BusyError: another run has a claim on the same target.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, target: str, directory: bool = False, suffix: str = "", exclusive: bool = True):
        tidy(folder)
        self._directory, self._digest = directory, digest_of(target)
        suffix = suffix if re.fullmatch(r"\.[0-9A-Za-z]{1,8}", suffix, re.ASCII) else ""
        self.path, self._handle = self._make(folder, suffix)
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
            # Another run that tidied up before the lock was taken may have removed it: then it is made again.
            if handle is None:
                if os.path.lexists(path):
                    return path, None
                continue
            try_lock(handle)
            if is_at(handle, path):
                return path, handle
            os.close(handle)
        raise OSError(errno.EBUSY, f"{printable(folder)}: no file could be made that stays")

    def _rival(self, folder: Path) -> Path | None:
        """A claim on the same target that is older and alive. Of two runs that start together both see both, and the
        older one goes on."""
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
        """Removes what still has the claim's name, and unlocks. May be called again."""
        remove(self.path)
        self.unlock()

    def unlock(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


__all__ = ["BusyError", "Claim", "is_claim", "locked", "remove", "tidy"]
