"""The weight of each channel in the mix, by the position of the channel."""

import av
import numpy as np

FRONT, SURROUND = 0.5**0.5, 0.5
# FFmpeg's mix for one loudspeaker, from ITU-R BS.775: the centre at full level, the front sides at -3 dB, the surround
# channels at -6 dB, low-frequency effects left out. The standard does not name channels above the head or of wide
# arrangements, and FFmpeg leaves them out. Here they count as surround channels, so that they are heard.
WEIGHTS = {
    "FC": 1.0,
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "DL", "DR", "TFL", "TFR"), FRONT),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
OMNIDIRECTIONAL, AMBISONIC = "AMBI0", "AMBI"
UNKNOWN = "NONE"


def channel_weight(name: str) -> float:
    """The weight of one channel, given by FFmpeg's name."""
    if name.startswith(AMBISONIC):
        return float(name == OMNIDIRECTIONAL)
    return WEIGHTS.get(name, SURROUND)


def channel_weights(layout: av.AudioLayout) -> np.ndarray:
    """The weights (C,) float64 of the channels of a layout in a mix to one channel. Only their proportions matter.

    The first channel of ambisonic sound, W, hears all directions equally. Its other channels are differences between
    directions and would cancel, so they have no weight. A stereo pair beside ambisonic channels counts, too. If the
    file says nothing about its channels, all weights are equal.
    """
    names = [channel.name for channel in layout.channels]
    if UNKNOWN in names:
        return np.ones(len(names))
    weights = np.array([channel_weight(name) for name in names])
    return weights if weights.any() else np.ones(len(names))


__all__ = ["UNKNOWN", "channel_weights"]
