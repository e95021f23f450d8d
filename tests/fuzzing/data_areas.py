"""Damaged data sets and doubtful arguments for `auss evaluate`, `train`, `prepare` and `compose`."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from .damage import damage, png_is_whole, riff_is_whole
from .sources import Sources, copy_of, rewrite
from .trial import BAD, EITHER, Command, Trial, Unnoticeable, call
from .values import Value, combinations, constants, right

Options = dict[str, list[Value]]


def picture_of(content: bytes) -> bytes | None:
    """The pixels of a picture, None if Pillow reads none."""
    try:
        return Image.open(io.BytesIO(content)).tobytes()
    except Exception:
        return None


def sound_of(content: bytes) -> tuple[bytes, int] | None:
    """The samples and the rate of a sound, None if libsndfile reads none."""
    try:
        samples, rate = soundfile.read(io.BytesIO(content))
        return samples.tobytes(), rate
    except Exception:
        return None


def overlooked(file: Path, before: bytes, after: bytes) -> str | None:
    """What a command that says nothing of a damaged picture, sound or table has overlooked.

    Raises:
        Unnoticeable: what the file holds has changed, and the file cannot tell.
    """
    if file.suffix == ".png" and not png_is_whole(after):
        return "nothing said of a PNG whose checksums do not hold"
    if file.suffix == ".wav" and not riff_is_whole(after):
        return "nothing said of a wav that is shorter than it says"
    if file.suffix == ".png":
        changed = picture_of(before) != picture_of(after)
    elif file.suffix == ".wav":
        changed = sound_of(before) != sound_of(after)
    else:
        changed = before.split() != after.split()
    if changed:
        raise Unnoticeable(f"what the {file.suffix} holds has changed, and no checksum tells")
    return None


def damaged_files(
    area: str,
    original: Path,
    files: list[Path],
    command: Callable[[Path, Path], list[Any]],
    finished: str,
    sources: Sources,
    count: int,
    seed: int,
) -> Iterator[Trial]:
    """
    Commands on a folder in which one file is damaged.

    Args:
        original: the folder.
        files: those in it that are damaged in turn.
        command: the words, from the damaged folder and a folder to write to.
        finished: a pattern for what is in that folder after the command has succeeded, and only then.
    """
    for number in range(count):
        random = np.random.default_rng([seed, number, len(area)])
        file = files[number % len(files)].relative_to(original)
        before = (original / file).read_bytes()
        kind, after = damage(before, number // len(files), random)
        home = sources.new_folder()
        rewrite(copy_of(original, home / "in") / file, after)

        def wrong(done: Command, file=file, before=before, after=after, out=home / "out") -> str | None:
            if not list(out.glob(finished)):
                return "success without a result"
            return None if done.told(file.stem) else overlooked(file, before, after)

        def leftover(out=home / "out") -> str | None:
            return "a result" if list(out.glob(finished)) else None

        # A sound or a picture is also known by its clip, whose name is its folder's or its own.
        # Of a table the message may name the files that it leads to.
        subjects = (file.name, {".png": file.parent.name, ".csv": "s4_data"}.get(file.suffix, file.stem))
        act = partial(call, *command(home / "in", home / "out"))
        yield Trial(area, f"{number}: {file.name}, {kind}", act, subjects, EITHER, wrong, leftover)


def option_trials(
    area: str, options: Options, command: Callable[[Path], list[Any]], sources: Sources, count: int, seed: int
) -> Iterator[Trial]:
    """A command on good files with doubtful values of its options. An option's value may be several words."""

    def run(**chosen: str | None) -> Command:
        words = command(sources.new_folder())
        for name, value in chosen.items():
            if value is not None:
                words += [f"--{name.replace('_', '-')}", *value.split(" ")]
        return call(*words)

    def subjects(name: str) -> tuple[str, ...]:
        files = ("/dev/null", "/nowhere")  # a message may name the file that the option's value is
        return (name, name.replace("_", "-"), name.replace("_", " "), *files, *({"name": ("AVSBench",)}.get(name, ())))

    return combinations(area, run, options, subjects, lambda made: lambda done: None, count, seed)


def numbers(*rights: str, zero: bool = False, whole: bool = True, most: tuple[str, ...] = ()) -> list[Value]:
    """Values of a count or, if not `whole`, of a number that is not negative."""
    wrong = ["-1", "nan", "inf", "-inf", "x", "", *([] if zero else ["0"]), *(["2.5"] if whole else []), *most]
    return [right("the default", lambda _: None), *constants("right", *rights), *constants(BAD, *wrong)]


EVALUATE_OPTIONS: Options = {
    "name": [right("s4", lambda _: None), *constants(BAD, "ms3", "avss", "s5", "")],
    "split": [right("test", lambda _: None), *constants("right", "val"), *constants(BAD, "tests", "")],
    "sound": [right("own", lambda _: None), *constants("right", "muted", "swapped"), *constants(BAD, "loud", "")],
    "batch_size": numbers("1", "2"),
    "workers": numbers("0", zero=True),
    "data": [right("the data", lambda _: None), *constants(BAD, "/nowhere", "/dev/null", "/")],
    "model": [right("the model", lambda _: None), *constants(BAD, "/nowhere", "/dev/null", "/")],
}
TRAIN_OPTIONS: Options = {
    "learning_rate": numbers("1e-3", "0", zero=True, whole=False),
    "backbone_rate": numbers("0", zero=True, whole=False),
    "weight_decay": numbers("0", zero=True, whole=False),
    "power": numbers("0", "2", zero=True, whole=False),
    "warmup": numbers("0", "1", zero=True, whole=False, most=("1.5",)),
    "max_gradient_norm": numbers("0", zero=True, whole=False),
    "mute_probability": numbers("0", "1", zero=True, whole=False, most=("1.5",)),
    "accumulation": numbers("2"),
    "batch_size": numbers("1"),
    "image_size": numbers("32", most=("15",)),
    "frames_per_clip": numbers("1", "5"),
    "shuffle_buffer": numbers("4"),
    "workers": numbers(zero=True),
    "seed": numbers("1", zero=True, most=("99999999999",)),
    "eval_every": numbers("0", "1", zero=True),
    "eval_clips": numbers("1"),
    "checkpoint_every": numbers("1"),
    "keep_checkpoints": numbers("1"),
    "log_every": numbers("1"),
    "steps": numbers("1"),
    "name": [right("s4", lambda _: None), *constants(BAD, "s5", "ms3", "")],
    "mixed_precision": [right("no", lambda _: None), *constants(BAD, "fp64", "")],
    "tracker": [right("none", lambda _: None), *constants(BAD, "nonsense", "")],
    "preset": [right("tiny", lambda _: None), *constants(BAD, "nonsense", "/nowhere.json", "/dev/null", "")],
    "init_from": [right("nothing", lambda _: None), *constants(BAD, "/nowhere", "/dev/null", "")],
    "backbone_weights": [right("none", lambda _: None), *constants(BAD, "/nowhere", "/dev/null", "")],
    "audio_weights": [right("none", lambda _: None), *constants(BAD, "/nowhere", "/dev/null", "")],
    "config": [right("none", lambda _: None), *constants(BAD, "/nowhere", "/dev/null", "/", "")],
}
PREPARE_OPTIONS: Options = {
    "names": [right("all", lambda _: None), *constants("right", "s4"), *constants(BAD, "ms3", "s5", "")],
    "shards": numbers("1", "7"),
}
COMPOSE_OPTIONS: Options = {
    "s4": [
        right("1 0 0", lambda _: None),
        *constants("right", "0 1 0", "0 0 0"),
        *constants(BAD, "-1 0 0", "1 0", "x 0 0", "1.5 0 0"),
    ],
    "ms3": [right("0 0 0", lambda _: None), *constants("right", "1 0 0"), *constants(BAD, "0 0 -1", "0", "nan 0 0")],
    "seed": numbers("1", "99999999999999999999", zero=True),
    "size": numbers("65", most=("63", "0")),
    "workers": numbers("1"),
    "objects": [right("objects", lambda _: None), *constants(BAD, "/nowhere", "/dev/null", "/etc", "")],
    "backgrounds": [right("none", lambda _: None), *constants(BAD, "/nowhere", "/dev/null", "")],
}


def split_files(data: Path, split: str) -> list[Path]:
    """The frames, masks and sounds of a split of S4, a few of each, and the table."""
    home = data / "Single-source" / "s4_data"
    kinds = ("gt_masks", "visual_frames", "audio_wav")
    found = [sorted(path for path in (home / kind / split).rglob("*") if path.is_file())[:2] for kind in kinds]
    return [
        *(path for paths in zip(*found, strict=True) for path in paths),
        data / "Single-source" / "s4_meta_data.csv",
    ]


def evaluate_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    def command(data: Path, out: Path) -> list[Any]:
        return ["evaluate", "--model", sources.model, "--data", data, "--output", out, "--workers", 0]

    yield from option_trials(
        "evaluate", EVALUATE_OPTIONS, lambda home: command(sources.data, home / "out"), sources, count // 3, seed
    )
    files = split_files(sources.data, "test")
    yield from damaged_files("evaluate", sources.data, files, command, "*.json", sources, count - count // 3, seed)


def train_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    def command(data: Path, out: Path) -> list[Any]:
        return sources.train_command(out, data=data)

    yield from option_trials(
        "train", TRAIN_OPTIONS, lambda home: command(sources.data, home / "out"), sources, count * 2 // 3, seed
    )
    files = split_files(sources.data, "train")
    rest = count - count * 2 // 3
    yield from damaged_files("train", sources.data, files, command, "model.safetensors", sources, rest, seed)


def prepare_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    def command(data: Path, out: Path) -> list[Any]:
        return ["prepare", data, out]

    yield from option_trials(
        "prepare", PREPARE_OPTIONS, lambda home: command(sources.data, home / "out"), sources, count // 5, seed
    )
    files = [file for split in ("train", "val", "test") for file in split_files(sources.data, split)]
    yield from damaged_files("prepare", sources.data, files, command, "README.md", sources, count - count // 5, seed)


def compose_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    counts = ["--s4", 1, 0, 0, "--ms3", 0, 0, 0, "--size", 64, "--workers", 1]

    def command(objects: Path, out: Path) -> list[Any]:
        return ["compose", out, "--objects", objects, *counts]

    yield from option_trials(
        "compose", COMPOSE_OPTIONS, lambda home: command(sources.objects, home / "out"), sources, count // 3, seed
    )
    files = sorted(path for path in sources.objects.rglob("*") if path.is_file())
    rest = count - count // 3
    yield from damaged_files("compose", sources.objects, files, command, "annotations.json", sources, rest, seed)


AREAS = {
    "evaluate": evaluate_trials,
    "train": train_trials,
    "prepare": prepare_trials,
    "compose": compose_trials,
}

__all__ = ["AREAS"]
