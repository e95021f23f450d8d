"""High dynamic range and wide colour made fit for ordinary screens, which are also what networks are trained on.

A table says for every colour of the video which colour of BT.709 stands for it; FFmpeg's `lut3d` filter looks it up.
The curves are those of ITU-R BT.2100 (PQ and HLG) and BT.1886; what is brighter than white is compressed.
https://www.itu.int/rec/R-REC-BT.2100 https://www.itu.int/pub/R-REP-BT.2408
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

PQ, HLG = 16, 18  # transfer functions, as H.273 numbers them
BT709, BT2020 = 1, 9  # primaries
# White pages have 203 nits in such videos (BT.2408), or the 100 nits of ordinary ones where they were made of these.
LEAST_WHITE_NITS, MOST_WHITE_NITS = 100.0, 203.0
WHITE_SHARE = 99.9  # percentage of a picture's pixels that are not brighter than its white
KNEE = 0.95  # up to this share of white, as PQ codes it, light stays as it is
USUAL_PEAK_NITS = 1000.0  # of the screens that most such videos are made for; HLG is defined by it
BRIGHTEST_NITS = 10_000.0  # that PQ can say
SCREEN_GAMMA = 2.4  # BT.1886
HLG_SYSTEM_GAMMA = 1.2  # of a screen of 1000 nits
TABLE_SIZE = 33  # steps of each colour in the table

# Linear light of BT.2020 primaries in those of BT.709. BT.2087
BT2020_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)
# What red, green and blue light give to luminance.
BT709_BRIGHTNESS = np.array([0.2126, 0.7152, 0.0722])
BT2020_BRIGHTNESS = np.array([0.2627, 0.6780, 0.0593])


@dataclass(frozen=True)
class Range:
    """What a video's numbers stand for, where an ordinary screen cannot show them as they are."""

    transfer: int  # `PQ`, `HLG`, or any other, which is taken for that of an ordinary screen
    wide: bool  # whether the primaries are those of BT.2020
    peak: float = USUAL_PEAK_NITS  # the brightest that the video is made for, in nits
    white: float = MOST_WHITE_NITS  # what an ordinary screen shows nearly as white, in nits


def pq_nits(signal: np.ndarray) -> np.ndarray:
    """The light in nits that PQ signals in [0, 1] stand for. BT.2100, table 4."""
    power = np.power(signal, 1 / 78.84375)
    return BRIGHTEST_NITS * np.power(
        np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power), 1 / 0.1593017578125
    )


def pq_signal(nits: np.ndarray) -> np.ndarray:
    """The PQ signal in [0, 1] that stands for light in nits. BT.2100, table 4."""
    power = np.power(nits / BRIGHTEST_NITS, 0.1593017578125)
    return np.power((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power), 78.84375)


def hlg_nits(signal: np.ndarray) -> np.ndarray:
    """The light in nits that HLG signals (..., 3) in [0, 1] give on a screen of 1000 nits. BT.2100, table 5."""
    dark = np.square(signal) / 3
    bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    scene = np.where(signal <= 0.5, dark, bright)
    brightness = scene @ BT2020_BRIGHTNESS
    return USUAL_PEAK_NITS * scene * np.power(brightness, HLG_SYSTEM_GAMMA - 1)[..., None]


def rolled_off(nits: np.ndarray, peak: float, white: float) -> np.ndarray:
    """Light up to `peak` nits brought down to `white`: what is darker than the knee stays, what is brighter is
    compressed by a hyperbola, in the steps of PQ, which are those of the eye."""
    if peak <= white:
        return np.minimum(nits, white)
    top, limit = float(pq_signal(np.array(peak))), float(pq_signal(np.array(white)))
    signal = np.minimum(pq_signal(nits), top)
    knee = KNEE * limit
    above = np.maximum(signal - knee, 0)
    # Its slope is 1 at the knee, and it reaches the limit at the top.
    bend = ((top - knee) / (limit - knee) - 1) / (top - knee)
    return pq_nits(np.minimum(signal, knee) + above / (1 + bend * above))


def light(signal: np.ndarray, transfer: int, white: float) -> np.ndarray:
    """The light in nits that signals (..., 3) in [0, 1] stand for; `white` of an ordinary video's white."""
    if transfer == PQ:
        return pq_nits(signal)
    return hlg_nits(signal) if transfer == HLG else white * np.power(signal, SCREEN_GAMMA)


def ordinary_colours(signal: np.ndarray, source: Range) -> np.ndarray:
    """What an ordinary screen is given for a video's signals.

    Args:
        signal: (..., 3) red, green and blue in [0, 1], as coded in the video.
        source: what the signals stand for.

    Returns:
        (..., 3) red, green and blue of BT.709 in [0, 1].
    """
    nits = light(signal, source.transfer, source.white)
    if source.wide:
        nits = np.maximum(nits @ BT2020_TO_BT709.T, 0)
    if source.transfer in (PQ, HLG):
        # The brightest of the three is brought down and takes the others along, so that hues stay.
        brightest = nits.max(axis=-1, keepdims=True)
        nits = nits * (rolled_off(brightest, source.peak, source.white) / np.maximum(brightest, 1e-9))
    return np.power(np.clip(nits / source.white, 0, 1), 1 / SCREEN_GAMMA)


def write_table(path: Path, source: Range) -> None:
    """Writes the table of `ordinary_colours` as a .cube file, red running fastest."""
    steps = np.linspace(0, 1, TABLE_SIZE)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    colours = ordinary_colours(np.stack([red, green, blue], axis=-1), source).reshape(-1, 3)
    with path.open("w") as file:
        file.write(f"LUT_3D_SIZE {TABLE_SIZE}\n")
        np.savetxt(file, colours, fmt="%.6f")


def peak_nits(frame: av.VideoFrame) -> float:
    """The brightest that a video is made for, in nits, as its first frame says; else what is usual."""
    light = frame.side_data.get("CONTENT_LIGHT_LEVEL")
    if light is not None:
        brightest, _ = struct.unpack_from("=II", bytes(light))
        if brightest:
            return float(min(brightest, BRIGHTEST_NITS))
    mastering = frame.side_data.get("MASTERING_DISPLAY_METADATA")
    if mastering is not None:
        # Ten fractions: three primaries and white, of two each, then the least light and the most.
        *_, numerator, denominator, _, has_luminance = struct.unpack_from("=22i", bytes(mastering))
        if has_luminance and denominator > 0 and numerator > 0:
            return float(min(numerator / denominator, BRIGHTEST_NITS))
    return USUAL_PEAK_NITS


def is_extended(frame: av.VideoFrame) -> bool:
    """Whether a frame is of high dynamic range or wide colour, so that its numbers mean other colours elsewhere."""
    return int(frame.color_trc) in (PQ, HLG) or int(frame.color_primaries) == BT2020


def extended_range(frame: av.VideoFrame) -> Range | None:
    """What the numbers of a video stand for, by its first frame; None for ordinary video.

    What counts as white is measured in that frame, within the limits of what is usual, since no header says it. It is
    measured as luminance, as BT.2408 defines it: the error of a compressed frame is larger in red and blue, and the
    largest of the three would be taken for more light than there is.
    """
    if not is_extended(frame):
        return None
    transfer, wide = int(frame.color_trc), int(frame.color_primaries) != BT709
    if transfer not in (PQ, HLG):
        return Range(transfer, wide)
    signal = frame.to_ndarray(format="rgb48le").astype(np.float32) / 65535
    luminance = light(signal, transfer, MOST_WHITE_NITS) @ (BT2020_BRIGHTNESS if wide else BT709_BRIGHTNESS)
    brightest = np.percentile(luminance, WHITE_SHARE)
    white = float(np.clip(brightest, LEAST_WHITE_NITS, MOST_WHITE_NITS))
    return Range(transfer, wide, USUAL_PEAK_NITS if transfer == HLG else peak_nits(frame), white)


__all__ = ["Range", "extended_range", "is_extended", "ordinary_colours", "write_table"]
