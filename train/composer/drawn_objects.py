"""Draws ten kinds of objects, each with its own shape, colour family and texture.

`auss compose` shows these objects if it gets no cut-outs (design section 5). A picture is drawn at three times its
size and then reduced, so its alpha channel is an exact, anti-aliased mask.
"""

import colorsys
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from ...files.errors import InputError

SUPERSAMPLING = 3
# A share of the picture's side; the outline separates an object from a background of the same colour
OUTLINE_WIDTH = 0.016
DARK = (38, 34, 44)
WHITE = (246, 244, 238)

Colour = tuple[int, ...]
Points = Sequence[tuple[float, float]]


class Brush:
    """A canvas in unit coordinates (x to the right, y down, both in [0, 1]), with the variations of one instance.

    A solid shape is drawn on the colours and on the mask. A shape that is not solid only colours pixels of the object.
    So texture never leaves its object.
    """

    def __init__(self, rng: np.random.Generator, side: int):
        self.rng = rng
        self.pixels = side * SUPERSAMPLING
        self.image = Image.new("RGB", (self.pixels, self.pixels), DARK)
        self.mask = Image.new("L", (self.pixels, self.pixels))
        self.colours = ImageDraw.Draw(self.image, "RGBA")
        self.solid = ImageDraw.Draw(self.mask)
        self.hue_shift = rng.uniform(-0.03, 0.03)
        self.saturation, self.value = rng.uniform(0.82, 1.12, 2)

    def vary(self, low: float, high: float) -> float:
        """Draws a proportion for this instance, between `low` and `high`."""
        return float(self.rng.uniform(low, high))

    def tint(self, hue: float, saturation: float, value: float) -> Colour:
        """Shifts a colour (hue in turns, the others in [0, 1]) by this instance's hue, saturation and brightness."""
        saturation, value = min(1.0, saturation * self.saturation), min(1.0, value * self.value)
        return tuple(round(255 * part) for part in colorsys.hsv_to_rgb((hue + self.hue_shift) % 1, saturation, value))

    def _scaled(self, values: Sequence[float]) -> list[float]:
        return [value * self.pixels for value in values]

    def _scaled_points(self, points: Points) -> list[tuple[float, float]]:
        return [(x * self.pixels, y * self.pixels) for x, y in points]

    def _outline(self) -> dict:
        return {"outline": DARK, "width": max(1, round(OUTLINE_WIDTH * self.pixels))}

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour, solid: bool = True) -> None:
        box = self._scaled((x - rx, y - ry, x + rx, y + ry))
        self.colours.ellipse(box, fill=fill, **(self._outline() if solid else {}))
        if solid:
            self.solid.ellipse(box, fill=255)

    def box(self, x0, y0, x1, y1, fill: Colour, radius: float = 0.0, solid: bool = True) -> None:
        box, radius = self._scaled((x0, y0, x1, y1)), radius * self.pixels
        self.colours.rounded_rectangle(box, radius, fill=fill, **(self._outline() if solid else {}))
        if solid:
            self.solid.rounded_rectangle(box, radius, fill=255)

    def polygon(self, points: Points, fill: Colour, solid: bool = True) -> None:
        points = self._scaled_points(points)
        self.colours.polygon(points, fill=fill, **(self._outline() if solid else {}))
        if solid:
            self.solid.polygon(points, fill=255)

    def line(self, points: Points, width: float, fill: Colour, solid: bool = False) -> None:
        points, width = self._scaled_points(points), max(1, round(width * self.pixels))
        if solid:
            border = width + 2 * self._outline()["width"]
            self.colours.line(points, fill=DARK, width=border, joint="curve")
            self.solid.line(points, fill=255, width=border, joint="curve")
        self.colours.line(points, fill=fill, width=width, joint="curve")

    def arc(self, x, y, rx, ry, start: float, stop: float, width: float, fill: Colour) -> None:
        """Draws a solid bow from `start` to `stop` degrees (0 = right, 90 = down)."""
        angles = np.radians(np.linspace(start, stop, 24))
        points = [(x + rx * np.cos(angle), y + ry * np.sin(angle)) for angle in angles]
        self.line(points, width, fill, solid=True)

    def specks(self, x, y, rx, ry, count: int, size: float, fill: Colour) -> None:
        """Draws dots that are spread evenly (in a sunflower spiral) over an ellipse."""
        turn = self.vary(0, 2 * np.pi)
        for index in range(count):
            radius, angle = np.sqrt((index + 0.5) / count), turn + index * 2.39996
            dot = size * self.vary(0.7, 1.3)
            self.ellipse(x + rx * radius * np.cos(angle), y + ry * radius * np.sin(angle), dot, dot, fill, False)

    def picture(self, side: int) -> Image.Image:
        """Returns the RGBA cut-out, lit from above left and cropped to its mask. Its longer side has `side` pixels."""
        ramp = np.linspace(0, 1, self.pixels, dtype=np.float32)
        light = 1.14 - 0.16 * ramp[None, :] - 0.2 * ramp[:, None]
        pixels = np.clip(np.asarray(self.image) * light[..., None], 0, 255).astype(np.uint8)
        picture = Image.fromarray(pixels)
        picture.putalpha(self.mask)
        picture = picture.crop(self.mask.getbbox())
        width, height = picture.size
        stretch = np.exp(self.vary(-0.12, 0.12))
        width, height = width * stretch, height / stretch
        scale = side / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return picture.resize(size, Image.Resampling.LANCZOS)


def draw_bell(brush: Brush) -> None:
    gold, pale, brown = brush.tint(0.125, 0.85, 0.95), brush.tint(0.14, 0.45, 1.0), brush.tint(0.09, 0.9, 0.6)
    half, waist = brush.vary(0.36, 0.44), brush.vary(0.34, 0.46)
    brush.arc(0.5, 0.13, 0.07, 0.07, 0, 360, 0.035, gold)
    brush.ellipse(0.5, 0.86, 0.1, 0.09, brown)
    u = np.linspace(0, 1, 24)
    widths = half * (waist * np.sin(np.pi / 2 * np.minimum(1, 3 * u)) + 0.12 * u + (0.88 - waist) * u**4)
    left = [(0.5 - width, 0.18 + 0.6 * y) for width, y in zip(widths, u, strict=True)]
    brush.polygon(left + [(1 - x, y) for x, y in reversed(left)], gold)
    for y, width in ((0.36, 0.018), (0.42, 0.018), (0.66, 0.03)):
        brush.line([(0.5 - half, y), (0.5 + half, y)], width, brown)
    brush.ellipse(0.5 - 0.16, 0.48, 0.035, 0.2, pale + (210,), solid=False)
    brush.box(0.5 - half - 0.03, 0.76, 0.5 + half + 0.03, 0.84, gold, 0.04)


def draw_drum(brush: Brush) -> None:
    red, cream, gold = brush.tint(0.0, 0.88, 0.82), brush.tint(0.1, 0.1, 0.98), brush.tint(0.13, 0.7, 0.95)
    bottom, tilt, wood = brush.vary(0.74, 0.86), brush.vary(0.1, 0.15), brush.tint(0.08, 0.55, 0.75)
    top, folds = 0.4, int(brush.rng.integers(4, 7))
    brush.ellipse(0.5, bottom, 0.42, tilt, red)
    brush.box(0.08, top, 0.92, bottom, red)
    brush.ellipse(0.5, bottom - 0.015, 0.404, tilt - 0.012, red, solid=False)
    sag = [tilt * 0.9 * np.sqrt(1 - (2 * i / (2 * folds) - 1) ** 2) for i in range(2 * folds + 1)]
    zigzag = [(0.08 + 0.84 * i / (2 * folds), (bottom if i % 2 else top) + sag[i]) for i in range(2 * folds + 1)]
    brush.line(zigzag, 0.026, WHITE)
    brush.ellipse(0.5, top, 0.44, tilt + 0.035, gold)
    brush.ellipse(0.5, top - 0.01, 0.39, tilt, cream, solid=False)
    for start, stop in (((0.16, 0.08), (0.5, 0.38)), ((0.86, 0.06), (0.58, 0.4))):
        brush.line([start, stop], 0.035, wood, solid=True)
        brush.ellipse(*stop, 0.04, 0.04, wood)


def draw_car(brush: Brush) -> None:
    blue, deep, glass = brush.tint(0.61, 0.8, 0.9), brush.tint(0.62, 0.85, 0.55), brush.tint(0.55, 0.2, 0.97)
    roof, front, wheel = brush.vary(0.24, 0.34), brush.vary(0.68, 0.78), brush.vary(0.095, 0.12)
    brush.polygon([(0.17, 0.54), (0.28, roof), (front - 0.1, roof), (front + 0.06, 0.54)], blue)
    brush.box(0.03, 0.5, 0.97, 0.74, blue, 0.08)
    middle = (0.28 + front) / 2
    brush.polygon([(0.24, 0.52), (0.32, roof + 0.05), (middle - 0.07, roof + 0.05), (middle - 0.07, 0.52)], glass)
    right = front - 0.13, roof + 0.05
    brush.polygon([(middle - 0.02, 0.52), (middle - 0.02, roof + 0.05), right, (front - 0.01, 0.52)], glass)
    brush.box(0.05, 0.63, 0.95, 0.68, deep, solid=False)
    brush.line([(middle - 0.04, 0.53), (middle - 0.04, 0.72)], 0.012, DARK)
    brush.ellipse(0.92, 0.57, 0.035, 0.04, (255, 236, 130), solid=False)
    brush.box(0.035, 0.54, 0.07, 0.61, (214, 50, 40), solid=False)
    for x in (0.24, 0.76):
        brush.ellipse(x, 0.74, wheel, wheel, (52, 50, 58))
        brush.ellipse(x, 0.74, wheel * 0.5, wheel * 0.5, (205, 205, 210), solid=False)


def draw_bird(brush: Brush) -> None:
    pink, deep, pale = brush.tint(0.91, 0.6, 0.97), brush.tint(0.9, 0.75, 0.66), brush.tint(0.93, 0.22, 1.0)
    orange, plump, lift = (244, 146, 40), brush.vary(0.21, 0.28), brush.vary(0.0, 0.12)
    for x in (0.44, 0.54):
        brush.line([(x, 0.72), (x - 0.02, 0.93), (x + 0.06, 0.93)], 0.02, orange, solid=True)
    brush.polygon([(0.3, 0.5), (0.0, 0.5 - lift), (0.03, 0.66 - lift), (0.3, 0.66)], deep)
    brush.polygon([(0.84, 0.26), (1.0, 0.33), (0.84, 0.38)], orange)
    brush.ellipse(0.48, 0.56, 0.3, plump, pink)
    brush.ellipse(0.72, 0.32, 0.17, 0.16, pink)
    brush.ellipse(0.64, 0.45, 0.14, 0.12, pink, solid=False)
    brush.ellipse(0.62, 0.62, 0.12, 0.11, pale, solid=False)
    brush.specks(0.62, 0.62, 0.11, 0.1, 12, 0.013, deep)
    wing = [(0.56, 0.48), (0.34, 0.42), (0.12, 0.56), (0.2, 0.62), (0.26, 0.66), (0.38, 0.68), (0.5, 0.64)]
    brush.polygon(wing, deep)
    for x in (0.26, 0.34, 0.42):
        brush.line([(x, 0.49), (x - 0.03, 0.63)], 0.014, pale)
    brush.ellipse(0.77, 0.29, 0.042, 0.042, WHITE, solid=False)
    brush.ellipse(0.78, 0.29, 0.025, 0.025, DARK, solid=False)


def draw_siren(brush: Brush) -> None:
    orange, bright = brush.tint(0.055, 0.92, 1.0), brush.tint(0.11, 0.6, 1.0)
    half, top = brush.vary(0.25, 0.31), brush.vary(0.26, 0.34)
    angles = np.linspace(np.pi, 2 * np.pi, 24)
    dome = [(0.5 + half * np.cos(angle), 0.56 + (0.56 - top) * np.sin(angle)) for angle in angles]
    brush.polygon(dome + [(0.5 + half, 0.8), (0.5 - half, 0.8)], orange)
    for x in np.linspace(-0.75, 0.75, 6) * half:
        brush.line([(0.5 + x, 0.45), (0.5 + x, 0.8)], 0.013, brush.tint(0.02, 0.95, 0.72))
    brush.ellipse(0.5, 0.62, half * 0.42, 0.13, bright, solid=False)
    brush.ellipse(0.5 - half * 0.55, 0.5, 0.03, 0.08, WHITE + (190,), solid=False)
    brush.box(0.5 - half - 0.09, 0.78, 0.5 + half + 0.09, 0.93, (62, 62, 72), 0.03)
    brush.box(0.5 - half - 0.06, 0.83, 0.5 + half + 0.06, 0.86, (176, 176, 186), solid=False)


def draw_robot(brush: Brush) -> None:
    steel, pale, lamp = brush.tint(0.57, 0.1, 0.72), brush.tint(0.57, 0.05, 0.92), brush.tint(0.48, 0.75, 1.0)
    head, dark = brush.vary(0.2, 0.26), brush.tint(0.6, 0.2, 0.38)
    brush.line([(0.5, 0.16), (0.5, 0.06)], 0.025, steel, solid=True)
    brush.ellipse(0.5, 0.06, 0.045, 0.045, (226, 60, 52))
    brush.box(0.42, 0.46, 0.58, 0.56, dark)
    for side in (-1, 1):
        brush.line(
            [(0.5 + side * 0.26, 0.6), (0.5 + side * 0.4, 0.68), (0.5 + side * 0.4, 0.8)], 0.06, dark, solid=True
        )
        brush.box(0.5 + side * 0.14 - 0.07, 0.84, 0.5 + side * 0.14 + 0.07, 0.97, dark, 0.02)
    brush.box(0.24, 0.52, 0.76, 0.88, steel, 0.04)
    brush.box(0.5 - head - 0.05, 0.14, 0.5 + head + 0.05, 0.5, pale, 0.05)
    for side in (-1, 1):
        brush.ellipse(0.5 + side * 0.12, 0.27, 0.07, 0.07, dark, solid=False)
        brush.ellipse(0.5 + side * 0.12, 0.27, 0.045, 0.045, lamp, solid=False)
    brush.box(0.36, 0.38, 0.64, 0.45, dark, solid=False)
    for x in np.linspace(0.4, 0.6, 5):
        brush.line([(x, 0.38), (x, 0.45)], 0.014, pale)
    brush.box(0.32, 0.58, 0.68, 0.72, dark, solid=False)
    for index, fill in enumerate(((226, 60, 52), (250, 200, 60), lamp)):
        brush.ellipse(0.4 + 0.1 * index, 0.65, 0.035, 0.035, fill, solid=False)
    for x in np.linspace(0.28, 0.72, 6):
        brush.ellipse(x, 0.82, 0.014, 0.014, dark, solid=False)


def draw_kettle(brush: Brush) -> None:
    teal, deep = brush.tint(0.49, 0.75, 0.72), brush.tint(0.5, 0.85, 0.42)
    top, reach = brush.vary(0.38, 0.45), brush.vary(0.16, 0.24)
    brush.arc(0.47, 0.42, 0.29, 0.3, 180, 360, 0.055, (70, 52, 46))
    brush.polygon([(0.62, 0.78), (0.98, reach + 0.14), (0.86, reach + 0.1), (0.62, 0.56)], teal)
    u = np.linspace(0, np.pi, 24)
    left = [(0.47 - 0.16 - 0.24 * np.sin(0.55 * angle + 0.1), top + (0.92 - top) * angle / np.pi) for angle in u]
    brush.polygon(left + [(0.94 - x, y) for x, y in reversed(left)], teal)
    brush.specks(0.47, 0.68, 0.33, 0.2, 18, 0.03, WHITE)
    brush.box(0.1, 0.88, 0.84, 0.94, deep, 0.02)
    brush.ellipse(0.47, top + 0.01, 0.2, 0.055, deep)
    brush.ellipse(0.47, top - 0.07, 0.045, 0.045, (70, 52, 46))


def draw_guitar(brush: Brush) -> None:
    wood, grain, dark = brush.tint(0.075, 0.72, 0.68), brush.tint(0.065, 0.8, 0.48), brush.tint(0.06, 0.7, 0.28)
    waist, belly = brush.vary(0.17, 0.21), brush.vary(0.25, 0.3)
    brush.box(0.455, 0.06, 0.545, 0.5, dark, 0.01)
    brush.polygon([(0.43, 0.0), (0.57, 0.0), (0.55, 0.13), (0.45, 0.13)], grain)
    for y in (0.03, 0.08):
        brush.ellipse(0.41, y, 0.025, 0.02, WHITE)
        brush.ellipse(0.59, y, 0.025, 0.02, WHITE)
    brush.ellipse(0.5, 0.52, waist, 0.15, wood)
    brush.ellipse(0.5, 0.77, belly, 0.22, wood)
    brush.ellipse(0.5, 0.53, waist - 0.02, 0.135, wood, solid=False)
    brush.box(0.5 - waist * 0.85, 0.53, 0.5 + waist * 0.85, 0.68, wood, 0.03, solid=False)
    for x in np.linspace(-0.2, 0.2, 7):
        brush.line([(0.5 + x, 0.66), (0.5 + x * 1.08, 0.9)], 0.009, grain)
    brush.ellipse(0.5, 0.63, 0.085, 0.075, DARK, solid=False)
    brush.box(0.4, 0.83, 0.6, 0.87, dark, solid=False)
    brush.box(0.462, 0.1, 0.538, 0.55, dark, solid=False)
    for x in (0.475, 0.5, 0.525):
        brush.line([(x, 0.05), (x, 0.85)], 0.007, WHITE)


def draw_clock(brush: Brush) -> None:
    violet, deep = brush.tint(0.75, 0.62, 0.78), brush.tint(0.76, 0.7, 0.5)
    radius, hour, minute = brush.vary(0.32, 0.36), *brush.rng.uniform(0, 2 * np.pi, 2)
    for side in (-1, 1):
        brush.line([(0.5 + side * 0.2, 0.8), (0.5 + side * 0.28, 0.96)], 0.05, deep, solid=True)
        brush.ellipse(0.5 + side * 0.22, 0.2, 0.14, 0.13, violet)
    brush.line([(0.5, 0.2), (0.5, 0.07)], 0.03, deep, solid=True)
    brush.ellipse(0.5, 0.55, radius + 0.07, radius + 0.07, violet)
    brush.ellipse(0.5, 0.55, radius - 0.03, radius - 0.03, WHITE)
    for index in range(12):
        angle, inner = index * np.pi / 6, radius - (0.12 if index % 3 == 0 else 0.085)
        points = [(0.5 + r * np.sin(angle), 0.55 + r * np.cos(angle)) for r in (inner, radius - 0.055)]
        brush.line(points, 0.026 if index % 3 == 0 else 0.015, DARK)
    for angle, length, width in ((hour, 0.14, 0.035), (minute, 0.21, 0.024)):
        brush.line([(0.5, 0.55), (0.5 + length * np.sin(angle), 0.55 - length * np.cos(angle))], width, DARK)
    brush.ellipse(0.5, 0.55, 0.03, 0.03, deep, solid=False)


def draw_frog(brush: Brush) -> None:
    green, deep, pale = brush.tint(0.31, 0.75, 0.75), brush.tint(0.34, 0.85, 0.42), brush.tint(0.22, 0.42, 0.95)
    width, eye = brush.vary(0.3, 0.36), brush.vary(0.085, 0.11)
    for side in (-1, 1):
        brush.ellipse(0.5 + side * 0.33, 0.74, 0.15, 0.18, green)
        brush.ellipse(0.5 + side * 0.34, 0.91, 0.15, 0.06, deep)
    brush.ellipse(0.5, 0.7, width, 0.25, green)
    brush.ellipse(0.5, 0.78, width * 0.6, 0.15, pale, solid=False)
    for side in (-1, 1):
        brush.ellipse(0.5 + side * 0.2, 0.2, eye + 0.03, eye + 0.03, green)
    brush.ellipse(0.5, 0.4, width + 0.06, 0.21, green)
    brush.specks(0.5, 0.29, 0.26, 0.07, 9, 0.024, deep)
    for side in (-1, 1):
        brush.specks(0.5 + side * 0.34, 0.72, 0.09, 0.12, 5, 0.026, deep)
        brush.ellipse(0.5 + side * 0.2, 0.2, eye, eye, WHITE, solid=False)
        brush.ellipse(0.5 + side * 0.2, 0.21, eye * 0.55, eye * 0.55, DARK, solid=False)
    smile = np.radians(np.linspace(20, 160, 16))
    brush.line([(0.5 + 0.28 * np.cos(a), 0.38 + 0.12 * np.sin(a)) for a in smile], 0.022, DARK)


DRAWINGS: dict[str, Callable[[Brush], None]] = {
    "bell": draw_bell,
    "drum": draw_drum,
    "car": draw_car,
    "bird": draw_bird,
    "siren": draw_siren,
    "robot": draw_robot,
    "kettle": draw_kettle,
    "guitar": draw_guitar,
    "clock": draw_clock,
    "frog": draw_frog,
}


def draw_object(category: str, rng: np.random.Generator, side: int) -> Image.Image:
    """Draws one instance of a category as an RGBA picture cropped to its mask.

    Args:
        category: a key of `DRAWINGS`. Any other value raises ValueError.
        rng: decides hue, proportions and the places of the specks.
        side: the longer side in pixels, at least 8.
    """
    if category not in DRAWINGS:
        raise InputError(f"category must be one of {', '.join(DRAWINGS)}, got {category!r}")
    if side < 8:
        raise InputError(f"side must be at least 8 pixels, got {side}")
    brush = Brush(rng, side)
    DRAWINGS[category](brush)
    return brush.picture(side)


__all__ = ["DRAWINGS", "Brush", "draw_object"]
