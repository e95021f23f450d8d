"""File names may hold any bytes and may be too long. These functions print a name on one line and shorten a name."""

import hashlib
import os
import re

LONGEST_NAME = 255  # bytes; the limit for one name in the file systems of Linux, macOS and Windows
DIGEST_LENGTH = 12


def printable(text: object) -> str:
    """Returns the text with Python escapes for all characters that a terminal would obey or cannot show. These are
    line breaks, control sequences, and the bytes of a name that is not UTF-8."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


def fitting_name(name: str, suffix: str = "") -> str:
    """Returns `name + suffix`. If that has more bytes than a file system allows, the name is cut and a digest of the
    whole name is added. Two different names give two different results."""
    if len(os.fsencode(name + suffix)) <= LONGEST_NAME:
        return name + suffix
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:DIGEST_LENGTH]
    room = LONGEST_NAME - len(os.fsencode(f"~{digest}{suffix}"))
    kept = os.fsencode(name)[:room]
    # The cut may go through a letter of several bytes. Drop the rest of the letter; it would become an escaped byte.
    start = re.sub(rb"[\xc0-\xff][\x80-\xbf]{0,3}$", b"", kept) if kept[-1] >= 0x80 else kept
    return f"{os.fsdecode(start)}~{digest}{suffix}"


__all__ = ["LONGEST_NAME", "fitting_name", "printable"]
