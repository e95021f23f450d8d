"""The sound of a video as samples on its own time line, read forwards in constant memory."""

from pathlib import Path

import av
import numpy as np

from .decoding import Damage, decoded_frames, open_media, sound_stream

# Time stamps are rounded (to a millisecond in mkv), so only a larger step is a gap and not rounding.
GAP_SECONDS = 0.05
# Clocks drift: sound stamped a little before the end of what came before is moved there. From here on backwards the
# stamps started anew, as in joined recordings, and mean nothing.
RESTART_SECONDS = 1.0


class AudioTrack:
    """Reads the sound of a file window by window, each sample at the place that its time stamp gives it.

    A gap in the sound is filled with silence. Sound whose time stamps are missing or start anew (as in joined
    recordings) follows directly on what came before. More than two channels are mixed down to stereo.

    Args:
        path: a file with a sound track.
        origin: the time, in the file's own seconds, that counts as 0.
        damage: where to count what cannot be read.

    Raises:
        ValueError: if the file has no sound track.
    """

    def __init__(self, path: str | Path, origin: float = 0.0, damage: Damage | None = None):
        self.damage = damage if damage is not None else Damage()
        self._container = open_media(path)
        stream = sound_stream(self._container)
        if stream is None:
            self._container.close()
            raise ValueError(f"video {path} has no sound track")
        self._frames = decoded_frames(self._container, stream, self.damage)
        self._origin = origin
        self._resampler: tuple[tuple, av.AudioResampler] | None = None
        self._pieces: list[tuple[int, np.ndarray]] = []  # (first sample, (channels, samples)), in order
        self._end: int | None = None  # the sample after the last one read
        self.sampling_rate: int = stream.sample_rate
        self.num_channels = 1 if stream.codec_context.layout.nb_channels == 1 else 2
        self.finished = False
        # The header may be wrong (HE-AAC announces half its rate): the first decoded frame knows.
        self._read_piece()

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
        for position, samples in self._pieces:
            low, high = max(position, first), min(position + samples.shape[1], available)
            if low < high:
                waveform[:, low - first : high - first] = samples[:, low - position : high - position]
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
            self.num_channels = 1 if frame.layout.nb_channels == 1 else 2
        position = self._position(frame)
        for converted in self._convert(frame):
            samples = converted.to_ndarray()  # float planar: (channels, samples)
            self._pieces.append((position, samples))
            position += samples.shape[1]
            self._end = position

    def _position(self, frame: av.AudioFrame) -> int:
        follows = self._end if self._end is not None else 0
        if frame.time is None:
            return follows
        stamped = round((frame.time - self._origin) * self.sampling_rate)
        if self._end is None:
            return stamped
        if stamped < follows - RESTART_SECONDS * self.sampling_rate:
            self.damage.repaired_time_stamps += 1
            return follows
        return stamped if abs(stamped - follows) > GAP_SECONDS * self.sampling_rate else follows

    def _convert(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        """To 32-bit floats, at most two channels, and the rate of the first frame, whatever later frames have."""
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or self._resampler[0] != source:
            layout = "mono" if self.num_channels == 1 else "stereo"
            self._resampler = (source, av.AudioResampler(format="fltp", layout=layout, rate=self.sampling_rate))
        return self._resampler[1].resample(frame)


__all__ = ["AudioTrack"]
