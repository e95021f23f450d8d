"""Reads the frames of a video, and its sound at the same time, in constant memory."""

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from .containers.decoding import Damage, DamagedVideoError, decoded_frames, is_url, open_media, picture_stream
from .containers.frame_times import FrameClock, MaskTimes
from .containers.matroska import matroska_problems
from .picture.frame_filters import ToneMap, deinterlaced
from .picture.frame_planes import with_known_matrix
from .sound.audio_track import AudioTrack, warn_of_sound
from .timed_frame import TimedFrame, upright_picture
from .video_probe import Extent, VideoInfo, last_frame_end, probe, scan_extent

logger = logging.getLogger(__name__)

SILENCE_SAMPLING_RATE = 16_000  # Hz, of the silence that replaces a missing sound track
HOLE_SECONDS = 2.0  # a demuxer skips damage without a message, but leaves a hole of time in the frames
MISSING_END_SECONDS = 0.3  # a picture that ends earlier than declared by more than this was cut off
LONG_SOUND_SECONDS = 1.0  # sound that goes on for longer than this after the picture gives a warning


class VideoReader:
    """Reads a video from its beginning, as often as wanted.

    Times are in seconds from the first frame. Every frame is shown until the next one starts. The last frame is shown
    for its own duration. If the file declares a later end of the picture and its other streams go on until then, the
    last frame is shown until that end. A frame directly follows the frame before if it has no time stamp, or if its
    time stamp is not later. Sound from before the first frame is not read. If the sound ends before the picture, the
    rest is silence.

    Args:
        path: an mp4, webm or mkv file, or any other file that FFmpeg reads; or an http(s) URL, as a string.
        audio_track: the number of the sound track that is heard, from 1; by default `choose_track` chooses it.
        info: the result of an earlier `probe` of the same video. The video is then not probed again.

    Raises:
        FileNotFoundError, ValueError: as `probe`.
    """

    def __init__(self, path: str | Path, audio_track: int | None = None, info: VideoInfo | None = None):
        self.info = info if info is not None else probe(path, audio_track)
        self.damage = Damage()
        self._loudest: float | None = None  # the peak of the sound that has been read
        self._end: float | None = None
        self._stamped: int | None = None  # how many frames of the last reading had a time stamp
        self._count = 0  # how many frames the last reading had
        self._track: AudioTrack | None = None
        self._stopped = False

    @cached_property
    def extent(self) -> Extent:
        """The real ends of the file's streams; see `scan_extent`."""
        track = self.info.sound_track
        return scan_extent(self.info.path, self.info.interval, track.index if track is not None else None)

    @property
    def length(self) -> float:
        """Seconds from the first frame to the end of the last one, from the time stamps of the file. For a URL the
        declared duration counts, because scanning the packets would fetch the whole file."""
        if is_url(self.info.path) and self.info.duration is not None:
            return self.info.duration
        # Stamps in the order of decoding are earlier than the frames are shown, all by the same time.
        start = self.extent.picture_start if self.info.decoding_order else self.info.origin
        return self._held_on(max(self.extent.picture_end - start, self.info.interval))

    @property
    def picture_end(self) -> float | None:
        """The end of the last frame in the last reading, in seconds from the first frame; None while it is unknown."""
        return self._end

    def frames(self, fps: float | None = None) -> Iterator[TimedFrame]:
        """Yields the frames in order. With `fps` it yields only the frames that are due when `fps` frames per second
        are wanted. A frame that is shown for longer than 1 / fps is due several times, see `MaskTimes`."""
        due = MaskTimes(fps, self.info.interval)
        self._end, self._stamped, self.damage, self._track, self._loudest = None, None, Damage(), None, None
        self._stopped = False
        try:
            for frame in self._all_frames():
                if self._stopped:
                    return
                for time in due.of(frame.time, frame.end):
                    yield frame.held(time)
        finally:
            if self._track is not None:
                self._track.close()
                self._track = None

    def stop(self) -> None:
        """Ends a reading that another thread is doing, after its next frame. Nobody may use what it has read."""
        self._stopped = True

    def waveform(self, start: float, end: float) -> tuple[np.ndarray, int]:
        """The sound between two times. Call this method while `frames` is being read, or after it.

        Args:
            start, end: in seconds from the first frame. `start` must not be earlier than in the previous call, since
                older sound is no longer kept.

        Returns:
            The sound as (samples,) float32, its channels mixed by their positions, and its sampling rate in Hz. There
            is at least one sample. After the end of the sound, and without a sound track, the samples are 0.
        """
        if self.info.sound_track is None:
            samples = max(1, round((end - start) * SILENCE_SAMPLING_RATE))
            return np.zeros(samples, np.float32), SILENCE_SAMPLING_RATE
        if self._track is None:
            # The track is made only now, because `frames` has just made the `Damage` that both share.
            self._track = AudioTrack(self.info.path, self.info.origin, self.damage, self.info.sound_track.index)
        waveform, rate = self._track.mono(start, end), self._track.sampling_rate
        self._loudest = max(self._loudest or 0.0, float(np.abs(waveform).max(initial=0)))
        wanted = max(1, round(end * rate) - round(start * rate))
        return np.pad(waveform, (0, wanted - len(waveform))), rate

    def problems(self) -> list[str]:
        """Phrases for everything that was lost in the last reading. Call it after the reading has finished."""
        phrases = self.damage.describe(self.info.origin)
        if not is_url(self.info.path):
            phrases += matroska_problems(Path(self.info.path))
        if self._end is None:
            return phrases
        duration, tolerance = self.info.duration, max(MISSING_END_SECONDS, 2 * self.info.interval)
        if duration is None:
            end, declared = self.extent.file_end, self.extent.declared_file_end
            if declared is not None and end < declared - tolerance:
                phrases.append(f"the file ends at {end:.2f} s of {declared:.2f} s")
        elif self._end < duration - tolerance:
            phrases.append(f"the picture ends at {self._end:.2f} s of {duration:.2f} s")
        return phrases

    def check(self) -> None:
        """Raises `DamagedVideoError` if something was lost in the last reading. A long time without a frame and
        repaired time stamps only give a warning, because they may be right. What auss cannot do for this video also
        gives a warning."""
        for warning in self._warnings():
            logger.warning("%s: %s", self.info.path, warning)
        warn_of_sound(self.info.path, self.damage, self._loudest)
        problems = self.problems()
        if problems:
            raise DamagedVideoError(f"video {self.info.path} is damaged: {'; '.join(problems)}")

    def _warnings(self) -> Iterator[str]:
        yield from self.info.warnings
        if self.damage.suspect_packets:
            yield (
                f"{self.damage.suspect_packets} packets come after a break in the transport stream; unless recordings "
                "were joined there, something is missing"
            )
        missing, backward = self.damage.missing_time_stamps, self.damage.repaired_time_stamps
        if self._stamped == 0 and self._count:
            apart = (self._end or 0.0) / self._count
            yield f"the file has no time stamps: its frames are taken to be {apart:.3g} s apart"
        elif missing or backward:
            count = missing + backward
            yield f"{count} time stamps were missing or ran backwards; those frames were put one frame apart"
        if self.damage.longest_hole > max(HOLE_SECONDS, 10 * self.info.interval):
            yield (
                f"no frame for {self.damage.longest_hole:.1f} s after {self.damage.hole_start:.1f} s; unless the "
                "recorder saved none, the file is damaged there"
            )
        if self._end is None or is_url(self.info.path) or self.extent.sound_end is None:
            return
        sound_end = self.extent.sound_end - self.info.origin
        if sound_end > self._end + LONG_SOUND_SECONDS:
            yield f"the sound goes on for {sound_end - self._end:.1f} s after the picture; masks end with the picture"

    def _held_on(self, end: float) -> float:
        """The end of the picture. `end` is the end by its last packet. If the file declares a later end and its other
        streams go on until then, the declared end counts. Matroska, for example, does not store the duration of the
        last frame."""
        declared = self.info.duration
        if declared is None or is_url(self.info.path) or declared <= end + self.info.interval:
            return end
        whole = self.extent.file_end - self.info.origin >= declared - MISSING_END_SECONDS
        return declared if whole else end

    def _all_frames(self) -> Iterator[TimedFrame]:
        """Yields every frame after the next one is decoded, because the next one tells when the frame ends."""
        previous: TimedFrame | None = None
        clock = FrameClock(self.info.interval, self.info.decoding_order, self.damage)
        tone_map = ToneMap(self.info.range) if self.info.range is not None else None
        with open_media(self.info.path) as container:
            stream = picture_stream(container)
            stream.thread_type = "AUTO"
            decoded = map(with_known_matrix, decoded_frames(container, stream, self.damage))
            for index, frame in enumerate(deinterlaced(decoded)):
                time = clock.place(frame) - self.info.origin
                if previous is not None:
                    self._note_hole(previous.time, time, previous.end)
                    previous.end = time
                    yield previous
                shown = clock.shown(frame)
                previous = TimedFrame(index, time, time + (shown or self.info.interval), frame, self.info, tone_map)
            self._stamped = clock.stamped
            if previous is not None:
                self._count = previous.index + 1
                start = previous.time + self.info.origin
                end = last_frame_end(stream, start, shown, self.info.interval) - self.info.origin
                previous.end = self._end = self._held_on(end)
                yield previous

    def _note_hole(self, start: float, end: float, own_end: float) -> None:
        """Remembers the longest time between two frames, unless the first frame itself declares such a duration."""
        hole = end - start
        if hole > self.damage.longest_hole and end > own_end + self.info.interval:
            self.damage.longest_hole, self.damage.hole_start = hole, start


__all__ = ["TimedFrame", "VideoInfo", "VideoReader", "probe", "upright_picture"]
