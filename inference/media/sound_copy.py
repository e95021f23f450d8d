"""The sound of a video on its way into another file: copied where the container takes it, else encoded anew."""

import io
import itertools
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError

from ...files.errors import InputError
from .containers.container_formats import ContainerFormat
from .containers.decoding import Damage, decoded_frames, is_url, open_media, packets, sound_stream
from .containers.frame_times import OVERLAP_SECONDS
from .containers.stream_clock import clock_may_jump
from .sound.audio_track import AudioTrack
from .sound.channel_layouts import UNKNOWN
from .video_reader import VideoInfo

logger = logging.getLogger(__name__)

LONGEST_LEAD_SECONDS = 0.1  # sound that leads the picture by more than a codec's priming is no priming
ENCODED_SECONDS = 1.0  # sound is re-encoded in pieces of this length
# Muxers write the header with the first packet, and some look at the packets that follow it.
TRIAL_PACKETS = 25
# Of what was decoded before, a trial may lack the encoder's priming, which an edit list cuts off.
LEAST_TRIAL_SHARE = 0.5
BIT_RATE_PER_CHANNEL = 96_000
FALLBACK_RATE = 48_000  # Hz, which every encoder here takes
USUAL_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # of channels that a file does not name
KEPT_METADATA = ("language", "title", "handler_name")


@dataclass(frozen=True)
class SoundPlan:
    """How sound is written: `layout` and `rate` say how it is encoded anew; it is copied where there is no layout."""

    layout: str | None = None
    rate: int = 0  # Hz

    @property
    def copies(self) -> bool:
        """Whether packets are copied unchanged."""
        return self.layout is None


def copy_is_whole(info: VideoInfo, form: ContainerFormat) -> bool:
    """Whether a container takes the sound packets of a video as they are: some are written into a file in memory,
    which is read again. A codec's name alone does not say it, since a rate, a profile or a header can be refused."""
    assert info.sound_track is not None
    memory, source_samples, found_samples = io.BytesIO(), 0, 0
    with open_media(info.path) as source:
        stream = sound_stream(source, info.sound_track.index)
        assert stream is not None
        with av.open(memory, "w", format=form.muxer) as container:
            copy = container.add_stream_from_template(stream)
            tried = (packet for packet in packets(source, stream, Damage()) if packet.size and not packet.is_corrupt)
            for packet in itertools.islice(tried, TRIAL_PACKETS):
                source_samples += sum(frame.samples for frame in packet.decode())
                packet.stream = copy
                if packet.dts is None:
                    packet.dts = packet.pts
                container.mux(packet)
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
    memory.seek(0)
    with av.open(memory) as container:
        found = container.streams.audio[0].codec_context
        for frame in container.decode(audio=0):
            found_samples += frame.samples
        same = (found.sample_rate, found.layout.nb_channels) == (rate, channels)
    return same and found_samples >= LEAST_TRIAL_SHARE * source_samples > 0


def sound_is_uniform(info: VideoInfo) -> bool:
    """Whether the sound keeps its rate and its channels until its end, as a container takes for granted of copied
    packets.

    In broadcasts and joined recordings it may change with the programme. Their sound is decoded once to find that out,
    and of a URL, of which everything would be fetched for it, nothing is taken for granted. Other formats say once
    for all what their sound is.
    """
    assert info.sound_track is not None
    kinds = set()
    with open_media(info.path) as source:
        if not clock_may_jump(source):
            return True
        if is_url(info.path):
            return False
        stream = sound_stream(source, info.sound_track.index)
        assert stream is not None
        for frame in decoded_frames(source, stream, Damage()):
            kinds.add((frame.sample_rate, frame.layout.name))
            if len(kinds) > 1:
                return False
    return True


def encoding_rate(form: ContainerFormat, rate: int) -> int:
    """The rate in Hz at which the container's encoder takes sound of `rate` Hz: that rate, or the next higher one."""
    known = av.Codec(form.audio_codec, "w").audio_rates or (rate,)
    return min((one for one in known if one >= rate), default=max(known))


def encoding_works(form: ContainerFormat, layout: str, rate: int) -> bool:
    """Whether a second of silence can be encoded and written into a file in memory."""
    try:
        with av.open(io.BytesIO(), "w", format=form.muxer) as container:
            stream = add_encoder(container, form, layout, rate)
            frame = sound_frame(np.zeros((av.AudioLayout(layout).nb_channels, rate), np.float32), layout, rate, 0)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (FFmpegError, ValueError) as error:
        logger.debug("%s of %s channels at %d Hz: %s", form.audio_codec, layout, rate, error)
        return False
    return True


def plan_sound(info: VideoInfo, form: ContainerFormat) -> SoundPlan | None:
    """Finds out how the sound of a video can be written into a container, before anything is written.

    Sound is copied where the container takes it. Else it is encoded with the channels that it has; with two, where the
    encoder does not take them; or with one, where FFmpeg cannot mix them down to two.

    Returns:
        The plan; `None` of a video without sound.

    Raises:
        ValueError: if the sound can be written in no way.
    """
    track = info.sound_track
    if track is None:
        return None
    if track.codec in form.copied_sound:
        try:
            if copy_is_whole(info, form) and sound_is_uniform(info):
                return SoundPlan()
        except (FFmpegError, ValueError) as error:
            logger.debug("%s: the sound cannot be copied: %s", info.path, error)
        logger.info("%s: a %s file does not take its sound as it is, so it is encoded anew", info.path, form.muxer)
    own = AudioTrack(info.path, info.origin, index=track.index)
    own.close()
    rate = encoding_rate(form, own.sampling_rate)
    for layout in written_layouts(own.layout):
        # One channel is mixed here, see `AudioTrack.mono`.
        mixes = layout in ("mono", own.layout.name) or can_convert(own.layout, layout)
        if mixes and encoding_works(form, layout, rate):
            return SoundPlan(layout, rate)
    raise InputError(f"video {info.path}: its sound, track {track}, cannot be written as {form.audio_codec}")


def written_layouts(layout: av.AudioLayout) -> list[str]:
    """The layouts to encode sound with, the best one first. Unknown channels are what FFmpeg takes so many for."""
    if any(channel.name == UNKNOWN for channel in layout.channels):
        best = [USUAL_LAYOUTS[layout.nb_channels]] if layout.nb_channels in USUAL_LAYOUTS else []
    else:
        best = [layout.name] if layout.nb_channels == 1 else [layout.name, "stereo"]
    return list(dict.fromkeys([*best, "mono"]))


def can_convert(source: av.AudioLayout, target: str) -> bool:
    """Whether FFmpeg knows how to mix the channels of one layout into those of another."""
    frame = av.AudioFrame(format="flt", layout=source, samples=1024)
    frame.sample_rate, frame.pts = FALLBACK_RATE, 0
    try:
        av.AudioResampler(format="flt", layout=target, rate=FALLBACK_RATE).resample(frame)
    except FFmpegError:
        return False
    return True


def add_encoder(container: OutputContainer, form: ContainerFormat, layout: str, rate: int) -> av.AudioStream:
    """Gives a file a sound stream that is encoded with its format's own codec."""
    stream = cast(av.AudioStream, container.add_stream(form.audio_codec, rate=rate, layout=layout))
    stream.bit_rate = BIT_RATE_PER_CHANNEL * stream.codec_context.layout.nb_channels
    return stream


def sound_frame(waveform: np.ndarray, layout: str, rate: int, position: int) -> av.AudioFrame:
    """(channels, samples) float32 as a frame whose first sample has the number `position`."""
    packed = np.ascontiguousarray(waveform.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, position, Fraction(1, rate)
    return frame


class SoundCopy:
    """Writes the sound of a video into a container, piece by piece as the picture proceeds.

    It is the track that was heard, alone. It is copied packet by packet, unchanged, where the container takes it, and
    encoded anew otherwise; all of it is kept, also what goes on after the last frame, and its language and title.

    Args:
        container: the file that is written.
        info: of the video whose sound it is.
        form: the format of the container.
        damage: where to count what cannot be read.

    Raises:
        ValueError: as `plan_sound`.
    """

    def __init__(self, container: OutputContainer, info: VideoInfo, form: ContainerFormat, damage: Damage):
        self._container = container
        self._info = info
        self._form = form
        self._damage = damage
        plan = plan_sound(info, form)
        self.copied = plan is not None and plan.copies
        self.offset = 0.0  # seconds by which the picture has to start later, so that earlier sound has a place
        self._sound = self._add_sound(plan) if plan is not None else iter(())
        self._next = next(self._sound, None)

    def write(self, until: float) -> None:
        """Writes the sound up to a time, in seconds of the written file."""
        while self._next is not None and self._next[0] <= until:
            self._container.mux(self._next[1])
            self._next = next(self._sound, None)

    def _add_sound(self, plan: SoundPlan) -> Iterator[tuple[float, list[av.Packet]]]:
        assert self._info.sound_track is not None
        with ExitStack() as opened:  # so that the file is closed where it is not copied from, or something raises
            source = opened.enter_context(open_media(self._info.path))
            stream = sound_stream(source, self._info.sound_track.index)
            assert stream is not None and stream.time_base is not None  # `info` says that there is sound
            start = float(stream.start_time * stream.time_base) if stream.start_time is not None else self._info.origin
            lead = self._info.origin - start
            self.offset = lead if lead > LONGEST_LEAD_SECONDS else 0.0
            metadata = {key: stream.metadata[key] for key in KEPT_METADATA if key in stream.metadata}
            if plan.copies:
                copy = self._container.add_stream_from_template(stream)
                copy.metadata.update(metadata)
                opened.pop_all()
                return self._copied(source, stream, copy)
        return self._encoded(plan, metadata)

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
                if stamp is not None and follows is not None and stamp < follows - (packet.duration or 0):
                    if (follows - stamp) * time_base < OVERLAP_SECONDS:
                        continue  # joined recordings overlap here; later packets are in time
                    stamp = None
                if stamp is None:
                    # As in reading: without a stamp of its own, or where stamps start anew, it follows on the last.
                    stamp = follows if follows is not None else 0
                packet.pts = packet.dts = stamp
                packet.stream = copy
                follows = stamp + max(1, packet.duration or 1)
                yield float(stamp * time_base), [packet]

    def _encoded(self, plan: SoundPlan, metadata: dict[str, str]) -> Iterator[tuple[float, list[av.Packet]]]:
        """(time, packets): the sound, decoded piece by piece and encoded with the container's own codec."""
        assert self._info.sound_track is not None and plan.layout is not None
        # One channel is mixed from all by what they are, more are mixed by FFmpeg.
        layout = plan.layout if plan.layout != "mono" else None
        track = AudioTrack(
            self._info.path, self._info.origin - self.offset, self._damage, self._info.sound_track.index, layout
        )
        stream = add_encoder(self._container, self._form, plan.layout, plan.rate)
        stream.metadata.update(metadata)
        return self._encoded_pieces(track, stream, plan.layout)

    def _encoded_pieces(
        self, track: AudioTrack, stream: av.AudioStream, layout: str
    ) -> Iterator[tuple[float, list[av.Packet]]]:
        try:
            position, time = 0, 0.0
            while True:
                end = time + ENCODED_SECONDS
                waveform = track.mono(time, end)[None] if layout == "mono" else track.window(time, end)
                if waveform.shape[1] == 0 and track.finished:
                    break
                yield time, stream.encode(sound_frame(waveform, layout, track.sampling_rate, position))
                position += waveform.shape[1]
                time = end
            yield time, stream.encode(None)
        finally:
            track.close()


__all__ = ["SoundCopy", "SoundPlan", "plan_sound"]
