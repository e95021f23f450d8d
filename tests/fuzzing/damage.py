"""Damage to files, and what is known of a damaged file without auss: by its checksums, and by its decoder's words."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

PNG_START = b"\x89PNG\r\n\x1a\n"


def flip_bit(content: bytearray, random: np.random.Generator) -> None:
    content[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))


def flip_bytes(content: bytearray, random: np.random.Generator) -> None:
    """Eight bytes that follow one another."""
    start = int(random.integers(len(content)))
    for place in range(start, min(start + 8, len(content))):
        content[place] ^= int(random.integers(1, 256))


def scatter(content: bytearray, random: np.random.Generator) -> None:
    """One byte in a thousand, at least one."""
    for place in random.integers(len(content), size=max(1, len(content) // 1000)):
        content[int(place)] ^= int(random.integers(1, 256))


def flip_start(content: bytearray, random: np.random.Generator) -> None:
    """Bytes of the beginning, where formats say what follows."""
    for place in random.integers(min(256, len(content)), size=3):
        content[int(place)] ^= int(random.integers(1, 256))


def truncate(content: bytearray, random: np.random.Generator) -> None:
    del content[int(random.integers(len(content))) :]


def truncate_end(content: bytearray, random: np.random.Generator) -> None:
    """Up to 64 bytes are missing."""
    del content[-int(random.integers(1, 65)) :]


def zero_block(content: bytearray, random: np.random.Generator) -> None:
    """A part that was never written, as after a crash."""
    start, length = int(random.integers(len(content))), int(random.integers(1, 4096))
    end = min(start + length, len(content))
    content[start:end] = bytes(end - start)


def cut_out(content: bytearray, random: np.random.Generator) -> None:
    start = int(random.integers(len(content)))
    del content[start : start + int(random.integers(1, 1000))]


def insert(content: bytearray, random: np.random.Generator) -> None:
    start = int(random.integers(len(content)))
    content[start:start] = random.bytes(int(random.integers(1, 1000)))


def append(content: bytearray, random: np.random.Generator) -> None:
    content += random.bytes(int(random.integers(1, 1000)))


def replace_all(content: bytearray, random: np.random.Generator) -> None:
    """Bytes of chance, of the same number."""
    content[:] = random.bytes(len(content))


def empty(content: bytearray, random: np.random.Generator) -> None:
    content.clear()


def text(content: bytearray, random: np.random.Generator) -> None:
    """What a server sends in the place of a file that is not there."""
    content[:] = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>\n"


DAMAGES: dict[str, Callable[[bytearray, np.random.Generator], None]] = {
    "a bit flipped": flip_bit,
    "8 bytes flipped": flip_bytes,
    "truncated": truncate,
    "a byte in 1,000 flipped": scatter,
    "its start flipped": flip_start,
    "its end missing": truncate_end,
    "a block of zeros": zero_block,
    "a part cut out": cut_out,
    "bytes inserted": insert,
    "bytes appended": append,
    "random bytes": replace_all,
    "empty": empty,
    "an HTML page": text,
}
# The kinds that come most: the last three leave nothing of a file, so once in a while is enough.
USUAL = list(DAMAGES)[:9]


def damage(content: bytes, number: int, random: np.random.Generator) -> tuple[str, bytes]:
    """A kind of damage, in turn by the trial's number, and the content with it. It always changes something."""
    kinds = list(DAMAGES)
    kind = kinds[number % len(kinds)] if number % 3 == 0 else USUAL[number % len(USUAL)]
    damaged = bytearray(content)
    DAMAGES[kind](damaged, random)
    if bytes(damaged) == content:
        damaged += b"\0"
        kind = "bytes appended"
    return kind, bytes(damaged)


def png_is_whole(content: bytes) -> bool:
    """Whether a PNG's chunks have the checksums that they say, up to its end."""
    if not content.startswith(PNG_START):
        return False
    place = len(PNG_START)
    while place + 12 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        body, end = content[place + 4 : place + 8 + length], place + 12 + length
        if end > len(content) or zlib.crc32(body) != int.from_bytes(content[end - 4 : end], "big"):
            return False
        place = end
        if kind == b"IEND":
            return True
    return False


def riff_is_whole(content: bytes) -> bool:
    """Whether a wav has as many bytes as it says."""
    return content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 <= len(content)


def decoded_media(path: Path) -> tuple[list[tuple[float, bytes]], list[tuple[float, bytes]], list[str]]:
    """Pictures and sound of a file as FFmpeg gives them, (time, bytes) each, and its own words about errors."""
    pictures, sounds, words = [], [], []
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=False) as captured:
            for kind, found in (("video", pictures), ("audio", sounds)):
                decode_stream(path, kind, found, words)
        words += [f"{name}: {line.strip()}" for _, name, line in captured]
    finally:
        av.logging.set_level(before)
    return pictures, sounds, words


def decode_stream(path: Path, kind: str, found: list, words: list[str]) -> None:
    """Decodes all that can be decoded of one kind of stream into `found`."""
    try:
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            stream: Any = container.streams.best(kind)
            if stream is None:
                return
            stream.thread_type = "NONE"
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    words.append(str(error))
                    continue
                found += [(float(frame.time or 0), frame.to_ndarray().tobytes()) for frame in frames]
    except (av.FFmpegError, ValueError) as error:
        words.append(str(error))


__all__ = ["DAMAGES", "damage", "decoded_media", "png_is_whole", "riff_is_whole"]
