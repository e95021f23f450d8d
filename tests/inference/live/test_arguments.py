"""The arguments of `auss live` are refused before torch is imported."""

import argparse

import pytest

from auss.cli import COMMANDS, main, parse_arguments
from auss.files.errors import InputError
from auss.inference.live.arguments import check_live_arguments


def parsed(*words):
    return parse_arguments(["live", "camera", "--model", "m", *words])


def test_defaults_are_accepted():
    arguments = parsed()
    check_live_arguments(arguments)
    assert (arguments.threads, arguments.timeout, arguments.output, arguments.show) == (1, 10.0, None, False)
    assert isinstance(arguments, argparse.Namespace) and "live" in COMMANDS
    assert not arguments.trust_remote_code and parsed("--trust-remote-code").trust_remote_code


@pytest.mark.parametrize(
    "words, named",
    [
        (["--timeout", "0"], "--timeout"),
        (["--seconds", "nan"], "--seconds"),
        (["--frame-rate", "-5"], "--frame-rate"),
        (["--threads", "0"], "threads must be a whole number"),
        (["--frame-size", "640"], "--frame-size"),
        (["--frame-size", "640x0"], "--frame-size"),
        (["--threshold", "2"], "threshold"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(words, named):
    with pytest.raises(InputError, match=named):
        check_live_arguments(parsed(*words))


def test_a_wrong_source_is_one_line_and_status_2(capsys):
    assert main(["live", "nonsense", "--model", "m"]) == 2
    assert capsys.readouterr().err.startswith("auss live: SOURCE must be 'camera'")
