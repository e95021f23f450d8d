"""Converts high dynamic range and wide colour to the colours of ordinary screens, which networks are trained on.

A table gives the colour of BT.709 for every colour of the video. FFmpeg's filter `lut3d` looks colours up in it. The
curves come from ITU-R BT.2100 (PQ and HLG) and BT.1886. Light that is brighter than white is compressed.
https://www.itu.int/rec/R-REC-BT.2100 https://www.itu.int/pub/R-REP-BT.2408
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

PQ, HLG = 16, 18  # numbers of transfer functions in H.273
BT709, BT2020 = 1, 9  # numbers of primaries in H.273
# A white page has 203 nits in such videos (BT.2408). It has 100 nits in videos that were made from ordinary ones.
LEAST_WHITE_NITS, MOST_WHITE_NITS = 100.0, 203.0
WHITE_SHARE = 99.9  # percentage of the pixels of a picture that are at most as bright as its white
KNEE = 0.95  # light stays unchanged up to this share of the PQ signal of white
USUAL_PEAK_NITS = 1000.0  # peak of the screens that most such videos are made for, and of HLG's reference screen
BRIGHTEST_NITS = 10_000.0  # the brightest light that PQ can code
SCREEN_GAMMA = 2.4  # BT.1886
HLG_SYSTEM_GAMMA = 1.2  # for a screen of 1000 nits
TABLE_SIZE = 33  # entries of the table for each of red, green and blue

# Converts linear light from the primaries of BT.2020 to those of BT.709. Source: BT.2087
BT2020_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)
# The weights of red, green and blue light in the luminance.
BT709_BRIGHTNESS = np.array([0.2126, 0.7152, 0.0722])
BT2020_BRIGHTNESS = np.array([0.2627, 0.6780, 0.0593])


@dataclass(frozen=True)
class Range:
    """The meaning of the values of a video that an ordinary screen cannot show unchanged."""

    transfer: int  # `PQ` or `HLG`; any other is taken for the curve of an ordinary screen
    wide: bool  # whether the video has the primaries of BT.2020
    peak: float = USUAL_PEAK_NITS  # the brightest light that the video is made for, in nits
    white: float = MOST_WHITE_NITS  # the light that becomes nearly white on an ordinary screen, in nits


def pq_nits(signal: np.ndarray) -> np.ndarray:
    """Converts PQ signals in [0, 1] to light in nits. BT.2100, table 4."""
    power = np.power(signal, 1 / 78.84375)
    return BRIGHTEST_NITS * np.power(
        np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power), 1 / 0.1593017578125
    )


def pq_signal(nits: np.ndarray) -> np.ndarray:
    """Converts light in nits to PQ signals in [0, 1]. BT.2100, table 4."""
    power = np.power(nits / BRIGHTEST_NITS, 0.1593017578125)
    return np.power((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power), 78.84375)


def hlg_nits(signal: np.ndarray) -> np.ndarray:
    """Converts HLG signals (..., 3) in [0, 1] to light in nits on a screen of 1000 nits. BT.2100, table 5."""
    dark = np.square(signal) / 3
    bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    scene = np.where(signal <= 0.5, dark, bright)
    brightness = scene @ BT2020_BRIGHTNESS
    return USUAL_PEAK_NITS * scene * np.power(brightness, HLG_SYSTEM_GAMMA - 1)[..., None]


def rolled_off(nits: np.ndarray, peak: float, white: float) -> np.ndarray:
    """Compresses light of up to `peak` nits to at most `white` nits. Light that is darker than the knee stays
    unchanged. A hyperbola compresses brighter light, on the scale of PQ signals, whose steps look equal to the eye."""
    if peak <= white:
        return np.minimum(nits, white)
    top, limit = float(pq_signal(np.array(peak))), float(pq_signal(np.array(white)))
    signal = np.minimum(pq_signal(nits), top)
    knee = KNEE * limit
    above = np.maximum(signal - knee, 0)
    # The hyperbola has slope 1 at the knee and reaches the limit at the top.
    bend = ((top - knee) / (limit - knee) - 1) / (top - knee)
    return pq_nits(np.minimum(signal, knee) + above / (1 + bend * above))


def light(signal: np.ndarray, transfer: int, white: float) -> np.ndarray:
    """Converts signals (..., 3) in [0, 1] to light in nits. `white` is the white of an ordinary video, in nits."""
    if transfer == PQ:
        return pq_nits(signal)
    return hlg_nits(signal) if transfer == HLG else white * np.power(signal, SCREEN_GAMMA)


def ordinary_colours(signal: np.ndarray, source: Range) -> np.ndarray:
    """Converts the signals of a video to the signals for an ordinary screen.

    Args:
        signal: (..., 3) red, green and blue in [0, 1], as coded in the video.
        source: what the signals mean.

    Returns:
        (..., 3) red, green and blue of BT.709 in [0, 1].
    """
    nits = light(signal, source.transfer, source.white)
    if source.wide:
        nits = np.maximum(nits @ BT2020_TO_BT709.T, 0)
    if source.transfer in (PQ, HLG):
        # All three are scaled by the factor that compresses the brightest of them, so the hue stays.
        brightest = nits.max(axis=-1, keepdims=True)
        nits = nits * (rolled_off(brightest, source.peak, source.white) / np.maximum(brightest, 1e-9))
    return np.power(np.clip(nits / source.white, 0, 1), 1 / SCREEN_GAMMA)


def write_table(path: Path, source: Range) -> None:
    """Writes the table of `ordinary_colours` as a .cube file. Red changes fastest from line to line."""
    steps = np.linspace(0, 1, TABLE_SIZE)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    colours = ordinary_colours(np.stack([red, green, blue], axis=-1), source).reshape(-1, 3)
    with path.open("w") as file:
        file.write(f"LUT_3D_SIZE {TABLE_SIZE}\n")
        np.savetxt(file, colours, fmt="%.6f")


def peak_nits(frame: av.VideoFrame) -> float:
    """The brightest light that a video is made for, in nits, as its first frame declares; else `USUAL_PEAK_NITS`."""
    light = frame.side_data.get("CONTENT_LIGHT_LEVEL")
    if light is not None:
        brightest, _ = struct.unpack_from("=II", bytes(light))
        if brightest:
            return float(min(brightest, BRIGHTEST_NITS))
    mastering = frame.side_data.get("MASTERING_DISPLAY_METADATA")
    if mastering is not None:
        # The data are ten fractions: two for each of three primaries and white, then the least and the most light.
        *_, numerator, denominator, _, has_luminance = struct.unpack_from("=22i", bytes(mastering))
        if has_luminance and denominator > 0 and numerator > 0:
            return float(min(numerator / denominator, BRIGHTEST_NITS))
    return USUAL_PEAK_NITS


def is_extended(frame: av.VideoFrame) -> bool:
    """Whether a frame has a high dynamic range or wide colour, so an ordinary screen would show wrong colours."""
    return int(frame.color_trc) in (PQ, HLG) or int(frame.color_primaries) == BT2020


def extended_range(frame: av.VideoFrame) -> Range | None:
    """The meaning of the values of a video, from its first frame; None for ordinary video.

    No header tells what counts as white. So white is measured in the first frame and limited to the usual range. It is
    measured as luminance, as BT.2408 defines it. The error of a compressed frame is larger in red and blue, so the
    largest of the three colours would give too high a white.
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
