"""Provides pictures, sounds and backgrounds for composed scenes: drawn and synthesised, or from the user's files."""

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import NamedTuple, TypeVar

import librosa
import numpy as np
from PIL import Image
from tqdm import tqdm

from ...files.errors import InputError
from ...processing.audio_inputs import read_sound
from ...processing.channel_mix import mix_channels
from ...processing.pictures import open_picture, to_eight_bits
from ...processing.video_frames import pil_to_rgb
from ...processing.waveforms import to_mono
from ..data.meta_tables import checked_name
from .drawn_backgrounds import draw_background
from .drawn_objects import DRAWINGS, draw_object
from .synthesised_sounds import SAMPLING_RATE, SOUNDS, normalise_loudness, synthesise

PICTURE_SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".gif")  # the formats that can carry an alpha channel
ANIMATED_SUFFIXES = (".png", ".webp", ".gif")
BACKGROUND_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
SOUND_SUFFIXES = (".wav", ".ogg", ".flac")
SHORTEST_SOUND = 0.2  # seconds
SILENT_PEAK = 1e-3
LARGEST_PICTURE = 512  # pixels; no composed object needs more
CACHE_BYTES = 32 * 2**20  # a worker keeps this much of cut-outs, and as much of recordings
PAUSE_DECIBELS = 20  # sound that is quieter than the loudest by this much counts as a pause
LOUD_SECONDS = 0.26  # loudness is measured over this time, so some tenths of a second around a sound are kept
# Folders and files that programs leave beside the user's files: macOS, Synology's system and the recycle bin of
# Windows. Names that begin with a dot are skipped as well.
PROGRAM_NAMES = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "__pycache__")
CHECKED_BACKGROUNDS = 2000  # the number of backgrounds opened before composing; opening more would take minutes
NAMED_FILES = 10  # the number of bad files that an error lists


Value = TypeVar("Value")


def kept(size: Callable[[Value], int]) -> Callable[[Callable[[Path], Value]], Callable[[Path], Value]]:
    """Decorates a function that loads a file with a cache of `CACHE_BYTES` for the last used values. `size` returns
    the bytes of a value."""

    def decorate(load: Callable[[Path], Value]) -> Callable[[Path], Value]:
        values: OrderedDict[Path, Value] = OrderedDict()

        @wraps(load)
        def kept_or_loaded(path: Path) -> Value:
            if path in values:
                values.move_to_end(path)
                return values[path]
            value = values[path] = load(path)
            while sum(map(size, values.values())) > CACHE_BYTES:
                values.popitem(last=False)
            return value

        return kept_or_loaded

    return decorate


def picture_bytes(picture: Image.Image) -> int:
    """The memory of an RGBA picture."""
    return 4 * picture.width * picture.height


def sound_bytes(wave: np.ndarray) -> int:
    """The memory of a recording's samples."""
    return wave.nbytes


class Category(NamedTuple):
    """The user's files of one category. Built-in categories have no files."""

    pictures: tuple[Path, ...] = ()
    sounds: tuple[Path, ...] = ()


def is_hidden(path: Path) -> bool:
    """Tells whether a program, not the user, left this file or folder."""
    return path.name.startswith(".") or path.name in PROGRAM_NAMES


def read_picture(path: Path, what: str) -> Image.Image:
    """Reads an upright picture of 8 bits per channel, the first picture of an animation. ValueError names any other
    file."""
    try:
        return to_eight_bits(open_picture(path, "the file"), "the file")
    except (ValueError, OSError) as error:
        raise InputError(f"{what}: {path} cannot be read as a picture: {error}") from error


@kept(picture_bytes)
def load_cut_out(path: Path) -> Image.Image:
    """Loads an upright RGBA picture, cropped to its pixels that are not transparent, at most `LARGEST_PICTURE` pixels
    long.

    Raises ValueError for a file that is no picture, has no transparent pixel, or has only transparent pixels.
    """
    picture = read_picture(path, "objects").convert("RGBA")
    alpha = np.asarray(picture.getchannel("A"))
    if alpha.min() > 127:
        raise InputError(f"objects: {path} has no transparent pixels; a cut-out is an RGBA picture of one object")
    if alpha.max() < 128:
        raise InputError(f"objects: {path} is transparent everywhere; a cut-out needs an opaque object")
    picture = picture.crop(Image.fromarray((alpha > 8).astype(np.uint8)).getbbox())
    picture.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE), Image.Resampling.LANCZOS)
    return picture


def read_mono(path: Path) -> tuple[np.ndarray, int]:
    """Reads a recording as one channel, (samples,) float32 without its mean, and its rate. ValueError names a bad
    file."""
    try:
        samples, rate = read_sound(path, "the file")
    except (ValueError, OSError) as error:
        raise InputError(f"objects: {path} cannot be read as a sound: {error}") from error
    if len(samples) < SHORTEST_SOUND * rate:
        raise InputError(
            f"objects: {path} lasts {len(samples) / rate:.2f} s; a sound needs {SHORTEST_SOUND} s or more"
        )
    if not np.isfinite(samples).all():
        raise InputError(f"objects: {path} is not finite: it has samples that are NaN or infinite")
    # `to_mono` would take the shorter axis for the channels.
    stereo = samples.ndim == 2 and samples.shape[1] == 2 < len(samples)
    wave = to_mono(samples, str(path)) if samples.ndim == 1 or stereo else mix_channels(samples.T)
    wave = wave.astype(np.float32)
    return wave - wave.mean(), rate


@kept(sound_bytes)
def load_recording(path: Path) -> np.ndarray:
    """Loads a recording as (samples,) float32, mono, at 16 kHz. Long pauses are cut short, and loud frames get equal
    loudness.

    Pauses are cut because a mask calls an object sounding for whole seconds. Raises ValueError for a file that is no
    sound, is silent, or is shorter than `SHORTEST_SOUND`.
    """
    wave, rate = read_mono(path)
    if np.abs(wave).max() < SILENT_PEAK:
        raise InputError(f"objects: {path} is silent; a sounding category needs something to hear")
    wave = librosa.resample(wave, orig_sr=rate, target_sr=SAMPLING_RATE, res_type="soxr_hq")
    if len(wave) == 0 or np.abs(wave).max() < SILENT_PEAK:
        raise InputError(f"objects: {path} is silent at {SAMPLING_RATE} Hz (its own rate is {rate} Hz)")
    length, hop = round(LOUD_SECONDS * SAMPLING_RATE), SAMPLING_RATE // 50
    loud = librosa.effects.split(wave, top_db=PAUSE_DECIBELS, frame_length=length, hop_length=hop)
    return normalise_loudness(np.concatenate([wave[start:stop] for start, stop in loud]))


def looped(wave: np.ndarray, rng: np.random.Generator, samples: int) -> np.ndarray:
    """Returns a random stretch of `samples` of a recording. A recording that is too short starts over after a short
    gap."""
    part = wave[rng.integers(max(1, len(wave) - samples + 1)) :]
    while len(part) < samples:
        part = np.concatenate([part, np.zeros(rng.integers(SAMPLING_RATE // 8), np.float32), wave])
    return part[:samples]


def files_with(folder: Path, suffixes: tuple[str, ...], deep: bool = False) -> tuple[Path, ...]:
    """Returns the files of a folder with one of these suffixes, sorted. Hidden files and files in hidden folders are
    skipped."""
    found = folder.rglob("*") if deep else folder.iterdir()
    return tuple(
        sorted(
            path
            for path in found
            if path.suffix.lower() in suffixes
            and path.is_file()
            and not any(is_hidden(Path(part)) for part in path.relative_to(folder).parts)
        )
    )


def checked_category(name: str, folder: Path) -> str:
    """Checks a category's name, which becomes a folder and a cell of a csv. ValueError if it would not be read back
    equal."""
    if name != name.strip() or not name.isprintable():  # bytes that are no UTF-8 are not printable either
        raise InputError(
            f"objects: the category {name!r} in {folder} must have a name of printable characters that neither "
            "begins nor ends with a space"
        )
    return checked_name(name, f"objects: the category in {folder}")


def scan_objects(folder: Path) -> tuple[dict[str, Category], list[str]]:
    """Read an objects folder: `<category>/*` with pictures and sounds, or `<category>.png` and `.wav`.

    Returns the categories that have a picture, by name, and messages about the files that are left out. Raises
    ValueError for a missing folder, or for a name that cannot be that of a category. Hidden files and folders are
    skipped.
    """
    if not folder.is_dir():
        raise InputError(f"objects must be a folder of cut-outs and sounds, and there is none at {folder}")
    pictures, sounds = {}, {}
    for path in sorted(path for path in folder.iterdir() if not is_hidden(path)):
        if path.is_dir():
            pictures.setdefault(path.name, []).extend(files_with(path, PICTURE_SUFFIXES))
            sounds.setdefault(path.name, []).extend(files_with(path, SOUND_SUFFIXES))
        elif path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            pictures.setdefault(path.stem, []).append(path)
        elif path.suffix.lower() in SOUND_SUFFIXES and path.is_file():
            sounds.setdefault(path.stem, []).append(path)
    categories, messages = {}, []
    for name in sorted({*pictures, *sounds}):
        if pictures.get(name):
            categories[checked_category(name, folder)] = Category(tuple(pictures[name]), tuple(sounds.get(name, ())))
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


def is_animated(path: Path) -> bool:
    """Tells whether a readable picture has several frames."""
    return getattr(open_picture(path, str(path)), "n_frames", 1) > 1


def read_background(path: Path) -> Image.Image:
    """Reads an upright RGB picture, white where it is transparent. ValueError names a file that is no picture."""
    return Image.fromarray(pil_to_rgb(read_picture(path, "backgrounds"), f"backgrounds: {path}").numpy())


class ObjectLibrary:
    """The pictures and sounds of each category, and the backgrounds.

    Args:
        objects: a folder of cut-outs and sounds (see `scan_objects`), or None for the ten drawn categories.
        backgrounds: a folder of pictures, searched with its subfolders, or None for drawn ones.
        noises: a folder of sounds that come from outside of the picture, such as speech, searched with its
            subfolders, or None for no such sounds.

    Raises ValueError if a folder is missing or offers too little.
    """

    def __init__(self, objects: Path | None = None, backgrounds: Path | None = None, noises: Path | None = None):
        self.objects, self.backgrounds, self.noises, self.messages = objects, (), (), []
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
                raise InputError(f"backgrounds must be a folder with pictures ({kinds}), got {backgrounds}")
        if noises is not None:
            self.noises = files_with(noises, SOUND_SUFFIXES, deep=True) if noises.is_dir() else ()
            if not self.noises:
                raise InputError(f"noises must be a folder with sounds ({', '.join(SOUND_SUFFIXES)}), got {noises}")

    def check(self) -> None:
        """Open the files once, so that one error names all bad files before anything is composed.

        A file that cannot be used is an error and is not skipped: the same arguments must give the same data set, and
        skipping a file would give another one. Only `CHECKED_BACKGROUNDS` backgrounds are opened here. Further ones
        are opened when they are used.

        Raises:
            ValueError: files cannot be used. The error names them.
        """
        uses = [(path, load_cut_out) for category in self.categories.values() for path in category.pictures]
        uses += [(path, load_recording) for category in self.categories.values() for path in category.sounds]
        uses += [(path, load_recording) for path in self.noises]
        uses += [(path, read_background) for path in self.backgrounds[:CHECKED_BACKGROUNDS]]
        problems = []
        for path, load in tqdm(uses, "checking files", unit="file", delay=2, leave=False):
            try:
                load(path)
            except InputError as error:
                problems.append(str(error))
        if problems:
            more = f"\n... and {len(problems) - NAMED_FILES} more" if len(problems) > NAMED_FILES else ""
            raise InputError("\n".join(problems[:NAMED_FILES]) + more)
        self.messages += [
            f"objects: {path} is an animation; its first picture is taken"
            for path, load in uses
            if load is load_cut_out and path.suffix.lower() in ANIMATED_SUFFIXES and is_animated(path)
        ]

    def picture(self, category: str, rng: np.random.Generator, side: int) -> tuple[str, Image.Image]:
        """Returns a name and an RGBA cut-out of the category. A drawn one is `side` pixels long, a file keeps its own
        size."""
        if self.objects is None:
            return "drawn", draw_object(category, rng, side)
        paths = self.categories[category].pictures
        path = paths[rng.integers(len(paths))]
        return path.relative_to(self.objects).as_posix(), load_cut_out(path)

    def sound(self, category: str, rng: np.random.Generator, seconds: float) -> tuple[str, np.ndarray]:
        """Returns a name and a sound (seconds * 16000,) float32 in which the category sounds all the time."""
        if self.objects is None:
            return "synthesised", synthesise(category, rng, seconds)
        paths = self.categories[category].sounds
        path = paths[rng.integers(len(paths))]
        wave = looped(load_recording(path), rng, round(seconds * SAMPLING_RATE))
        return path.relative_to(self.objects).as_posix(), wave

    def noise(self, rng: np.random.Generator, seconds: float) -> tuple[str, np.ndarray]:
        """Returns a name and a sound (seconds * 16000,) float32 that belongs to no object."""
        path = self.noises[rng.integers(len(self.noises))]
        return path.name, looped(load_recording(path), rng, round(seconds * SAMPLING_RATE))

    def background(self, rng: np.random.Generator, height: int, width: int) -> tuple[str, np.ndarray]:
        """Returns a name and RGB (height, width, 3) uint8."""
        if not self.backgrounds:
            return draw_background(rng, height, width)
        path = self.backgrounds[rng.integers(len(self.backgrounds))]
        picture = read_background(path)
        scale = min(picture.width / width, picture.height / height) * rng.uniform(0.6, 1)
        box_width, box_height = width * scale, height * scale
        x, y = rng.uniform(0, picture.width - box_width), rng.uniform(0, picture.height - box_height)
        box = (x, y, x + box_width, y + box_height)
        return path.name, np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box=box))


__all__ = ["Category", "ObjectLibrary", "load_cut_out", "load_recording", "scan_objects"]
