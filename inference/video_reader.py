"""Reading a video's frames, and beside them its sound, in constant memory."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from .audio_track import AudioTrack, warn_of_sound
from .decoding import (
    Damage,
    DamagedVideoError,
    decoded_frames,
    is_url,
    open_media,
    packets,
    picture_stream,
)
from .frame_planes import BT709, FrameColours, own_colours, upright_copy
from .sound_tracks import SoundTrack, choose_track

logger = logging.getLogger(__name__)

SILENCE_SAMPLING_RATE = 16_000  # of the silence that stands for a missing sound track
# A frame is due when its time reaches the next multiple of the period, less these seconds for the rounding of time
# stamps (mkv keeps milliseconds: at 30 frames a second, 1/30 s is 0.033 s).
DUE_TOLERANCE = 0.001
HOLE_SECONDS = 2.0  # a demuxer that found its way again after damage says nothing, but leaves a hole in time
MISSING_END_SECONDS = 0.3  # a picture that ends this much before its declared end was cut off


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is read. Width and height are those of the picture as it is shown."""

    path: Path | str  # a string where it is a URL
    width: int
    height: int
    fps: float  # nominal frames per second; the frames' own times may differ
    duration: float | None  # seconds from the first frame to the picture's end, as the file declares it
    has_audio: bool  # whether there is a sound track with something in it
    sampling_rate: int  # Hz; 0 without sound
    rotation: int  # degrees counterclockwise by which stored frames are turned to be shown: 0, 90, 180 or 270
    pixel_aspect: Fraction  # width : height of a shown pixel
    origin: float  # the file's own time of its first frame, in seconds: time 0 of everything here
    colours: FrameColours  # of its planes, where they can be written as they are; else those to convert to
    sound_track: SoundTrack | None = None  # the one that is heard, and kept in what is written


class TimedFrame:
    """A decoded frame: `index` counts from 0, `time` is in seconds from the first frame, and `picture` is converted
    when first asked for."""

    def __init__(self, index: int, time: float, frame: av.VideoFrame, info: VideoInfo):
        self.index = index
        self.time = time
        self._frame = frame
        self._info = info

    @cached_property
    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright."""
        return upright_picture(self._frame, self._info)

    def planar_copy(self) -> av.VideoFrame | None:
        """The frame's own planes, upright, to draw on and write; None where only `picture` will do, see
        `upright_copy`."""
        size = (self._info.height, self._info.width)
        return upright_copy(self._frame, size, self._info.rotation, self._info.colours)


def upright_picture(frame: av.VideoFrame, info: VideoInfo) -> np.ndarray:
    """Converts a frame to RGB (H, W, 3) uint8, turned as the file says and of the video's size."""
    quarter_turns = info.rotation // 90
    width, height = (info.height, info.width) if quarter_turns % 2 else (info.width, info.height)
    colours = own_colours(frame)  # also of a high definition that does not name them
    colorspace = Colorspace.ITU709 if colours is not None and colours.matrix == BT709 else None
    # Streams that adapt to a network change their size on the way: every frame gets that of the first.
    picture = frame.to_ndarray(format="rgb24", width=width, height=height, src_colorspace=colorspace)
    return np.ascontiguousarray(np.rot90(picture, quarter_turns))


def declared_end(stream: av.VideoStream) -> float | None:
    """When a stream ends, in the file's own seconds, as its header says; `None` where it says nothing of its own.

    A Matroska header has one duration for the whole file, which FFmpeg reports for each stream. The streams' own ends
    are tags, such as 00:00:05.040000000, and not every writer makes them.
    """
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
    """Where a file's packets really end, in the file's own seconds."""

    picture_end: float
    file_end: float  # of all streams
    declared_file_end: float | None


def scan_extent(path: Path | str) -> Extent:
    """Finds the ends by reading all packets without decoding them, a small part of the cost of decoding.

    Headers cannot be trusted with this: browsers record webm without a duration, and an mp4 with a variable frame rate
    and reordered frames declares less than it has.
    """
    with open_media(path) as container:
        stream = picture_stream(container)
        picture_end = file_end = 0.0
        for packet in packets(container, None, Damage()):
            if packet.pts is None or packet.time_base is None:
                continue
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            file_end = max(file_end, end)
            if packet.stream_index == stream.index:
                picture_end = max(picture_end, end)
        declared = None
        if container.duration is not None:
            declared = (container.duration + max(0, container.start_time or 0)) / av.time_base
        return Extent(picture_end, file_end, declared)


def probe(path: str | Path, audio_track: int | None = None) -> VideoInfo:
    """Looks at a video: its header, its first frame, and as much of its sound as `choose_track` needs.

    Raises:
        FileNotFoundError, IsADirectoryError: where there is no such file.
        ValueError: if it is no media file, has no moving picture, or none of its frames can be decoded; for a URL that
            cannot be read.
    """
    with open_media(path) as container:
        stream, damage = picture_stream(container), Damage()
        frame = next(decoded_frames(container, stream, damage), None)
        if frame is None:
            cause = "the server allows no reading from the middle, or it is" if is_url(path) else "the file is"
            phrases = "; ".join(["", *damage.describe()])
            raise ValueError(f"video {path} holds no frame that can be decoded: {cause} damaged or cut off{phrases}")
        rotation = 90 * round(frame.rotation / 90) % 360
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        width, height = frame.width, frame.height
        if rotation % 180:
            width, height, aspect = height, width, 1 / aspect
        origin = frame.time
        if origin is None:
            origin = float((stream.start_time or 0) * (stream.time_base or 0))
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
            rotation=rotation,
            pixel_aspect=aspect,
            origin=origin,
            colours=own_colours(frame) or FrameColours(),
            sound_track=sound,
        )


class VideoReader:
    """A video, read from its beginning as often as wished.

    Times are in seconds from the first frame. A frame without a time stamp, or whose time stamp does not lie after
    that of the frame before, is put one nominal frame later than that one. Sound from before the first frame is not
    read; where the sound ends before the picture, what is missing is silence.

    Args:
        path: an mp4, webm or mkv file, or whatever else FFmpeg reads; or the http(s) URL of one, as a string.
        audio_track: the number of the sound track that is heard, from 1; by default the one that `choose_track` finds.
        info: what `probe` said of the same video before, so that it is not looked at again.

    Raises:
        FileNotFoundError, ValueError: as `probe`.
    """

    def __init__(self, path: str | Path, audio_track: int | None = None, info: VideoInfo | None = None):
        self.info = info if info is not None else probe(path, audio_track)
        self.damage = Damage()
        self._loudest: float | None = None  # the peak of the sound that was asked for
        self._end: float | None = None
        self._track: AudioTrack | None = None

    @cached_property
    def extent(self) -> Extent:
        """Where the file really ends; see `scan_extent`."""
        return scan_extent(self.info.path)

    @property
    def length(self) -> float:
        """Seconds from the first frame to the end of the last one, by the file's time stamps. What a URL's header
        declares is believed: to look for oneself would be to fetch all of it."""
        if is_url(self.info.path) and self.info.duration is not None:
            return self.info.duration
        return max(self.extent.picture_end - self.info.origin, 1 / self.info.fps)

    def frames(self, fps: float | None = None) -> Iterator[TimedFrame]:
        """The frames in order: all of them, or only those that are due when `fps` of them are wanted per second."""
        if fps is not None and not fps > 0:
            raise ValueError(f"fps must be positive, or None for every frame, got {fps}")
        self._end, self.damage, self._track, self._loudest = None, Damage(), None, None
        last_slot = -1
        try:
            for frame in self._all_frames():
                slot = frame.index if fps is None else math.floor((frame.time + DUE_TOLERANCE) * fps)
                if slot > last_slot:
                    last_slot = slot
                    yield frame
        finally:
            if self._track is not None:
                self._track.close()
                self._track = None

    def waveform(self, start: float, end: float) -> tuple[np.ndarray, int]:
        """The sound between two times, to be asked for while `frames` is read.

        Args:
            start, end: in seconds from the first frame. `start` must not lie before that of the previous call, since
                the sound before it has been forgotten.

        Returns:
            (samples,) float32, the channels mixed by what they are, and its sampling rate in Hz. There is one sample
            at least; where the sound ends earlier, or without a sound track, it is digital silence.
        """
        if self.info.sound_track is None:
            samples = max(1, round((end - start) * SILENCE_SAMPLING_RATE))
            return np.zeros(samples, np.float32), SILENCE_SAMPLING_RATE
        if self._track is None:
            # Made only now, so that it keeps the same account of damage as the frames.
            self._track = AudioTrack(self.info.path, self.info.origin, self.damage, self.info.sound_track.index)
        waveform, rate = self._track.mono(start, end), self._track.sampling_rate
        self._loudest = max(self._loudest or 0.0, float(np.abs(waveform).max(initial=0)))
        wanted = max(1, round(end * rate) - round(start * rate))
        return np.pad(waveform, (0, wanted - len(waveform))), rate

    def problems(self) -> list[str]:
        """What was lost in the last reading, in words; known once it is finished."""
        phrases = self.damage.describe()
        if self._end is None:
            return phrases
        duration, tolerance = self.info.duration, max(MISSING_END_SECONDS, 2 / self.info.fps)
        if duration is None:
            end, declared = self.extent.file_end, self.extent.declared_file_end
            if declared is not None and end < declared - tolerance:
                phrases.append(f"the file ends at {end:.2f} s of {declared:.2f} s")
        elif self._end < duration - tolerance:
            phrases.append(f"the picture ends at {self._end:.2f} s of {duration:.2f} s")
        return phrases

    def check(self) -> None:
        """Raises `DamagedVideoError` if the last reading did not get everything. What may be right and may be wrong, a
        long stretch without a frame and time stamps that had to be mended, is only warned of."""
        if self.damage.repaired_time_stamps:
            logger.warning(
                "%s: %d time stamps were missing or ran backwards; those frames were put one frame apart",
                self.info.path,
                self.damage.repaired_time_stamps,
            )
        if self.damage.longest_hole > max(HOLE_SECONDS, 10 / self.info.fps):
            logger.warning(
                "%s: no frame for %.1f s after %.1f s; unless the recorder saved none, the file is damaged there",
                self.info.path,
                self.damage.longest_hole,
                self.damage.hole_start,
            )
        warn_of_sound(self.info.path, self.damage, self._loudest)
        problems = self.problems()
        if problems:
            raise DamagedVideoError(f"video {self.info.path} is damaged: {'; '.join(problems)}")

    def _all_frames(self) -> Iterator[TimedFrame]:
        interval = 1 / self.info.fps
        last = -math.inf
        with open_media(self.info.path) as container:
            stream = picture_stream(container)
            stream.thread_type = "AUTO"
            for index, frame in enumerate(decoded_frames(container, stream, self.damage)):
                time = frame.time - self.info.origin if frame.pts is not None else -math.inf
                if time <= last or math.isinf(time):
                    self.damage.repaired_time_stamps += 1
                    time = last + interval if index else 0.0
                if index and time - last > self.damage.longest_hole:
                    self.damage.longest_hole, self.damage.hole_start = time - last, last
                last = time
                shown = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
                self._end = time + max(shown, interval)
                yield TimedFrame(index, time, frame, self.info)


__all__ = ["TimedFrame", "VideoInfo", "VideoReader", "probe", "upright_picture"]
