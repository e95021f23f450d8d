import argparse

import pytest

from auss.hub.network_options import add_network_options, check_threads


def test_options():
    parser = argparse.ArgumentParser()
    add_network_options(parser)
    assert vars(parser.parse_args([])) == {"threads": None, "trust_remote_code": False}
    assert vars(parser.parse_args(["--threads", "2", "--trust-remote-code"])) == {
        "threads": 2,
        "trust_remote_code": True,
    }


def test_threads():
    check_threads(None)
    check_threads(1)
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="threads must be a whole number of CPU threads, at least 1, got"):
            check_threads(wrong)
