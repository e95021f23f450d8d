"""Opening media files with PyAV and decoding a stream packet by packet, keeping account of what was damaged."""

import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError, InvalidDataError
from av.stream import Disposition, Stream

logger = logging.getLogger(__name__)

URL_SCHEMES = ("http://", "https://")
URL_TIMEOUT_SECONDS = 30.0  # a server that sends nothing for so long has been lost


class DamagedVideoError(ValueError):
    """A video that could not be read whole. It is raised after everything readable was handed out.

    Attributes:
        frames: the results until there, where they were gathered in a list and so not handed out yet; else empty.
    """

    def __init__(self, message: str, frames: Sequence = ()):
        super().__init__(message)
        self.frames = list(frames)


@dataclass
class Damage:
    """What was wrong with a file, counted while it is read."""

    undecodable_packets: int = 0
    broken_off: str = ""  # the demuxer's own words, where reading stopped before the file's regular end
    repaired_time_stamps: int = 0
    longest_hole: float = 0.0  # seconds between one frame and the next
    hole_start: float = 0.0
    unusable_samples: int = 0  # of the sound: NaN, infinite or far beyond full scale; silence stands for them
    unusable_sound: bool = False  # so many in a stretch of sound that what is left of it means little

    def describe(self) -> list[str]:
        """One phrase per kind of loss; empty where nothing was lost. Repaired time stamps are no loss."""
        phrases = []
        if self.broken_off:
            phrases.append(f"reading broke off ({self.broken_off})")
        if self.undecodable_packets:
            phrases.append(f"{self.undecodable_packets} packets could not be decoded and were left out")
        if self.unusable_sound:
            phrases.append(f"{self.unusable_samples} samples of its sound are NaN, infinite or far beyond full scale")
        return phrases


def is_url(video: str | Path) -> bool:
    """Whether a video is to be fetched; what is neither an http nor an https URL is taken for a file."""
    return isinstance(video, str) and video.lower().startswith(URL_SCHEMES)


def check_file(path: Path) -> None:
    """Whether there is a file with something in it.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: nothing is there; a directory; an empty file, or no file.
    """
    if path.is_dir():
        raise IsADirectoryError(f"video must be a file or an http(s) URL, got the directory {path}")
    if not path.exists():
        raise FileNotFoundError(f"video: no such file: {path}")
    if not path.is_file():
        raise ValueError(f"video {path} is no regular file: it must be one that can be read more than once")
    if path.stat().st_size == 0:
        raise ValueError(f"video {path} is empty: it has 0 bytes")


def reason(error: FFmpegError) -> str:
    """FFmpeg's words for an error, but for the one that it makes of a timeout."""
    if isinstance(error, ExitError):
        return f"nothing came for {URL_TIMEOUT_SECONDS:g} s"
    return str(error.strerror)


def open_media(video: str | Path) -> InputContainer:
    """Opens a media file for reading, local or behind an http(s) URL.

    Raises:
        FileNotFoundError, IsADirectoryError: where there is no such file.
        ValueError: if FFmpeg does not recognise it, as with a text file or an mp4 cut off before its index; for an
            empty file; where a server does not answer, or not with the file.
    """
    url = is_url(video)
    if not url:
        check_file(Path(video))
    timeout = (URL_TIMEOUT_SECONDS, URL_TIMEOUT_SECONDS) if url else None
    try:
        return av.open(str(video), metadata_errors="ignore", timeout=timeout)
    except InvalidDataError as error:
        raise ValueError(
            f"video {video} cannot be opened ({error.strerror}): it is no media file, or its index is missing because "
            "it was cut off. A complete mp4, webm or mkv file is needed"
        ) from error
    except FFmpegError as error:
        raise ValueError(f"video {video} cannot be opened: {reason(error)}") from error


def picture_stream(container: InputContainer) -> av.VideoStream:
    """The first moving picture of a file. The cover of a song is a picture too, but not one that moves.

    Raises:
        ValueError: for an audio-only file, or one whose picture no installed decoder reads.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        kind = "only sound" if container.streams.audio else "no picture"
        raise ValueError(f"video {container.name} holds {kind}: a file with a moving picture is needed")
    if streams[0].codec_context is None:
        raise ValueError(f"video {container.name}: no decoder is installed for its picture")
    return streams[0]


def sound_stream(container: InputContainer, index: int | None = None) -> av.AudioStream | None:
    """The sound track with an index among the file's streams; by default the one that a player would choose, or `None`
    without a sound track.

    Raises:
        ValueError: where no installed decoder reads it. Taking it for silence would be silently wrong.
    """
    chosen = container.streams.best("audio") if index is None else container.streams[index]
    stream = cast(av.AudioStream | None, chosen)
    if stream is not None and stream.codec_context is None:
        raise ValueError(f"video {container.name}: no decoder is installed for its sound")
    return stream


def packets(container: InputContainer, stream: Stream | None, damage: Damage) -> Iterator[av.Packet]:
    """The packets of a stream, or of all; a file that breaks off ends them, and `damage` says so."""
    try:
        yield from container.demux(*([] if stream is None else [stream]))
    except FFmpegError as error:
        damage.broken_off = reason(error)


def decoded_frames(container: InputContainer, stream: av.VideoStream | av.AudioStream, damage: Damage) -> Generator:
    """The frames of a stream in the order of presentation. What cannot be decoded is left out, and counted."""
    for packet in packets(container, stream, damage):
        if packet.is_corrupt:
            # The demuxer found less data than the index promises: the file ends inside this packet.
            damage.undecodable_packets += 1
            continue
        try:
            frames = packet.decode()
        except FFmpegError as error:
            logger.debug("packet at %s of %s: %s", packet.pts, container.name, error)
            damage.undecodable_packets += 1
            continue
        yield from frames
    if damage.broken_off:
        # The demuxer's flush packet never came: the frames that the decoder still holds are good.
        try:
            yield from stream.codec_context.decode(None)
        except FFmpegError as error:
            logger.debug("end of %s: %s", container.name, error)


__all__ = [
    "Damage",
    "DamagedVideoError",
    "decoded_frames",
    "is_url",
    "open_media",
    "packets",
    "picture_stream",
    "sound_stream",
]
