"""One channel out of several, without losing what the channels have with opposite signs.

The mean of two channels loses a sound whose polarity is reversed in one of them: a miswired cable, a stereo widener, a
recording of middle and side. The mean is therefore compared with its channels in cells of time and frequency. Where
the channels cancel each other, the loudest channel of that cell stands in for the mean. Sound that does not cancel
stays the plain mean, to the last bit.
"""

import numpy as np

FFT_LENGTH = 1024  # samples: 21 ms at 48 kHz
HOP_LENGTH = FFT_LENGTH // 2
BLOCK_FRAMES = 16  # a cell lasts for so many frames: 0.17 s at 48 kHz
NUM_BANDS = 32
LOWEST_BIN = 3  # 141 Hz at 48 kHz. Below it lie the DC offset and rumble, and VGGish hears from 125 Hz on.
# The energy of a mix against that of the same channels without any relation: 1 for unrelated channels, 2 for equal
# ones in stereo, 0 where they cancel. At 0.4 the second channel has minus 0.38 times the signal of the first.
CANCELLED = 0.4
# Two microphones in a room cancel each other in some narrow bands by their distance, as any mean does.
LEAST_LOST_SHARE = 0.1  # of a block's energy, from which on its cells are mended
ABOUT_EQUAL = 0.5  # energies within 3 dB
GROUP_VALUES = 2**22  # samples that are transformed at once, so that an hour of sound takes no more memory
# A channel that is this much quieter than the loudest one (40 dB) is not in use.
UNUSED_LEVEL = 0.01
# Squares of samples below one step of 24-bit sound are rounding, in which nothing can be heard.
UNHEARD_LEVEL = 2.0**-23


def band_edges() -> np.ndarray:
    """The first bin of each band and, last, the number of bins. Bands widen with the frequency, 3 bins at least."""
    edges, num_bins = [LOWEST_BIN], FFT_LENGTH // 2 + 1
    for edge in np.geomspace(LOWEST_BIN, num_bins, NUM_BANDS + 1)[1:-1]:
        if round(edge) >= edges[-1] + 3:
            edges.append(round(edge))
    return np.array([*edges, num_bins])


def used_weights(channels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weights of channels (C, samples), scaled so that those of the channels in use add up to 1.

    Channels may be empty: one microphone in a stereo recording, a voice in the centre of eight channels. In a mean of
    all channels such a sound would be quieter than its recording. Where only channels without a weight sound, such as
    the low-frequency one, they are mixed.
    """
    levels = channels.std(axis=1, dtype=np.float64)
    if (weights == 0).any() and levels[weights > 0].max(initial=0) < UNHEARD_LEVEL < levels.max():
        weights = (weights == 0).astype(np.float64)
    in_use = weights > 0
    in_use &= levels >= UNUSED_LEVEL * levels[in_use].max(initial=0)
    return np.where(in_use, weights, 0) / weights[in_use].sum()


def cancelled_cells(energies: np.ndarray, mixed: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Where channels cancel each other.

    Args:
        energies: of the channels, (C, blocks, bands).
        mixed: the energy of their mix, (blocks, bands).
        weights: of the channels in the mix, (C,).

    Returns:
        (blocks, bands) bool; True only in blocks that lose `LEAST_LOST_SHARE` of their energy or more.
    """
    unrelated = np.einsum("c,ctb->tb", weights**2, energies)
    cancelled = mixed < CANCELLED * unrelated
    lost = (unrelated * cancelled).sum(axis=1)
    return cancelled & (lost > LEAST_LOST_SHARE * unrelated.sum(axis=1))[:, None]


def mended_difference(framed: np.ndarray, weights: np.ndarray, window: np.ndarray) -> np.ndarray | None:
    """What has to be added to the mix of some frames so that nothing in it is cancelled.

    Args:
        framed: (C, blocks * BLOCK_FRAMES, FFT_LENGTH), samples of the channels without their DC offset.
        weights: of the channels, (C,).
        window: (FFT_LENGTH,), for analysis and synthesis.

    Returns:
        (blocks * BLOCK_FRAMES, FFT_LENGTH), frames to be overlapped and added; None where nothing is cancelled.
    """
    edges = band_edges()
    spectra = np.fft.rfft(framed * window, axis=-1)  # (C, frames, bins)
    mix = np.einsum("c,cfk->fk", weights, spectra)

    def cell_energies(spectrum: np.ndarray) -> np.ndarray:
        bands = np.add.reduceat(np.abs(spectrum) ** 2, edges[:-1], axis=-1)
        return bands.reshape(*bands.shape[:-2], -1, BLOCK_FRAMES, bands.shape[-1]).sum(axis=-2)

    energies = cell_energies(spectra)  # (C, blocks, bands)
    cancelled = cancelled_cells(energies, cell_energies(mix), weights)
    if not cancelled.any():
        return None
    # The first of those that are about equally loud, so that neighbouring cells come from one channel.
    weighted = weights[:, None, None] * energies
    loudest = (weighted >= ABOUT_EQUAL * weighted.max(axis=0)).argmax(axis=0)  # (blocks, bands)
    levels = np.sqrt(energies)
    level = np.take_along_axis(levels, loudest[None], axis=0)[0]
    # As loud as the mix would be if the channels had one sign.
    gains = np.einsum("c,ctb->tb", weights, levels) / np.maximum(level, np.finfo(level.dtype).tiny)
    difference = np.zeros_like(mix)
    for block, band in np.argwhere(cancelled):
        frames = slice(block * BLOCK_FRAMES, (block + 1) * BLOCK_FRAMES)
        bins = slice(edges[band], edges[band + 1])
        chosen = spectra[loudest[block, band], frames, bins]
        difference[frames, bins] = gains[block, band] * chosen - mix[frames, bins]
    return np.fft.irfft(difference, n=FFT_LENGTH, axis=-1) * window


def overlap_add(frames: np.ndarray) -> np.ndarray:
    """Adds frames (F, FFT_LENGTH), HOP_LENGTH apart, up to ((F + 1) * HOP_LENGTH,) samples."""
    halves = frames.reshape(len(frames), 2, HOP_LENGTH)
    samples = np.zeros((len(frames) + 1, HOP_LENGTH), frames.dtype)
    samples[:-1] += halves[:, 0]
    samples[1:] += halves[:, 1]
    return samples.ravel()


def mend_cancelled(mono: np.ndarray, channels: np.ndarray, weights: np.ndarray) -> None:
    """Adds to a mix (samples,), in place, what its channels (C, samples) with their weights (C,) lost in it."""
    num_channels, num_samples = channels.shape
    window = np.sin(np.pi * (np.arange(FFT_LENGTH) + 0.5) / FFT_LENGTH).astype(channels.dtype)
    block = BLOCK_FRAMES * HOP_LENGTH
    step = block * max(1, GROUP_VALUES // (num_channels * BLOCK_FRAMES * FFT_LENGTH))
    # The first frame lies half before the sound, so that each sample is in two frames.
    for start in range(-HOP_LENGTH, num_samples - HOP_LENGTH, step):
        low, high = max(start, 0), min(start + step + HOP_LENGTH, num_samples)
        part = channels[:, low:high]
        num_blocks = -(-(high - start - HOP_LENGTH) // block)
        padded = np.zeros((num_channels, num_blocks * block + HOP_LENGTH), channels.dtype)
        padded[:, low - start : high - start] = part - part.mean(axis=1, keepdims=True)
        framed = np.lib.stride_tricks.sliding_window_view(padded, FFT_LENGTH, axis=1)[:, ::HOP_LENGTH]
        difference = mended_difference(framed, weights, window)
        if difference is not None:
            mono[low:high] += overlap_add(difference)[low - start : high - start]


def mix_channels(channels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mixes the channels of one sound down to one.

    Args:
        channels: (C, samples), floating point and finite.
        weights: (C,), from 0 on, which say how much of each channel belongs into the mix; equal by default. They are
            scaled to add up to 1, see `used_weights`.

    Returns:
        (samples,) of the same type: the weighted mean, with the loudest channel in the place of the mean where the
        channels cancel each other.
    """
    if len(channels) == 1 or channels.shape[1] == 0:
        return channels[0]
    weights = used_weights(channels, np.ones(len(channels)) if weights is None else np.asarray(weights, np.float64))
    used = np.flatnonzero(weights)
    channels, weights = channels[used], weights[used].astype(channels.dtype)
    if len(channels) == 1:
        return channels[0]
    stereo = len(channels) == 2 and weights[0] == weights[1]
    mono = channels.mean(axis=0) if stereo else weights @ channels
    if not (stereo and np.array_equal(channels[0], channels[1])):
        mend_cancelled(mono, channels, weights)
    return mono


__all__ = ["mix_channels"]
