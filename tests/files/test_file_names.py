import os

import pytest

from auss.files.file_names import LONGEST_NAME, fitting_name, printable


def test_what_a_terminal_would_obey_is_escaped():
    assert printable("naïve 猫.mp4") == "naïve 猫.mp4"
    assert printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert printable(os.fsdecode(b"caf\xe9.mp4")) == "caf\\udce9.mp4"


@pytest.mark.parametrize("stem", ["a" * 255, "é" * 127 + "a", "猫" * 85, os.fsdecode(b"\xe9" * 255)])
def test_names_that_are_too_long_are_shortened_to_what_can_be_made(tmp_path, stem):
    name = fitting_name(stem, ".error.txt")
    assert len(os.fsencode(name)) <= LONGEST_NAME and name.endswith(".error.txt") and name.startswith(stem[:50])
    (tmp_path / name).touch()
    assert os.listdir(tmp_path) == [name]
    assert fitting_name(stem[:-1] + "x", ".error.txt") != name


def test_other_names_stay():
    assert fitting_name("a" * 245, ".error.txt") == "a" * 245 + ".error.txt"
