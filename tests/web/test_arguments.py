import pytest

from auss.cli import parse_arguments
from auss.files.errors import InputError
from auss.hub import network_options
from auss.web.arguments import upload_limits


def parsed(*words):
    arguments = parse_arguments(["web", "--model", "model", *words])
    arguments.check(arguments)
    return arguments


def test_the_page_answers_to_this_machine_alone_unless_told():
    assert parsed().host == "127.0.0.1"
    assert parsed("--host", "0.0.0.0", "--port", "80").host == "0.0.0.0"


def test_the_models_arguments_are_those_of_segment():
    arguments = parsed("--fps", "every", "--threshold", "0.3", "--window", "4", "--stride", "2", "--batch-size", "3")
    given = (arguments.fps, arguments.threshold, arguments.window, arguments.stride, arguments.batch_size)
    assert given == (None, 0.3, 4, 2, 3)
    assert [path.name for path in parsed("--more-models", "a", "b").more_models] == ["a", "b"]


def test_without_a_model_the_shipped_one_is_taken(monkeypatch):
    monkeypatch.setattr(network_options, "has_default_model", lambda: True)
    assert parse_arguments(["web"]).model is None
    assert parsed("--device", "cpu").device == "cpu"


def test_limits_come_from_the_arguments():
    limits = upload_limits(parsed("--max-seconds", "90", "--max-megabytes", "2.5"))
    assert (limits.seconds, limits.bytes) == (90, 2_621_440)


@pytest.mark.parametrize(
    "words",
    [
        ("--port", "0"),
        ("--port", "65536"),
        ("--max-seconds", "0"),
        ("--max-megabytes", "nan"),
        ("--max-megabytes", "inf"),
        ("--threshold", "2"),
    ],
)
def test_numbers_out_of_their_range_are_refused_by_name(words):
    with pytest.raises(InputError, match=words[0].lstrip("-")):
        parsed(*words)
