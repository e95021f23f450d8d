"""The fuzzing test's own judgement: what it must not let pass, and what it must."""

import logging
import time

import numpy as np
import pytest
from PIL import Image

from auss import cli

from . import trial
from .damage import DAMAGES, damage, decoded_media, png_is_whole
from .trial import BAD, EITHER, RIGHT, Command, Outcome, Trial, Unnoticeable, Verdict, judge


def raises(error: BaseException):
    def act():
        raise error

    return act


def outcome(act, kind=EITHER, seconds=5.0, **checks) -> Outcome:
    verdict = judge(Trial("area", "name", act, ("size", "a.mp4"), kind, **checks), seconds)
    assert isinstance(verdict, Verdict)
    return verdict.outcome


def unnoticeable(result):
    raise Unnoticeable("no checksum")


def test_results():
    assert outcome(lambda: 3) == outcome(lambda: 3, RIGHT) == Outcome.WORKS
    assert outcome(lambda: 3, BAD) == Outcome.SILENT
    assert outcome(lambda: 3, wrong=lambda result: "wrong" if result == 3 else None) == Outcome.SILENT
    assert outcome(lambda: 3, wrong=unnoticeable) == Outcome.UNNOTICEABLE


@pytest.mark.parametrize("kind", [ValueError, OSError, TypeError, FloatingPointError])
def test_errors(kind):
    assert outcome(raises(kind("size must be 3"))) == outcome(raises(kind("a.mp4 is damaged")), BAD) == Outcome.CLEAR
    assert outcome(raises(kind("size must be 3")), RIGHT) == Outcome.REFUSED
    assert outcome(raises(kind("list index out of range"))) == Outcome.UNCLEAR
    assert outcome(raises(kind("size")), leftover=lambda: "out.mp4") == Outcome.LEFTOVER


@pytest.mark.parametrize(
    "error", [RuntimeError("size"), AssertionError("size"), KeyError("size"), ZeroDivisionError()]
)
def test_errors_that_are_nobodys(error):
    assert outcome(raises(error)) == Outcome.TRACEBACK


def test_hangs(monkeypatch):
    def spin():
        while True:
            pass

    monkeypatch.setattr(trial, "WAITING", 1)
    assert outcome(spin, seconds=0.2) == outcome(lambda: time.sleep(60), seconds=0.2) == Outcome.HANG


def test_commands():
    def command(status, errors=""):
        return outcome(lambda: Command(status, "", errors))

    assert command(0) == command(0, "a.mp4:  50%|##  | 1/2") == Outcome.WORKS
    assert command(1, "auss segment: a.mp4 is damaged") == command(0, "WARNING: a.mp4") == Outcome.TOLD
    assert command(2, "auss segment: a.mp4 is no video") == Outcome.CLEAR
    assert command(2, "auss segment: oops") == command(2, "a.mp4") == command(3) == Outcome.UNCLEAR
    assert command(1, "Traceback (most recent call last):\na.mp4") == Outcome.TRACEBACK


def test_a_command_is_called_with_its_status_and_its_words(monkeypatch):
    def run(argv):
        logging.getLogger("auss.something").warning("a.mp4 is odd")
        print("done")
        return 1

    monkeypatch.setattr(cli, "main", run)
    done = trial.call("segment", 3)
    assert (done.status, done.output) == (1, "done\n") and done.told("a.mp4") and not done.told("b.mp4")
    assert trial.call("segment", 3).told("a.mp4")
    monkeypatch.undo()
    refused = trial.call("segment", "--nonsense")
    assert refused.status == 2 and "usage" in refused.errors


def test_damage_always_changes_something():
    content = bytes(range(256)) * 8
    kinds = set()
    for number in range(60):
        kind, damaged = damage(content, number, np.random.default_rng(number))
        assert damaged != content
        kinds.add(kind)
    assert kinds == set(DAMAGES)


def test_oracles(tmp_path):
    from ..small_videos import write_video

    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert png_is_whole(content) and png_is_whole(content + b"more")
    assert not png_is_whole(content[:-1]) and not png_is_whole(content.replace(b"IHDR", b"IHDS"))
    video = write_video(tmp_path / "a.mp4", seconds=1.0)
    pictures, sounds, words = decoded_media(video)
    assert len(pictures) == 10 and sounds and not words
    video.write_bytes(video.read_bytes()[:-3000])
    assert decoded_media(video)[2]
