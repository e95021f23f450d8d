"""Synthesises the sounds of the drawn objects at 16 kHz. Each category has its own timbre.

Categories differ in features that VGGish can hear (register, harmonicity, noise, attack, modulation). Instances of one
category only differ in pitch and tempo. Every sound is audible in each of its seconds.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, sosfilt

from ...files.errors import InputError

SAMPLING_RATE = 16_000
LOUDNESS = 0.1  # root mean square of the loud frames, as a share of full scale


def time_axis(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * SAMPLING_RATE), dtype=np.float32) / SAMPLING_RATE


def sine(frequency: np.ndarray | float, samples: int) -> np.ndarray:
    """Returns a sine (samples,). Its frequency in Hz may change with every sample."""
    cycles = np.cumsum(np.broadcast_to(np.float64(frequency), samples)) / SAMPLING_RATE
    return np.sin(2 * np.pi * (cycles % 1).astype(np.float32))


def harmonics(frequency: np.ndarray | float, samples: int, strengths: list[float]) -> np.ndarray:
    """Returns the sum of sines at the multiples 1, 2, 3, ... of a frequency, each with its strength."""
    cycles = np.cumsum(np.broadcast_to(np.float64(frequency), samples)) / SAMPLING_RATE
    phase = 2 * np.pi * (cycles % 1).astype(np.float32)
    sines = (strength * np.sin(phase * number) for number, strength in enumerate(strengths, start=1) if strength)
    return sum(sines, start=np.zeros(samples, np.float32))


def band_noise(rng: np.random.Generator, samples: int, low: float, high: float) -> np.ndarray:
    """Draws noise between two frequencies in Hz, with a standard deviation near 1."""
    band = butter(2, (low, high), "bandpass", fs=SAMPLING_RATE, output="sos")
    noise = np.asarray(sosfilt(band, rng.standard_normal(samples)))
    return (noise / noise.std()).astype(np.float32)


def repeat(rng, samples: int, period: float, hit: Callable[[int], np.ndarray], jitter: float = 0.04) -> np.ndarray:
    """Add hit(0), hit(1), ... at intervals of `period` seconds, each moved by up to `jitter` of the period."""
    wave, number, start = np.zeros(samples, np.float32), 0, rng.uniform(0, 0.3) * period
    while start * SAMPLING_RATE < samples:
        first = max(0, round((start + period * rng.uniform(-jitter, jitter)) * SAMPLING_RATE))
        part = hit(number)[: max(0, samples - first)]
        wave[first : first + len(part)] += part
        start, number = start + period, number + 1
    return wave


def sound_of_bell(rng, seconds: float) -> np.ndarray:
    """Struck metal: inharmonic partials that decay. Higher partials decay faster."""
    pitch, t = rng.uniform(700, 950), time_axis(0.9)
    partials = (
        (0.5, 0.5, 3),
        (1.0, 1.0, 4),
        (1.19, 0.8, 5),
        (1.56, 0.5, 6),
        (2.0, 0.7, 7),
        (2.74, 0.5, 9),
        (4.1, 0.3, 12),
    )
    tones = (gain * sine(pitch * ratio, len(t)) * np.exp(-decay * t) for ratio, gain, decay in partials)
    stroke = sum(tones, start=np.zeros(len(t), np.float32))
    return repeat(rng, round(seconds * SAMPLING_RATE), rng.uniform(0.45, 0.65), lambda _: stroke)


def sound_of_drum(rng, seconds: float) -> np.ndarray:
    """A drum skin: a low tone with falling pitch, and a short thump of noise."""
    pitch, t = rng.uniform(70, 105), time_axis(0.35)
    skin = sine(pitch * (1 + 1.2 * np.exp(-30 * t)), len(t)) * np.exp(-11 * t)
    stroke = skin + 0.35 * band_noise(rng, len(t), 120, 900) * np.exp(-45 * t)
    accents = rng.uniform(0.6, 1, 4)
    samples = round(seconds * SAMPLING_RATE)
    return repeat(rng, samples, rng.uniform(0.22, 0.32), lambda number: accents[number % 4] * stroke)


def sound_of_car(rng, seconds: float) -> np.ndarray:
    """A horn: two bright, steady harmonic stacks a third apart, pressed again and again."""
    pitch, samples = rng.uniform(330, 430), round(seconds * SAMPLING_RATE)
    strengths = [0.7, 1.0, 0.9, 0.8, 0.6, 0.5, 0.35, 0.25]
    tone = harmonics(pitch, samples, strengths) + harmonics(pitch * 1.26, samples, strengths)
    t, press = time_axis(seconds), rng.uniform(0.6, 0.8)
    phase = (t / press + rng.random()) % 1
    return tone * np.clip(np.minimum(phase, 0.82 - phase) * press / 0.015, 0, 1)


def sound_of_bird(rng, seconds: float) -> np.ndarray:
    """Chirps: fast sweeps at far higher frequencies than the other sounds."""
    pitch, span, length = rng.uniform(4200, 5600), rng.uniform(1200, 1900), rng.uniform(0.06, 0.1)
    u = np.linspace(0, 1, round(length * SAMPLING_RATE), dtype=np.float32)
    rising = sine(pitch + span * (u - 0.5), len(u)) * np.sin(np.pi * u)
    bent = sine(pitch + span * (np.sin(np.pi * u) - 0.7), len(u)) * np.sin(np.pi * u)
    notes = (rising, bent, rising[::-1])
    order = rng.integers(0, 3, 5)
    samples = round(seconds * SAMPLING_RATE)
    return repeat(rng, samples, rng.uniform(0.13, 0.2), lambda number: notes[order[number % 5]])


def sound_of_siren(rng, seconds: float) -> np.ndarray:
    """One unbroken tone that goes up and down without rest."""
    low, ratio, period = rng.uniform(600, 750), rng.uniform(1.9, 2.3), rng.uniform(0.8, 1.3)
    wail = 0.5 - 0.5 * np.cos(2 * np.pi * (time_axis(seconds) / period + rng.random()))
    return harmonics(low * ratio**wail, len(wail), [1.0, 0.0, 0.3, 0.0, 0.1])


def sound_of_robot(rng, seconds: float) -> np.ndarray:
    """Frequency modulation with a ratio that is not whole, in random steps like the speech of a machine."""
    samples, step = round(seconds * SAMPLING_RATE), round(rng.uniform(0.09, 0.13) * SAMPLING_RATE)
    base = rng.uniform(150, 200) * 2 ** (rng.integers(0, 9, samples // step + 1) / 4)
    carrier = np.repeat(base, step)[:samples]
    gate = np.clip((1 - np.arange(samples) % step / step) * 8, 0, 1)
    cycles = np.cumsum(carrier) / SAMPLING_RATE + 0.6 * sine(carrier * 2.41, samples)
    return (np.sin(2 * np.pi * cycles) * gate).astype(np.float32)


def sound_of_kettle(rng, seconds: float) -> np.ndarray:
    """A steam whistle: one high trembling tone inside a hiss."""
    samples, t = round(seconds * SAMPLING_RATE), time_axis(seconds)
    tremble = 1 + 0.012 * np.sin(2 * np.pi * rng.uniform(5, 8) * t)
    pitch = rng.uniform(2300, 2900)
    whistle = harmonics(pitch * tremble, samples, [1.0, 0.15])
    return whistle + 0.55 * band_noise(rng, samples, 2800, 7000)


def sound_of_guitar(rng, seconds: float) -> np.ndarray:
    """Plucked strings by Karplus and Strong: a burst of noise that runs in a loop and gets smoother."""
    root, notes = rng.uniform(110, 160), []
    for ratio in (1.0, 1.26, 1.5, 2.0):
        loop = rng.uniform(-1, 1, round(SAMPLING_RATE / (root * ratio))).astype(np.float32)
        turns = []
        for _ in range(round(0.8 * root * ratio)):
            turns.append(loop)
            loop = 0.996 * 0.5 * (loop + np.roll(loop, 1))
        notes.append(np.concatenate(turns))
        notes[-1] *= np.linspace(1, 0, len(notes[-1]), dtype=np.float32) / np.sqrt((notes[-1] ** 2).mean())
    order = rng.permutation(4)
    samples = round(seconds * SAMPLING_RATE)
    return repeat(rng, samples, rng.uniform(0.18, 0.28), lambda number: notes[order[number % 4]])


def sound_of_clock(rng, seconds: float) -> np.ndarray:
    """Tick, tock: dry clicks of wide band with long silent gaps between them."""
    t, centre = time_axis(0.05), rng.uniform(0.85, 1.2)
    ticks = []
    for low, high in ((1500, 3600), (1000, 2600)):
        ticks.append(band_noise(rng, len(t), low * centre, high * centre) * np.exp(-130 * t))
    samples = round(seconds * SAMPLING_RATE)
    return repeat(rng, samples, rng.uniform(0.19, 0.26), lambda number: ticks[number % 2], jitter=0.01)


def sound_of_frog(rng, seconds: float) -> np.ndarray:
    """Croaks: a throaty band pulsing some thirty times a second."""
    pulses, length = rng.uniform(26, 38), rng.uniform(0.3, 0.42)
    t, throat = time_axis(length), rng.uniform(480, 680)
    rattle = np.maximum(0, np.sin(2 * np.pi * pulses * t)) ** 3
    voice = sine(throat * (1 + 0.15 * t / length), len(t)) + 0.6 * band_noise(rng, len(t), throat, throat * 2.2)
    croak = rattle * voice * np.sin(np.pi * t / length) ** 0.5
    return repeat(rng, round(seconds * SAMPLING_RATE), length + rng.uniform(0.05, 0.14), lambda _: croak)


SOUNDS: dict[str, Callable[..., np.ndarray]] = {
    "bell": sound_of_bell,
    "drum": sound_of_drum,
    "car": sound_of_car,
    "bird": sound_of_bird,
    "siren": sound_of_siren,
    "robot": sound_of_robot,
    "kettle": sound_of_kettle,
    "guitar": sound_of_guitar,
    "clock": sound_of_clock,
    "frog": sound_of_frog,
}


def normalise_loudness(wave: np.ndarray) -> np.ndarray:
    """Scale a wave (samples,) so that its loud frames of 20 ms have a root mean square of `LOUDNESS`. Silence stays
    silent."""
    step = SAMPLING_RATE // 50
    level = np.sqrt((np.pad(wave, (0, -len(wave) % step)).reshape(-1, step) ** 2).mean(axis=1))
    loud = level[level > 0.1 * level.max()]
    return (wave * (LOUDNESS / np.sqrt((loud**2).mean()))).astype(np.float32) if len(loud) else wave


def synthesise(category: str, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Synthesise a sound of a category: (seconds * 16000,) float32, mono, 16 kHz. All sounds are equally loud.

    Args:
        category: a key of `SOUNDS`. Any other value raises ValueError.
        rng: decides pitch and tempo.
        seconds: more than 0.
    """
    if category not in SOUNDS:
        raise InputError(f"category must be one of {', '.join(SOUNDS)}, got {category!r}")
    if seconds <= 0:
        raise InputError(f"seconds must be more than 0, got {seconds}")
    return normalise_loudness(SOUNDS[category](rng, seconds))


__all__ = ["LOUDNESS", "SAMPLING_RATE", "SOUNDS", "normalise_loudness", "synthesise"]
