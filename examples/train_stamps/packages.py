"""Fetches Debian packages and unpacks them into a folder, without root and without installing them.

`apt-get download` finds the package of the Debian release at hand. Where apt is missing, the packages of Debian 12
come from `MIRROR`.
"""

import hashlib
import io
import shutil
import struct
import subprocess
import tarfile
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple

MIRROR = "https://deb.debian.org/debian/pool/main"


class Package(NamedTuple):
    """A package of Debian 12: its file below `MIRROR`, and the size and the digest of this file."""

    file: str
    size: int
    sha256: str


PACKAGES = {
    "tuxpaint-stamps-default": Package(
        "t/tuxpaint-stamps/tuxpaint-stamps-default_2022.06.04-1_all.deb",
        160_880_444,
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    ),
    "gcompris-qt-data": Package(
        "g/gcompris-qt/gcompris-qt-data_3.1-2_all.deb",
        44_196_292,
        "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
    ),
    "fluid-soundfont-gm": Package(
        "f/fluid-soundfont/fluid-soundfont-gm_3.1-5.3_all.deb",
        119_610_208,
        "6f531493ac4e4d9772fd96b2488ea1790af81c196135fbdd25997da0781fc60e",
    ),
    "timgm6mb-soundfont": Package(
        "t/timgm6mb-soundfont/timgm6mb-soundfont_1.3-5_all.deb",
        5_426_644,
        "034abdfb296d9353433513dad5dbdcab46425ee6008fc02fe7039b46e75edc54",
    ),
    "asterisk-core-sounds-en-wav": Package(
        "a/asterisk-core-sounds/asterisk-core-sounds-en-wav_1.6.1-1_all.deb",
        18_272_864,
        "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
    ),
    "asterisk-core-sounds-es-wav": Package(
        "a/asterisk-core-sounds/asterisk-core-sounds-es-wav_1.6.1-1_all.deb",
        23_767_256,
        "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
    ),
    "asterisk-core-sounds-it-wav": Package(
        "a/asterisk-core-sounds/asterisk-core-sounds-it-wav_1.6.1-1_all.deb",
        18_262_124,
        "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
    ),
}


def fetch_from_apt(name: str, folder: Path) -> bytes | None:
    """Returns the package file that apt offers, whose digest apt checks. None if there is no apt, or it fails."""
    if shutil.which("apt-get") is None:
        return None
    subprocess.run(["apt-get", "download", "-qq", name], cwd=folder, check=False)
    found = sorted(folder.glob(f"{name}_*.deb"))
    return found[-1].read_bytes() if found else None


def fetch_from_mirror(package: Package) -> bytes:
    """Downloads the package of Debian 12. ValueError if the file is not the one that was expected."""
    with urllib.request.urlopen(f"{MIRROR}/{package.file}", timeout=60) as answer:
        content = answer.read()
    if len(content) != package.size or hashlib.sha256(content).hexdigest() != package.sha256:
        raise ValueError(f"{MIRROR}/{package.file} is not the expected file: it has {len(content)} bytes")
    return content


def unpack(content: bytes, folder: Path) -> None:
    """Unpacks the files of a .deb, an `ar` archive with a member data.tar.*, into a folder."""
    if not content.startswith(b"!<arch>\n"):
        raise ValueError("a Debian package must be an ar archive")
    place = 8
    while place < len(content):
        name, size = content[place : place + 16].strip().decode(), int(content[place + 48 : place + 58])
        if name.startswith("data.tar"):
            data = io.BytesIO(content[place + 60 : place + 60 + size])
            with tarfile.open(fileobj=data) as archive:
                archive.extractall(folder, filter="data")
            return
        place += 60 + size + size % 2
    raise ValueError("the Debian package has no data.tar")


def fetch_package(name: str, folder: Path) -> Path:
    """Unpacks a package into `folder`/`name`, unless that exists, and returns this folder."""
    target = folder / name
    if target.is_dir():
        return target
    print(f"fetching {name}, {PACKAGES[name].size / 1e6:.0f} MB")
    partial = folder / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    content = fetch_from_apt(name, partial) or fetch_from_mirror(PACKAGES[name])
    unpack(content, partial)
    for file in partial.glob("*.deb"):
        file.unlink()
    partial.rename(target)
    return target


def read_resources(path: Path) -> dict[str, bytes]:
    """
    Reads a Qt resource file (.rcc): the files in it, by their path.

    The layout is that of Qt's `rcc --binary`: a header with the offsets of three parts, a tree of folders and files,
    the contents, and the names in UTF-16. Contents are plain or zlib streams behind four bytes of length.
    """
    content = path.read_bytes()
    magic, version, tree, data, names = struct.unpack_from(">4s4I", content)
    if magic != b"qres":
        raise ValueError(f"{path} is no Qt resource file")
    node_size = 14 if version < 2 else 22
    files: dict[str, bytes] = {}
    waiting = [(0, "")]
    while waiting:
        node, parent = waiting.pop()
        name_place, flags, first, second = struct.unpack_from(">IHII", content, tree + node * node_size)
        name = parent
        if node:
            (length,) = struct.unpack_from(">H", content, names + name_place)
            begin = names + name_place + 6
            name = f"{parent}/{content[begin : begin + 2 * length].decode('utf-16-be')}".lstrip("/")
        if flags & 2:  # a folder: `first` is the number of its entries, `second` the first of them
            waiting += [(child, name) for child in range(second, second + first)]
            continue
        if flags & 4:
            continue  # Zstandard; none of the files that are needed here
        (size,) = struct.unpack_from(">I", content, data + second)
        value = content[data + second + 4 : data + second + 4 + size]
        files[name] = zlib.decompress(value[4:]) if flags & 1 else value
    return files


__all__ = ["PACKAGES", "fetch_package", "read_resources", "unpack"]
