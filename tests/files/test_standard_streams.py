"""Standard streams that are missing, full or read by nobody, of processes of their own."""

import os
import subprocess
import sys

import pytest

# A stream without a buffer fails at the first word, where argparse and others pass over the error.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
HELP = [sys.executable, "-m", "auss", "--help"]
VERSION = [sys.executable, "-m", "auss", "--version"]


def run_with(setup, command):
    """A shell opens or closes the streams of a command, and returns its status and its errors."""
    done = subprocess.run(["sh", "-c", setup, "sh", *command], capture_output=True, text=True, env=ENVIRONMENT)
    return done.returncode, done.stderr


def test_a_reader_that_ends_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(HELP, stdout=pipe, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_for_the_words_is_one_line():
    assert run_with('"$@" >/dev/full', VERSION) == (
        2,
        "auss: standard output cannot be written: No space left on device\n",
    )


def test_missing_streams_are_no_error_and_no_file_gets_their_numbers(tmp_path):
    code = (
        "import os, sys\n"
        "from auss.files.standard_streams import open_missing_streams\n"
        "open_missing_streams()\n"
        f"handle = os.open({str(tmp_path / 'mine')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "print('words'); print('more', file=sys.stderr, flush=True); sys.stdin.read()\n"
        "os.write(2, b'of a library')\n"
        "sys.exit(handle)\n"
    )
    status, _ = run_with('"$@" <&- >&- 2>&-', [sys.executable, "-c", code])
    assert status == 3 and (tmp_path / "mine").read_bytes() == b""
