"""Reads the sound of a video as samples on the time line of the file, forwards and in constant memory."""

import logging
from contextlib import ExitStack
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from ....files.errors import InputError
from ....processing.channel_mix import mix_channels
from ..containers.decoding import Damage, decoded_frames, open_media, sound_stream
from ..containers.frame_times import OVERLAP_SECONDS
from .channel_layouts import channel_weights
from .float_samples import channel_samples, silence_unusable

logger = logging.getLogger(__name__)

# Sound below one step of 16-bit samples cannot be heard. Nothing sounds then, so the network need not run.
INAUDIBLE_PEAK = 2.0**-15
# Time stamps are rounded (to a millisecond in mkv). A step counts as a gap only if it is larger than this.
GAP_SECONDS = 0.05
# A few unusable samples do little harm. A stretch of sound with more than this share of them is lost.
LOST_SHARE = 0.1


class AudioTrack:
    """Reads the sound of a file window by window. Each sample lies where its time stamp puts it.

    A gap in the sound is filled with silence. Sound whose time stamps are missing or start again (as in joined
    recordings) directly follows the sound before. Samples that are NaN, infinite or far beyond full scale are counted
    and become silence.

    Args:
        path: a file with a sound track.
        origin: the time, in the file's own seconds, that counts as 0.
        damage: counts what cannot be read.
        index: the index of the track among the file's streams; by default the track that a player would choose.
        layout: FFmpeg's name of the channels to convert to; by default the channels of the first frame.

    Raises:
        ValueError: the file has no sound track.
    """

    def __init__(
        self,
        path: str | Path,
        origin: float = 0.0,
        damage: Damage | None = None,
        index: int | None = None,
        layout: str | None = None,
    ):
        self.damage = damage if damage is not None else Damage()
        with ExitStack() as opened:  # closes the file if something raises
            self._container = opened.enter_context(open_media(path))
            stream = sound_stream(self._container, index)
            if stream is None:
                raise InputError(f"video {path} has no sound track")
            self._frames = decoded_frames(self._container, stream, self.damage)
            self._origin = origin
            self._resampler: tuple[tuple, av.AudioResampler] | None = None
            # In order: (number of the first sample, samples (channels, samples), count of unusable samples).
            self._pieces: list[tuple[int, np.ndarray, int]] = []
            self._end: int | None = None  # the sample after the last one read
            self.sampling_rate: int = stream.sample_rate
            self.layout = av.AudioLayout(layout) if layout is not None else stream.codec_context.layout
            self._converts_layout = layout is not None
            self.finished = False
            # The header may be wrong (HE-AAC announces half its rate). The first decoded frame has the real rate.
            self._read_piece()
            opened.pop_all()

    @property
    def num_channels(self) -> int:
        """The number of channels that `window` returns."""
        return self.layout.nb_channels

    def mono(self, start: float, end: float) -> np.ndarray:
        """The sound between two times, mixed to one channel: (samples,) float32. `window` describes the times.

        `mix_channels` weights each channel by its position. Each stretch of sound is mixed by itself, because the
        network also encodes each stretch by itself.
        """
        return mix_channels(self.window(start, end), channel_weights(self.layout))

    def window(self, start: float, end: float) -> np.ndarray:
        """The sound between two times.

        Args:
            start, end: in seconds from the origin. `start` must not be earlier than in the previous call, since older
                sound is no longer kept.

        Returns:
            (channels, samples) float32 in [-1, 1]. If the sound ends before `end`, the result is shorter or has no
            samples.
        """
        first, last = round(start * self.sampling_rate), round(end * self.sampling_rate)
        self._forget(first)
        while not self.finished and (self._end is None or self._end < last):
            self._read_piece()
            self._forget(first)
        available = min(last, self._end if self._end is not None else first)
        waveform = np.zeros((self.num_channels, max(0, available - first)), np.float32)
        unusable = 0
        for position, samples, num_unusable in self._pieces:
            low, high = max(position, first), min(position + samples.shape[1], available)
            if low < high:
                waveform[:, low - first : high - first] = samples[:, low - position : high - position]
                unusable += num_unusable
        if unusable > LOST_SHARE * waveform.shape[1]:
            self.damage.unusable_sound = True
        return waveform

    def close(self) -> None:
        """Closes the file. Nothing can be read afterwards."""
        self._frames.close()
        self._container.close()

    def _forget(self, first: int) -> None:
        self._pieces = [piece for piece in self._pieces if piece[0] + piece[1].shape[1] > first]

    def _read_piece(self) -> None:
        """Decodes one more frame and puts its samples in their place."""
        frame = next(self._frames, None)
        if frame is None:
            self.finished = True
            return
        if self._resampler is None:
            self.sampling_rate = frame.sample_rate
            if not self._converts_layout:
                self.layout = frame.layout
        position = self._position(frame)
        for converted in self._convert(frame):
            samples = channel_samples(converted)
            unusable = silence_unusable(samples)
            self.damage.unusable_samples += unusable
            self._pieces.append((position, samples, unusable))
            position += samples.shape[1]
            self._end = position

    def _position(self, frame: av.AudioFrame) -> int:
        follows = self._end if self._end is not None else 0
        if frame.time is None:
            return follows
        stamped = round((frame.time - self._origin) * self.sampling_rate)
        if self._end is None:
            return stamped
        # The stamps started again, as in joined recordings, so they are ignored.
        if stamped < follows - OVERLAP_SECONDS * self.sampling_rate:
            self.damage.repaired_time_stamps += 1
            return follows
        return stamped if abs(stamped - follows) > GAP_SECONDS * self.sampling_rate else follows

    def _convert(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        """Converts a frame to packed 32-bit floats, with the channels and the rate of the first frame."""
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or self._resampler[0] != source:
            # FFmpeg cannot mix channels that it does not know. Without a target layout it leaves them unchanged.
            layout = self.layout if frame.layout.name != self.layout.name else None
            self._resampler = (source, av.AudioResampler(format="flt", layout=layout, rate=self.sampling_rate))
        try:
            return self._resampler[1].resample(frame)
        except FFmpegError:
            if self._end is None:
                raise
            self.damage.undecodable_packets += 1  # the channels changed to some that FFmpeg cannot mix
            return []


def warn_of_sound(path: str | Path, damage: Damage, loudest: float | None) -> None:
    """Warns of unusable samples that were replaced while the sound was read, and of sound that is silent throughout.

    Args:
        path: the path of the file.
        damage: the damage that was counted.
        loudest: the peak of the sound that was read; `None` if no sound was read.
    """
    if damage.unusable_samples:
        logger.warning(
            "%s: %d samples of its sound are NaN, infinite or far beyond full scale; silence stands for them",
            path,
            damage.unusable_samples,
        )
    if loudest is not None and loudest < INAUDIBLE_PEAK:
        logger.warning("%s: all of its sound is silent, so nothing in it sounds", path)


__all__ = ["INAUDIBLE_PEAK", "AudioTrack", "warn_of_sound"]
