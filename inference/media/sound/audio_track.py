"""The sound of a video as samples on its own time line, read forwards in constant memory."""

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

# Below one step of 16-bit sound nothing can be heard, and so nothing sounds: the network need not be asked.
INAUDIBLE_PEAK = 2.0**-15
# Time stamps are rounded (to a millisecond in mkv), so only a larger step is a gap and not rounding.
GAP_SECONDS = 0.05
# A few unusable samples are a fault of a plug-in; with this share of a stretch of sound, the stretch is lost.
LOST_SHARE = 0.1


class AudioTrack:
    """Reads the sound of a file window by window, each sample at the place that its time stamp gives it.

    A gap in the sound is filled with silence. Sound whose time stamps are missing or start anew (as in joined
    recordings) follows directly on what came before. Samples that are NaN, infinite or far beyond full scale become
    silence and are counted.

    Args:
        path: a file with a sound track.
        origin: the time, in the file's own seconds, that counts as 0.
        damage: where to count what cannot be read.
        index: of the track among the file's streams; by default the one that a player would choose.
        layout: FFmpeg's name of the channels to convert to; by default the channels are those of the first frame.

    Raises:
        ValueError: if the file has no sound track.
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
        with ExitStack() as opened:  # so that the file is closed where something raises
            self._container = opened.enter_context(open_media(path))
            stream = sound_stream(self._container, index)
            if stream is None:
                raise InputError(f"video {path} has no sound track")
            self._frames = decoded_frames(self._container, stream, self.damage)
            self._origin = origin
            self._resampler: tuple[tuple, av.AudioResampler] | None = None
            # (first sample, (channels, samples), how many of them were unusable), in order
            self._pieces: list[tuple[int, np.ndarray, int]] = []
            self._end: int | None = None  # the sample after the last one read
            self.sampling_rate: int = stream.sample_rate
            self.layout = av.AudioLayout(layout) if layout is not None else stream.codec_context.layout
            self._converts_layout = layout is not None
            self.finished = False
            # The header may be wrong (HE-AAC announces half its rate): the first decoded frame knows.
            self._read_piece()
            opened.pop_all()

    @property
    def num_channels(self) -> int:
        """Of what `window` gives."""
        return self.layout.nb_channels

    def mono(self, start: float, end: float) -> np.ndarray:
        """The sound between two times as `window` takes them, its channels mixed by what they are: (samples,) float32.

        See `mix_channels`. Each stretch of sound is mixed by itself, because the network encodes it by itself.
        """
        return mix_channels(self.window(start, end), channel_weights(self.layout))

    def window(self, start: float, end: float) -> np.ndarray:
        """The sound between two times.

        Args:
            start, end: in seconds from the origin. `start` must not lie before that of the previous call, since the
                sound before it has been forgotten.

        Returns:
            (channels, samples) float32 in [-1, 1]. Shorter than asked for, down to no sample at all, where the sound
            ends earlier.
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
        """Closes the file; nothing more can be read."""
        self._frames.close()
        self._container.close()

    def _forget(self, first: int) -> None:
        self._pieces = [piece for piece in self._pieces if piece[0] + piece[1].shape[1] > first]

    def _read_piece(self) -> None:
        """Decodes one more frame, and places it."""
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
        # Stamps that started anew, as in joined recordings, mean nothing.
        if stamped < follows - OVERLAP_SECONDS * self.sampling_rate:
            self.damage.repaired_time_stamps += 1
            return follows
        return stamped if abs(stamped - follows) > GAP_SECONDS * self.sampling_rate else follows

    def _convert(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        """To packed 32-bit floats, and the channels and the rate of the first frame, whatever later frames have."""
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or self._resampler[0] != source:
            # FFmpeg mixes no channels that it does not know, but leaves those as they are where none are asked for.
            layout = self.layout if frame.layout.name != self.layout.name else None
            self._resampler = (source, av.AudioResampler(format="flt", layout=layout, rate=self.sampling_rate))
        try:
            return self._resampler[1].resample(frame)
        except FFmpegError:
            if self._end is None:
                raise
            self.damage.undecodable_packets += 1  # channels that changed on the way, into some that FFmpeg cannot mix
            return []


def warn_of_sound(path: str | Path, damage: Damage, loudest: float | None) -> None:
    """Warns of sound that was mended while it was read, and of sound in which there was nothing to hear.

    Args:
        path: of the file.
        damage: as it was counted.
        loudest: the peak of what was read; `None` where no sound was.
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
