"""An installation that is interrupted at any step can be finished."""

import json
import os
from itertools import count

import pytest

from auss.files import installation
from auss.files.claims import tidy
from auss.files.installation import ARRIVING, NEW, PLAN_FILE, REPLACED, finish_installation, install, was_installing


@pytest.fixture
def folder(tmp_path):
    """A folder with an earlier result (two files and a folder), a user's own file, and a new result in a workspace."""
    for name in ("a", "gone", "user"):
        (tmp_path / name).write_text("old")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x").write_text("old")
    new = tmp_path / ".work" / NEW
    (new / "deep").mkdir(parents=True)
    (new / "deep" / "y").write_text("new")
    (new / "a").write_text("new")
    (new / "b").write_text("new")
    return tmp_path


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".work" not in path.parts
    }


OLD = {"a": "old", "deep/x": "old", "gone": "old", "user": "old"}
NEW_CONTENTS = {"a": "new", "b": "new", "deep/y": "new", "user": "old"}


def test_successors_take_the_places_of_old_ones(folder):
    install(folder / ".work", folder, old=["gone", "a", "never there"], last=["b"])
    assert contents(folder) == NEW_CONTENTS


def test_after_a_kill_at_any_step_it_is_finished_or_has_not_begun(folder, monkeypatch):
    original, steps = os.rename, 0
    for broken_at in count():
        calls = count()

        def rename(source, target, calls=calls, broken_at=broken_at):
            if next(calls) == broken_at:
                raise KeyboardInterrupt
            original(source, target)

        before = contents(folder)
        monkeypatch.setattr(installation.os, "rename", rename)
        try:
            if was_installing(folder / ".work"):
                finish_installation(folder / ".work", folder)
            else:
                install(folder / ".work", folder, old=["gone"], last=["b"])
            break
        except KeyboardInterrupt:
            steps += 1
            if not was_installing(folder / ".work"):
                assert contents(folder) == before == OLD
            else:
                assert ("b" in contents(folder)) <= ("y" in os.listdir(folder / "deep"))
    assert steps > 3 and contents(folder) == NEW_CONTENTS


def test_what_comes_last_comes_last(folder, monkeypatch):
    order, original = [], os.rename
    monkeypatch.setattr(
        installation.os, "rename", lambda source, target: (order.append(str(target)), original(source, target))
    )
    install(folder / ".work", folder, last=["a"])
    assert order[-1] == str(folder / "a")


def test_a_link_is_replaced_and_not_what_it_points_to(folder):
    (folder / "a").unlink()
    (folder / "a").symlink_to("user")
    install(folder / ".work", folder)
    assert not (folder / "a").is_symlink() and (folder / "user").read_text() == "old"


PLANS = [
    {"goes": ["../precious"], "last": []},
    {"goes": ["deep/x"], "last": []},
    {"goes": [".."], "last": []},
    {"goes": [], "last": [7]},
    {"goes": 7, "last": []},
    {"goes": []},
    [],
]


@pytest.mark.parametrize("plan", [*PLANS, "[" * 100_000])
def test_a_plan_of_somebody_else_reaches_for_nothing(tmp_path, plan):
    """A folder from elsewhere may hold a workspace that auss has not written."""
    (tmp_path / "precious").write_text("mine")
    folder = tmp_path / "out"
    workspace = folder / f".auss-{'0' * 12}-{'0' * 24}"
    (workspace / ARRIVING).mkdir(parents=True)
    (folder / "deep").mkdir()
    (folder / "deep" / "x").write_text("mine")
    (workspace / PLAN_FILE).write_text(plan if isinstance(plan, str) else json.dumps(plan))
    tidy(folder)  # says that the workspace stays
    assert (tmp_path / "precious").read_text() == (folder / "deep" / "x").read_text() == "mine"


@pytest.mark.parametrize("name", [ARRIVING, REPLACED])
def test_a_part_of_a_workspace_that_is_a_link_is_not_followed(tmp_path, name):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "key").write_text("mine")
    folder = tmp_path / "out"
    workspace = folder / f".auss-{'0' * 12}-{'0' * 24}"
    workspace.mkdir(parents=True)
    (workspace / ARRIVING).mkdir()
    if name == ARRIVING:
        (workspace / ARRIVING).rmdir()
    (workspace / name).symlink_to(precious)
    (folder / "old").write_text("mine")
    (workspace / PLAN_FILE).write_text(json.dumps({"goes": ["old"], "last": []}))
    tidy(folder)
    assert os.listdir(precious) == ["key"] and (folder / "old").read_text() == "mine"
