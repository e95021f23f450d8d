"""A thread that reads a live source: it decodes picture and sound as they come, and puts them into a `LiveFeed`."""

import logging
import threading
from collections.abc import Iterator
from fractions import Fraction

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.error import FFmpegError

from ...files.errors import AussError
from ...files.file_names import printable
from ...processing.channel_mix import mix_channels
from ..media.containers.decoding import Damage, moving_pictures, picture_stream, usual_sound
from ..media.containers.frame_times import FrameClock
from ..media.containers.stream_clock import StreamClock
from ..media.picture.display_matrix import frame_orientation
from ..media.picture.frame_filters import ToneMap, deinterlaced
from ..media.picture.frame_planes import FrameColours, own_colours, with_known_matrix
from ..media.picture.tone_mapping import extended_range
from ..media.sound.channel_layouts import channel_weights
from ..media.sound.float_samples import channel_samples, silence_unusable
from ..media.timed_frame import TimedFrame
from ..media.video_probe import VideoInfo, frame_rate
from .live_feed import LiveFeed, SoundPiece
from .sources import LiveSource, cause

logger = logging.getLogger(__name__)


class SharedOrigin:
    """The time, on the clock of the sources, that counts as 0: the first stamp that any of them has."""

    def __init__(self):
        self._lock = threading.Lock()
        self._origin: float | None = None

    def since(self, time: float) -> float:
        """Seconds from the origin to a time. The first time becomes the origin."""
        with self._lock:
            if self._origin is None:
                self._origin = time
            return time - self._origin


def live_info(source: LiveSource, stream: av.VideoStream, frame: av.VideoFrame, has_audio: bool) -> VideoInfo:
    """The properties of a live picture, from its first frame. Later frames are scaled to its size."""
    orientation = frame_orientation(frame)
    width, height, aspect = frame.width, frame.height, stream.sample_aspect_ratio or Fraction(1)
    if orientation.sideways:
        width, height, aspect = height, width, 1 / aspect
    return VideoInfo(
        path=source.name,
        width=width,
        height=height,
        fps=float(frame_rate(stream, frame)),
        duration=None,
        has_audio=has_audio,
        sampling_rate=0,
        orientation=orientation,
        pixel_aspect=aspect,
        origin=0.0,
        colours=own_colours(frame) or FrameColours(),
        range=extended_range(frame),
    )


class StreamReader(threading.Thread):
    """
    Reads a source until it ends, or until `stop`.

    Decoding follows the stream: if the size of the picture, the rate or the channels of the sound change, the next
    frames and pieces have the new ones. Packets that cannot be decoded are counted and left out.

    The reading ends, and `feed.ending` says why, if the source ends or breaks off, if nothing comes for `timeout`
    seconds, or if no picture could be decoded for `timeout` seconds although data came.

    Args:
        source: the source, for messages.
        container: the open source. The thread closes it.
        feed: gets frames and sound.
        origin: makes the clocks of several readers one.
        timeout: in seconds.
        only_sound: whether only the sound is read. Then the end of this source does not end the feed.
        has_sound: whether another reader brings sound.

    Raises:
        ValueError: the source has no moving picture, or with `only_sound` no sound.
    """

    def __init__(
        self,
        source: LiveSource,
        container: InputContainer,
        feed: LiveFeed,
        origin: SharedOrigin,
        timeout: float,
        only_sound: bool = False,
        has_sound: bool = False,
    ):
        super().__init__(name=f"auss-live-{source.name}", daemon=True)
        self.source, self.container, self.feed, self.origin, self.timeout = source, container, feed, origin, timeout
        self.damage = Damage()
        self.picture = None if only_sound else picture_stream(container)
        sound = usual_sound(container) if moving_pictures(container) or only_sound else None
        self.sound = None if has_sound or sound is None or sound.codec_context is None else sound
        self.has_sound = has_sound or self.sound is not None
        self._resampler: tuple[tuple, av.AudioResampler] | None = None  # with the kind of frames that it takes
        self._ending = ""
        self._stopping = threading.Event()
        self._last_picture = feed.clock()
        for stream in (self.picture, self.sound):
            if stream is not None:
                # Frames in several threads are faster, but each thread delays the picture by a frame.
                stream.codec_context.thread_count = 1
                stream.codec_context.flags |= Flags.low_delay

    def stop(self) -> None:
        """Asks the thread to end when the next packet comes, or after the timeout."""
        self._stopping.set()

    def run(self) -> None:
        ending = "a fault of auss in reading"
        try:
            ending = self._read()
        except (FFmpegError, AussError, OSError) as error:
            ending = f"reading broke off ({error})"
        finally:
            if self.picture is not None:
                self.feed.finish(ending)
            elif not self._stopping.is_set():
                name = printable(self.source.name)
                logger.warning("the sound of %s ended (%s): from now on nothing sounds", name, ending)
            self.container.close()

    def _read(self) -> str:
        """Reads until the end, and returns the reason of the end."""
        if self.picture is None:
            for _ in self._pictures():
                pass
            return self._ending
        clock: FrameClock | None = None
        info: VideoInfo | None = None
        tone_map: ToneMap | None = None
        for index, frame in enumerate(deinterlaced(map(with_known_matrix, self._pictures()))):
            if info is None or clock is None:
                info = live_info(self.source, self.picture, frame, self.has_sound)
                clock = FrameClock(info.interval, False, self.damage)
                tone_map = ToneMap(info.range) if info.range is not None else None
            time = self.origin.since(clock.place(frame))
            shown = clock.shown(frame) or info.interval
            self.feed.put_frame(TimedFrame(index, time, time + shown, frame, info, tone_map), info)
        return self._ending

    def _pictures(self) -> Iterator[av.VideoFrame]:
        """Yields the frames of the picture. Puts the sound between them into the feed."""
        clock = StreamClock(self.container)
        packets = self.container.demux()
        while not self._stopping.is_set():
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                self._ending = f"reading broke off ({cause(error, self.timeout)})"
                return
            if packet is None:
                return
            clock.correct(packet)
            if self.sound is not None and packet.stream.index == self.sound.index:
                for frame in self._decoded(packet):
                    self._hear(frame)
            elif self.picture is not None and packet.stream.index == self.picture.index:
                for frame in self._decoded(packet):
                    self._last_picture = self.feed.clock()
                    yield frame
            if self.picture is not None and self.feed.clock() - self._last_picture > self.timeout:
                self._ending = (
                    f"no picture could be decoded for {self.timeout:g} s although data came: the stream stopped its "
                    "picture, or changed its format in a way that cannot be followed"
                )
                return

    def _decoded(self, packet: av.Packet) -> list:
        try:
            return list(packet.decode())
        except FFmpegError as error:
            logger.debug("packet at %s of %s: %s", packet.pts, self.source.name, error)
            self.damage.undecodable_packets += 1
            return []

    def _hear(self, frame: av.AudioFrame) -> None:
        """Puts decoded sound into the feed, as packed floats with the frame's own channels and rate."""
        time = self.origin.since(frame.time) if frame.time is not None else None
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or self._resampler[0] != kind:
            self._resampler = kind, av.AudioResampler(format="flt")
        for converted in self._resampler[1].resample(frame):
            samples = channel_samples(converted)
            self.damage.unusable_samples += silence_unusable(samples)
            mono = mix_channels(samples, channel_weights(converted.layout))
            self.feed.put_sound(SoundPiece(time, mono, converted.sample_rate, converted))
            time = None

    def warn(self) -> None:
        """Warns of what was lost in the stream itself."""
        name = printable(self.source.name)
        if self.damage.undecodable_packets:
            logger.warning("%s: %d packets could not be decoded", name, self.damage.undecodable_packets)
        if self.damage.unusable_samples:
            logger.warning("%s: %d samples of its sound were unusable", name, self.damage.unusable_samples)


__all__ = ["SharedOrigin", "StreamReader", "live_info"]
