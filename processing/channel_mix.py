"""Mixes several channels down to one and keeps sounds that the channels hold with opposite signs.

The mean of two channels loses a sound if one channel holds it with reversed polarity. Reversed polarity comes from a
miswired cable, a stereo widener, or a recording of middle and side. The mean is therefore compared with its channels
in cells of time and frequency. In a cell in which the channels cancel each other, the loudest channel replaces the
mean. If nothing is cancelled, the result is the plain mean, to the last bit.
"""

import numpy as np

FFT_LENGTH = 1024  # samples: 21 ms at 48 kHz
HOP_LENGTH = FFT_LENGTH // 2
BLOCK_FRAMES = 16  # frames in a cell: 0.17 s at 48 kHz
NUM_BANDS = 32
LOWEST_BIN = 3  # 141 Hz at 48 kHz. Below it lie the DC offset and rumble, and VGGish hears from 125 Hz on.
# A cell counts as cancelled below this ratio. The ratio is the energy of the mix divided by the energy that a mix of
# unrelated channels would have. It is 1 for unrelated channels, 2 for two equal channels, and 0 for channels that
# cancel completely. It is 0.4 if the second of two equally weighted channels is -1/3 times the first.
CANCELLED = 0.4
# The cells of a block are mended if cancelling loses more than this share of the block's energy. A smaller loss is
# normal: because of their distance, two microphones in a room cancel each other in some narrow bands.
LEAST_LOST_SHARE = 0.1
ABOUT_EQUAL = 0.5  # energies within 3 dB
GROUP_VALUES = 2**22  # samples that are transformed at once; this bounds the memory, even for an hour of sound
# A channel counts as unused if its level is less than this part of the loudest channel's level (-40 dB).
UNUSED_LEVEL = 0.01
# One step of 24-bit sound. A lower level is only rounding noise, which nobody can hear.
UNHEARD_LEVEL = 2.0**-23


def band_edges() -> np.ndarray:
    """Returns the first bin of each band, and then the number of bins. The bands widen towards high frequencies, and
    each has at least 3 bins."""
    edges, num_bins = [LOWEST_BIN], FFT_LENGTH // 2 + 1
    for edge in np.geomspace(LOWEST_BIN, num_bins, NUM_BANDS + 1)[1:-1]:
        if round(edge) >= edges[-1] + 3:
            edges.append(round(edge))
    return np.array([*edges, num_bins])


def used_weights(channels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Scales the weights of channels (C, samples) so that the weights of the channels in use add up to 1.

    Some channels may be empty, for example in a stereo recording of one microphone or in eight channels with a voice
    in the centre channel. A mean over all channels would make such a sound quieter than its recording. If only
    channels of weight 0 sound, such as the low-frequency channel, these channels are mixed.
    """
    levels = channels.std(axis=1, dtype=np.float64)
    if (weights == 0).any() and levels[weights > 0].max(initial=0) < UNHEARD_LEVEL < levels.max():
        weights = (weights == 0).astype(np.float64)
    in_use = weights > 0
    in_use &= levels >= UNUSED_LEVEL * levels[in_use].max(initial=0)
    return np.where(in_use, weights, 0) / weights[in_use].sum()


def cancelled_cells(energies: np.ndarray, mixed: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Finds the cells in which channels cancel each other.

    Args:
        energies: the energies of the channels, (C, blocks, bands).
        mixed: the energies of the mix, (blocks, bands).
        weights: the weights of the channels in the mix, (C,).

    Returns:
        (blocks, bands) bool. It is True only in blocks that lose more than `LEAST_LOST_SHARE` of their energy.
    """
    unrelated = np.einsum("c,ctb->tb", weights**2, energies)
    cancelled = mixed < CANCELLED * unrelated
    lost = (unrelated * cancelled).sum(axis=1)
    return cancelled & (lost > LEAST_LOST_SHARE * unrelated.sum(axis=1))[:, None]


def mended_difference(framed: np.ndarray, weights: np.ndarray, window: np.ndarray) -> np.ndarray | None:
    """Computes the signal that must be added to a mix so that its cancelled cells sound again.

    Args:
        framed: the frames of the channels, without their DC offset, (C, blocks * BLOCK_FRAMES, FFT_LENGTH).
        weights: the weights of the channels, (C,).
        window: the window for analysis and synthesis, (FFT_LENGTH,).

    Returns:
        Frames for `overlap_add`, (blocks * BLOCK_FRAMES, FFT_LENGTH), or None if nothing is cancelled.
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
    # Take the first of the channels that are about as loud as the loudest. Neighbouring cells then use one channel.
    weighted = weights[:, None, None] * energies
    loudest = (weighted >= ABOUT_EQUAL * weighted.max(axis=0)).argmax(axis=0)  # (blocks, bands)
    levels = np.sqrt(energies)
    level = np.take_along_axis(levels, loudest[None], axis=0)[0]
    # The gain makes the chosen channel as loud as the mix would be if all channels had the same sign.
    gains = np.einsum("c,ctb->tb", weights, levels) / np.maximum(level, np.finfo(level.dtype).tiny)
    difference = np.zeros_like(mix)
    for block, band in np.argwhere(cancelled):
        frames = slice(block * BLOCK_FRAMES, (block + 1) * BLOCK_FRAMES)
        bins = slice(edges[band], edges[band + 1])
        chosen = spectra[loudest[block, band], frames, bins]
        difference[frames, bins] = gains[block, band] * chosen - mix[frames, bins]
    return np.fft.irfft(difference, n=FFT_LENGTH, axis=-1) * window


def overlap_add(frames: np.ndarray) -> np.ndarray:
    """Adds up frames (F, FFT_LENGTH) that start HOP_LENGTH apart. Returns ((F + 1) * HOP_LENGTH,) samples."""
    halves = frames.reshape(len(frames), 2, HOP_LENGTH)
    samples = np.zeros((len(frames) + 1, HOP_LENGTH), frames.dtype)
    samples[:-1] += halves[:, 0]
    samples[1:] += halves[:, 1]
    return samples.ravel()


def mend_cancelled(mono: np.ndarray, channels: np.ndarray, weights: np.ndarray) -> None:
    """Restores, in place, the sounds of channels (C, samples) that their mix (samples,) lost. `weights` are (C,)."""
    num_channels, num_samples = channels.shape
    window = np.sin(np.pi * (np.arange(FFT_LENGTH) + 0.5) / FFT_LENGTH).astype(channels.dtype)
    block = BLOCK_FRAMES * HOP_LENGTH
    step = block * max(1, GROUP_VALUES // (num_channels * BLOCK_FRAMES * FFT_LENGTH))
    # The first frame starts half a frame before the sound, so that each sample lies in two frames.
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
        weights: (C,), at least 0: the share of each channel in the mix. The weights are equal by default, and are
            scaled to add up to 1; see `used_weights`.

    Returns:
        (samples,) of the same type: the weighted mean. In cells in which the channels cancel each other, the loudest
        channel replaces the mean.
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
