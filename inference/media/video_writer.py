"""Writes pictures as a video with the sound of another video, in constant memory."""

import logging
import os
import stat
from collections.abc import Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace

from ...files.errors import InputError
from ...files.file_names import printable
from ...files.whole_files import WholeFile
from .containers.container_formats import CONTAINER_FORMATS, ContainerFormat, container_format
from .containers.decoding import Damage, file_address, is_url, media_errors
from .picture.frame_planes import BT709, own_colours
from .sound_copy import SoundCopy
from .video_reader import VideoInfo

logger = logging.getLogger(__name__)

TIME_BASE = Fraction(1, 90_000)  # seconds; fine enough for any frame rate, also a variable one
LAST_FRAME_TICKS = 3_600  # 1/25 s: a held last frame is written again for at most this time


def check_video_output(path: Path, source: Path | str, overwrite: bool) -> None:
    """Checks that a video may be written to `path`.

    Raises:
        FileExistsError: the file exists and `overwrite` is not set.
        IsADirectoryError: `path` is a folder.
        OSError: the name is too long.
        ValueError: the ending belongs to no known format, or the file is the source itself.
    """
    container_format(path)
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(f"output {printable(path)} is a folder: choose the name of a file")
    if path.exists() and not is_url(source) and path.samefile(source):
        raise InputError(f"output {printable(path)} is the video itself: choose another name")
    if not overwrite:
        allow = "allow it with --overwrite (in Python, overwrite=True)"
        raise FileExistsError(f"output {printable(path)} exists: choose another name, or {allow}")


def planar_frame(picture: np.ndarray, info: VideoInfo) -> av.VideoFrame:
    """Converts a picture (H, W, 3) uint8 of the size in `info` to a frame in yuv420p and the colours of `info`.

    Raises:
        ValueError: the picture has another size.
    """
    if picture.shape != (info.height, info.width, 3):
        raise ValueError(f"picture must be {(info.height, info.width, 3)}, got {picture.shape}")
    # H.264 and VP9 store colour at half the size. If the size is odd, the last row or column is repeated.
    odd_height, odd_width = info.height % 2, info.width % 2
    if odd_height or odd_width:
        picture = np.pad(picture, ((0, odd_height), (0, odd_width), (0, 0)), mode="edge")
    colours = info.colours
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709 if colours.matrix == BT709 else Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG if colours.full_range else ColorRange.MPEG,
    )


def add_picture_stream(
    container: OutputContainer, codec: str, options: Mapping[str, str], info: VideoInfo
) -> av.VideoStream:
    """Adds a picture like the one that `info` describes to an output. Its frames have stamps in `TIME_BASE`."""
    rate = Fraction(info.fps).limit_denominator(1001)
    stream = cast(av.VideoStream, container.add_stream(codec, rate=rate, options=dict(options)))
    stream.width, stream.height = info.width + info.width % 2, info.height + info.height % 2
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = TIME_BASE
    context.sample_aspect_ratio = info.pixel_aspect
    colours = info.colours
    context.colorspace, context.color_primaries = colours.matrix, colours.primaries
    context.color_trc = colours.transfer
    context.color_range = int(ColorRange.JPEG if colours.full_range else ColorRange.MPEG)
    return stream


class VideoWriter:
    """Writes frames with their times, together with the sound of the video that the frames come from.

    The packets of the sound are copied unchanged if the container takes them; otherwise the sound is encoded again.
    All sound is kept, even sound after the last frame. The file gets its name when it is complete. Until then it is a
    hidden file in the same folder, which is removed if writing fails. Use the class in a `with` statement.

    Args:
        path: the file to write. Its name ends in .mp4, .mkv (both H.264) or .webm (VP9).
        info: the video that the frames come from. It gives the size, the frame rate and the sound.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError, ValueError: as `check_video_output`; or another run is writing the same file.
    """

    def __init__(self, path: str | Path, info: VideoInfo, overwrite: bool = False):
        self.path = Path(path)
        check_video_output(self.path, info.path, overwrite)
        self.format = container_format(self.path)
        self._file = WholeFile(self.path, overwrite)
        self.info = info
        self.damage = Damage()
        self._last_pts = -1
        self._last_frame: av.VideoFrame | None = None
        self._end_pts: int | None = None  # end of the last frame, in ticks of `TIME_BASE`
        self._waiting: av.Packet | None = None
        try:
            address = file_address(self._file.partial_path)
            with self._errors():
                self._container = av.open(address, "w", options=self.format.muxer_options)
        except BaseException:
            self._file.abandon()
            raise
        try:
            with self._errors():
                self._stream = self._add_picture()
                self._sound = SoundCopy(self._container, info, self.format, self.damage)
        except BaseException:
            self._abandon()
            raise

    @property
    def sound_copied(self) -> bool:
        """Whether the packets of the sound are copied and not encoded again."""
        return self._sound.copied

    def write(self, time: float, picture: np.ndarray | av.VideoFrame) -> None:
        """Adds a frame.

        Args:
            time: the time of the frame in seconds from the first frame; later than the time of the frame before.
            picture: an array (H, W, 3) uint8 of the size in `info`; or a frame of that size in yuv420p and the colours
                of `info`, as `TimedFrame.planar_copy` returns it. Such a frame is encoded without conversion.

        Raises:
            ValueError: the picture has another size or format.
        """
        frame = self._checked(picture) if isinstance(picture, av.VideoFrame) else self._converted(picture)
        with self._errors():
            self._sound.write(time + self._sound.offset)
        # Two times within one tick would get the same stamp, and no muxer takes equal stamps.
        self._last_pts = max(self._last_pts + 1, round((time + self._sound.offset) / TIME_BASE))
        frame.pts, frame.time_base = self._last_pts, TIME_BASE
        self._last_frame = frame
        self._mux_picture(frame)

    def hold(self, end: float) -> None:
        """Shows the last frame until `end`, in seconds from the first frame. Call this method after the last `write`.

        Not every container stores how long the last frame lasts. So a frame that is held for longer than usual is
        written a second time, shortly before `end`.
        """
        end_pts, usual = round((end + self._sound.offset) / TIME_BASE), round(self.info.interval / TIME_BASE)
        if self._last_frame is None or end_pts <= self._last_pts:
            return
        if end_pts - self._last_pts > 1.5 * usual:
            usual = min(usual, (end_pts - self._last_pts) // 2, LAST_FRAME_TICKS)
            self._last_pts = end_pts - usual
            self._last_frame.pts = self._last_pts
            self._mux_picture(self._last_frame)
        self._end_pts = end_pts

    def _mux_picture(self, frame: av.VideoFrame | None) -> None:
        """Encodes a frame and writes the packets. None writes the packets that the encoder still holds at the end.

        A packet is written when the next one is known, because the next one tells how long the frame is shown. The
        encoder itself gives every packet the duration of the average frame rate.
        """
        with self._errors():
            packets = self._stream.encode(frame)
        for packet in packets:
            self._write_waiting(packet.pts)
            self._waiting = packet
        if frame is None:
            usual = max(1, round(self.info.interval / TIME_BASE))
            self._write_waiting(self._end_pts if self._end_pts is not None else self._last_pts + usual)

    def _write_waiting(self, end_pts: int | None) -> None:
        """Writes the waiting packet. Its frame is shown until `end_pts`."""
        packet, self._waiting = self._waiting, None
        if packet is None:
            return
        if packet.pts is not None and end_pts is not None and packet.time_base == TIME_BASE:
            packet.duration = end_pts - packet.pts
        with self._errors():
            self._container.mux(packet)

    def _errors(self) -> AbstractContextManager[None]:
        """Adds the name of the output to FFmpeg's error messages."""
        return media_errors(f"output {printable(self.path)} cannot be written")

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self._mux_picture(None)
            with self._errors():
                self._sound.write(float("inf"))
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
        return planar_frame(picture, self.info)

    def _abandon(self) -> None:
        """Stops without a result. No file stays behind."""
        try:
            self._container.close()
        except (FFmpegError, ValueError) as error:
            logger.debug("closing %s after an error: %s", self.path, error)
        self._file.abandon()

    def _add_picture(self) -> av.VideoStream:
        return add_picture_stream(self._container, self.format.video_codec, self.format.video_options, self.info)


__all__ = [
    "CONTAINER_FORMATS",
    "TIME_BASE",
    "ContainerFormat",
    "VideoWriter",
    "add_picture_stream",
    "check_video_output",
    "container_format",
    "planar_frame",
]
