"""One clock for all streams of a file whose time stamps jump, for example joined transport streams.

Formats made for broadcasting allow a clock that starts again or jumps ahead. The program ffmpeg then moves all later
stamps, so that each packet follows the packet before. This module does the same, with ffmpeg's default thresholds.
https://ffmpeg.org/ffmpeg.html (`-dts_delta_threshold`, `-dts_error_threshold`)
"""

import av
from av.container import InputContainer
from av.format import Flags

JUMP_SECONDS = 10.0  # a larger step between two packets of a stream is a jump of the clock
BACKWARD_SECONDS = 0.1  # a larger step backwards is a jump, too
IMPOSSIBLE_SECONDS = 30 * 3600.0  # in formats whose clock never jumps, a larger step is a wrong stamp


def clock_may_jump(container: InputContainer) -> bool:
    """Whether the format of a file allows jumps of its clock: MPEG transport and program streams, HLS, Ogg."""
    return bool(container.format.flags & Flags.ts_discont.value)


class StreamClock:
    """Corrects the stamps of the packets of a file, in the order in which the packets are read.

    All audio and video packets of the file must be passed to `correct`, even those of streams that nobody reads. The
    first packet after a jump, of any stream, tells how far the clock has jumped. The other streams get the same
    correction when they jump. So every reader of the file gets the same times, and sound and picture stay together.
    Streams are not in step: a packet from before the jump may come after the first packet from behind it.

    Attributes:
        jumps: how many jumps were found.
    """

    def __init__(self, container: InputContainer):
        self.jumps = 0
        self._may_jump = clock_may_jump(container)
        self._latest = 0.0  # seconds added to the stamps of the stream that jumped last
        self._offsets: dict[int, float] = {}  # seconds added to the stamps of each stream
        self._last: float | None = None  # corrected stamp of the last packet, of whichever stream
        self._previous: dict[int, tuple[float, float]] = {}  # per stream: stamp and end of its last packet

    def correct(self, packet: av.Packet) -> None:
        """Changes the stamps of a packet to the continuous clock."""
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
        """The seconds to add to the stored stamp of a packet. `offset` is what was added until now."""
        step = self._step(index, stored + offset)
        if not step:
            return offset
        if offset != self._latest and not self._step(index, stored + self._latest):
            return self._latest
        self.jumps += 1
        self._latest = offset - step
        return self._latest

    def _step(self, stream_index: int, start: float) -> float:
        """The seconds by which the clock has jumped before a packet; 0 if it has not jumped."""
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
