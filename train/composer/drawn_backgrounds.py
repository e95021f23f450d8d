"""Draws backgrounds: gradients, clouds, blurred stripes and blurred blobs, some with a horizon."""

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image

BICUBIC = Image.Resampling.BICUBIC


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """Draws a muted RGB colour (3,) float in [0, 255]. Objects are more saturated, so they stay recognisable."""
    return 255 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.05, 0.5), rng.uniform(0.25, 0.95)))


def clouds(rng: np.random.Generator, height: int, width: int, octaves: int = 6) -> np.ndarray:
    """Draws smooth noise (height, width) float32 in [0, 1]: the sum of enlarged random grids, one for each octave."""
    decay, noise = rng.uniform(0.35, 0.65), np.zeros((height, width), np.float32)
    for octave in range(1, octaves + 1):
        grid = Image.fromarray(rng.random((2**octave + 1, 2**octave + 1)).astype(np.float32))
        noise += decay**octave * np.asarray(grid.resize((width, height), BICUBIC))
    return (noise - noise.min()) / max(float(np.ptp(noise)), 1e-6)


def slope(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a linear ramp (height, width) float32 in [0, 1] of random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = x / width * np.cos(angle) + y / height * np.sin(angle)
    return (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)


def draw_gradient(rng, height: int, width: int) -> np.ndarray:
    return 0.85 * slope(rng, height, width) + 0.15 * clouds(rng, height, width)


def draw_clouds(rng, height: int, width: int) -> np.ndarray:
    return clouds(rng, height, width)


def draw_stripes(rng, height: int, width: int) -> np.ndarray:
    bent = slope(rng, height, width) + 0.12 * clouds(rng, height, width, octaves=3)
    waves = np.sin(2 * np.pi * rng.uniform(3, 9) * bent + rng.uniform(0, 2 * np.pi))
    return 0.5 + 0.5 * np.tanh(rng.uniform(0.6, 2.5) * waves) * rng.uniform(0.5, 1)


def draw_blobs(rng, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
    field = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(4, 12)):
        centre_x, centre_y, radius = rng.random(), rng.random(), rng.uniform(0.05, 0.22)
        distance = np.sqrt((x - centre_x) ** 2 + (y - centre_y) ** 2)
        edge = 1 / (1 + np.exp(np.clip((distance - radius) * rng.uniform(20, 90), -60, 60)))
        field = np.maximum(field, edge * rng.uniform(0.4, 1))
    return field


PATTERNS: dict[str, Callable[..., np.ndarray]] = {
    "gradient": draw_gradient,
    "clouds": draw_clouds,
    "stripes": draw_stripes,
    "blobs": draw_blobs,
}


def draw_background(rng: np.random.Generator, height: int, width: int) -> tuple[str, np.ndarray]:
    """Draws one background. Returns the pattern's name and RGB (height, width, 3) uint8.

    One of `PATTERNS` mixes two muted colours. With a probability of 0.4 a sky or wall stands above a ragged horizon.
    """
    name = str(rng.choice(list(PATTERNS)))
    first, second = random_colour(rng), random_colour(rng)
    second = first + rng.uniform(0.4, 1) * (second - first)
    canvas = first + (second - first) * PATTERNS[name](rng, height, width)[..., None]
    if rng.random() < 0.4:
        high, low = random_colour(rng), random_colour(rng)
        y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
        edge = rng.uniform(0.3, 0.65) + 0.1 * clouds(rng, 2, width, octaves=4)[:1]
        above = 1 / (1 + np.exp(np.clip((y - edge) * rng.uniform(20, 150), -60, 60)))
        canvas += above[..., None] * (low + (high - low) * (1 - y[..., None]) - canvas)
        name += " and horizon"
    canvas += rng.normal(0, rng.uniform(0, 4), (height, width, 1))
    return name, np.clip(canvas, 0, 255).astype(np.uint8)


__all__ = ["PATTERNS", "draw_background"]
