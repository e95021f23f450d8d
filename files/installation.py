"""Replaces old files and folders by new ones, as one step: an interrupted replacement is finished later.

The workspace is a hidden folder inside the folder whose contents are replaced. It holds:

    new/            the new entries, while they are being made
    arriving/       the folder `new` under its second name, when all new entries are complete
    plan.json       the old entries that are removed without a new entry of the same name
    replaced/       the old entries that have been moved away

Nothing outside the workspace changes before `new` is renamed to `arriving`. After that, the files on the disk suffice
to finish the installation. This process finishes it or, if this process is killed, the next run does.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import InputError
from .stopping import stops_deferred

NEW, ARRIVING, REPLACED, PLAN_FILE = "new", "arriving", "replaced", "plan.json"


def move_away(path: Path, workspace: Path) -> None:
    """Moves an old entry into the workspace. A link is moved itself; its target stays."""
    if not os.path.lexists(path):
        return
    place = workspace / REPLACED
    place.mkdir(exist_ok=True)
    # The entries are numbered, because somebody else may write a second entry of the same name meanwhile.
    number = len(os.listdir(place))
    os.rename(path, place / f"{number:06d}")


def read_plan(workspace: Path) -> tuple[list[str], list[str]]:
    """
    Returns the names of the entries that go, and of those that come last.

    A workspace may have come with a folder from somebody else. Its plan must not name entries of other folders, and
    none of its parts may be a link to another folder.

    Raises:
        OSError: the plan cannot be read.
        ValueError: it is not a plan as `install` writes it.
    """
    for name in (NEW, ARRIVING, REPLACED, PLAN_FILE):
        if (workspace / name).is_symlink():
            raise InputError(f"{name} is a link")
    try:
        plan = json.loads((workspace / PLAN_FILE).read_text(encoding="utf-8"))
        goes, last = list(plan["goes"]), list(plan["last"])
    except (KeyError, RecursionError, TypeError) as error:
        raise InputError(f"{PLAN_FILE} is no plan: {error!r}") from error
    for name in goes + last:
        if not isinstance(name, str) or name in ("", ".", "..") or os.path.basename(name) != name or "\0" in name:
            raise InputError(f"{PLAN_FILE} names {name!r}, which is no entry of the folder")
    return goes, last


def finish_installation(workspace: Path, folder: Path) -> None:
    """Moves the entries of `arriving` into `folder`. After an interruption at any point, a second call goes on.

    Raises:
        OSError, ValueError: as `read_plan`. Nothing is moved then.
    """
    arriving = workspace / ARRIVING
    goes, last = read_plan(workspace)
    for name in goes:
        move_away(folder / name, workspace)
    for name in sorted(os.listdir(arriving), key=lambda name: (name in last, name)):
        # As long as the new entry is still in `arriving`, the entry of this name in `folder` is the old one.
        move_away(folder / name, workspace)
        os.rename(arriving / name, folder / name)


def install(workspace: Path, folder: Path, old: Iterable[str] = (), last: Sequence[str] = ()) -> None:
    """
    Puts everything in `workspace/new` into `folder`.

    Args:
        workspace: a folder inside `folder`, so that all moves stay on one file system.
        folder: the folder in which entries of the same names are replaced.
        old: names of entries of `folder` that are removed in any case.
        last: names that are moved after all others. Their presence says that all other entries are complete.
    """
    names = set(os.listdir(workspace / NEW))
    plan = {"goes": sorted(set(old) - names), "last": list(last)}
    (workspace / PLAN_FILE).write_text(json.dumps(plan), encoding="utf-8")
    with stops_deferred():
        os.rename(workspace / NEW, workspace / ARRIVING)
        finish_installation(workspace, folder)


def was_installing(workspace: Path) -> bool:
    """Whether a process was killed after its new entries were complete and before all of them were in place."""
    return (workspace / ARRIVING).is_dir()


__all__ = ["NEW", "finish_installation", "install", "was_installing"]
