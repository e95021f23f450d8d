"""Tests of the files and the words of `auss segment` beside the marked video."""

import json

import numpy as np
import pytest
from PIL import Image

import auss
from auss.cli import main
from auss.inference.results.run_outputs import RunOutputs
from auss.inference.segment import load_model, segment_video


@pytest.fixture
def command(make_video, model_folder, tmp_path):
    """Runs `auss segment` on a video with further options, and returns its status."""
    path = make_video("clip.mp4", seconds=2.0)
    usual = ["segment", str(path), "-o", str(tmp_path / "out.mp4"), "--model", str(model_folder), "--fps", "2"]
    return lambda *options: main([*usual, "--device", "cpu", "--threshold", "0.2", *map(str, options)])


def test_all_files_hold_the_masks_of_the_pipeline(command, model_folder, tmp_path, capsys):
    files = [tmp_path / name for name in ("masks.json", "times.json", "times.png", "times.svg")]
    timelines = [word for path in files[1:] for word in ("--timeline", path)]
    assert command("--masks", files[0], "--separate-objects", *timelines) == 0
    out = capsys.readouterr().out
    assert f"{files[0]}: 4 masks" in out and f"{files[1]}: what sounded when" in out
    assert "the model does not say what it was trained on" in out
    model, processor = load_model(model_folder, "cpu")
    masks = list(segment_video(tmp_path / "clip.mp4", model, processor, fps=2, threshold=0.2))
    content = json.loads(files[0].read_text())
    assert [one["frame_index"] for one in content["images"]] == [mask.index for mask in masks]
    for image, mask in zip(content["images"], masks, strict=True):
        parts = [
            auss.decode_rle(one["segmentation"]) for one in content["annotations"] if one["image_id"] == image["id"]
        ]
        expected = auss.separate_objects(mask.segmentation)
        np.testing.assert_array_equal(parts, expected) if expected else None
        assert len(parts) == len(expected)
    times = json.loads(files[1].read_text())
    assert times["video"] == "clip.mp4" and times["masks"] == 4 and times["seconds"] == pytest.approx(2, abs=0.01)
    assert Image.open(files[2]).format == "PNG" and "<svg" in files[3].read_text()


def test_pictures_of_objects_lie_beside_the_masks_and_are_replaced_with_them(command, tmp_path):
    folder = tmp_path / "masks"
    assert command("--masks", folder, "--separate-objects") == 0
    whole = sorted(folder.glob("mask_*s.png"))
    objects = sorted(folder.glob("mask_*_object*.png"))
    assert len(whole) == 4 and objects
    (folder / "mask_mine_object1.png").touch()
    assert command("--masks", folder, "--overwrite") == 0
    assert sorted(folder.iterdir()) == [*whole, folder / "mask_mine_object1.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--timeline", "times.txt"], "--timeline must end in .json, .png, .svg, .pdf, got 'times.txt'"),
        (["--separate-objects"], "--separate-objects needs --masks PATH"),
        (["--timeline", "mine.json"], "mine.json exists: choose another name, or allow it with --overwrite"),
        (["--masks", "mine.json"], "mine.json exists"),
        (["--masks", "a.json", "--timeline", "./a.json"], "a.json is given for two outputs"),
        (["--timeline", "folder.png"], "folder.png is a folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_first_mask(
    command, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr("auss.inference.segment.load_model", lambda *_: pytest.fail("the model was loaded"))
    assert command(*options) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "mine.json").read_text() == "mine" and not (tmp_path / "out.mp4").exists()


def test_nothing_is_written_if_the_run_breaks_off(tmp_path):
    outputs = RunOutputs("clip.mp4", tmp_path / "masks.npz", [tmp_path / "times.json"])

    def masks():
        raise OSError("disk")
        yield

    with pytest.raises(OSError, match="disk"):
        list(outputs.watch(masks(), {0: "silent", 1: "sounding"}))
    assert list(tmp_path.iterdir()) == []
