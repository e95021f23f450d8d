"""Writing pictures as a video that keeps the sound of another, in constant memory."""

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace

from ..files.file_names import printable
from ..files.whole_files import WholeFile
from .audio_track import AudioTrack
from .decoding import Damage, file_address, is_url, open_media, packets, sound_stream
from .frame_planes import BT709, own_colours
from .video_reader import VideoInfo

logger = logging.getLogger(__name__)

TIME_BASE = Fraction(1, 90_000)  # fine enough for any frame rate, so variable ones keep their times
LONGEST_LEAD_SECONDS = 0.1  # sound that leads the picture by more than a codec's priming is no priming
ENCODED_SECONDS = 1.0  # sound is re-encoded in pieces of this length


@dataclass(frozen=True)
class ContainerFormat:
    """What is written into a kind of file."""

    video_codec: str
    video_options: dict[str, str]
    copied_sound: frozenset[str]  # codecs whose packets the container takes, and common players play, as they are
    audio_codec: str  # for all other sound
    muxer_options: dict[str, str] = field(default_factory=dict)


# Without reordered frames (bf) the time stamps, the last frame's included, are stored as they are given.
H264_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0"}
VP9_OPTIONS = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "30", "b": "0"}
CONTAINER_FORMATS = {
    ".mp4": ContainerFormat(
        "libx264",
        H264_OPTIONS,
        frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
        "aac",
        # The index in front: the file plays while it is still being downloaded.
        {"movflags": "+faststart"},
    ),
    ".mkv": ContainerFormat(
        "libx264",
        H264_OPTIONS,
        frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac", "vorbis", "pcm_s16le", "pcm_s24le", "dts"}),
        "aac",
    ),
    ".webm": ContainerFormat("libvpx-vp9", VP9_OPTIONS, frozenset({"opus", "vorbis"}), "libopus"),
}


def container_format(path: Path) -> ContainerFormat:
    """The format that a file's ending asks for; ValueError names the endings that are known."""
    try:
        return CONTAINER_FORMATS[path.suffix.lower()]
    except KeyError:
        raise ValueError(f"output must end in {', '.join(CONTAINER_FORMATS)}, got {str(path)!r}") from None


def check_output(path: Path, source: Path | str, overwrite: bool) -> None:
    """Whether a video may be written to `path`.

    Raises:
        FileExistsError: if the file exists and `overwrite` is not set.
        IsADirectoryError, OSError: for a folder of that name; for a name that is too long.
        ValueError: for an ending without a format, or where the file is the source itself.
    """
    container_format(path)
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(f"output {printable(path)} is a folder: choose the name of a file")
    if path.exists() and not is_url(source) and path.samefile(source):
        raise ValueError(f"output {printable(path)} is the video itself: choose another name")
    if not overwrite:
        raise FileExistsError(f"output {printable(path)} exists: choose another name, or allow it with --overwrite")


class VideoWriter:
    """Writes frames with their times, and beside them the sound of the video they come from.

    The sound is copied packet by packet, unchanged, where the container takes its codec, and re-encoded otherwise; all
    of it is kept, also what goes on after the last frame. The file appears under its name only when it is complete:
    until then it is a hidden file beside it, which is gone if writing fails. To be used in a `with` statement.

    Args:
        path: the file to write, ending in .mp4, .mkv (both H.264) or .webm (VP9).
        info: of the video whose frames, possibly drawn upon, are written: its size, rate and sound.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError, ValueError: as `check_output`; also where another run is writing the same file.
    """

    def __init__(self, path: str | Path, info: VideoInfo, overwrite: bool = False):
        self.path = Path(path)
        check_output(self.path, info.path, overwrite)
        self.format = container_format(self.path)
        self._file = WholeFile(self.path, overwrite)
        self.info = info
        self.damage = Damage()
        self.sound_copied = False
        self._offset = 0.0
        self._last_pts = -1
        try:
            address = file_address(self._file.partial_path)
            self._container = av.open(address, "w", options=self.format.muxer_options)
        except BaseException:
            self._file.abandon()
            raise
        try:
            self._stream = self._add_picture()
            self._sound = self._add_sound() if info.has_audio else iter(())
            self._next_sound = next(self._sound, None)
        except BaseException:
            self._abandon()
            raise

    def write(self, time: float, picture: np.ndarray | av.VideoFrame) -> None:
        """Adds a frame.

        Args:
            time: in seconds from the first frame; must be later than that of the frame before.
            picture: (H, W, 3) uint8 of the size in `info`; or, written as it is, a frame of that size in yuv420p and
                the colours of `info`, as `TimedFrame.planar_copy` gives it.

        Raises:
            ValueError: for a picture of another size or format.
        """
        frame = self._checked(picture) if isinstance(picture, av.VideoFrame) else self._converted(picture)
        self._write_sound(time + self._offset)
        # Two times closer than a tick would share it, which no muxer takes.
        self._last_pts = max(self._last_pts + 1, round((time + self._offset) / TIME_BASE))
        frame.pts, frame.time_base = self._last_pts, TIME_BASE
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self._container.mux(self._stream.encode(None))
            self._write_sound(float("inf"))
            self._container.close()
        except BaseException:
            self._abandon()
            raise
        self._file.finish()

    def _checked(self, frame: av.VideoFrame) -> av.VideoFrame:
        found, expected = ((one.format.name, one.width, one.height) for one in (frame, self._stream))
        if found != expected:
            raise ValueError(f"picture must be a frame of {expected}, got {found}")
        colours = own_colours(frame)
        if colours != self.info.colours:
            raise ValueError(f"picture must be a frame in {self.info.colours}, got {colours}")
        return frame

    def _converted(self, picture: np.ndarray) -> av.VideoFrame:
        if picture.shape != (self.info.height, self.info.width, 3):
            raise ValueError(f"picture must be {(self.info.height, self.info.width, 3)}, got {picture.shape}")
        # H.264 and VP9 store colour at half the size: an odd row or column is repeated to make the size even.
        odd_height, odd_width = self.info.height % 2, self.info.width % 2
        if odd_height or odd_width:
            picture = np.pad(picture, ((0, odd_height), (0, odd_width), (0, 0)), mode="edge")
        colours = self.info.colours
        return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709 if colours.matrix == BT709 else Colorspace.ITU601,
            dst_color_range=ColorRange.JPEG if colours.full_range else ColorRange.MPEG,
        )

    def _abandon(self) -> None:
        """Stops without a result: nothing stays behind."""
        try:
            self._container.close()
        except (FFmpegError, ValueError) as error:
            logger.debug("closing %s after an error: %s", self.path, error)
        self._file.abandon()

    def _add_picture(self) -> av.VideoStream:
        rate = Fraction(self.info.fps).limit_denominator(1001)
        options = dict(self.format.video_options)
        stream = self._container.add_stream(self.format.video_codec, rate=rate, options=options)
        stream = cast(av.VideoStream, stream)
        stream.width, stream.height = self.info.width + self.info.width % 2, self.info.height + self.info.height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = TIME_BASE
        context.sample_aspect_ratio = self.info.pixel_aspect
        colours = self.info.colours
        context.colorspace, context.color_primaries = colours.matrix, colours.primaries
        context.color_trc = colours.transfer
        context.color_range = int(ColorRange.JPEG if colours.full_range else ColorRange.MPEG)
        return stream

    def _add_sound(self) -> Iterator[tuple[float, list[av.Packet]]]:
        source = open_media(self.info.path)
        stream = sound_stream(source)
        assert stream is not None and stream.time_base is not None  # `info` says that there is sound
        start = float(stream.start_time * stream.time_base) if stream.start_time is not None else self.info.origin
        lead = self.info.origin - start
        self._offset = lead if lead > LONGEST_LEAD_SECONDS else 0.0
        if stream.codec_context.codec.canonical_name in self.format.copied_sound:
            try:
                copy = self._container.add_stream_from_template(stream)
            except ValueError as error:
                logger.debug("%s: the sound is encoded anew: %s", self.path, error)
            else:
                self.sound_copied = True
                return self._copied(source, stream, copy)
        source.close()
        return self._encoded()

    def _write_sound(self, until: float) -> None:
        while self._next_sound is not None and self._next_sound[0] <= until:
            self._container.mux(self._next_sound[1])
            self._next_sound = next(self._sound, None)

    def _copied(self, source, stream: av.AudioStream, copy: av.AudioStream) -> Iterator[tuple[float, list[av.Packet]]]:
        """(time, packets): the source's packets, moved so that the first frame is at the offset."""
        time_base = stream.time_base
        assert time_base is not None  # as every stream that is read has one
        shift = round((self._offset - self.info.origin) / time_base)
        follows = None
        with source:
            for packet in packets(source, stream, self.damage):
                if packet.size == 0 or packet.is_corrupt:
                    continue  # the demuxer's flush packet, or one that the file's end cuts through
                stamp = packet.dts if packet.dts is not None else packet.pts
                stamp = stamp + shift if stamp is not None else None
                if stamp is None or (follows is not None and stamp < follows - (packet.duration or 0)):
                    # As in reading: without a stamp of its own, or where stamps start anew, it follows on the last.
                    stamp = follows if follows is not None else 0
                packet.pts = packet.dts = stamp
                packet.stream = copy
                follows = stamp + max(1, packet.duration or 1)
                yield float(stamp * time_base), [packet]

    def _encoded(self) -> Iterator[tuple[float, list[av.Packet]]]:
        """(time, packets): the sound, decoded piece by piece and encoded with the container's own codec."""
        track = AudioTrack(self.info.path, self.info.origin - self._offset, self.damage)
        codec = av.Codec(self.format.audio_codec, "w")
        rate = track.sampling_rate if track.sampling_rate in (codec.audio_rates or ()) else 48_000
        layout = "mono" if track.num_channels == 1 else "stereo"
        stream = self._container.add_stream(self.format.audio_codec, rate=rate, layout=layout)
        stream = cast(av.AudioStream, stream)
        stream.bit_rate = 96_000 * track.num_channels
        return self._encoded_pieces(track, stream, layout)

    def _encoded_pieces(self, track, stream, layout: str) -> Iterator[tuple[float, list[av.Packet]]]:
        try:
            position, time = 0, 0.0
            while True:
                waveform = track.window(time, time + ENCODED_SECONDS)
                if waveform.shape[1] == 0 and track.finished:
                    break
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform), format="fltp", layout=layout)
                frame.sample_rate, frame.pts = track.sampling_rate, position
                frame.time_base = Fraction(1, track.sampling_rate)
                yield time, stream.encode(frame)
                position += waveform.shape[1]
                time += ENCODED_SECONDS
            yield time, stream.encode(None)
        finally:
            track.close()


__all__ = ["CONTAINER_FORMATS", "ContainerFormat", "VideoWriter", "check_output", "container_format"]
