"""One clock for all streams of a file whose time stamps jump, as those of joined transport streams do.

Formats made for broadcasting allow a clock that starts anew or jumps ahead. FFmpeg then moves all later stamps of the
file, so that the packet follows on the one before; this file does the same, and its thresholds are FFmpeg's defaults.
https://ffmpeg.org/ffmpeg.html (`-dts_delta_threshold`, `-dts_error_threshold`)
"""

import av
from av.container import InputContainer
from av.format import Flags

JUMP_SECONDS = 10.0  # a larger step from one packet of a stream to its next is a jump of the clock
BACKWARD_SECONDS = 0.1  # so is any step back that is larger than this
IMPOSSIBLE_SECONDS = 30 * 3600.0  # in formats whose clock never jumps, such a step is a wrong stamp


def clock_may_jump(container: InputContainer) -> bool:
    """Whether a file's format allows jumps of its clock: MPEG transport and program streams, HLS, Ogg."""
    return bool(container.format.flags & Flags.ts_discont.value)


class StreamClock:
    """Corrects the stamps of a file's packets in the order in which they are read.

    All audio and video packets of the file must pass, also those of streams that nobody reads: the first packet after
    a jump, of whichever stream, tells how far the clock has jumped, and the other streams follow it when they jump
    too. So every reader of the file gets the same times, and sound and picture stay together. A packet from before the
    jump may still come after it, since streams are not in step.

    Attributes:
        jumps: how many jumps were found.
    """

    def __init__(self, container: InputContainer):
        self.jumps = 0
        self._may_jump = clock_may_jump(container)
        self._latest = 0.0  # seconds that are added to the stamps of the last stream that jumped
        self._offsets: dict[int, float] = {}  # and to those of each stream
        self._last: float | None = None  # corrected stamp of the last packet of any stream
        self._previous: dict[int, tuple[float, float]] = {}  # of each stream, the last packet's stamp and its end

    def correct(self, packet: av.Packet) -> None:
        """Changes the stamps of a packet to those of the continuous clock."""
        if packet.time_base is None or not packet.size:
            return
        if packet.stream.type not in ("audio", "video"):
            self._shift(packet, self._latest)
            return
        if not self._may_jump:
            self._drop_impossible(packet)
            return
        index = packet.stream_index
        offset = self._offsets.get(index, self._latest)
        if packet.dts is not None:
            stored = float(packet.dts * packet.time_base)
            offset = self._offsets[index] = self._offset(index, stored, offset)
            self._remember(packet, stored + offset)
        self._shift(packet, offset)

    def _offset(self, index: int, stored: float, offset: float) -> float:
        """What is to be added to a packet's stored stamp, in seconds, where `offset` was added until now."""
        step = self._step(index, stored + offset)
        if not step:
            return offset
        if offset != self._latest and not self._step(index, stored + self._latest):
            return self._latest
        self.jumps += 1
        self._latest = offset - step
        return self._latest

    def _step(self, stream_index: int, start: float) -> float:
        """By how many seconds the clock has jumped before a packet; 0 where it has not."""
        if stream_index in self._previous:
            last_start, expected = self._previous[stream_index]
            step = start - expected
            return step if abs(step) > JUMP_SECONDS or start < last_start - BACKWARD_SECONDS else 0.0
        step = start - self._last if self._last is not None else 0.0
        return step if abs(step) > JUMP_SECONDS else 0.0

    def _drop_impossible(self, packet: av.Packet) -> None:
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return
        start = float(stamp * packet.time_base)
        _, expected = self._previous.get(packet.stream_index, (start, start))
        if abs(start - expected) > IMPOSSIBLE_SECONDS:
            packet.pts = packet.dts = None
        else:
            self._remember(packet, start)

    def _remember(self, packet: av.Packet, start: float) -> None:
        self._previous[packet.stream_index] = (start, start + float((packet.duration or 0) * packet.time_base))
        self._last = start

    @staticmethod
    def _shift(packet: av.Packet, seconds: float) -> None:
        ticks = round(seconds / packet.time_base)
        if packet.dts is not None:
            packet.dts += ticks
        if packet.pts is not None:
            packet.pts += ticks


__all__ = ["StreamClock", "clock_may_jump"]
