import argparse
import json

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from auss.train.command_arguments import add_compose_arguments
from auss.train.composer import composer
from auss.train.composer.composer import compose_data_set, run
from auss.train.data.avsbench import load_avsbench


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def parse(*words):
    parser = argparse.ArgumentParser()
    add_compose_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    out = tmp_path_factory.mktemp("composed") / "set"
    assert compose_data_set(out, (6, 2, 3), (4, 2, 2), size=64, seed=9) == 19
    return out


@pytest.fixture
def things(tmp_path):
    """Makes files of a user: three categories with sound and picture, one without sound, and a sound without
    picture."""
    root = tmp_path / "things"
    for index, name in enumerate(("ball", "cube", "star", "mute")):
        (root / name).mkdir(parents=True)
        image = Image.new("RGBA", (80, 80))
        colour = tuple(255 if channel == index else 20 for channel in range(3))
        ImageDraw.Draw(image).ellipse((5, 5, 74, 74), fill=(*colour, 255))
        image.save(root / name / "one.png")
        if name != "mute":
            wave = 0.4 * np.sin(2 * np.pi * 400 * (index + 1) * np.arange(22_050) / 22_050)
            soundfile.write(root / name / "one.wav", wave, 22_050)
    soundfile.write(root / "unseen.wav", wave, 22_050)
    return root


@pytest.mark.parametrize(("name", "counts"), [("s4", (6, 2, 3)), ("ms3", (4, 2, 2))])
def test_the_set_is_what_load_avsbench_reads(composed, name, counts):
    notes = {video["name"]: video for video in json.loads((composed / "annotations.json").read_text())["videos"]}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        rows = load_avsbench(composed, name, split)
        assert len(rows) == count
        for row in rows:
            annotated = [0] if (name, split) == ("s4", "train") else [0, 1, 2, 3, 4]
            assert list(row["annotated_frames"]) == annotated and len(row["frames"]) == 5
            assert all(frame.size == (64, 64) for frame in row["frames"])
            video = notes[row["clip_id"]]
            for mask, index in zip(row["masks"], annotated, strict=True):
                pixels = np.asarray(mask)
                assert set(np.unique(pixels)) <= {0, 255}
                shown = sum(thing["visible_area"][index] for thing in video["objects"] if thing["sounding"][index])
                assert (pixels > 0).mean() == pytest.approx(shown, abs=1e-3)
            wave, rate = soundfile.read(row["audio"]["path"])
            assert (rate, len(wave)) == (16_000, 80_000)
            if name == "s4":
                sounding = [thing["category"] for thing in video["objects"] if any(thing["sounding"])]
                assert [row["category"]] == sounding


def test_same_arguments_same_bytes_for_any_number_of_workers(composed, tmp_path, monkeypatch):
    again = tmp_path / "again"
    compose_data_set(again, (6, 2, 3), (4, 2, 2), size=64, seed=9)
    assert contents(again) == contents(composed)
    two = tmp_path / "two"
    monkeypatch.setattr(composer, "CHUNK", 4)  # so that two workers share as few as 19 clips
    compose_data_set(two, (6, 2, 3), (4, 2, 2), size=64, seed=9, workers=2)
    assert contents(two) == contents(composed)


def test_a_clip_does_not_depend_on_how_many_are_asked_for(composed, tmp_path):
    compose_data_set(tmp_path / "few", (2, 2, 0), (0, 1, 0), size=64, seed=9)
    few, many = contents(tmp_path / "few"), contents(composed)
    shared = [name for name in few if name.endswith((".png", ".wav"))]
    assert len(shared) == 2 * 7 + 2 * 11 + 11
    assert all(few[name] == many[name] for name in shared)


def test_the_command_takes_cut_outs_sounds_and_backgrounds(things, tmp_path, capsys):
    (tmp_path / "walls").mkdir()
    Image.new("RGB", (100, 90), (128, 128, 128)).save(tmp_path / "walls" / "grey.jpg")
    out = tmp_path / "set"
    words = ("--objects", things, "--backgrounds", tmp_path / "walls", "--s4", 5, 2, 0, "--ms3", 4, 0, 0)
    assert run(parse(out, *words, "--size", 64, "--workers", 1)) == 0
    said = capsys.readouterr().out
    assert "'unseen' is left out" in said and "'mute' has no" in said
    assert said.strip().splitlines()[-1] == f"11 clips of 64 x 64 pixels are in {out}"
    about = json.loads((out / "annotations.json").read_text())
    assert about["categories"] == ["ball", "cube", "mute", "star"]
    hues = {"ball": (255, 20, 20), "cube": (20, 255, 20), "star": (20, 20, 255), "mute": (20, 20, 20)}
    for video in about["videos"]:
        assert video["background"] == "grey.jpg"
        for thing in video["objects"]:
            assert thing["picture"] == f"{thing['category']}/one.png"
            assert thing["category"] != "mute" or not any(thing["sounding"])
            assert (thing["sound"] == f"{thing['category']}/one.wav") == any(thing["sounding"])
    assert any(thing["category"] == "mute" for video in about["videos"] for thing in video["objects"])
    for row in load_avsbench(out, "s4", "val"):
        for frame, mask in zip(row["frames"], row["masks"], strict=True):
            median = np.median(np.asarray(frame)[np.asarray(mask) > 0], axis=0)
            assert median == pytest.approx(hues[row["category"]], abs=2)
            wave, rate = soundfile.read(row["audio"]["path"])
            pitch = np.argmax(np.abs(np.fft.rfft(wave))) * rate / len(wave)
            assert pitch == pytest.approx(400 * (1 + ("ball", "cube", "star").index(row["category"])), abs=3)


@pytest.mark.parametrize("annotations", ["[1, 2]", '{"source": "COCO"}', "not JSON"])
def test_nothing_is_overwritten_unasked(composed, tmp_path, annotations):
    before = contents(composed)
    with pytest.raises(ValueError, match=f"out must be a new or an empty folder, and {composed} is not empty"):
        compose_data_set(composed, (1, 0, 0), size=64)
    assert contents(composed) == before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("two years")
    (mine / "annotations.json").write_text(annotations)
    with pytest.raises(ValueError, match="overwrite replaces only what `auss compose` made"):
        compose_data_set(mine, (1, 0, 0), size=64, overwrite=True)
    assert contents(mine) == {"thesis.txt": b"two years", "annotations.json": annotations.encode()}
    with pytest.raises(ValueError, match=r"thesis\.txt is a file"):
        compose_data_set(mine / "thesis.txt", (1, 0, 0), size=64)


def test_overwriting_replaces_the_whole_earlier_set_and_nothing_else(tmp_path):
    out = tmp_path / "set"
    compose_data_set(out, (3, 0, 0), size=64, seed=1)
    (out / "notes.txt").write_text("mine")
    compose_data_set(out, (1, 0, 0), size=64, seed=2, overwrite=True)
    compose_data_set(tmp_path / "fresh", (1, 0, 0), size=64, seed=2)
    assert contents(out) == contents(tmp_path / "fresh") | {"notes.txt": b"mine"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_composition_that_fails_leaves_no_trace(things, tmp_path, workers):
    (tmp_path / "walls").mkdir()
    (tmp_path / "walls" / "broken.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as a picture"):
        compose_data_set(tmp_path / "set", (32, 0, 0), backgrounds=tmp_path / "walls", size=64, workers=workers)
    assert not (tmp_path / "set").exists()
    (things / "ball" / "bad.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"bad\.png cannot be read as a picture"):
        compose_data_set(tmp_path / "set", (2, 0, 0), objects=things, size=64)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"s4": (1, -1, 0)}, r"s4 must be three counts of 0 or more .*got \[1, -1, 0\]"),
        ({"ms3": (1, 0)}, r"ms3 must be three counts of 0 or more .*got \[1, 0\]"),
        ({"size": 32}, "size must be 64 or more, got 32"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"workers": 0}, "workers must be 1 or more, got 0"),
        ({"objects": "nowhere"}, "objects must be a folder of cut-outs and sounds, and there is none at nowhere"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        compose_data_set(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()


def test_too_few_categories_are_counted(things, tmp_path):
    for name in ("ball", "cube"):
        (things / name / "one.png").unlink()
    with pytest.raises(ValueError, match=r"objects must hold 3 or more .* has 2 with pictures \(mute, star\)"):
        compose_data_set(tmp_path / "set", (1, 0, 0), objects=things, size=64)


def test_noises_and_steady_clips_by_the_command_line(things, tmp_path):
    noises = tmp_path / "noises"
    noises.mkdir()
    (things / "unseen.wav").rename(noises / "hum.wav")
    words = ["--objects", things, "--noises", noises, "--noise-share", 1, "--steady-share", 1, "--size", 64]
    assert run(parse(tmp_path / "out", *words, "--s4", 0, 0, 2, "--ms3", 3, 0, 0)) == 0
    videos = json.loads((tmp_path / "out" / "annotations.json").read_text())["videos"]
    assert [video["noise"] for video in videos] == ["hum.wav"] * 5
    assert len(load_avsbench(tmp_path / "out", "ms3", "train")) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_share": 1.5}, "noise_share must lie between 0 and 1, got 1.5"),
        ({"steady_share": -0.1}, "steady_share must lie between 0 and 1"),
        ({"noises": "nowhere"}, "noises must be a folder with sounds"),
    ],
)
def test_shares_and_noises_are_checked_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        compose_data_set(tmp_path / "out", (1, 0, 0), size=64, **options)
    assert not (tmp_path / "out").exists()
