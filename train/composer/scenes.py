"""Moves objects over a background. Gives frames at any time, and the visible part of each object.

This is the visual post-production of Chen et al. ("Unraveling Instance Associations", CVPR 2024) with added motion:
drift, wobble, turning and growing. Sizes and places are shares of the frame, so a scene can be checked cheaply at a
small size before it is drawn at full size.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

SHOWN = 0.55  # every object shows at least this share of itself
SHOWN_AREA = 0.04  # every object covers at least this share of the frame
MARGIN = 1.06  # the check at small size asks for this factor of both
LONGEST = 0.62  # the longer side of an object, in square roots of the frame's area
GROWTH = 0.08  # the share by which an object's side grows or shrinks
LOOK = 56  # the shorter side in pixels of the check at small size
TRIES = 80
BACKGROUND_SCALE = 1.12  # the background is larger than the frame and slides behind it


class Pose(NamedTuple):
    """A place: centre in shares of width and height, area of the whole object in shares of the frame, degrees
    clockwise."""

    x: float
    y: float
    area: float
    degrees: float


@dataclass(frozen=True)
class Motion:
    """A path over a time from 0 to 1: linear in place, size and angle, with an added wobble."""

    start: Pose
    stop: Pose
    wobble: tuple[float, float, float]  # in shares of width and of height, and in degrees
    cycles: tuple[float, float, float]
    phases: tuple[float, float, float]
    reach: tuple[float, float]  # the least distance of the centre from the edges, in shares of width and of height

    def pose(self, time: float) -> Pose:
        linear = [first + (last - first) * time for first, last in zip(self.start, self.stop, strict=True)]
        waves = [
            size * math.sin(2 * math.pi * (cycles * time + phase))
            for size, cycles, phase in zip(self.wobble, self.cycles, self.phases, strict=True)
        ]
        x = min(max(linear[0] + waves[0], self.reach[0]), 1 - self.reach[0])
        y = min(max(linear[1] + waves[1], self.reach[1]), 1 - self.reach[1])
        return Pose(x, y, linear[2], linear[3] + waves[2])


def filled_pixels(picture: Image.Image) -> float:
    """Returns how many pixels an RGBA cut-out covers. Pixels of its edge count by their alpha."""
    return float(np.asarray(picture.getchannel("A"), np.float32).sum() / 255)


class Outline(NamedTuple):
    """The facts about a cut-out that a path needs: its size and its filled pixels, in its own pixels."""

    width: int
    height: int
    filled: float


def random_motion(rng, outline: Outline, areas: tuple[float, float], height: int, width: int, laps=1.0) -> Motion:
    """Draws a path on which the whole object stays inside the frame.

    Args:
        outline: the outline of the cut-out. It decides how far the centre must keep from the edges.
        areas: the smallest and the largest share of the frame. The share is drawn uniformly on a logarithmic scale.
        laps: the length of the path as a multiple of five seconds. A longer path wobbles more often.
    """
    frame = height * width
    longest = min(LONGEST * np.sqrt(frame), 0.9 * min(height, width))
    largest = outline.filled * (longest / max(outline.width, outline.height)) ** 2 / frame
    area = min(np.exp(rng.uniform(*np.log(areas))), largest)
    grown = area * (1 + rng.uniform(0, GROWTH) * np.array([-1, 1]) * rng.choice([-1, 1])) ** 2
    turn, sway = rng.uniform(-14, 14), rng.uniform(2, 7)
    turned = rng.uniform(-7, 7)
    steepest = np.radians(min(90, abs(turn) + abs(turned) + sway))
    scale = np.sqrt(grown.max() * frame / outline.filled)
    half_width, half_height = scale * outline.width / 2, scale * outline.height / 2
    cos, sin = np.cos(steepest), np.sin(steepest)
    reach = (
        min(0.5, (half_width * cos + half_height * sin + 1) / width),
        min(0.5, (half_height * cos + half_width * sin + 1) / height),
    )
    start, drift = rng.random(2), rng.normal(0, 0.35, 2)
    stop = np.clip(start + drift, 0, 1)
    places = [[low + (1 - 2 * low) * share for low, share in zip(reach, end, strict=True)] for end in (start, stop)]
    return Motion(
        start=Pose(places[0][0], places[0][1], float(grown[0]), turn - turned),
        stop=Pose(places[1][0], places[1][1], float(grown[1]), turn + turned),
        wobble=(rng.uniform(0.01, 0.05), rng.uniform(0.01, 0.05), sway),
        cycles=tuple(rng.uniform(0.5, 1.6, 3) * laps),
        phases=tuple(rng.random(3)),
        reach=reach,
    )


class MovingObject:
    """A cut-out on its path, prepared for frames of one size.

    Args:
        picture: the cut-out, RGBA.
        motion: its path.
        height, width: the frame's size in pixels.
    """

    def __init__(self, picture: Image.Image, motion: Motion, height: int, width: int):
        self.motion, self.height, self.width = motion, height, width
        self.largest = max(motion.start.area, motion.stop.area)
        scale = math.sqrt(self.largest * height * width / filled_pixels(picture))
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        # Reduce the picture once, with a filter that uses every pixel. The bicubic filter for the small change of each
        # frame does not use every pixel.
        self.picture = picture.resize(size, Image.Resampling.LANCZOS) if size != picture.size else picture
        self.alpha = self.picture.getchannel("A")

    def patch(self, picture: Image.Image, time: float) -> tuple[np.ndarray, tuple[slice, slice]]:
        """Turns and scales `self.picture` or `self.alpha`. Returns float32 in [0, 255], and its place in the frame."""
        pose = self.motion.pose(time)
        scale, angle = math.sqrt(pose.area / self.largest), math.radians(pose.degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        width, height = picture.size
        extent_x = scale * (width * abs(cos) + height * abs(sin)) / 2 + 1
        extent_y = scale * (height * abs(cos) + width * abs(sin)) / 2 + 1
        centre_x, centre_y = pose.x * self.width, pose.y * self.height
        left, top = max(0, int(centre_x - extent_x)), max(0, int(centre_y - extent_y))
        right = min(self.width, math.ceil(centre_x + extent_x))
        bottom = min(self.height, math.ceil(centre_y + extent_y))
        # Output pixel (u, v) shows the picture at R(-angle) / scale · (u + left - centre) + middle.
        a, b = cos / scale, sin / scale
        x, y = left - centre_x, top - centre_y
        coefficients = (a, b, a * x + b * y + width / 2, -b, a, -b * x + a * y + height / 2)
        affine, bicubic = Image.Transform.AFFINE, Image.Resampling.BICUBIC
        moved = picture.transform((right - left, bottom - top), affine, coefficients, bicubic)
        return np.asarray(moved, np.float32), (slice(top, bottom), slice(left, right))


class Scene:
    """Objects, from the lowest to the highest layer, over a sliding background.

    Args:
        objects: pictures with their motions.
        height, width: the frame's size in pixels.
        background: RGB uint8, `BACKGROUND_SCALE` times the frame in each direction. None gives a black background.
        slide: the first and the last place of the background's corner, in shares of the spare room: ((y, x), (y, x)).
    """

    def __init__(self, objects, height: int, width: int, background: np.ndarray | None = None, slide=((0, 0), (0, 0))):
        self.height, self.width = height, width
        self.objects = [MovingObject(picture, motion, height, width) for picture, motion in objects]
        self.background, self.slide = background, np.asarray(slide, np.float64)

    def _backdrop(self, time: float) -> np.ndarray:
        if self.background is None:
            return np.zeros((self.height, self.width, 3), np.float32)
        spare = np.array(self.background.shape[:2]) - (self.height, self.width)
        y, x = np.round((self.slide[0] + (self.slide[1] - self.slide[0]) * time) * spare).astype(int)
        return self.background[y : y + self.height, x : x + self.width].astype(np.float32)

    def frame(self, time: float) -> np.ndarray:
        """Draws the picture at a time in [0, 1]: (height, width, 3) uint8."""
        frame = self._backdrop(time)
        for moving in self.objects:
            pixels, area = moving.patch(moving.picture, time)
            frame[area] += (pixels[..., :3] - frame[area]) * (pixels[..., 3:] / 255)
        return np.clip(frame.round(), 0, 255).astype(np.uint8)

    def shapes(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Computes the visible part of each object, and its whole shape as if no other object hid it, at a time in [0,
        1].

        Returns two boolean arrays (objects, height, width). A pixel counts if more than half of it is covered.
        """
        whole = np.zeros((len(self.objects), self.height, self.width), np.float32)
        visible = whole.copy()
        for index, moving in enumerate(self.objects):
            alpha, area = moving.patch(moving.alpha, time)
            alpha = alpha / 255
            visible[(slice(0, index), *area)] *= 1 - alpha
            visible[(index, *area)] = whole[(index, *area)] = alpha
        return visible > 0.5, whole > 0.5

    def worst_visibility(self, times, enough: float = -np.inf) -> float:
        """Returns the smallest value, over objects and times, of shown share / SHOWN and shown area / SHOWN_AREA.

        A value of 1 or more is good. The search stops when the value falls to `enough` or below.
        """
        worst = np.inf
        for time in times:
            visible, whole = self.shapes(time)
            shown, full = visible.sum((1, 2)), whole.sum((1, 2))
            share = (shown / np.maximum(full, 1)).min() / SHOWN
            worst = min(worst, share, shown.min() / (self.height * self.width) / SHOWN_AREA)
            if worst <= enough:
                break
        return float(worst)


def arrange(rng, pictures, areas, height: int, width: int, times, laps=1.0, background=None) -> Scene:
    """Find paths on which every object stays well visible. Silent objects do too, so visibility does not tell what
    sounds.

    Paths are drawn again until each object shows `SHOWN` of itself and `SHOWN_AREA` of the frame at all `times`. They
    are first tried on a frame of `LOOK` pixels. After `TRIES` tries the best paths are taken, because thin cut-outs
    may never cover that much.
    """
    small = min(1.0, LOOK / min(height, width))
    small_height, small_width = round(height * small), round(width * small)
    thumbnails = []
    for picture in pictures:
        thumbnail = picture.copy()
        thumbnail.thumbnail((LOOK, LOOK), Image.Resampling.BOX)
        thumbnails.append(thumbnail)
    outlines = [Outline(picture.width, picture.height, filled_pixels(picture)) for picture in pictures]
    slide = rng.random((2, 2))
    best, chosen = -1.0, None
    for attempt in range(TRIES):
        top = max(areas[0] * 1.02, areas[1] * 0.985**attempt)
        motions = [random_motion(rng, outline, (areas[0], top), height, width, laps) for outline in outlines]
        look = Scene(list(zip(thumbnails, motions, strict=True)), small_height, small_width)
        score = look.worst_visibility(times, enough=best)
        if score <= best:
            continue
        scene = Scene(list(zip(pictures, motions, strict=True)), height, width, background, slide)
        if score >= MARGIN:
            score = scene.worst_visibility(times)
            if score >= 1:
                return scene
        if score > best:
            best, chosen = score, scene
    assert chosen is not None  # the score of the first try is above -1
    return chosen


__all__ = ["Motion", "MovingObject", "Outline", "Pose", "Scene", "arrange", "filled_pixels", "random_motion"]
