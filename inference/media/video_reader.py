"""Reading a video's frames, and beside them its sound, in constant memory."""

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

SILENCE_SAMPLING_RATE = 16_000  # of the silence that stands for a missing sound track
HOLE_SECONDS = 2.0  # a demuxer that found its way again after damage says nothing, but leaves a hole in time
MISSING_END_SECONDS = 0.3  # a picture that ends this much before its declared end was cut off
LONG_SOUND_SECONDS = 1.0  # sound that goes on for longer than this after the picture is told of


class VideoReader:
    """A video, read from its beginning as often as wished.

    Times are in seconds from the first frame. Every frame is shown until the next one is; the last one for its own
    duration, or for as long as the file declares the picture to last and other streams go on. A frame without a time
    stamp, or whose time stamp does not lie after that of the frame before, follows on that one. Sound from before the
    first frame is not read; where the sound ends before the picture, what is missing is silence.

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
        self._stamped: int | None = None  # frames of the last reading with a time stamp, and all of them
        self._count = 0
        self._track: AudioTrack | None = None

    @cached_property
    def extent(self) -> Extent:
        """Where the file really ends; see `scan_extent`."""
        track = self.info.sound_track
        return scan_extent(self.info.path, self.info.interval, track.index if track is not None else None)

    @property
    def length(self) -> float:
        """Seconds from the first frame to the end of the last one, by the file's time stamps. What a URL's header
        declares is believed: to look for oneself would be to fetch all of it."""
        if is_url(self.info.path) and self.info.duration is not None:
            return self.info.duration
        # Stamps in the order of decoding come before the frames are shown, the first as much as the last.
        start = self.extent.picture_start if self.info.decoding_order else self.info.origin
        return self._held_on(max(self.extent.picture_end - start, self.info.interval))

    @property
    def picture_end(self) -> float | None:
        """When the last frame of the last reading ends, in seconds from the first frame; None before that is known."""
        return self._end

    def frames(self, fps: float | None = None) -> Iterator[TimedFrame]:
        """The frames in order: all of them, or those that are due when `fps` of them are wanted per second. A frame
        that is shown for longer than 1 / fps is due again and again, see `MaskTimes`."""
        due = MaskTimes(fps, self.info.interval)
        self._end, self._stamped, self.damage, self._track, self._loudest = None, None, Damage(), None, None
        try:
            for frame in self._all_frames():
                for time in due.of(frame.time, frame.end):
                    yield frame.held(time)
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
        """Raises `DamagedVideoError` if the last reading did not get everything. What may be right and may be wrong, a
        long stretch without a frame and time stamps that had to be mended, is only warned of; so is what cannot be
        done for this video."""
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
        """Where the picture ends: later than its last packet says where the file declares so and is whole, since its
        other streams go on until then. Matroska stores no duration of a last frame."""
        declared = self.info.duration
        if declared is None or is_url(self.info.path) or declared <= end + self.info.interval:
            return end
        whole = self.extent.file_end - self.info.origin >= declared - MISSING_END_SECONDS
        return declared if whole else end

    def _all_frames(self) -> Iterator[TimedFrame]:
        """Every frame, one later than it is decoded, because the next one says how long it is shown."""
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
        """Remembers the longest time between frames; a frame that says itself that it is shown so long is no hole."""
        hole = end - start
        if hole > self.damage.longest_hole and end > own_end + self.info.interval:
            self.damage.longest_hole, self.damage.hole_start = hole, start


__all__ = ["TimedFrame", "VideoInfo", "VideoReader", "probe", "upright_picture"]
