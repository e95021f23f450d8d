"""Composes one clip: chooses its objects and the seconds in which they sound, and makes frames, masks and sound."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..data.avsbench import SPLITS
from .object_library import ObjectLibrary
from .scenes import BACKGROUND_SCALE, LONGEST, arrange
from .synthesised_sounds import LOUDNESS, SAMPLING_RATE

SECONDS = 5
FRAME_TIMES = tuple((second + 0.5) / SECONDS for second in range(SECONDS))  # frame k shows the middle of second k
SUBSETS = ("s4", "ms3")
OBJECT_COUNTS = {"s4": (2, 3), "ms3": (3, 4)}
AREAS = {"s4": (0.05, 0.2), "ms3": (0.045, 0.15)}  # the smallest and the largest object, as shares of the frame
# MS3: how many objects sound, and the probability of each count
SOUNDING_COUNTS, SOUNDING_CHANCES = (1, 2, 3), (0.15, 0.7, 0.15)
# MS3: seconds in a row, and their probabilities
STRETCHES, STRETCH_CHANCES = (1, 2, 3, 4, 5), (0.1, 0.25, 0.25, 0.2, 0.2)
GAIN_DECIBELS = (-9.0, 0.0)
NOISE_DECIBELS = (22.0, 40.0)  # the level of the noise below the sounds
FADE = 0.02  # seconds
# A sound from outside of the picture is louder or softer than the loudest possible object by so much.
NOISE_GAIN_DECIBELS = (-15.0, 0.0)
UNHEARD_SHARE = 0.15  # of the MS3 clips with such a sound: no object sounds
STEADY, NOISY = 2, 3  # these numbers end the seeds of the generators that draw from `Shares`


class Shares(NamedTuple):
    """Shares of the clips, 0 to 1, that are not of the plain kind.

    steady: MS3 clips in which one object sounds all the time, as in S4.
    noisy: clips with a sound from outside of the picture. It never belongs in a mask. In some of such MS3 clips no
        object sounds. Only a library with `noises` has such sounds.
    """

    steady: float = 0.0
    noisy: float = 0.0


PLAIN = Shares()


@dataclass
class ComposedClip:
    """A composed clip: frames (5, H, W, 3) uint8, masks (5, H, W) bool, waveform (80000,) float32 in [-1, 1], and
    notes for JSON."""

    name: str
    category: str
    frames: np.ndarray
    masks: np.ndarray
    waveform: np.ndarray
    notes: dict


def random_timing(rng: np.random.Generator) -> np.ndarray:
    """Draws the seconds (5,) bool in which an MS3 object sounds: one stretch, sometimes with a hole in it."""
    length = int(rng.choice(STRETCHES, p=STRETCH_CHANCES))
    since = np.arange(SECONDS) - rng.integers(SECONDS - length + 1)
    hole = rng.integers(1, length - 1) if length > 3 and rng.random() < 0.3 else -1
    return (since >= 0) & (since < length) & (since != hole)


def fade(samples: int) -> np.ndarray:
    """Returns an envelope (samples,) that rises from 0 to 1 and falls back to 0 at the end, in `FADE` seconds each."""
    rise = np.minimum(1, np.arange(samples, dtype=np.float32) / (FADE * SAMPLING_RATE))
    return rise * rise[::-1]


def gated(wave: np.ndarray, sounding: np.ndarray) -> np.ndarray:
    """Silences a wave (seconds * 16000,) outside its sounding seconds, (seconds,) bool. Each stretch is faded in and
    out."""
    gate = np.zeros(len(wave), np.float32)
    edges = np.flatnonzero(np.diff(sounding.astype(int), prepend=0, append=0)) * SAMPLING_RATE
    for start, stop in edges.reshape(-1, 2):
        gate[start:stop] = fade(stop - start)
    return wave * gate


def coloured_noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Draws noise (samples,) with root mean square 1 and a random colour between white and pink."""
    frequencies = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLING_RATE), 50)
    spectrum = np.fft.rfft(rng.standard_normal(samples)) * frequencies ** -rng.uniform(0, 0.5)
    noise = np.fft.irfft(spectrum, samples)
    return (noise / np.sqrt((noise**2).mean())).astype(np.float32)


def mix(rng: np.random.Generator, waves: list[np.ndarray], timing: np.ndarray) -> tuple[np.ndarray, list, float]:
    """Add the sounds over a soft noise floor. Each sound (80000,) is heard in its seconds of timing (objects, 5).

    Returns the mixture, the gains in dB, and the level of the noise in dB below the sounds.
    """
    signal = np.zeros(SECONDS * SAMPLING_RATE, np.float32)
    gains = rng.uniform(*GAIN_DECIBELS, len(waves))
    for wave, sounding, gain in zip(waves, timing, gains, strict=True):
        signal += np.float32(10 ** (gain / 20)) * gated(wave, sounding)
    power = (signal[np.repeat(timing.any(axis=0), SAMPLING_RATE)] ** 2).mean()
    distance = rng.uniform(*NOISE_DECIBELS)
    signal += coloured_noise(rng, len(signal)) * np.float32(np.sqrt(power) * 10 ** (-distance / 20))
    return signal * min(1.0, 0.98 / np.abs(signal).max()), gains.tolist(), float(distance)


def first_category(library: ObjectLibrary, seed: int, subset: str, split: str, number: int) -> str:
    """Returns the category that always sounds in a clip. The categories take turns, so each is heard equally often."""
    turn, seat = divmod(number, len(library.sounding))
    rng = np.random.default_rng([seed, SUBSETS.index(subset), SPLITS.index(split), turn, 1])
    return library.sounding[rng.permutation(len(library.sounding))[seat]]


def choose_cast(rng, library: ObjectLibrary, subset: str, first: str) -> tuple[list[str], np.ndarray]:
    """Choose the names of a clip's objects, from the lowest to the highest layer, and their timing (objects, 5)
    bool."""
    low, high = OBJECT_COUNTS[subset]
    count = min(int(rng.integers(low, high + 1)), len(library.categories))
    sounding_count = 1 if subset == "s4" else int(rng.choice(SOUNDING_COUNTS, p=SOUNDING_CHANCES))
    others = [name for name in library.sounding if name != first]
    names = [first, *(others[index] for index in rng.permutation(len(others))[: sounding_count - 1])]
    sounding_count = len(names)
    rest = [name for name in library.categories if name not in names]
    names += [rest[index] for index in rng.permutation(len(rest))[: count - sounding_count]]
    timing = np.zeros((len(names), SECONDS), bool)
    for index in range(sounding_count):
        timing[index] = True if subset == "s4" else random_timing(rng)
    order = rng.permutation(len(names))
    return [names[index] for index in order], timing[order]


def add_noise(
    rng: np.random.Generator, library: ObjectLibrary, signal: np.ndarray
) -> tuple[np.ndarray, dict[str, object]]:
    """Mixes a sound from outside of the picture into a waveform (80000,). Returns the mixture and notes about the
    sound."""
    timing = random_timing(rng)
    name, wave = library.noise(rng, SECONDS)
    gain = rng.uniform(*NOISE_GAIN_DECIBELS)
    mixed = signal + np.float32(10 ** (gain / 20)) * gated(wave, timing)
    mixed = mixed * min(1.0, 0.98 / np.abs(mixed).max())
    return mixed, {"noise": name, "noise_gain_db": round(gain, 2), "noise_sounding": timing.astype(int).tolist()}


def compose_clip(
    library: ObjectLibrary,
    seed: int,
    subset: str,
    split: str,
    number: int,
    size: int,
    shares: Shares = PLAIN,
) -> ComposedClip:
    """Compose the clip of these arguments. Nothing else decides its content.

    In an S4 clip one object sounds for five seconds, and one or two others are silent. An MS3 clip has three or four
    objects. One to three of them sound, each in its own seconds. The mask of a second is the union of the objects that
    sound in it, so it is empty if nothing sounds. A mask holds only the visible parts.

    Args:
        library: pictures, sounds and backgrounds.
        seed, number: 0 or more.
        subset: "s4" or "ms3".
        split: "train", "val" or "test".
        size: the side of the frame in pixels.
        shares: the shares of the clips that are of another kind. With equal other arguments, a clip with a sound from
            outside has the same pictures as the clip without it.
    """
    place = [seed, SUBSETS.index(subset), SPLITS.index(split), number]
    rng, noise_rng = np.random.default_rng(place), np.random.default_rng([*place, NOISY])
    first = first_category(library, seed, subset, split, number)
    steady = subset == "ms3" and np.random.default_rng([*place, STEADY]).random() < shares.steady
    noisy = bool(library.noises) and noise_rng.random() < shares.noisy
    kind = "s4" if steady else subset
    names, timing = choose_cast(rng, library, kind, first)
    side = round(LONGEST * size * 1.1)
    pictures = [library.picture(name, rng, side) for name in names]
    large = round(BACKGROUND_SCALE * size)
    backdrop, background = library.background(rng, large, large)
    images = [picture for _, picture in pictures]
    scene = arrange(rng, images, AREAS[kind], size, size, FRAME_TIMES, background=background)

    frames = np.stack([scene.frame(time) for time in FRAME_TIMES])
    visible, whole = np.stack([scene.shapes(time) for time in FRAME_TIMES], axis=2)  # each (objects, 5, H, W)

    heard = np.flatnonzero(timing.any(axis=1))
    sounds = [library.sound(names[index], rng, SECONDS) for index in heard]
    waveform, gains, distance = mix(rng, [wave for _, wave in sounds], timing[heard])
    noise: dict[str, object] = {}
    if noisy:
        if subset == "ms3" and noise_rng.random() < UNHEARD_SHARE:
            timing, heard, sounds, gains = np.zeros_like(timing), heard[:0], [], []
            waveform = coloured_noise(noise_rng, len(waveform)) * np.float32(LOUDNESS * 10 ** (-distance / 20))
        waveform, noise = add_noise(noise_rng, library, waveform)
    masks = (visible & timing[:, :, None, None]).any(axis=0)
    objects = [
        {
            "category": name,
            "picture": picture,
            "sound": None,
            "gain_db": None,
            "sounding": timing[index].astype(int).tolist(),
            "boxes": [Image.fromarray(mask).getbbox() for mask in visible[index]],
            "whole_area": whole[index].mean((1, 2)).round(4).tolist(),
            "visible_area": visible[index].mean((1, 2)).round(4).tolist(),
        }
        for index, (name, (picture, _)) in enumerate(zip(names, pictures, strict=True))
    ]
    for index, (sound, _), gain in zip(heard, sounds, gains, strict=True):
        objects[index] |= {"sound": sound, "gain_db": round(gain, 2)}
    name = f"{subset}_{split}_{number:05d}"
    notes = {"name": name, "subset": subset, "split": split, "background": backdrop}
    notes |= {"noise_snr_db": round(distance, 2), **noise, "objects": objects}
    return ComposedClip(name, first, frames, masks, waveform, notes)


__all__ = ["FRAME_TIMES", "SECONDS", "SUBSETS", "ComposedClip", "Shares", "coloured_noise", "compose_clip", "fade"]
