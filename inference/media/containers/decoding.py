"""Opens media files with PyAV, decodes a stream packet by packet, and counts the damage that it meets."""

import errno
import logging
import math
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import av
from av.container import Container, InputContainer
from av.error import ExitError, FFmpegError, InvalidDataError
from av.stream import Disposition, Stream

from ....files.errors import InputError
from .stream_clock import StreamClock, clock_may_jump
from .web_address import address_behind

logger = logging.getLogger(__name__)

URL_SCHEMES = ("http://", "https://")
URL_TIMEOUT_SECONDS = 30.0  # a server that sends nothing for this time counts as lost
FILE_SCHEME = "file:"  # makes FFmpeg take a name as a file: without it, "rec:1.mp4" would mean the protocol "rec"
# FFmpeg's protocols for a file and for a URL. FFmpeg may use no other protocol, whatever a video asks for.
FILE_PROTOCOLS, URL_PROTOCOLS = "file", "http,https,httpproxy,tls,tcp"
# FFmpeg's readers of media that consist of one file. The list leaves out the readers that open other files by name:
# playlists (hls, dash, concat), numbered pictures, subtitles with an index.
MEDIA_FORMATS = (
    "amv,asf,av1,avi,bink,cine,dhav,dv,evc,film_cpk,flic,flv,gif,gxf,ifv,iv8,ivf,ivr,kux,live_flv,lmlm4,lxf,matroska,"
    "moflex,mov,mpeg,mpegts,mpjpeg,msnwctcp,mtv,mv,mvi,mxf,nsv,nut,nuv,obu,ogg,pmp,pva,r3d,rm,roq,rpl,smk,smush,swf,"
    "thp,ty,vivo,webm,wtv,xmv,yuv4mpegpipe,apng,jpegxl_anim,"
    "avs2,avs3,cavsvideo,dirac,dnxhd,h261,h263,h264,hevc,m4v,mjpeg,mjpeg_2000,mpegvideo,vc1,vc1test,vvc,"
    "aac,ac3,aiff,amr,ape,au,caf,dts,eac3,flac,loas,mlp,mp3,mpc,mpc8,oma,qcp,tak,truehd,tta,voc,w64,wav,wv"
)
# Flags of a sound track that is meant for some listeners only, beside or instead of the film's own sound.
SIDE_TRACK = (
    Disposition.comment
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.descriptions
    | Disposition.dependent
)
MOST_SPANS = 8  # a message names at most so many places of damage
PLAYLIST_MARKS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"[playlist]")


class DamagedVideoError(InputError):
    """A video could not be read completely. The error is raised after everything readable was handed out.

    Attributes:
        frames: the results up to the error, if they were gathered in a list and therefore not handed out yet; else an
            empty list.
    """

    def __init__(self, message: str, frames: Sequence = ()):
        super().__init__(message)
        self.frames = list(frames)


@dataclass
class Damage:
    """Counts what is wrong with a file while the file is read."""

    undecodable_packets: int = 0
    faulty_frames: int = 0  # frames that were decoded, but with errors that the decoder reports
    fault_times: set[int] = field(default_factory=set)  # when either happened: whole seconds of the file's clock
    suspect_packets: int = 0  # packets after a break in a transport stream; perhaps nothing is missing
    broken_off: str = ""  # the demuxer's error message, if reading stopped before the regular end
    repaired_time_stamps: int = 0  # stamps that ran backwards and were replaced
    missing_time_stamps: int = 0
    longest_hole: float = 0.0  # the longest time in seconds between one frame and the next
    hole_start: float = 0.0  # when that time begins, in seconds
    unusable_samples: int = 0  # samples that are NaN, infinite or far beyond full scale; silence replaced them
    unusable_sound: bool = False  # whether a stretch of sound has too many of them to mean much

    def note_fault(self, part: av.Packet | av.VideoFrame | av.AudioFrame) -> None:
        """Remembers when something was lost, if the part has a time stamp."""
        if part.pts is not None and part.time_base is not None:
            self.fault_times.add(math.floor(part.pts * part.time_base))

    def describe(self, origin: float = 0.0) -> list[str]:
        """Returns one phrase per kind of loss, or an empty list. Repaired time stamps do not count as a loss.

        Args:
            origin: the time of the file's own clock, in seconds, that the phrases call 0.
        """
        phrases = []
        if self.broken_off:
            phrases.append(f"reading broke off ({self.broken_off})")
        if self.undecodable_packets:
            phrases.append(f"{self.undecodable_packets} packets could not be decoded and were left out")
        if self.faulty_frames:
            phrases.append(f"{self.faulty_frames} frames were decoded with errors")
        if phrases and self.fault_times:
            phrases[-1] += f" (at {', '.join(self._fault_spans(origin))})"
        if self.unusable_sound:
            phrases.append(f"{self.unusable_samples} samples of its sound are NaN, infinite or far beyond full scale")
        return phrases

    def _fault_spans(self, origin: float) -> list[str]:
        """The seconds with faults. Neighbouring seconds form one span; at most `MOST_SPANS` spans are listed."""
        spans: list[list[int]] = []
        for second in sorted({max(0, math.floor(time - origin)) for time in self.fault_times}):
            if spans and second == spans[-1][1]:
                spans[-1][1] = second + 1
            else:
                spans.append([second, second + 1])
        words = [f"{start}-{end} s" for start, end in spans[:MOST_SPANS]]
        return words if len(spans) <= MOST_SPANS else [*words, f"and {len(spans) - MOST_SPANS} more places"]


def is_url(video: str | Path) -> bool:
    """Whether a video is an http or https URL. Everything else is taken for a local file."""
    return isinstance(video, str) and video.lower().startswith(URL_SCHEMES)


def file_address(path: str | Path) -> str:
    """The address by which FFmpeg reads or writes a local file. FFmpeg then never takes the name for a URL."""
    return FILE_SCHEME + os.fspath(path)


def media_name(container: Container) -> str:
    """The name that the user gave for an open file: a path or a URL."""
    return container.name.removeprefix(FILE_SCHEME)


def check_file(path: Path) -> None:
    """Checks that a path is a regular file that is not empty.

    Raises:
        FileNotFoundError: the path does not exist.
        IsADirectoryError: the path is a directory.
        ValueError: the file is empty, or is no regular file.
        PermissionError: the file is in a folder that may not be entered.
    """
    if path.is_dir():
        raise IsADirectoryError(f"video must be a file or an http(s) URL, got the directory {path}")
    if not path.exists():
        raise FileNotFoundError(f"video: no such file: {path}")
    if not path.is_file():
        raise InputError(f"video {path} is no regular file: it must be one that can be read more than once")
    if path.stat().st_size == 0:
        raise InputError(f"video {path} is empty: it has 0 bytes")


def reason(error: FFmpegError) -> str:
    """FFmpeg's message for an error. A timeout gets a message of its own, because FFmpeg's does not name it."""
    if isinstance(error, ExitError):
        return f"nothing came for {URL_TIMEOUT_SECONDS:g} s"
    return str(error.strerror)


def is_playlist(path: Path) -> bool:
    """Whether a file begins like a playlist, which only names other files or addresses."""
    with open(path, "rb") as file:
        beginning = file.read(1024)
    return any(mark in beginning for mark in PLAYLIST_MARKS)


def check_opened(video: str | Path, error: FFmpegError) -> None:
    """Raises a ValueError that explains why FFmpeg could not open a video."""
    playlist = not is_url(video) and is_playlist(Path(video))
    if isinstance(error, InvalidDataError) and not playlist:
        raise InputError(
            f"video {video} cannot be opened ({error.strerror}): it is no media file, or its index is missing because "
            "it was cut off. A complete mp4, webm or mkv file is needed"
        ) from error
    if playlist or error.errno == errno.EINVAL:  # FFmpeg's error for a format that it may not read
        kind = "a playlist of other files" if playlist else "a playlist, or no file with a moving picture"
        raise InputError(
            f"video {video} cannot be opened: it is {kind}. A complete mp4, webm or mkv file is needed; "
            "`ffmpeg -i PLAYLIST -c copy joined.mp4` makes one of a playlist"
        ) from error
    raise InputError(f"video {video} cannot be opened: {reason(error)}") from error


def open_media(
    video: str | Path,
    options: Mapping[str, str] | None = None,
    timeout: tuple[float, float] = (URL_TIMEOUT_SECONDS, URL_TIMEOUT_SECONDS),
) -> InputContainer:
    """Opens a media file for reading. It is a local file or lies behind an http(s) URL.

    A local name always means the file of that name, even if it looks like a URL. The file cannot make FFmpeg open
    another file or an address. `address_behind` decides which redirects of a URL are followed.

    Args:
        video: the path, or the URL as a string.
        options: more options of FFmpeg's reader.
        timeout: seconds after which a URL counts as lost, while it is opened and while it is read.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: FFmpeg does not recognise the file, for example a text file or an mp4 that was cut off before its
            index; the file is empty or a playlist; the server does not answer, does not send the file, or redirects to
            an address that may not be asked.
    """
    formats = {**(options or {}), "format_whitelist": MEDIA_FORMATS}
    try:
        if not is_url(video):
            check_file(Path(video))
            formats["protocol_whitelist"] = FILE_PROTOCOLS
            return av.open(file_address(video), metadata_errors="ignore", options=formats)
        # FFmpeg itself would follow a redirect to any address.
        formats |= {"protocol_whitelist": URL_PROTOCOLS, "max_redirects": "0"}
        try:
            return av.open(str(video), metadata_errors="ignore", timeout=timeout, options=formats)
        except FFmpegError as error:
            address = address_behind(str(video), URL_TIMEOUT_SECONDS) if error.errno == errno.EIO else str(video)
            if address == str(video):
                raise
            return av.open(address, metadata_errors="ignore", timeout=timeout, options=formats)
    except FFmpegError as error:
        check_opened(video, error)
        raise


def moving_pictures(container: InputContainer) -> list[av.VideoStream]:
    """The streams of a file that hold a moving picture. The cover of a song and thumbnails are left out."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & still]


def picture_stream(container: InputContainer) -> av.VideoStream:
    """The moving picture that a player would choose. FFmpeg chooses it by its flags and its content.

    Raises:
        ValueError: the file has no moving picture, or no installed decoder reads its picture.
    """
    streams = moving_pictures(container)
    if not streams:
        kind = "only sound" if container.streams.audio else "no picture"
        raise InputError(f"video {media_name(container)} holds {kind}: a file with a moving picture is needed")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise InputError(f"video {media_name(container)}: no decoder is installed for its picture")
    best = container.streams.best("video")
    return next((stream for stream in decodable if best is not None and stream.index == best.index), decodable[0])


def usual_sound(container: InputContainer) -> av.AudioStream | None:
    """The sound track that a player would choose, or `None` if the file has no sound track.

    FFmpeg chooses the track. If a broadcast holds several programmes, the track belongs to the same programme as the
    picture. A commentary or a track for people who hear or see little is taken only if there is no other track.
    """
    pictures = moving_pictures(container)
    best = container.streams.best("audio", related=picture_stream(container) if pictures else None)
    main = [stream for stream in container.streams.audio if not stream.disposition & SIDE_TRACK]
    if best is None or not main or not best.disposition & SIDE_TRACK:
        return cast(av.AudioStream | None, best)
    return next((stream for stream in main if stream.disposition & Disposition.default), main[0])


def sound_stream(container: InputContainer, index: int | None = None) -> av.AudioStream | None:
    """The sound track with the given index among the file's streams. Without an index it is the track that a player
    would choose, or `None` if the file has no sound track.

    Raises:
        ValueError: no installed decoder reads the track. To take it for silence would give a silent wrong answer.
    """
    stream = usual_sound(container) if index is None else cast(av.AudioStream, container.streams[index])
    if stream is not None and stream.codec_context is None:
        raise InputError(f"video {media_name(container)}: no decoder is installed for its sound")
    return stream


def packets(container: InputContainer, stream: Stream | None, damage: Damage) -> Iterator[av.Packet]:
    """Yields the packets of one stream, or of all streams if `stream` is None. `StreamClock` corrects their stamps to
    one continuous clock. If the file breaks off, the packets end there and `damage` records the reason."""
    clock = StreamClock(container)
    # The packets of the other streams are needed only if the clock may jump.
    only = stream is not None and not clock_may_jump(container)
    try:
        for packet in container.demux(*([stream] if only else [])):
            clock.correct(packet)
            # An empty packet ends each stream and makes the decoder give out its last frames. Its `stream_index` is
            # always 0, so the stream itself is compared.
            if stream is None or packet.stream.index == stream.index:
                yield packet
    except FFmpegError as error:
        damage.broken_off = reason(error)


def decoded_frames(container: InputContainer, stream: av.VideoStream | av.AudioStream, damage: Damage) -> Generator:
    """Yields the frames of a stream in the order of presentation. Packets that cannot be decoded are counted and left
    out. Frames that the decoder reports to be faulty are counted and yielded."""
    for packet in packets(container, stream, damage):
        if packet.is_corrupt and clock_may_jump(container):
            # The counter of a transport stream jumped, because data was lost or recordings were joined. Only the
            # decoder can tell which, so the packet is decoded.
            damage.suspect_packets += 1
        elif packet.is_corrupt:
            # The demuxer found less data than the index promises, so the file ends inside this packet.
            damage.undecodable_packets += 1
            damage.note_fault(packet)
            continue
        try:
            frames = packet.decode()
        except FFmpegError as error:
            logger.debug("packet at %s of %s: %s", packet.pts, container.name, error)
            damage.undecodable_packets += 1
            damage.note_fault(packet)
            continue
        yield from checked_frames(frames, damage)
    if damage.broken_off:
        # The demuxer sent no flush packet, so the decoder still holds frames. These frames are good.
        try:
            yield from checked_frames(stream.codec_context.decode(None), damage)
        except FFmpegError as error:
            logger.debug("end of %s: %s", container.name, error)


@contextmanager
def media_errors(what: str) -> Iterator[None]:
    """Turns an error of FFmpeg or PyAV into an InputError that begins with `what`. Errors of the system, such as a
    full disk, keep their type."""
    try:
        yield
    except (OSError, InputError):
        raise
    except (FFmpegError, ValueError) as error:
        raise InputError(f"{what}: {reason(error) if isinstance(error, FFmpegError) else error}") from error


def checked_frames(frames: Iterable, damage: Damage) -> Iterator:
    """Yields the same frames and counts those with errors."""
    for frame in frames:
        if frame.is_corrupt:
            damage.faulty_frames += 1
            damage.note_fault(frame)
        yield frame


__all__ = [
    "Damage",
    "DamagedVideoError",
    "decoded_frames",
    "file_address",
    "is_url",
    "media_errors",
    "media_name",
    "moving_pictures",
    "open_media",
    "packets",
    "picture_stream",
    "sound_stream",
    "usual_sound",
]
