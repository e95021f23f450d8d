"""Opening media files with PyAV and decoding a stream packet by packet, keeping account of what was damaged."""

import errno
import logging
import math
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
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
URL_TIMEOUT_SECONDS = 30.0  # a server that sends nothing for so long has been lost
FILE_SCHEME = "file:"  # with it FFmpeg takes a name as it is; without it "rec:1.mp4" would name a protocol "rec"
# FFmpeg's protocols for a file and for a URL. No video makes it open anything by another one.
FILE_PROTOCOLS, URL_PROTOCOLS = "file", "http,https,httpproxy,tls,tcp"
# FFmpeg's readers of media that are one file. Not among them are those that open what a file names: playlists (hls,
# dash, concat), numbered pictures, subtitles with an index.
MEDIA_FORMATS = (
    "amv,asf,av1,avi,bink,cine,dhav,dv,evc,film_cpk,flic,flv,gif,gxf,ifv,iv8,ivf,ivr,kux,live_flv,lmlm4,lxf,matroska,"
    "moflex,mov,mpeg,mpegts,mpjpeg,msnwctcp,mtv,mv,mvi,mxf,nsv,nut,nuv,obu,ogg,pmp,pva,r3d,rm,roq,rpl,smk,smush,swf,"
    "thp,ty,vivo,webm,wtv,xmv,yuv4mpegpipe,apng,jpegxl_anim,"
    "avs2,avs3,cavsvideo,dirac,dnxhd,h261,h263,h264,hevc,m4v,mjpeg,mjpeg_2000,mpegvideo,vc1,vc1test,vvc,"
    "aac,ac3,aiff,amr,ape,au,caf,dts,eac3,flac,loas,mlp,mp3,mpc,mpc8,oma,qcp,tak,truehd,tta,voc,w64,wav,wv"
)
# Flags of sound that accompanies or replaces the film's own for some listeners.
SIDE_TRACK = (
    Disposition.comment
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.descriptions
    | Disposition.dependent
)
MOST_SPANS = 8  # places of damage that are named one by one
PLAYLIST_MARKS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"[playlist]")


class DamagedVideoError(InputError):
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
    faulty_frames: int = 0  # that were decoded, but in which the decoder reports errors
    fault_times: set[int] = field(default_factory=set)  # of both, in whole seconds of the file's own clock
    suspect_packets: int = 0  # after a break in a transport stream; nothing need be missing
    broken_off: str = ""  # the demuxer's own words, where reading stopped before the file's regular end
    repaired_time_stamps: int = 0  # that ran backwards
    missing_time_stamps: int = 0
    longest_hole: float = 0.0  # seconds between one frame and the next
    hole_start: float = 0.0
    unusable_samples: int = 0  # of the sound: NaN, infinite or far beyond full scale; silence stands for them
    unusable_sound: bool = False  # so many in a stretch of sound that what is left of it means little

    def note_fault(self, part: av.Packet | av.VideoFrame | av.AudioFrame) -> None:
        """Remembers when something was lost, where the part's time stamp says it."""
        if part.pts is not None and part.time_base is not None:
            self.fault_times.add(math.floor(part.pts * part.time_base))

    def describe(self, origin: float = 0.0) -> list[str]:
        """One phrase per kind of loss; empty where nothing was lost. Repaired time stamps are no loss.

        Args:
            origin: the time in the file's own clock, in seconds, from which the phrases count.
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
        """The faults' seconds, those that follow one another as one span, and no more than `MOST_SPANS` spans."""
        spans: list[list[int]] = []
        for second in sorted({max(0, math.floor(time - origin)) for time in self.fault_times}):
            if spans and second == spans[-1][1]:
                spans[-1][1] = second + 1
            else:
                spans.append([second, second + 1])
        words = [f"{start}-{end} s" for start, end in spans[:MOST_SPANS]]
        return words if len(spans) <= MOST_SPANS else [*words, f"and {len(spans) - MOST_SPANS} more places"]


def is_url(video: str | Path) -> bool:
    """Whether a video is to be fetched; what is neither an http nor an https URL is taken for a file."""
    return isinstance(video, str) and video.lower().startswith(URL_SCHEMES)


def file_address(path: str | Path) -> str:
    """A local file as FFmpeg is asked for it, to read or to write: whatever its name looks like, it is no URL."""
    return FILE_SCHEME + os.fspath(path)


def media_name(container: Container) -> str:
    """The name by which the user knows what is open: a path, or a URL."""
    return container.name.removeprefix(FILE_SCHEME)


def check_file(path: Path) -> None:
    """Whether there is a file with something in it.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: nothing is there; a directory; an empty file, or no file.
        PermissionError: it is in a folder that may not be entered.
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
    """FFmpeg's words for an error, but for the one that it makes of a timeout."""
    if isinstance(error, ExitError):
        return f"nothing came for {URL_TIMEOUT_SECONDS:g} s"
    return str(error.strerror)


def is_playlist(path: Path) -> bool:
    """Whether a file begins as those do that only name other files or addresses."""
    with open(path, "rb") as file:
        beginning = file.read(1024)
    return any(mark in beginning for mark in PLAYLIST_MARKS)


def check_opened(video: str | Path, error: FFmpegError) -> None:
    """Raises ValueError with what an error of FFmpeg's while opening means."""
    playlist = not is_url(video) and is_playlist(Path(video))
    if isinstance(error, InvalidDataError) and not playlist:
        raise InputError(
            f"video {video} cannot be opened ({error.strerror}): it is no media file, or its index is missing because "
            "it was cut off. A complete mp4, webm or mkv file is needed"
        ) from error
    if playlist or error.errno == errno.EINVAL:  # what FFmpeg says of a format that it may not read
        kind = "a playlist of other files" if playlist else "a playlist, or no file with a moving picture"
        raise InputError(
            f"video {video} cannot be opened: it is {kind}. A complete mp4, webm or mkv file is needed; "
            "`ffmpeg -i PLAYLIST -c copy joined.mp4` makes one of a playlist"
        ) from error
    raise InputError(f"video {video} cannot be opened: {reason(error)}") from error


def open_media(video: str | Path) -> InputContainer:
    """Opens a media file for reading, local or behind an http(s) URL.

    A local file is opened as the file of that name, whatever the name looks like, and never makes FFmpeg open another
    file or an address. A URL that redirects is followed as `address_behind` says.

    Raises:
        FileNotFoundError, IsADirectoryError: where there is no such file.
        ValueError: if FFmpeg does not recognise it, as with a text file or an mp4 cut off before its index; for an
            empty file, or a playlist; where a server does not answer, or not with the file, or sends to another one
            that may not be asked.
    """
    formats = {"format_whitelist": MEDIA_FORMATS}
    try:
        if not is_url(video):
            check_file(Path(video))
            options = formats | {"protocol_whitelist": FILE_PROTOCOLS}
            return av.open(file_address(video), metadata_errors="ignore", options=options)
        timeout = (URL_TIMEOUT_SECONDS, URL_TIMEOUT_SECONDS)
        # FFmpeg would follow a redirect to anywhere.
        options = formats | {"protocol_whitelist": URL_PROTOCOLS, "max_redirects": "0"}
        try:
            return av.open(str(video), metadata_errors="ignore", timeout=timeout, options=options)
        except FFmpegError as error:
            address = address_behind(str(video), URL_TIMEOUT_SECONDS) if error.errno == errno.EIO else str(video)
            if address == str(video):
                raise
            return av.open(address, metadata_errors="ignore", timeout=timeout, options=options)
    except FFmpegError as error:
        check_opened(video, error)
        raise


def moving_pictures(container: InputContainer) -> list[av.VideoStream]:
    """The streams of a file with a moving picture. A song's cover and thumbnails do not move."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & still]


def picture_stream(container: InputContainer) -> av.VideoStream:
    """The moving picture of a file that a player would choose: FFmpeg's choice, by its flags and its content.

    Raises:
        ValueError: for an audio-only file, or one whose picture no installed decoder reads.
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
    """The sound track that a player would choose, or `None` without a sound track.

    It is FFmpeg's choice, of the same programme as the picture where a broadcast holds several. A commentary or a
    track for people who hear or see little is taken only if there is no other one.
    """
    pictures = moving_pictures(container)
    best = container.streams.best("audio", related=picture_stream(container) if pictures else None)
    main = [stream for stream in container.streams.audio if not stream.disposition & SIDE_TRACK]
    if best is None or not main or not best.disposition & SIDE_TRACK:
        return cast(av.AudioStream | None, best)
    return next((stream for stream in main if stream.disposition & Disposition.default), main[0])


def sound_stream(container: InputContainer, index: int | None = None) -> av.AudioStream | None:
    """The sound track with an index among the file's streams; by default the one that a player would choose, or `None`
    without a sound track.

    Raises:
        ValueError: where no installed decoder reads it. Taking it for silence would be silently wrong.
    """
    stream = usual_sound(container) if index is None else cast(av.AudioStream, container.streams[index])
    if stream is not None and stream.codec_context is None:
        raise InputError(f"video {media_name(container)}: no decoder is installed for its sound")
    return stream


def packets(container: InputContainer, stream: Stream | None, damage: Damage) -> Iterator[av.Packet]:
    """The packets of a stream, or of all, with the stamps of one continuous clock, see `StreamClock`. A file that
    breaks off ends them, and `damage` says so."""
    clock = StreamClock(container)
    # Only a clock that may jump needs the packets of the other streams.
    only = stream is not None and not clock_may_jump(container)
    try:
        for packet in container.demux(*([stream] if only else [])):
            clock.correct(packet)
            # Not `packet.stream_index`: that of the empty packet that ends each stream, on which the decoder gives out
            # the frames that it still holds, is always 0.
            if stream is None or packet.stream.index == stream.index:
                yield packet
    except FFmpegError as error:
        damage.broken_off = reason(error)


def decoded_frames(container: InputContainer, stream: av.VideoStream | av.AudioStream, damage: Damage) -> Generator:
    """The frames of a stream in the order of presentation. What cannot be decoded is left out, and counted; frames
    that the decoder itself reports to be faulty are given out, and counted too."""
    for packet in packets(container, stream, damage):
        if packet.is_corrupt and clock_may_jump(container):
            # A transport stream's counter broke off: by loss, or because recordings were joined. The decoder tells.
            damage.suspect_packets += 1
        elif packet.is_corrupt:
            # The demuxer found less data than the index promises: the file ends inside this packet.
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
        # The demuxer's flush packet never came: the frames that the decoder still holds are good.
        try:
            yield from checked_frames(stream.codec_context.decode(None), damage)
        except FFmpegError as error:
            logger.debug("end of %s: %s", container.name, error)


@contextmanager
def media_errors(what: str) -> Iterator[None]:
    """Raises what FFmpeg and PyAV refuse as an InputError that begins with `what`. Errors of the system, such as a
    full disk, stay what they are."""
    try:
        yield
    except (OSError, InputError):
        raise
    except (FFmpegError, ValueError) as error:
        raise InputError(f"{what}: {reason(error) if isinstance(error, FFmpegError) else error}") from error


def checked_frames(frames: Iterable, damage: Damage) -> Iterator:
    """The same frames; those with errors are counted."""
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
