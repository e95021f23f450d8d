"""Finds out which format label files have, and reads them."""

import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ...files.errors import InputError
from ...train.composer.object_library import is_hidden
from .coco_labels import is_coco, read_coco
from .cvat_labels import read_cvat
from .label_studio_labels import is_label_studio, read_label_studio
from .labels import FrameLabels, Notes
from .mask_files import read_mask_folder
from .video_names import Numbering

TEXT_SUFFIXES = (".json", ".xml")
# CVAT's COCO export has its JSON in this folder.
ANNOTATIONS_FOLDER = "annotations"
# An archive may hold more than fits into memory.
MOST_BYTES = 2**30
# What `zipfile` raises for a damaged archive, an encrypted one (RuntimeError) and one of an unknown method.
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
ACCEPTED = (
    "COCO or Label Studio (.json), CVAT for images or for video (.xml), a .zip of one of these, or a folder of masks"
)


def text_files(folder: Path) -> list[Path]:
    """Returns the JSON and XML files of a folder, or else those of its folder `annotations`."""
    for place in (folder, folder / ANNOTATIONS_FOLDER):
        if place.is_dir():
            found = [one for one in sorted(place.iterdir()) if one.suffix.lower() in TEXT_SUFFIXES and one.is_file()]
            found = [one for one in found if not is_hidden(one)]
            if found:
                return found
    return []


def archived_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the names and the contents of the JSON and XML files of a .zip. Nothing is unpacked onto the disk.

    Raises:
        ValueError: the file is no archive, has no such file, or they are too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                one
                for one in archive.infolist()
                if PurePosixPath(one.filename).suffix.lower() in TEXT_SUFFIXES
                and not any(is_hidden(Path(part)) for part in PurePosixPath(one.filename).parts)
            ]
            if not members:
                raise InputError(f"labels {path} has no .json and no .xml in it; unpack it if it holds mask pictures")
            if sum(one.file_size for one in members) > MOST_BYTES:
                raise InputError(f"labels {path} holds more than {MOST_BYTES} bytes of labels: unpack it")
            for one in members:
                with archive.open(one) as member:
                    yield one.filename, member.read(MOST_BYTES)
    except InputError:
        raise
    except DAMAGED_ARCHIVE as error:
        raise InputError(f"labels {path} is no .zip that can be read: {error}") from error


def read_text_labels(
    content: bytes, origin: str, stem: str, numbering: Numbering, silent: bool, notes: Notes
) -> list[FrameLabels]:
    """Reads a JSON or XML file of labels.

    Args:
        content: the bytes of the file.
        origin: the name of the file, for messages.
        stem: the name that the video may have if the file names none.
        numbering: what the numbers of frames count.
        silent: whether nothing sounds in a picture that is listed without a label.
        notes: notes labels that cannot be used.

    Raises:
        ValueError: the file has no format of `ACCEPTED`.
    """
    if origin.lower().endswith(".xml"):
        return read_cvat(content, origin, stem, silent, notes)
    try:
        parsed = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin} cannot be read as JSON: {error}") from error
    if is_coco(parsed):
        return read_coco(parsed, origin, numbering, silent, notes)
    if is_label_studio(parsed):
        return read_label_studio(parsed, origin, notes)
    raise InputError(f"{origin} is neither COCO's JSON nor Label Studio's; labels must be {ACCEPTED}")


def named_after(place: str, frames: Sequence[FrameLabels]) -> list[FrameLabels]:
    """Adds the name of the file or folder of labels to the names that may be the video's. CVAT's exports of a video
    may name the pictures frame_000012 alone; the user can then give the file the name of the video."""
    return [replace(one, names=(*one.names, f"{place}/{next(iter(one.names), '')}")) for one in frames]


def read_label_path(path: Path, numbering: Numbering, silent: bool, fps: float, notes: Notes) -> list[FrameLabels]:
    """Reads one of the paths that `read_labels` takes."""
    if path.is_dir():
        files = text_files(path)
        if files:
            return [one for file in files for one in read_label_path(file, numbering, silent, fps, notes)]
        return named_after(path.absolute().name, read_mask_folder(path, fps))
    if not path.is_file():
        raise FileNotFoundError(f"labels: no such file or folder: {path}")
    suffix = path.suffix.lower()
    if suffix == ".zip":
        contents = list(archived_files(path))
    elif suffix in TEXT_SUFFIXES:
        contents = [(path.name, path.read_bytes())]
    else:
        raise InputError(f"labels must be {ACCEPTED}; got {path}")
    found = []
    for name, content in contents:
        origin = str(path) if suffix != ".zip" else f"{path}/{name}"
        found += read_text_labels(content, origin, path.stem, numbering, silent, notes)
    return named_after(path.stem, found)


def read_labels(
    paths: Sequence[Path], numbering: Numbering, silent: bool, fps: float, notes: Notes
) -> list[FrameLabels]:
    """Reads labels of any of the formats.

    Args:
        paths: files and folders, each as `ACCEPTED` says.
        numbering: what the numbers of pictures count.
        silent: whether nothing sounds in a picture that is listed without a label. Otherwise it counts as unlabelled.
        fps: how many masks a second a mask video gives.
        notes: notes labels that cannot be used.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a path is not of these formats, or holds no label.
    """
    found = []
    for path in paths:
        labels = read_label_path(path, numbering, silent, fps, notes)
        notes.warn_of_unused()
        if not labels:
            notes.warn(f"labels {path} has no mask and no polygon")
        found += labels
    return found


__all__ = ["read_labels"]
