"""How much of each channel belongs into the mix, by what the channel is."""

import av
import numpy as np

FRONT, SURROUND = 0.5**0.5, 0.5
# FFmpeg's mix for one loudspeaker, which is that of ITU-R BS.775: the centre whole, the front sides at -3 dB, what
# surrounds at -6 dB, the low-frequency effects not at all. FFmpeg leaves out the channels above the head and of wide
# arrangements, for which the standard says nothing; here they count as surround channels, so that they are heard.
WEIGHTS = {
    "FC": 1.0,
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "DL", "DR", "TFL", "TFR"), FRONT),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
OMNIDIRECTIONAL, AMBISONIC = "AMBI0", "AMBI"
UNKNOWN = "NONE"


def channel_weight(name: str) -> float:
    """The weight of one channel by FFmpeg's name for it."""
    if name.startswith(AMBISONIC):
        return float(name == OMNIDIRECTIONAL)
    return WEIGHTS.get(name, SURROUND)


def channel_weights(layout: av.AudioLayout) -> np.ndarray:
    """The weights (C,) float64 of a layout's channels in a mix to one channel; only their proportions mean something.

    Of ambisonic sound the first channel, W, hears all directions equally; the others are differences between
    directions, which would cancel. A stereo pair beside them counts too. Channels of which nothing is known are equal.
    """
    names = [channel.name for channel in layout.channels]
    if UNKNOWN in names:
        return np.ones(len(names))
    weights = np.array([channel_weight(name) for name in names])
    return weights if weights.any() else np.ones(len(names))


__all__ = ["UNKNOWN", "channel_weights"]
