"""The sound of a video on its way into another file: copied where the container takes it, else encoded anew."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import OutputContainer

from .audio_track import AudioTrack
from .container_formats import ContainerFormat
from .decoding import Damage, open_media, packets, sound_stream
from .video_reader import VideoInfo

logger = logging.getLogger(__name__)

LONGEST_LEAD_SECONDS = 0.1  # sound that leads the picture by more than a codec's priming is no priming
ENCODED_SECONDS = 1.0  # sound is re-encoded in pieces of this length


class SoundCopy:
    """Writes the sound of a video into a container, piece by piece as the picture proceeds.

    The sound is copied packet by packet, unchanged, where the container takes its codec, and re-encoded otherwise; all
    of it is kept, also what goes on after the last frame.

    Args:
        container: the file that is written.
        info: of the video whose sound it is.
        format: of the container.
        damage: where to count what cannot be read.
    """

    def __init__(self, container: OutputContainer, info: VideoInfo, format: ContainerFormat, damage: Damage):
        self._container = container
        self._info = info
        self._format = format
        self._damage = damage
        self.copied = False
        self.offset = 0.0  # seconds by which the picture has to start later, so that earlier sound has a place
        self._sound = self._add_sound() if info.has_audio else iter(())
        self._next = next(self._sound, None)

    def write(self, until: float) -> None:
        """Writes the sound up to a time, in seconds of the written file."""
        while self._next is not None and self._next[0] <= until:
            self._container.mux(self._next[1])
            self._next = next(self._sound, None)

    def _add_sound(self) -> Iterator[tuple[float, list[av.Packet]]]:
        source = open_media(self._info.path)
        stream = sound_stream(source)
        assert stream is not None and stream.time_base is not None  # `info` says that there is sound
        start = float(stream.start_time * stream.time_base) if stream.start_time is not None else self._info.origin
        lead = self._info.origin - start
        self.offset = lead if lead > LONGEST_LEAD_SECONDS else 0.0
        if stream.codec_context.codec.canonical_name in self._format.copied_sound:
            try:
                copy = self._container.add_stream_from_template(stream)
            except ValueError as error:
                logger.debug("%s: the sound is encoded anew: %s", self._info.path, error)
            else:
                self.copied = True
                return self._copied(source, stream, copy)
        source.close()
        return self._encoded()

    def _copied(self, source, stream: av.AudioStream, copy: av.AudioStream) -> Iterator[tuple[float, list[av.Packet]]]:
        """(time, packets): the source's packets, moved so that the first frame is at the offset."""
        time_base = stream.time_base
        assert time_base is not None  # as every stream that is read has one
        shift = round((self.offset - self._info.origin) / time_base)
        follows = None
        with source:
            for packet in packets(source, stream, self._damage):
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
        track = AudioTrack(self._info.path, self._info.origin - self.offset, self._damage)
        codec = av.Codec(self._format.audio_codec, "w")
        rate = track.sampling_rate if track.sampling_rate in (codec.audio_rates or ()) else 48_000
        layout = "mono" if track.num_channels == 1 else "stereo"
        stream = self._container.add_stream(self._format.audio_codec, rate=rate, layout=layout)
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


__all__ = ["SoundCopy"]
