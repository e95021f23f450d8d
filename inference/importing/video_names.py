"""Finds the video and the moment that the name of a picture or a label means."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from ...files.errors import InputError
from .labels import Moment

PICTURE_SUFFIX = re.compile(r"\.(png|jpe?g|bmp|tiff?|webp|gif)$", re.IGNORECASE)
# Roboflow names a copy of dog_12.jpg dog_12_jpg.rf.0a1b2c.jpg.
ROBOFLOW_SUFFIX = re.compile(r"_(png|jpe?g)\.rf\.\w+$", re.IGNORECASE)
# Label Studio puts eight hexadecimal digits before the name of a file that is uploaded.
UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
# Times in names: mask_12_1.5s, 01m02s, 1500ms, and VoTT's video.mp4#t=1.5
UNIT_TIME = re.compile(r"(?<![0-9.])(?:(\d+)h)?(?:(\d+)m)?(\d+(?:\.\d+)?)(ms|s|sec)(?![a-z0-9])", re.IGNORECASE)
VOTT_TIME = re.compile(r"#t=(\d+(?:\.\d+)?)")
DECIMAL_NAME = re.compile(r"\d+\.\d+")
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Numbering:
    """What the numbers in pictures' names mean: the picture `first` is the first one, and `rate` pictures were taken a
    second. With a rate of None, every frame of the video has a number."""

    rate: float | None = None
    first: int = 0

    def moment(self, number: int) -> Moment:
        """Returns the moment of a picture's number. Raises ValueError for a number below the first."""
        if number < self.first:
            raise InputError(f"its number {number} is below the first one, {self.first} (--first-number)")
        position = number - self.first
        return Moment(frame=position) if self.rate is None else Moment(time=position / self.rate)


def plain_form(text: str) -> str:
    """Returns a text of the same length in which only letters, without capitals, and digits are told apart. Programs
    replace other characters when they store a file."""
    folded = "".join(one.lower() if len(one.lower()) == 1 else one for one in unicodedata.normalize("NFC", text))
    return re.sub(r"\W", "_", folded)


def path_parts(text: str) -> list[str]:
    """Splits a path or an address into the names of its folders and its file."""
    text = unicodedata.normalize("NFC", text.replace("\\", "/"))
    query = ""
    if re.match(r"[a-z][a-z0-9+.-]+://", text) or text.startswith("/data/"):
        try:
            address = urlsplit(text)
        except ValueError:  # as "http://[" raises it
            return []
        # Label Studio's local files are addressed as /data/local-files/?d=PATH
        query = "/".join(parse_qs(address.query).get("d", []))
        text = unquote(address.path)
    return [part for part in f"{text}/{query}".split("/") if part]


def moment_of_name(text: str, numbering: Numbering) -> Moment:
    """Returns the moment that the name of a picture tells, once the name of its video is taken away.

    Times have a unit (`mask_1.5s`, `1500ms`, `01m02s`) or are a decimal number alone (`1.5`). Otherwise the last
    number counts the pictures.

    Raises:
        ValueError: the name has no number.
    """
    voted = VOTT_TIME.search(text)
    if voted:
        return Moment(time=float(voted[1]))
    text = ROBOFLOW_SUFFIX.sub("", PICTURE_SUFFIX.sub("", text))
    timed = list(UNIT_TIME.finditer(text))
    if timed:
        hours, minutes, seconds, unit = timed[-1].groups()
        scale = 0.001 if unit.lower() == "ms" else 1.0
        return Moment(time=3600 * int(hours or 0) + 60 * int(minutes or 0) + scale * float(seconds))
    if DECIMAL_NAME.fullmatch(text.strip("_- ")):
        return Moment(time=float(text.strip("_- ")))
    numbers = NUMBER.findall(text)
    if not numbers or len(numbers[-1]) > 12:
        raise InputError("its name has no frame number and no time, such as 000012 or 1.5s")
    return numbering.moment(int(numbers[-1]))


class VideoNames:
    """
    The videos of a folder, found by what labels call them.

    Args:
        names: the paths of the videos, relative to their folder, with "/" between folders.
    """

    def __init__(self, names: Sequence[str]):
        self.names = sorted(names)
        self._forms = []
        for name in self.names:
            path = PurePosixPath(name)
            self._forms.append(
                (name, plain_form(path.stem), plain_form(path.name), [*map(plain_form, path.parts[:-1])])
            )

    def find(self, texts: Sequence[str], alone: bool = True) -> tuple[str, str]:
        """Finds the video that one of the texts names.

        A text is a path or an address. The name of its file begins with the video's name, or one of its folders has
        the video's name. The longest name counts.

        Args:
            texts: the first one that names a video counts.
            alone: True takes the only video of the folder if no text names one.

        Returns:
            The name of the video, and the rest of the first text's file name behind the video's name.

        Raises:
            ValueError: no text names a video, or a text could mean several.
        """
        for text in texts:
            parts = path_parts(text)
            found = self._by_file(parts) or self._by_folder(parts)
            if found is not None:
                return found
        if alone and len(self.names) == 1:
            parts = path_parts(texts[0]) if texts else []
            return self.names[0], parts[-1] if parts else ""
        shown = " or ".join(repr(text) for text in dict.fromkeys(texts) if text) or "it"
        raise InputError(f"{shown} names none of the {len(self.names)} videos, such as {self.names[0]!r}")

    def _by_file(self, parts: list[str]) -> tuple[str, str] | None:
        if not parts:
            return None
        folders = {plain_form(part) for part in parts[:-1]}
        for file in dict.fromkeys((parts[-1], UPLOAD_PREFIX.sub("", parts[-1]))):
            form = plain_form(file)
            lengths: dict[str, int] = {}
            for name, stem, whole, _ in self._forms:
                # The ending belongs to the name, so that no digit of ".mp4" is taken for a number.
                for own in (whole, stem):
                    if form == own or form.startswith(f"{own}_"):
                        lengths[name] = len(own)
                        break
            # Of "dog" and "dog_2" the longer name counts, and of dog.mp4 and dog.mov the one whose ending is given.
            ranks = {name: (len(PurePosixPath(name).stem), length) for name, length in lengths.items()}
            candidates = [name for name in lengths if ranks[name] == max(ranks.values())]
            if candidates:
                name = self._only(candidates, folders, file)
                return name, file[lengths[name] :]
        return None

    def _by_folder(self, parts: list[str]) -> tuple[str, str] | None:
        folders = [plain_form(part) for part in parts[:-1]]
        for position in reversed(range(len(folders))):
            candidates = [name for name, stem, whole, _ in self._forms if folders[position] in (stem, whole)]
            if candidates:
                return self._only(candidates, set(folders[:position]), parts[position]), parts[-1]
        return None

    def _only(self, candidates: list[str], folders: set[str], text: str) -> str:
        """Returns the only candidate, or the only one whose folder the text names too."""
        if len(candidates) > 1:
            inner = [name for name, *_, own in self._forms if name in candidates and own and own[-1] in folders]
            candidates = inner if len(inner) == 1 else candidates
        if len(candidates) > 1:
            raise InputError(f"{text!r} could mean each of the videos {', '.join(sorted(candidates)[:5])}")
        return candidates[0]


def clip_name(video: str, number: int) -> str:
    """Returns the name of a clip: the video's path without its ending, in plain letters, and the clip's number."""
    plain = re.sub(r"[^\w.-]+", "_", os.path.splitext(video)[0]).strip("_.")
    return f"{plain or 'video'}_{number:04d}"


__all__ = ["Numbering", "VideoNames", "clip_name", "moment_of_name", "path_parts", "plain_form"]
