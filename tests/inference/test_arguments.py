"""The arguments of the commands in inference/: their values, and numbers that are refused without torch."""

import argparse

import pytest

from auss.inference import arguments as module
from auss.inference.arguments import mask_options, masks_per_second

NEEDED = {
    "segment": ["a.mp4", "-o", "b.mp4", "--model", "m"],
    "segment_folder": ["a", "-o", "b", "--model", "m"],
    "export": ["m", "out"],
    "presets": [],
}


def parse(name, *options):
    parser = argparse.ArgumentParser()
    getattr(module, f"add_{name}_arguments")(parser)
    return parser.parse_args([*NEEDED[name], *options])


def test_fps_values():
    assert masks_per_second("every") is None and masks_per_second("2.5") == 2.5
    assert parse("segment").fps == 5
    for wrong in ("0", "-1", "nan", "often"):
        with pytest.raises(SystemExit):
            parse("segment", "--fps", wrong)


@pytest.mark.parametrize("name", ["segment", "segment_folder"])
def test_mask_options_are_what_was_given(name):
    given = parse(name, "--batch-size", "3", "--window", "2", "--threshold", "0.4")
    assert mask_options(given) == {"fps": 5.0, "batch_size": 3, "window": 2.0, "stride": None, "threshold": 0.4}
    given.check(given)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("segment", ["--batch-size", "0"], "batch_size must be a whole number of frames, at least 1, got 0"),
        ("segment_folder", ["--threshold", "2"], "threshold must be a number from 0 to 1, got 2.0"),
        ("segment", ["--audio-track", "0"], "audio_track must be the number of a sound track, from 1, or None, got 0"),
        ("presets", ["--size", "8"], "--size must be at least 16 pixels, got 8"),
    ],
)
def test_numbers_out_of_their_range_are_refused(name, options, message):
    given = parse(name, *options)
    with pytest.raises(ValueError) as caught:
        given.check(given)
    assert str(caught.value) == message


def test_export_takes_the_formats_that_it_knows_the_packages_of():
    assert parse("export").format == "onnx"
    assert [parse("export", "--format", name).format for name in module.FORMATS] == list(module.FORMATS)
    with pytest.raises(SystemExit):
        parse("export", "--format", "onxx")


def test_shards():
    assert parse("segment_folder").shard == (1, 1) and parse("segment_folder", "--shard", "3/12").shard == (3, 12)
    for wrong in ("0/4", "5/4", "1", "1/0", "-1/4", "1/4/2", "a/b", "1.5/4", "²/4"):
        with pytest.raises(SystemExit):
            parse("segment_folder", "--shard", wrong)
