"""Probes a video before it is read: its header, its first frame, and the end of its packets."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer

from ...files.errors import InputError
from .containers.decoding import Damage, decoded_frames, is_url, moving_pictures, open_media, packets, picture_stream
from .containers.frame_times import guessed_interval
from .containers.stream_clock import clock_may_jump
from .picture.display_matrix import NOTICEABLE_DEGREES, Orientation, frame_orientation
from .picture.frame_planes import CONVERTED_MATRICES, UNSPECIFIED, FrameColours, own_colours, with_known_matrix
from .picture.tone_mapping import Range, extended_range
from .sound.sound_tracks import SoundTrack, choose_track

MOST_FRAMES_PER_SECOND = 1000  # a header with more, as of raw DV, gives the rate of its clock and not of the frames
# Transfer functions of H.273 that no screen uses.
UNUSUAL_TRANSFERS = {8: "coded linearly", 9: "coded logarithmically", 10: "coded logarithmically"}


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video, found before it is read. Width and height belong to the picture as it is shown."""

    path: Path | str  # a string for a URL
    width: int
    height: int
    fps: float  # nominal frames per second; the frames' own times may differ
    duration: float | None  # declared seconds from the first frame to the end of the picture
    has_audio: bool  # whether there is a sound track in which something can be decoded
    sampling_rate: int  # Hz; 0 without sound
    orientation: Orientation  # how stored frames are turned and mirrored to be shown
    pixel_aspect: Fraction  # width : height of a shown pixel
    origin: float  # time of the first frame on the file's clock, in seconds; time 0 of all results
    colours: FrameColours  # colours of its planes, or BT.709 if the planes must be converted
    sound_track: SoundTrack | None = None  # the track that is heard, and that the output keeps
    range: Range | None = None  # meaning of its values, if an ordinary screen cannot show them
    decoding_order: bool = False  # whether the format stores stamps only in the order of decoding
    warnings: tuple[str, ...] = field(default=(), compare=False)  # what auss cannot do for this video

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise by which stored frames are turned before they are mirrored: 0, 90, 180 or 270."""
        return 90 * self.orientation.quarter_turns

    @property
    def interval(self) -> float:
        """Seconds for which a frame is shown if its file does not say so."""
        return guessed_interval(self.fps)


def declared_end(stream: av.VideoStream) -> float | None:
    """The end of a stream that its header declares, in seconds of the file's clock. `None` if it declares none.

    A Matroska header has one duration for the whole file, and FFmpeg reports it for each stream. The ends of the
    single streams are tags, such as 00:00:05.040000000. Not every program writes these tags. Transport streams have no
    header. FFmpeg guesses their duration from the first and the last stamp, but the clock may have jumped in between.
    """
    if clock_may_jump(cast(InputContainer, stream.container)):
        return None
    if "matroska" not in stream.container.format.name:
        if stream.duration is None or stream.time_base is None:
            return None
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return None


@dataclass(frozen=True)
class Extent:
    """The times at which the packets of a file really end, in seconds of the file's clock."""

    picture_start: float
    picture_end: float
    file_end: float  # the latest end of all streams
    declared_file_end: float | None
    sound_end: float | None = None  # end of the sound track that is heard; None without sound


def last_frame_end(stream: av.VideoStream, start: float, shown: float, interval: float) -> float:
    """The end of the last frame of a stream, in seconds of the file's clock.

    If frames are reordered, an mp4 gives each packet the time until the next packet is decoded. This time does not
    tell when the frame ends. The end that the header declares counts then, unless it is earlier than the start of the
    frame.

    Args:
        stream: the stream of the frame.
        start: the start of the frame.
        shown: the seconds for which the frame is shown, from its packet; 0 if the packet does not say so.
        interval: the mean number of seconds from one frame to the next.
    """
    reordered = stream.codec_context.has_b_frames and "mov" in stream.container.format.name
    if shown > 0 and not reordered:
        return start + shown
    usual = min(shown, interval) if shown > 0 else interval
    declared = declared_end(stream) if reordered else None
    return max(start + usual, declared or 0.0)


def scan_extent(path: Path | str, interval: float, sound_index: int | None = None) -> Extent:
    """Finds the ends by reading all packets without decoding them. This costs a small part of decoding.

    Headers cannot be trusted here. Browsers record webm without a duration, and an mp4 with a variable frame rate and
    reordered frames declares less than it has. Packets without a stamp follow the packet before.

    Args:
        path: the path of the video.
        interval: the seconds for which a frame is shown if its file does not say so.
        sound_index: the index of the sound track that is heard, among the streams of the file.
    """
    with open_media(path) as container:
        stream = picture_stream(container)
        starts: dict[int, float] = {}
        ends: dict[int, float] = {}
        last, last_shown = -math.inf, 0.0  # start and duration of the frame that is shown last
        follows: dict[int, float] = {}  # per stream: the time of a next packet without a stamp
        for packet in packets(container, None, Damage()):
            if packet.time_base is None or not packet.size:
                continue
            index, shown = packet.stream_index, float((packet.duration or 0) * packet.time_base)
            stamp = packet.pts if packet.pts is not None else packet.dts
            start = float(stamp * packet.time_base) if stamp is not None else follows.get(index, 0.0)
            follows[index] = start + shown
            starts.setdefault(index, start)
            ends[index] = max(ends.get(index, 0.0), start + shown)
            if index == stream.index and start > last:
                last, last_shown = start, shown
        if stream.index in ends:
            ends[stream.index] = last_frame_end(stream, last, last_shown, interval)
        declared = None
        if container.duration is not None and not clock_may_jump(container):
            declared = (container.duration + max(0, container.start_time or 0)) / av.time_base
        return Extent(
            picture_start=starts.get(stream.index, 0.0),
            picture_end=ends.get(stream.index, 0.0),
            file_end=max(ends.values(), default=0.0),
            declared_file_end=declared,
            sound_end=ends.get(sound_index) if sound_index is not None else None,
        )


def shortcomings(stream: av.VideoStream, frame: av.VideoFrame) -> tuple[str, ...]:
    """Lists what auss cannot show correctly in a video, one phrase for each."""
    found = []
    pictures = moving_pictures(cast(InputContainer, stream.container))
    if len(pictures) > 1:
        sizes = [f"{one.width} x {one.height}" if one.codec_context is not None else "unknown" for one in pictures]
        number = 1 + [one.index for one in pictures].index(stream.index)
        found.append(f"it has {len(pictures)} moving pictures ({'; '.join(sizes)}): number {number} is taken")
    askew = frame_orientation(frame).askew
    if abs(askew) > NOTICEABLE_DEGREES:
        found.append(f"its picture is to be turned by {askew:.0f} more degrees, which is left out: it stays askew")
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    if tags.get("alpha_mode") == "1" and not any(part.is_alpha for part in frame.format.components):
        found.append("its transparency cannot be read: its pictures are taken as opaque")
    matrix = int(frame.colorspace)
    if matrix not in CONVERTED_MATRICES:
        found.append(
            f"its colours are coded by matrix {matrix} of H.273, which is not converted: its colours are wrong"
        )
    if int(frame.color_trc) in UNUSUAL_TRANSFERS:
        found.append(
            f"its brightness is {UNUSUAL_TRANSFERS[int(frame.color_trc)]} and not converted: the picture is too dark"
        )
    if "DOVI_METADATA" in frame.side_data and frame.color_trc in (0, UNSPECIFIED):
        found.append("it is in Dolby Vision without a picture for other screens: its colours are wrong")
    return tuple(found)


def frame_rate(stream: av.VideoStream, frame: av.VideoFrame) -> Fraction:
    """The mean number of frames a second of a stream, from its header. If the header gives an impossible rate, the
    duration of the first frame counts."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    if rate <= MOST_FRAMES_PER_SECOND:
        return rate
    own = 1 / Fraction(frame.duration * frame.time_base) if frame.duration and frame.time_base else rate
    rates = [one for one in (own, stream.guessed_rate) if one and one <= MOST_FRAMES_PER_SECOND]
    return rates[0] if rates else Fraction(25)


def probe(path: str | Path, audio_track: int | None = None) -> VideoInfo:
    """Reads the header and the first frame of a video, and as much of its sound as `choose_track` needs.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: the file is no media file, has no moving picture, or has no frame that can be decoded; or the URL
            cannot be read.
    """
    with open_media(path) as container:
        stream, damage = picture_stream(container), Damage()
        frame = next(decoded_frames(container, stream, damage), None)
        if frame is None:
            cause = "the server allows no reading from the middle, or it is" if is_url(path) else "the file is"
            phrases = "; ".join(["", *damage.describe()])
            raise InputError(f"video {path} holds no frame that can be decoded: {cause} damaged or cut off{phrases}")
        orientation = frame_orientation(frame)
        rate = frame_rate(stream, frame)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        width, height = frame.width, frame.height
        if orientation.sideways:
            width, height, aspect = height, width, 1 / aspect
        decoding_order = container.format.name == "avi"
        stamp = frame.dts if decoding_order or frame.pts is None else frame.pts
        origin = float(stamp * frame.time_base) if stamp is not None and frame.time_base else 0.0
        warnings = shortcomings(stream, frame)
        frame = with_known_matrix(frame)
        end = declared_end(stream)
        sound = choose_track(path, audio_track)
        return VideoInfo(
            path=str(path) if is_url(path) else Path(path),
            width=width,
            height=height,
            fps=float(rate),
            duration=end - origin if end is not None and end > origin else None,
            has_audio=sound is not None,
            sampling_rate=sound.sampling_rate if sound is not None else 0,
            orientation=orientation,
            pixel_aspect=aspect,
            origin=origin,
            colours=own_colours(frame) or FrameColours(),
            sound_track=sound,
            range=extended_range(frame),
            decoding_order=decoding_order,
            warnings=warnings,
        )


__all__ = ["Extent", "VideoInfo", "last_frame_end", "probe", "scan_extent"]
