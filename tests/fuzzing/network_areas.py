"""Fields of the configuration, and inputs of the model."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from auss.configuration.configuration_auss import AussAudioConfig, AussConfig
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation

from ..fixtures import make_tiny_config
from .sources import Sources
from .trial import BAD, EITHER, RIGHT, Trial
from .values import Value, bad, combinations, constants, either, right

NAN, INFINITY = float("nan"), float("inf")
ODD_VALUES = (
    *(NAN, INFINITY, -INFINITY, -1, -0.5, 0, 1, 2, 3, 7, 16, 0.5, 10**30, 1e300, True, False, None),
    *("", "five", "increasing", b"1", [], [0], [8, 4], [4, 8], [8, 8], [3], [NAN], ["a"], {}, {"a": 1}, object),
)
# Larger ones are accepted, as large networks are; there is no memory here for them.
LARGEST_BUILT = 512
NOT_BUILT = ("num_labels", "id2label", "label2id")


def sizes_are_small(config: AussConfig) -> bool:
    """Whether a network can be built of a configuration in no time."""
    values = [*dataclasses.asdict(config).values(), *config.audio_config.to_dict().values()]
    lists = [value for value in values if isinstance(value, list | tuple)]
    numbers = [value for value in [*values, *(one for values in lists for one in values)] if isinstance(value, int)]
    return all(number <= LARGEST_BUILT for number in numbers)


def network_is_wrong(config: AussConfig) -> str | None:
    """What is wrong with a configuration that was accepted: there is no network of it, or it gives no numbers."""
    if config.to_dict() != AussConfig.from_dict(config.to_dict()).to_dict():
        return "saved and read again, it is another one"
    if not sizes_are_small(config):
        return None
    torch.manual_seed(0)
    try:
        model = AussForAudioVisualSegmentation(config).eval()
        audio = config.audio_config
        with torch.no_grad():
            sound = torch.zeros(1, config.num_audio_examples, audio.num_frames, audio.num_mel_bins)
            logits = model(torch.zeros(1, 1, 3, 48, 48), sound).logits
    except Exception as error:
        return f"accepted, and there is no network of it: {type(error).__name__}: {error}"
    return None if logits.isfinite().all() else "accepted, and the network gives no numbers"


def configuration_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """One odd value for one field, of either configuration; every third time of two fields."""
    fields = [field.name for field in dataclasses.fields(AussConfig) if field.name in AussConfig.__annotations__]
    fields.remove(
        "backbone_config"
    )  # None stands for a ResNet-101, which takes seconds; a bad one comes in a JSON file
    audio_fields = [
        field.name for field in dataclasses.fields(AussAudioConfig) if field.name in AussAudioConfig.__annotations__
    ]
    names = [*((name, False) for name in fields), *((name, True) for name in audio_fields)]
    names += [("num_labels", False), ("id2label", False), ("hiden_size", False), ("stage_depth", True)]
    random = np.random.default_rng([seed, 3])
    for number in range(count):
        chosen = [names[number % len(names)], *([names[random.integers(len(names))]] if number % 3 == 2 else [])]
        values = {place: ODD_VALUES[random.integers(len(ODD_VALUES))] for place in chosen}

        def act(values=values) -> AussConfig:
            audio = {name: value for (name, is_audio), value in values.items() if is_audio}
            given = {name: value for (name, is_audio), value in values.items() if not is_audio}
            if audio and "audio_config" not in given:
                base = make_tiny_config().audio_config.to_dict()
                given["audio_config"] = AussAudioConfig(**{**base, **audio})
            return make_tiny_config(**given)

        words = tuple(word for name, _ in chosen for word in (name, *NEIGHBOURS.get(name, ())))
        shown = ", ".join(f"{name}={value!r}" for (name, _), value in values.items())
        yield Trial("configuration", f"{number}: {shown}", act, words, EITHER, network_is_wrong)


# What a message may speak of instead: the fields that do not go together with the one that was changed.
NEIGHBOURS = {
    "mask_stride": ("feature_strides",),
    "feature_strides": ("mask_stride",),
    "num_attention_heads": ("hidden_size",),
    "audio_input": ("query_embedding",),
    "number_projector": ("num_queries",),
    "num_audio_examples": ("num_queries",),
    "channel_projector": ("hidden_size",),
    "audio_config": ("audio_config", "AussAudioConfig"),
    "num_labels": ("id2label", "labels"),
    "id2label": ("num_labels", "labels"),
    "stage_depth": ("AussAudioConfig",),
}


def pixels(random: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(random.standard_normal(shape or (2, 3, 3, 32, 32)).astype(np.float32))


def examples(random: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(random.standard_normal(shape or (2, 5, 96, 64)).astype(np.float32))


def labels(random: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(random.integers(0, 2, shape or (2, 3, 32, 32)))


def with_value(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor.view(-1)[7] = value
    return tensor


def mask(*rows: list[int]) -> Value:
    return right(str(rows), lambda random: torch.tensor(rows))


PIXELS = [
    right("float32", pixels),
    right("float64", lambda random: pixels(random).double()),
    right("bfloat16", lambda random: pixels(random).bfloat16()),
    right("odd sides", lambda random: pixels(random, 2, 3, 3, 33, 47)),
    right("one pixel", lambda random: pixels(random, 2, 3, 3, 1, 1)),
    either("a NaN", lambda random: with_value(pixels(random), NAN)),
    either("an infinity", lambda random: with_value(pixels(random), INFINITY)),
    bad("four dimensions", lambda random: pixels(random, 2, 3, 32, 32)),
    bad("four channels", lambda random: pixels(random, 2, 3, 4, 32, 32)),
    bad("no frames", lambda random: pixels(random, 2, 0, 3, 32, 32)),
    bad("no clips", lambda random: pixels(random, 0, 3, 3, 32, 32)),
    bad("no height", lambda random: pixels(random, 2, 3, 3, 0, 32)),
    bad("three clips", lambda random: pixels(random, 3, 3, 3, 32, 32)),
    bad("an array", lambda random: pixels(random).numpy()),
    bad("integers", lambda random: pixels(random).long()),
    bad("complex", lambda random: pixels(random).to(torch.complex64)),
    *constants(BAD, None, [], "pixels", 5),
]
FEATURES = [
    right("float32", examples),
    right("three examples", lambda random: examples(random, 2, 3, 96, 64)),
    either("a NaN", lambda random: with_value(examples(random), NAN)),
    bad("six examples", lambda random: examples(random, 2, 6, 96, 64)),
    bad("no examples", lambda random: examples(random, 2, 0, 96, 64)),
    bad("turned", lambda random: examples(random, 2, 5, 64, 96)),
    bad("three dimensions", lambda random: examples(random, 2, 96, 64)),
    bad("one clip", lambda random: examples(random, 1, 5, 96, 64)),
    bad("an array", lambda random: examples(random).numpy()),
    bad("integers", lambda random: examples(random).long()),
    *constants(BAD, None, [], "sound"),
]
EXAMPLE_MASKS = [
    *constants(RIGHT, None),
    mask([1, 1, 1, 1, 1], [1, 1, 1, 0, 0]),
    mask([0, 0, 0, 0, 0], [1, 1, 1, 1, 1]),
    bad("another shape", lambda random: torch.ones(2, 4)),
    bad("values of 7", lambda random: torch.full((2, 5), 7)),
    bad("NaN", lambda random: torch.full((2, 5), NAN)),
    bad("an array", lambda random: np.ones((2, 5))),
    *constants(BAD, "all", 1),
]
LABELS = [
    *constants(RIGHT, None),
    right("of the frames' size", labels),
    right("of another size", lambda random: labels(random, 2, 3, 20, 24)),
    right("a list", lambda random: list(labels(random))),
    right("not annotated", lambda random: torch.full((2, 3, 32, 32), 255)),
    right("uint8", lambda random: labels(random).to(torch.uint8)),
    bad("a label of 2", lambda random: labels(random) + 1),
    bad("negative", lambda random: labels(random) - 1),
    bad("floats", lambda random: labels(random).float()),
    bad("three dimensions", lambda random: labels(random, 2, 32, 32)),
    bad("two frames", lambda random: labels(random, 2, 2, 32, 32)),
    bad("no pixels", lambda random: labels(random, 2, 3, 0, 0)),
    bad("a list of one", lambda random: list(labels(random))[:1]),
    bad("an array", lambda random: labels(random).numpy()),
    *constants(BAD, "labels", 5, []),
]
FRAME_MASKS = [
    *constants(RIGHT, None),
    mask([1, 1, 1], [1, 1, 0]),
    bad("a clip without a frame", lambda random: torch.tensor([[1, 1, 1], [0, 0, 0]])),
    bad("another shape", lambda random: torch.ones(2, 4)),
    bad("values of 7", lambda random: torch.full((2, 3), 7)),
    bad("NaN", lambda random: torch.full((2, 3), NAN)),
    *constants(BAD, "all", 1),
]
FRAME_EXAMPLES = [
    *constants(RIGHT, None),
    mask([0, 1, 2], [0, 1, 2]),
    bad("example 9", lambda random: torch.full((2, 3), 9)),
    bad("example -9", lambda random: torch.full((2, 3), -9)),
    bad("another shape", lambda random: torch.zeros(2, 4, dtype=torch.int64)),
    bad("floats", lambda random: torch.zeros(2, 3)),
    *constants(BAD, "all", 1),
]


def outputs_are_wrong(made: dict[str, Any]):
    """What outputs must be: numbers, unless NaN or infinity went in."""
    spoilt = any(torch.is_tensor(value) and not value.isfinite().all() for value in made.values())

    def check(outputs) -> str | None:
        logits = outputs.logits
        if spoilt:
            return None if not logits.isfinite().all() else "numbers for an input that holds none"
        if not logits.isfinite().all() or not ((logits >= 0) & (logits <= 1)).all():
            return "logits that are no numbers from 0 to 1"
        if (outputs.loss is None) != (made["labels"] is None):
            return "no loss for labels, or a loss without any"
        return None if outputs.loss is None or outputs.loss.isfinite() else "a loss that is no number"

    return check


def model_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """The model's forward pass."""
    arguments = {
        "pixel_values": PIXELS,
        "input_features": FEATURES,
        "input_features_mask": EXAMPLE_MASKS,
        "labels": LABELS,
        "frame_mask": FRAME_MASKS,
        "frame_examples": FRAME_EXAMPLES,
    }

    def call(**inputs):
        with torch.no_grad():
            return sources.network(**inputs)

    return combinations("model", call, arguments, lambda name: (name,), outputs_are_wrong, count, seed)


AREAS = {"configuration": configuration_trials, "model": model_trials}

__all__ = ["AREAS"]
