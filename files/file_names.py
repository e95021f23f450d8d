"""Names of files as they are: of any bytes, as long as the file system allows, shown on one line."""

import hashlib
import os
import re

LONGEST_NAME = 255  # bytes; what the file systems of Linux, macOS and Windows allow for one name
DIGEST_LENGTH = 12


def printable(text: object) -> str:
    """The text without characters that a terminal would obey or cannot show: line breaks, control sequences, and the
    bytes of a name that is not UTF-8, are written as Python escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


def fitting_name(name: str, suffix: str = "") -> str:
    """`name + suffix`, or a shortened name with a digest in it where that has more bytes than a file system takes. Two
    different names give two different results."""
    if len(os.fsencode(name + suffix)) <= LONGEST_NAME:
        return name + suffix
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:DIGEST_LENGTH]
    room = LONGEST_NAME - len(os.fsencode(f"~{digest}{suffix}"))
    kept = os.fsencode(name)[:room]
    # A letter that the cut went through would become an escaped byte.
    start = re.sub(rb"[\xc0-\xff][\x80-\xbf]{0,3}$", b"", kept) if kept[-1] >= 0x80 else kept
    return f"{os.fsdecode(start)}~{digest}{suffix}"


__all__ = ["LONGEST_NAME", "fitting_name", "printable"]
