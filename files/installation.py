"""Moving new files and folders into the places of old ones: all of them or, in the end, all of them.

A workspace is a hidden folder inside the one whose contents are replaced:

    new/            the successors, while they are being made
    arriving/       the same folder under this name, once all of them are complete
    plan.json       which of the old entries go without a successor of the same name
    replaced/       what has been moved out of the way

Until `new` is renamed to `arriving` nothing outside the workspace has changed. From then on the installation can be
finished from what lies on the disk, by this process or, if it was killed, by the next one.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from .stopping import stops_deferred

NEW, ARRIVING, REPLACED, PLAN_FILE = "new", "arriving", "replaced", "plan.json"


def move_away(path: Path, workspace: Path) -> None:
    """Moves an old entry, a link itself and not what it points to, into the workspace."""
    if not os.path.lexists(path):
        return
    place = workspace / REPLACED
    place.mkdir(exist_ok=True)
    # A second entry of the same name can only come where somebody else writes into the folder meanwhile.
    number = len(os.listdir(place))
    os.rename(path, place / f"{number:06d}")


def finish_installation(workspace: Path, folder: Path) -> None:
    """Moves what has arrived into `folder`. Called again after an interruption at any place, it goes on."""
    arriving = workspace / ARRIVING
    plan = json.loads((workspace / PLAN_FILE).read_text(encoding="utf-8"))
    for name in plan["goes"]:
        move_away(folder / name, workspace)
    last = plan["last"]
    for name in sorted(os.listdir(arriving), key=lambda name: (name in last, name)):
        # While a successor is still here, the entry of its name in the folder is the old one.
        move_away(folder / name, workspace)
        os.rename(arriving / name, folder / name)


def install(workspace: Path, folder: Path, old: Iterable[str] = (), last: Sequence[str] = ()) -> None:
    """
    Puts everything in `workspace/new` into `folder`.

    Args:
        workspace: in `folder`, so that everything stays on one file system.
        folder: where entries of the same names are replaced.
        old: names in `folder` that go in any case.
        last: names that come after all others, since they say that the rest is whole.
    """
    names = set(os.listdir(workspace / NEW))
    plan = {"goes": sorted(set(old) - names), "last": list(last)}
    (workspace / PLAN_FILE).write_text(json.dumps(plan), encoding="utf-8")
    with stops_deferred():
        os.rename(workspace / NEW, workspace / ARRIVING)
        finish_installation(workspace, folder)


def was_installing(workspace: Path) -> bool:
    """Whether a process was killed after its successors were complete and before all were in their places."""
    return (workspace / ARRIVING).is_dir()


__all__ = ["NEW", "finish_installation", "install", "was_installing"]
