import pytest

from auss.cli import build_parser
from auss.files.errors import InputError
from auss.inference.importing.arguments import CLIP_SECONDS, FRAME_SIDE, FRAMES_PER_SECOND, SPLIT_SHARES
from auss.inference.importing.importer import OPTIONS, import_data_set


def parsed(*options):
    arguments = build_parser("import").parse_args(["import", "videos", "a.json", "b", "-o", "out", *options])
    arguments.check(arguments)
    return arguments


def test_the_command_and_the_function_have_the_same_defaults():
    given = vars(parsed())
    defaults = import_data_set.__kwdefaults__
    assert set(OPTIONS) == set(defaults)
    assert {name: given[name] for name in OPTIONS} == {**defaults, "split": list(defaults["split"])}
    assert (given["seconds"], given["fps"], given["size"]) == (CLIP_SECONDS, FRAMES_PER_SECOND, FRAME_SIDE)
    assert tuple(given["split"]) == SPLIT_SHARES and [path.name for path in given["labels"]] == ["a.json", "b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "0"], "--seconds must be a positive number"),
        (["--seconds", "inf"], "--seconds must be a positive number"),
        (["--label-fps", "-1"], "--label-fps must be a positive number"),
        (["--seconds", "5", "--fps", "0.5"], "whole number of frames"),
        (["--size", "16"], "--size must be 0 or at least"),
        (["--first-number", "-1"], "--first-number"),
        (["--split", "80", "10", "20"], "add up to 100"),
        (["--split", "0", "50", "50"], "the first one above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        parsed(*options)


def test_the_frames_of_a_clip_may_be_closer_than_a_second():
    assert parsed("--seconds", "2.5", "--fps", "2").fps == 2
