"""Where composed scenes get pictures, sounds and backgrounds from: drawn and synthesised, or the user's files."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from PIL import Image, UnidentifiedImageError

from ..processing.channel_mix import mix_channels
from .drawn_backgrounds import draw_background
from .drawn_objects import DRAWINGS, draw_object
from .synthesised_sounds import SAMPLING_RATE, SOUNDS, normalise_loudness, synthesise

PICTURE_SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".gif")  # what can carry an alpha channel
BACKGROUND_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
SOUND_SUFFIXES = (".wav", ".ogg", ".flac")
SHORTEST_SOUND = 0.2  # seconds
SILENT_PEAK = 1e-3
LARGEST_PICTURE = 512  # pixels: more than any composed object needs, so that a cache of them stays small


class Category(NamedTuple):
    """The user's files of one category; the built-in ones have none."""

    pictures: tuple[Path, ...] = ()
    sounds: tuple[Path, ...] = ()


@lru_cache(maxsize=512)
def load_cut_out(path: Path) -> Image.Image:
    """An RGBA picture cropped to what is not transparent, at most `LARGEST_PICTURE` pixels long.

    Raises ValueError for a file that is no picture, has no transparent pixel, or nothing but transparent ones.
    """
    try:
        picture = Image.open(path).convert("RGBA")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"objects: {path} cannot be read as a picture: {error}") from error
    alpha = np.asarray(picture.getchannel("A"))
    if alpha.min() > 127:
        raise ValueError(f"objects: {path} has no transparent pixels; a cut-out is an RGBA picture of one object")
    if alpha.max() < 128:
        raise ValueError(f"objects: {path} is transparent everywhere; a cut-out needs an opaque object")
    picture = picture.crop(Image.fromarray((alpha > 8).astype(np.uint8)).getbbox())
    picture.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE), Image.Resampling.LANCZOS)
    return picture


@lru_cache(maxsize=512)
def load_recording(path: Path) -> np.ndarray:
    """A recording as (samples,) float32 at 16 kHz, mono, its long pauses cut short, its loud frames equally loud.

    Pauses are cut because a mask says "sounds" for whole seconds. Raises ValueError for a file that is no sound,
    is silent, or is shorter than `SHORTEST_SOUND`.
    """
    try:
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise ValueError(f"objects: {path} cannot be read as a sound: {error}") from error
    wave = mix_channels(wave.T)
    if len(wave) < SHORTEST_SOUND * rate:
        raise ValueError(f"objects: {path} lasts {len(wave) / rate:.2f} s; a sound needs {SHORTEST_SOUND} s or more")
    if not np.isfinite(wave).all() or np.abs(wave).max() < SILENT_PEAK:
        raise ValueError(f"objects: {path} is silent or not finite; a sounding category needs something to hear")
    wave = soxr.resample(wave - wave.mean(), rate, SAMPLING_RATE) if rate != SAMPLING_RATE else wave - wave.mean()
    step = SAMPLING_RATE // 50
    frames = np.pad(wave, (0, -len(wave) % step)).reshape(-1, step)
    level = np.sqrt((frames**2).mean(axis=1))
    near = np.convolve(level > 0.1 * level.max(), np.ones(13), "full")[6:-6] > 0.5  # keeps 0.12 s around loud frames
    return normalise_loudness(frames[near].ravel())


def looped(wave: np.ndarray, rng: np.random.Generator, samples: int) -> np.ndarray:
    """A random stretch of `samples` of a recording, which starts over after a short gap where it is too short."""
    part = wave[rng.integers(max(1, len(wave) - samples + 1)) :]
    while len(part) < samples:
        part = np.concatenate([part, np.zeros(rng.integers(SAMPLING_RATE // 8), np.float32), wave])
    return part[:samples]


def files_with(folder: Path, suffixes: tuple[str, ...], deep: bool = False) -> tuple[Path, ...]:
    found = folder.rglob("*") if deep else folder.iterdir()
    return tuple(sorted(path for path in found if path.is_file() and path.suffix.lower() in suffixes))


def scan_objects(folder: Path) -> tuple[dict[str, Category], list[str]]:
    """Read what an objects folder offers: `<category>/*` with pictures and sounds, or `<category>.png` and `.wav`.

    Returns the categories that have a picture, by name, and messages about what is left out. Raises ValueError for
    a missing folder.
    """
    if not folder.is_dir():
        raise ValueError(f"objects must be a folder of cut-outs and sounds, and there is none at {folder}")
    pictures, sounds = {}, {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            pictures.setdefault(path.name, []).extend(files_with(path, PICTURE_SUFFIXES))
            sounds.setdefault(path.name, []).extend(files_with(path, SOUND_SUFFIXES))
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            pictures.setdefault(path.stem, []).append(path)
        elif path.suffix.lower() in SOUND_SUFFIXES:
            sounds.setdefault(path.stem, []).append(path)
    categories, messages = {}, []
    for name in sorted({*pictures, *sounds}):
        if pictures.get(name):
            categories[name] = Category(tuple(pictures[name]), tuple(sounds.get(name, ())))
        elif sounds.get(name):
            messages.append(
                f"category {name!r} is left out: it has sounds but no {'/'.join(PICTURE_SUFFIXES)} picture"
            )
    messages += [
        f"category {name!r} has no {'/'.join(SOUND_SUFFIXES)} sound: it will be seen, but never be heard"
        for name, category in categories.items()
        if not category.sounds
    ]
    return categories, messages


class ObjectLibrary:
    """Pictures and sounds by category, and backgrounds.

    Args:
        objects: folder of cut-outs and sounds (see `scan_objects`), or None for the ten drawn categories.
        backgrounds: folder of pictures, searched deeply, or None for drawn ones.

    Raises ValueError where a folder is missing or offers too little.
    """

    def __init__(self, objects: Path | None = None, backgrounds: Path | None = None):
        self.objects, self.backgrounds, self.messages = objects, (), []
        if objects is None:
            self.categories = {name: Category() for name in DRAWINGS}
            self.sounding = tuple(SOUNDS)
        else:
            self.categories, self.messages = scan_objects(objects)
            self.sounding = tuple(name for name, category in self.categories.items() if category.sounds)
        if backgrounds is not None:
            self.backgrounds = files_with(backgrounds, BACKGROUND_SUFFIXES, deep=True) if backgrounds.is_dir() else ()
            if not self.backgrounds:
                kinds = ", ".join(BACKGROUND_SUFFIXES)
                raise ValueError(f"backgrounds must be a folder with pictures ({kinds}), got {backgrounds}")

    def check(self) -> None:
        """Open every file once, so that a bad one is named before anything is composed."""
        for category in self.categories.values():
            for path in category.pictures:
                load_cut_out(path)
            for path in category.sounds:
                load_recording(path)

    def picture(self, category: str, rng: np.random.Generator, side: int) -> tuple[str, Image.Image]:
        """A name and an RGBA cut-out of the category; a drawn one is `side` pixels long, a file its own size."""
        if self.objects is None:
            return "drawn", draw_object(category, rng, side)
        paths = self.categories[category].pictures
        path = paths[rng.integers(len(paths))]
        return path.relative_to(self.objects).as_posix(), load_cut_out(path)

    def sound(self, category: str, rng: np.random.Generator, seconds: float) -> tuple[str, np.ndarray]:
        """A name and (seconds * 16000,) float32 of the category sounding all the time."""
        if self.objects is None:
            return "synthesised", synthesise(category, rng, seconds)
        paths = self.categories[category].sounds
        path = paths[rng.integers(len(paths))]
        wave = looped(load_recording(path), rng, round(seconds * SAMPLING_RATE))
        return path.relative_to(self.objects).as_posix(), wave

    def background(self, rng: np.random.Generator, height: int, width: int) -> tuple[str, np.ndarray]:
        """A name and RGB (height, width, 3) uint8."""
        if not self.backgrounds:
            return draw_background(rng, height, width)
        path = self.backgrounds[rng.integers(len(self.backgrounds))]
        try:
            picture = Image.open(path).convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"backgrounds: {path} cannot be read as a picture: {error}") from error
        scale = min(picture.width / width, picture.height / height) * rng.uniform(0.6, 1)
        box_width, box_height = width * scale, height * scale
        x, y = rng.uniform(0, picture.width - box_width), rng.uniform(0, picture.height - box_height)
        box = (x, y, x + box_width, y + box_height)
        return path.name, np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box=box))


__all__ = ["Category", "ObjectLibrary", "load_cut_out", "load_recording", "scan_objects"]
