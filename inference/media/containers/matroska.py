"""Checks by the sizes and checksums of its elements that a Matroska or WebM file is whole (RFC 8794 and RFC 9559).

FFmpeg skips the parts of such a file that it cannot read. It writes a checksum into every cluster of a Matroska file
(not of a WebM file), but it checks none when it reads. VP8 and VP9 decode nearly any bytes, so only a checksum shows
that a byte has changed.
"""

import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

EBML, SEGMENT, CLUSTER, CRC_32, VOID = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xBF, 0xEC
# The elements of a segment: SeekHead, Info, Tracks, Cluster, Cues, Attachments, Chapters, Tags.
PARTS = {0x114D9B74, 0x1549A966, 0x1654AE6B, CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
# The elements of a cluster: Timestamp, SimpleBlock, BlockGroup, PrevSize, Position, EncryptedBlock, SilentTracks.
CLUSTER_PARTS = {0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0xAF, 0x5854, CRC_32, VOID}
# Elements that hold other elements: Info and Tracks, TrackEntry, Video, Audio, ContentEncodings with its parts,
# Cluster, BlockGroup, Cues, CuePoint, CueTrackPositions, Tags, Tag, Targets, SimpleTag, SeekHead, Seek.
HOLDERS = {0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x6D80, 0x6240, 0x5034, CLUSTER, 0xA0, 0x1C53BB6B, 0xBB, 0xB7}
HOLDERS |= {0x1254C367, 0x7373, 0x63C0, 0x67C8, 0x114D9B74, 0x4DBB}
LARGEST_CHECKED = 2**28  # bytes of an element; no program writes clusters of more than some megabytes
MOST_NAMED = 2  # a message names at most so many problems
BEGINNING = EBML.to_bytes(4, "big")


class Element(NamedTuple):
    """The number of an element, the position of its content, and its end. The end is None if the size is unknown."""

    number: int
    start: int
    end: int | None


def read_number(file: BinaryIO, longest: int, keep_marker: bool) -> tuple[int, bool] | None:
    """Reads a number of variable length. Returns it and whether all of its bits are set, or None if there is none."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if length > longest or len(rest) < length - 1:
        return None
    value = int.from_bytes(first + rest, "big")
    plain = value & ((1 << 7 * length) - 1)
    return (value if keep_marker else plain), plain == (1 << 7 * length) - 1


def read_element(file: BinaryIO) -> Element | None:
    """Reads the head of the element at the current position. Returns None if there is no element."""
    number = read_number(file, 4, keep_marker=True)
    size = read_number(file, 8, keep_marker=False) if number else None
    if number is None or size is None:
        return None
    start = file.tell()
    return Element(number[0], start, None if size[1] else start + size[0])


def checksum_holds(content: bytes) -> bool:
    """Whether the content of an element fits the checksum at its beginning. True if there is no checksum."""
    if len(content) < 6 or content[0] != CRC_32 or content[1] != 0x84:
        return True
    return zlib.crc32(content[6:]) == int.from_bytes(content[2:6], "little")


def is_nested(number: int, content: bytes) -> bool:
    """Whether the elements inside an element fill it exactly, one after the other; checked on every level."""
    if number not in HOLDERS:
        return True
    file = io.BytesIO(content)
    while file.tell() < len(content):
        inner = read_element(file)
        if inner is None or inner.end is None or inner.end > len(content):
            return False
        if not is_nested(inner.number, content[inner.start : inner.end] if inner.number in HOLDERS else b""):
            return False
        file.seek(inner.end)
    return True


def end_of_open_cluster(file: BinaryIO, limit: int) -> int | None:
    """The end of a cluster of unknown size: the next element that cannot be in a cluster. None if it is damaged."""
    while (place := file.tell()) < limit:
        inner = read_element(file)
        if inner is None or (inner.number in CLUSTER_PARTS and (inner.end is None or inner.end > limit)):
            return None
        if inner.number not in CLUSTER_PARTS:
            return place if inner.number in PARTS | {EBML, SEGMENT} else None
        assert inner.end is not None
        file.seek(inner.end)
    return limit


def check_parts(file: BinaryIO, limit: int) -> Iterator[str]:
    """Yields a phrase for everything that is wrong with the elements of a segment that ends at `limit`."""
    while (place := file.tell()) < limit:
        part = read_element(file)
        if part is None or part.number not in PARTS | {CRC_32, VOID, EBML, SEGMENT}:
            yield f"the data at byte {place} are no part of a Matroska file"
            return
        if part.number in (EBML, SEGMENT):  # here begins another file that was joined to this one
            file.seek(part.start if part.number == SEGMENT or part.end is None else part.end)
            continue
        end = part.end if part.end is not None else end_of_open_cluster(file, limit)
        if end is None or end > limit:
            yield f"the part at byte {place} is not whole"
            return
        if end - part.start <= LARGEST_CHECKED:
            file.seek(part.start)
            content = file.read(end - part.start)
            if not checksum_holds(content):
                yield f"the part at byte {place} does not match its checksum"
            elif not is_nested(part.number, content):
                yield f"the part at byte {place} holds an element that is not whole"
        file.seek(end)


def found_problems(path: Path) -> list[str]:
    """Lists everything that is wrong with a Matroska or WebM file. The list is empty for other kinds of file."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(BEGINNING)) != BEGINNING:
            return []
        file.seek(0)
        header = read_element(file)
        if header is None or header.end is None or header.end > size:
            return ["its header is not whole"]
        file.seek(header.end)
        segment = read_element(file)
        if segment is None or segment.number != SEGMENT:
            return ["its header is damaged"]
        limit = min(size, segment.end) if segment.end is not None else size
        problems = list(check_parts(file, limit))
        if segment.end is not None and segment.end > size:
            problems.append(f"the file has {size} bytes, but its header declares {segment.end}")
        return problems


def matroska_problems(path: Path) -> list[str]:
    """Says briefly what is wrong with a Matroska or WebM file. The list is empty if the file is whole or of another
    kind."""
    problems = found_problems(path)
    if len(problems) <= MOST_NAMED:
        return problems
    return [*problems[:MOST_NAMED], f"and problems in {len(problems) - MOST_NAMED} more parts"]


__all__ = ["matroska_problems"]
