"""Chooses a sound track: the one that a player would choose, unless that one is silent and another one sounds."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from ....files.errors import InputError
from ..containers.decoding import SIDE_TRACK, is_url, open_media, reason, usual_sound
from .float_samples import channel_samples, silence_unusable

logger = logging.getLogger(__name__)

# A silent track may hold the noise of its converter and of rounding. A peak above -60 dB of full scale is a sound.
SOUNDING_PEAK = 1e-3
# To find the sounding track behind a URL, only so many seconds are fetched. The whole video would be fetched twice.
URL_SECONDS = 60.0
# A track is refused if a larger share of its samples is NaN, infinite or far beyond full scale.
MOST_UNUSABLE = 0.5


@dataclass(frozen=True)
class SoundTrack:
    """One of a file's sound tracks."""

    number: int  # counts from 1, in the order of the file
    index: int  # position among all streams of the file, from 0
    codec: str  # "" if no decoder for the track is installed
    sampling_rate: int  # Hz, as the header says
    description: str  # the number, followed by facts from the header in parentheses

    def __str__(self) -> str:
        return self.description


@dataclass
class Heard:
    """What has been found in a track so far."""

    packets: int = 0
    samples: int = 0
    unusable: int = 0
    peak: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether the track holds samples that can be used, even if they are silent."""
        return self.samples > 0 and self.unusable <= MOST_UNUSABLE * self.samples

    def fault(self) -> str:
        """The reason why the track is not heard."""
        if self.packets == 0:
            return "has no packets"
        if self.samples == 0:
            return "holds nothing that can be decoded"
        if not self.usable:
            return f"has {self.unusable} of {self.samples} samples that are NaN, infinite or far beyond full scale"
        return "is silent"


def list_tracks(container: InputContainer) -> list[SoundTrack]:
    """The sound tracks of a file, in the order of the file."""
    tracks = []
    for number, stream in enumerate(container.streams.audio, 1):
        context = stream.codec_context
        known = [stream.metadata.get(key) for key in ("language", "title", "handler_name")]
        words = [word for word in known if word and word not in ("und", "SoundHandler")]
        if context is None:
            facts, codec, rate = ["no decoder is installed"], "", 0
        else:
            codec, rate = context.codec.canonical_name, context.sample_rate
            facts = [codec, f"{rate} Hz", context.layout.name]
        # The names of the flags, such as "comment".
        words += [flag.name for flag in Disposition if flag in stream.disposition & SIDE_TRACK and flag.name]
        description = f"{number} ({', '.join([*facts, *words])})"
        tracks.append(SoundTrack(number, stream.index, codec, rate, description))
    return tracks


class Listener:
    """Decodes one track and records in `heard` what it finds."""

    def __init__(self) -> None:
        self.heard = Heard()
        self._resampler: tuple[tuple, av.AudioResampler] | None = None

    def take(self, packet: av.Packet) -> None:
        """Decodes a packet. A packet that cannot be decoded is left out."""
        try:
            self.heard.packets += packet.size > 0
            for frame in packet.decode():
                self._take_frame(frame)
        except FFmpegError as error:
            logger.debug("packet at %s of sound track: %s", packet.pts, error)

    def _take_frame(self, frame: av.AudioFrame) -> None:
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or self._resampler[0] != source:
            self._resampler = (source, av.AudioResampler(format="flt"))
        for converted in self._resampler[1].resample(frame):
            samples = channel_samples(converted)
            self.heard.unusable += silence_unusable(samples)
            self.heard.samples += samples.shape[1]
            if samples.size:
                # A constant offset does not count as sound.
                peak = np.abs(samples - samples.mean(axis=1, keepdims=True)).max()
                self.heard.peak = max(self.heard.peak, float(peak))


def sound_packets(container: InputContainer, seconds: float) -> Iterator[av.Packet]:
    """Yields the packets of all sound tracks until any stream has passed `seconds` or the file breaks off."""
    first = None
    try:
        for packet in container.demux():
            if packet.dts is not None and packet.time_base is not None:
                time = float(packet.dts * packet.time_base)
                first = time if first is None else first
                if time - first > seconds:
                    return
            if packet.stream.type == "audio":
                yield packet
    except FFmpegError as error:
        logger.debug("%s: %s", container.name, reason(error))


def listen(container: InputContainer, tracks: list[SoundTrack], wanted: SoundTrack, least_peak: float) -> list[Heard]:
    """Decodes all tracks side by side until the wanted track has reached the peak `least_peak`.

    Most videos begin with sound, so this ends within the first second. If the wanted track is silent for long, the
    file is read on, because the choice would otherwise be a guess. Decoding sound is cheap, and every other track is
    decoded only until it sounds.
    """
    listeners = {track.index: Listener() for track in tracks if track.codec}
    seconds = URL_SECONDS if is_url(container.name) else float("inf")
    for packet in sound_packets(container, seconds):
        listener = listeners.get(packet.stream.index)
        if listener is None or (listener.heard.usable and listener.heard.peak >= max(least_peak, SOUNDING_PEAK)):
            continue
        listener.take(packet)
        if packet.stream.index == wanted.index and listener.heard.usable and listener.heard.peak >= least_peak:
            break
    return [listeners[track.index].heard if track.codec else Heard() for track in tracks]


def choose_track(video: str | Path, number: int | None = None) -> SoundTrack | None:
    """Chooses the sound track of a video that is heard. Returns `None` if nothing can be decoded in any track.

    Args:
        video: a file, or an http(s) URL. If a URL has several tracks, only the first minute is fetched to find out
            which of them sound.
        number: the number of the track, from 1. By default it is the track that a player would choose; if that track
            is silent and another one sounds, it is the other one. If there are several, a warning names the tracks.

    Raises:
        ValueError: no track has the number; no installed decoder reads the track; or most of its samples are NaN,
            infinite or far beyond full scale.
    """
    with open_media(video) as container:
        tracks = list_tracks(container)
        if number is not None and not any(track.number == number for track in tracks):
            listed = "; ".join(map(str, tracks)) or "none"
            raise InputError(
                f"audio_track must be the number of a sound track of {video}, got {number}; it has {listed}"
            )
        if not tracks:
            return None
        best = usual_sound(container)
        usual = next((track for track in tracks if best is not None and track.index == best.index), tracks[0])
        wanted = usual if number is None else tracks[number - 1]
        several = number is None and len(tracks) > 1
        if not wanted.codec and not several:
            raise InputError(f"video {video}: no decoder is installed for its sound, track {wanted}")
        heard = listen(container, tracks, wanted, SOUNDING_PEAK if several else 0.0)
    if not several:
        return checked_track(video, wanted, heard[tracks.index(wanted)])
    return loudest_choice(video, tracks, usual, heard)


def checked_track(video: str | Path, track: SoundTrack, heard: Heard) -> SoundTrack | None:
    """Returns the track, or warns and returns `None` if it is empty. Unusable samples raise a ValueError."""
    if heard.usable or (is_url(video) and heard.packets == 0):
        return track  # the sound behind a URL may begin after the part that was fetched
    if heard.samples:
        raise InputError(f"video {video}: its sound track {track} {heard.fault()}, so it is no sound")
    logger.warning("%s: sound track %s %s, so it counts as no sound track", video, track, heard.fault())
    return None


def loudest_choice(
    video: str | Path, tracks: list[SoundTrack], usual: SoundTrack, heard: list[Heard]
) -> SoundTrack | None:
    """Chooses among several tracks by what was heard in them. A warning tells the choice."""
    found = dict(zip(tracks, heard, strict=True))
    in_order = [usual, *(track for track in tracks if track is not usual)]
    sounding = [track for track in in_order if found[track].usable and found[track].peak >= SOUNDING_PEAK]
    # If no track sounds, the loudest one is chosen, since it may only be very quiet.
    chosen = sounding[0] if sounding else max(in_order, key=lambda track: (found[track].usable, found[track].peak))
    listed = "; ".join(map(str, tracks))
    if not sounding and not all(track.codec for track in tracks):
        raise InputError(f"video {video}: no track that an installed decoder reads holds any sound: {listed}")
    if not found[chosen].usable:
        return checked_track(video, chosen, found[chosen])
    if chosen is usual:
        logger.warning("%s has %d sound tracks: %s. Track %d is heard", video, len(tracks), listed, chosen.number)
        return chosen
    why = found[usual].fault() if usual.codec else "has no decoder"
    where = f" in its first {URL_SECONDS:g} s" if is_url(video) else ""
    logger.warning(
        "%s has %d sound tracks: %s. Track %d, which a player would choose, %s%s, so track %d is heard; "
        "--audio-track or audio_track chooses another",
        video,
        len(tracks),
        listed,
        usual.number,
        why,
        where,
        chosen.number,
    )
    return chosen


__all__ = ["SoundTrack", "choose_track", "list_tracks"]
