"""Writes the sound of a video into another file. It is copied if the container takes it, else encoded again."""

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

LONGEST_LEAD_SECONDS = 0.1  # a codec's priming is shorter; sound that leads the picture by more is real
ENCODED_SECONDS = 1.0  # sound is re-encoded in pieces of this length
# A trial needs several packets: muxers write the header with the first one, and some check the packets after it.
TRIAL_PACKETS = 25
# The trial must decode to at least this share of the samples. An edit list may cut off the encoder's priming.
LEAST_TRIAL_SHARE = 0.5
BIT_RATE_PER_CHANNEL = 96_000
FALLBACK_RATE = 48_000  # Hz; every encoder here takes this rate
USUAL_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by the number of channels, if a file does not name them
KEPT_METADATA = ("language", "title", "handler_name")


@dataclass(frozen=True)
class SoundPlan:
    """How sound is written. It is encoded again with `layout` and `rate`, or copied if `layout` is None."""

    layout: str | None = None
    rate: int = 0  # Hz

    @property
    def copies(self) -> bool:
        """Whether packets are copied unchanged."""
        return self.layout is None


def copy_is_whole(info: VideoInfo, form: ContainerFormat) -> bool:
    """Whether a container takes the sound packets of a video unchanged. Some packets are written into a file in
    memory, and this file is read again. The name of the codec is not enough: a container may refuse a rate, a profile
    or a header."""
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
    """Whether the sound keeps its rate and its channels to the end. Copied packets need this, because a container
    stores both only once.

    In broadcasts and joined recordings the sound may change with the programme. So the sound of these formats is
    decoded once to find out. For a URL the answer is False, because everything would be fetched for it. Other formats
    declare their sound once for the whole file.
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
    """The rate in Hz for encoding sound of `rate` Hz: `rate`, or the next higher rate that the encoder takes."""
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

    The sound is copied if the container takes it. Otherwise it is encoded with its own channels. If the encoder does
    not take these, it is encoded with two channels. If FFmpeg cannot mix it down to two, it is encoded with one.

    Returns:
        The plan; `None` if the video has no sound.

    Raises:
        ValueError: there is no way to write the sound.
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
        # auss itself mixes to one channel, see `AudioTrack.mono`. FFmpeg mixes to more.
        mixes = layout in ("mono", own.layout.name) or can_convert(own.layout, layout)
        if mixes and encoding_works(form, layout, rate):
            return SoundPlan(layout, rate)
    raise InputError(f"video {info.path}: its sound, track {track}, cannot be written as {form.audio_codec}")


def written_layouts(layout: av.AudioLayout) -> list[str]:
    """The layouts to encode sound with, the best one first. Unknown channels get the usual layout of their number."""
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
    """Adds a sound stream to a file. It is encoded with the codec of the file's format."""
    stream = cast(av.AudioStream, container.add_stream(form.audio_codec, rate=rate, layout=layout))
    stream.bit_rate = BIT_RATE_PER_CHANNEL * stream.codec_context.layout.nb_channels
    return stream


def sound_frame(waveform: np.ndarray, layout: str, rate: int, position: int) -> av.AudioFrame:
    """Makes a frame of a waveform (channels, samples) float32. Its first sample has the number `position`."""
    packed = np.ascontiguousarray(waveform.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, position, Fraction(1, rate)
    return frame


class SoundCopy:
    """Writes the sound of a video into a container, piece by piece as the picture proceeds.

    Only the track that was heard is written. Its packets are copied unchanged if the container takes them; otherwise
    the sound is encoded again. The whole track is kept, even sound after the last frame. Its language and title are
    kept, too.

    Args:
        container: the file that is written.
        info: the video that the sound comes from.
        form: the format of the container.
        damage: counts what cannot be read.

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
        self.offset = 0.0  # seconds by which the picture starts later, to make room for earlier sound
        self._sound = self._add_sound(plan) if plan is not None else iter(())
        self._next = next(self._sound, None)

    def write(self, until: float) -> None:
        """Writes the sound up to the time `until`, in seconds of the written file."""
        while self._next is not None and self._next[0] <= until:
            self._container.mux(self._next[1])
            self._next = next(self._sound, None)

    def _add_sound(self, plan: SoundPlan) -> Iterator[tuple[float, list[av.Packet]]]:
        assert self._info.sound_track is not None
        with ExitStack() as opened:  # closes the file unless its packets are copied
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
        """Yields (time, packets): the packets of the source, moved so that the first frame is at the offset."""
        time_base = stream.time_base
        assert time_base is not None  # every stream that is read has a time base
        shift = round((self.offset - self._info.origin) / time_base)
        follows = None
        with source:
            for packet in packets(source, stream, self._damage):
                if packet.size == 0 or packet.is_corrupt:
                    continue  # the demuxer's flush packet, or a packet that the file's end cuts off
                stamp = packet.dts if packet.dts is not None else packet.pts
                stamp = stamp + shift if stamp is not None else None
                if stamp is not None and follows is not None and stamp < follows - (packet.duration or 0):
                    if (follows - stamp) * time_base < OVERLAP_SECONDS:
                        continue  # joined recordings overlap here; later packets have good stamps
                    stamp = None
                if stamp is None:
                    # The packet has no stamp, or the stamps start again. As in reading, it follows the last packet.
                    stamp = follows if follows is not None else 0
                packet.pts = packet.dts = stamp
                packet.stream = copy
                follows = stamp + max(1, packet.duration or 1)
                yield float(stamp * time_base), [packet]

    def _encoded(self, plan: SoundPlan, metadata: dict[str, str]) -> Iterator[tuple[float, list[av.Packet]]]:
        """Yields (time, packets): the sound, decoded piece by piece and encoded with the codec of the container."""
        assert self._info.sound_track is not None and plan.layout is not None
        # auss mixes all channels to one by `AudioTrack.mono`. FFmpeg mixes to more than one.
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
