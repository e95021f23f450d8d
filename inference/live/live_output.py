"""Where the marked live picture goes: a file, a network stream or a window."""

import logging
import threading
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.error import FFmpegError

from ...files.errors import InputError, MissingPackageError
from ...files.file_names import printable
from ...files.stopping import stops_deferred
from ...files.whole_files import WholeFile
from ..media.containers.container_formats import ContainerFormat, container_format
from ..media.containers.decoding import file_address, media_errors
from ..media.video_probe import VideoInfo
from ..media.video_writer import TIME_BASE, add_picture_stream, check_video_output, planar_frame
from ..segment import HeldMask
from .live_feed import LiveFrame, SoundPiece
from .live_segmenter import LiveMask

logger = logging.getLogger(__name__)

SAMPLING_RATE = 48_000  # Hz, of the sound that is written; all encoders take it
GAP_SECONDS = 0.05  # sound is moved only if its stamps differ by more than this from where it would follow
LONGEST_GAP_SECONDS = 600.0  # a longer gap of sound is not filled
MOST_WAITING = 4  # frames that may wait for the encoder
# The encoder shares the processor with the network, so it takes a faster setting than `auss segment` does.
SPEED = {"preset": "superfast"}
# No frame waits in the encoder, so a stream has no more delay than necessary.
STREAM_OPTIONS = {**SPEED, "tune": "zerolatency", "crf": "23", "g": "50"}
STREAM_FORMATS = {
    "udp": ContainerFormat("mpegts", "libx264", STREAM_OPTIONS, frozenset(), "aac"),
    "tcp": ContainerFormat("mpegts", "libx264", STREAM_OPTIONS, frozenset(), "aac"),
    "rtp": ContainerFormat("rtp_mpegts", "libx264", STREAM_OPTIONS, frozenset(), "aac"),
}


def stream_format(target: str) -> ContainerFormat | None:
    """How a network stream is written to the URL `target`; None if it names a file."""
    scheme, separator, _ = target.partition("://")
    return STREAM_FORMATS.get(scheme.lower()) if separator else None


def check_live_output(target: str, overwrite: bool) -> None:
    """
    Checks that the marked picture may be written to `target`: the name of a file, or a udp, tcp or rtp URL.

    Raises:
        FileExistsError, IsADirectoryError, ValueError: as `check_video_output`.
    """
    if stream_format(target) is not None:
        return
    if "://" in target:
        schemes = ", ".join(f"{scheme}://" for scheme in STREAM_FORMATS)
        raise InputError(f"output must be a file or one of {schemes}, got {printable(target)!r}")
    check_video_output(Path(target), "", overwrite)


class LiveWriter:
    """
    Encodes marked frames and sound, with their own times. Use it from one thread.

    A file gets its name in `finish`. Sound that comes late is left out where other sound is written already, and gaps
    are filled with silence, so sound and picture stay together.

    Args:
        target: a file or a URL, as `check_live_output` takes it.
        info: the live picture.
        channels: of the sound to write, 1 or 2; 0 without sound.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError, ValueError: the file cannot be written, or the address cannot be reached.
    """

    def __init__(self, target: str, info: VideoInfo, channels: int, overwrite: bool = False):
        self.target, self.info = target, info
        self._file = None
        kind = stream_format(target)
        address = target
        if kind is None:
            kind = container_format(Path(target))
            self._file = WholeFile(target, overwrite)
            address = file_address(self._file.partial_path)
        self._last_pts = -1
        self._position = 0  # samples that were written
        try:
            with media_errors(f"output {printable(target)} cannot be written"):
                self._container = av.open(address, "w", format=kind.muxer, options=kind.muxer_options)
                options = kind.video_options | (SPEED if kind.video_codec == "libx264" else {})
                self._picture = add_picture_stream(self._container, kind.video_codec, options, info)
                self._sound = None
                if channels:
                    layout = "stereo" if channels > 1 else "mono"
                    stream = self._container.add_stream(kind.audio_codec, rate=SAMPLING_RATE, layout=layout)
                    self._sound = cast(av.AudioStream, stream)
        except BaseException:
            self.abandon()
            raise
        self._resampler: tuple[tuple, av.AudioResampler] | None = None

    def write_frame(self, time: float, picture: np.ndarray | av.VideoFrame) -> None:
        """Adds a frame at a time in seconds: (H, W, 3) uint8, or a frame in the colours of `info`."""
        frame = picture if isinstance(picture, av.VideoFrame) else planar_frame(picture, self.info)
        self._last_pts = max(self._last_pts + 1, round(time / TIME_BASE))
        frame.pts, frame.time_base = self._last_pts, TIME_BASE
        self._mux(self._picture.encode(frame))

    def write_sound(self, piece: SoundPiece) -> None:
        """Adds a piece of sound. Does nothing if the output has no sound."""
        if self._sound is None or piece.frame is None:
            return
        kind = (piece.frame.format.name, piece.frame.layout.name, piece.frame.sample_rate)
        if self._resampler is None or self._resampler[0] != kind:
            layout = self._sound.codec_context.layout
            self._resampler = kind, av.AudioResampler(format="fltp", layout=layout, rate=SAMPLING_RATE)
        late = 0.0 if piece.time is None else piece.time - self._position / SAMPLING_RATE
        if late < -GAP_SECONDS and self._position:
            return
        if GAP_SECONDS < late < LONGEST_GAP_SECONDS:
            self._write_silence(round(late * SAMPLING_RATE))
        piece.frame.pts = None
        for frame in self._resampler[1].resample(piece.frame):
            self._encode_sound(frame)

    def _write_silence(self, count: int) -> None:
        assert self._sound is not None  # only `write_sound` calls this
        layout = self._sound.codec_context.layout
        for start in range(0, count, SAMPLING_RATE):
            samples = np.zeros((layout.nb_channels, min(SAMPLING_RATE, count - start)), np.float32)
            self._encode_sound(av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout.name))

    def _encode_sound(self, frame: av.AudioFrame) -> None:
        assert self._sound is not None  # only called for an output with sound
        frame.sample_rate, frame.time_base, frame.pts = SAMPLING_RATE, Fraction(1, SAMPLING_RATE), self._position
        self._position += frame.samples
        self._mux(self._sound.encode(frame))

    def _mux(self, packets: list[av.Packet]) -> None:
        with media_errors(f"output {printable(self.target)} cannot be written"):
            self._container.mux(packets)

    def finish(self) -> None:
        """Ends the output. A file gets its name."""
        with stops_deferred():
            try:
                self._mux(self._picture.encode(None))
                if self._sound is not None and self._position:
                    self._mux(self._sound.encode(None))
                with media_errors(f"output {printable(self.target)} cannot be written"):
                    self._container.close()
            except BaseException:
                self.abandon()
                raise
            if self._file is not None:
                self._file.finish()

    def abandon(self) -> None:
        """Ends without a result. No file stays behind."""
        try:
            if hasattr(self, "_container"):
                self._container.close()
        except (FFmpegError, ValueError, OSError) as error:
            logger.debug("closing %s after an error: %s", self.target, error)
        if self._file is not None:
            self._file.abandon()


class OutputThread(threading.Thread):
    """
    Draws masks on frames and writes them, beside the network. The output begins with the first frame.

    If the encoder cannot keep up, `put_frame` waits. Then frames are dropped before the network, where they are
    counted. Sound never waits.

    Args:
        target, overwrite: as `LiveWriter` takes them.
        num_labels: of the model.
    """

    def __init__(self, target: str, num_labels: int, overwrite: bool = False):
        super().__init__(name="auss-live-output", daemon=True)
        self.written = 0  # frames
        self.error: BaseException | None = None
        self._target, self._num_labels, self._overwrite = target, num_labels, overwrite
        self._items: deque[SoundPiece | tuple[LiveFrame, LiveMask] | None] = deque()
        self._frames_waiting = 0
        self._changed = threading.Condition()
        self._writer: LiveWriter | None = None
        self._early: list[SoundPiece] = []  # sound from before the first frame

    def put_sound(self, piece: SoundPiece) -> None:
        """Adds a piece of sound."""
        self._put(piece)

    def put_frame(self, frame: LiveFrame, mask: LiveMask) -> None:
        """Adds a frame with its mask. Waits while the encoder is busy with several frames."""
        with self._changed:
            while self._frames_waiting >= MOST_WAITING and self.error is None:
                self._changed.wait(1.0)
            self._frames_waiting += 1
        self._put((frame, mask))

    def close(self) -> None:
        """Writes what waits and finishes the output. A signal that comes meanwhile takes effect afterwards.

        Raises:
            Exception: what went wrong in the thread.
        """
        with stops_deferred():
            self._put(None)
            self.join()
        self.check()

    def check(self) -> None:
        """Raises what went wrong in the thread."""
        if self.error is not None:
            raise self.error

    def _put(self, item: SoundPiece | tuple[LiveFrame, LiveMask] | None) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def run(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._write(item)
            if self._writer is not None:
                self._writer.finish()
        except BaseException as error:
            self.error = error
            if self._writer is not None:
                self._writer.abandon()
        with self._changed:
            self._changed.notify_all()

    def _next(self) -> SoundPiece | tuple[LiveFrame, LiveMask] | None:
        with self._changed:
            while not self._items:
                self._changed.wait()
            return self._items.popleft()

    def _write(self, item: SoundPiece | tuple[LiveFrame, LiveMask]) -> None:
        if isinstance(item, SoundPiece):
            if self._writer is None:
                self._early.append(item)
            else:
                self._writer.write_sound(item)
            return
        frame, mask = item
        if self._writer is None:
            self._writer = self._begin(frame.info)
        picture = frame.frame.planar_copy() or frame.frame.picture
        self._writer.write_frame(mask.time, HeldMask(cast(Any, mask), self._num_labels).draw(picture))
        self.written += 1
        with self._changed:
            self._frames_waiting -= 1
            self._changed.notify_all()

    def _begin(self, info: VideoInfo) -> LiveWriter:
        channels = max((piece.frame.layout.nb_channels for piece in self._early if piece.frame is not None), default=1)
        writer = LiveWriter(self._target, info, channels if info.has_audio else 0, self._overwrite)
        for piece in self._early:
            writer.write_sound(piece)
        self._early = []
        return writer


class PreviewWindow:
    """
    Shows marked frames in a window, with tkinter and Pillow. Use it from the main thread.

    Raises:
        ImportError: Python was installed without tkinter, or there is no display.
    """

    def __init__(self, title: str):
        advice = "use --output to write the picture instead"
        try:
            import tkinter
        except ImportError as error:
            raise MissingPackageError(f"a window needs tkinter, which is missing ({error}): {advice}") from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise MissingPackageError(f"no window can be opened ({error}): {advice}") from error
        self._root.title(title)
        self.closed = False
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda _: self._close())
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._shown: Any = None  # tkinter does not keep the picture that a label shows

    def _close(self) -> None:
        self.closed = True

    def show(self, picture: np.ndarray) -> None:
        """Shows a picture (H, W, 3) uint8."""
        from PIL import Image, ImageTk

        self._shown = ImageTk.PhotoImage(Image.fromarray(picture), master=self._root)
        self._label.configure(image=self._shown)
        self._root.update()

    def destroy(self) -> None:
        """Closes the window."""
        self._root.destroy()


__all__ = ["LiveWriter", "OutputThread", "PreviewWindow", "check_live_output", "stream_format"]
