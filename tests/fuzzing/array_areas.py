"""Arrays, lists and pictures for the feature extractor, the video processor, the processor and the post-processing."""

import io
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.post_processing_auss import post_process_audio_visual_segmentation
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor

from .sources import Sources
from .trial import BAD, EITHER, RIGHT, Trial
from .values import NO_NUMBERS, Value, bad, combinations, constants, either, right

RATE = 16_000
SIZE = {"height": 32, "width": 32}


def noise(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.uniform(-0.5, 0.5, shape).astype(np.float32)


def spoilt(array: np.ndarray, value: Any, random: np.random.Generator) -> np.ndarray:
    """The array with one value replaced, at a random place."""
    array.flat[random.integers(array.size)] = value
    return array


WAVEFORMS = [
    right("float32", lambda random: noise(random, RATE)),
    right("float64", lambda random: noise(random, RATE).astype(np.float64)),
    right("float16", lambda random: noise(random, RATE).astype(np.float16)),
    right("int16", lambda random: random.integers(-9000, 9000, RATE).astype(np.int16)),
    right("int32", lambda random: random.integers(-(2**30), 2**30, RATE).astype(np.int32)),
    right("big-endian", lambda random: noise(random, RATE).astype(">f4")),
    right("bfloat16 tensor", lambda random: torch.from_numpy(noise(random, RATE)).bfloat16()),
    right("list of floats", lambda random: noise(random, 9000).tolist()),
    right("stereo", lambda random: noise(random, 2, RATE)),
    right("stereo, channels last, reversed", lambda random: noise(random, RATE, 2)[::-1]),
    right("batch of two", lambda random: [noise(random, RATE), noise(random, RATE)]),
    right("one sample", lambda random: noise(random, 1)),
    right("random length", lambda random: noise(random, int(random.integers(1, 90_000)))),
    right("silence", lambda random: np.zeros(RATE, np.float32)),
    right("denormal", lambda random: np.full(RATE, 1e-42, np.float32)),
    bad("one NaN", lambda random: spoilt(noise(random, RATE), np.nan, random)),
    bad("one infinity", lambda random: spoilt(noise(random, 2, RATE), np.inf, random)),
    bad("one -infinity in a float64", lambda random: spoilt(noise(random, RATE).astype(float), -np.inf, random)),
    bad("PCM in floats", lambda random: noise(random, RATE) * 32_768),
    bad("one sample of 1e30", lambda random: spoilt(noise(random, RATE), 1e30, random)),
    bad("float64 beyond float32", lambda random: spoilt(noise(random, RATE).astype(float), 1e300, random)),
    bad(
        "NaN in the second of a batch",
        lambda random: [noise(random, RATE), spoilt(noise(random, RATE), np.nan, random)],
    ),
    bad("no samples", lambda random: np.zeros(0, np.float32)),
    bad("no samples of two channels", lambda random: np.zeros((2, 0), np.float32)),
    bad("an empty one in a batch", lambda random: [noise(random, RATE), np.zeros(0)]),
    bad("three channels", lambda random: noise(random, 3, RATE)),
    bad("three dimensions", lambda random: noise(random, 1, 2, RATE)),
    bad("no dimension", lambda random: np.float32(0.5)),
    bad("uint8", lambda random: random.integers(0, 255, RATE).astype(np.uint8)),
    bad("int64", lambda random: random.integers(-9000, 9000, RATE)),
    bad("bool", lambda random: noise(random, RATE) > 0),
    bad("complex", lambda random: noise(random, RATE) * 1j),
    bad("objects", lambda random: np.array([None] * 99, dtype=object)),
    bad("words", lambda random: np.array(["a", "b"])),
    either("rows of unequal length", lambda random: [[0.1, 0.2], [0.3]]),  # a batch of two
    bad("a dict without a rate", lambda random: {"array": noise(random, RATE)}),
    bad("a dict with another rate", lambda random: {"array": noise(random, RATE), "sampling_rate": 8000}),
    bad("a path", lambda random: "sound.wav"),
    bad("bytes", lambda random: bytes(100)),
    bad("a set", lambda random: {0.1, 0.2}),
    bad("a list of nothing", lambda random: [None, None]),
    bad("a generator", lambda random: (value for value in (0.1, 0.2))),
    *constants(BAD, {}, [], (), [[]], object()),
]
RATES = [
    *constants(RIGHT, RATE, np.int64(RATE), 16_000.0, np.float32(RATE)),
    right("a random rate", lambda random: int(random.integers(4000, 192_000))),
    *constants(BAD, 0, -RATE, True, [], [RATE] * 3, *NO_NUMBERS),
    *constants(EITHER, 1, 1e-9, 1e-3, 10**9, 10**30, 10**400, 0.5, [RATE]),
]
PADDINGS = [*constants(RIGHT, True), *constants(EITHER, False, "max_length", "longest", "nonsense", 7)]
TENSORS = [*constants(RIGHT, "pt", "np"), *constants(EITHER, None, "tf", "jax", 5)]


def features_are_wrong(made: dict[str, Any]):
    """What log-mel examples must be: finite, of the one shape, as many clips as were given."""

    def check(features) -> str | None:
        examples = features["input_features"]
        values = np.concatenate([np.asarray(clip, dtype=np.float64).reshape(-1, 96, 64) for clip in examples])
        if not np.isfinite(values).all():
            return "log-mel with NaN or infinity"
        audio = made["audio"]
        clips = len(audio) if isinstance(audio, list) and isinstance(audio[0], np.ndarray | list) else 1
        return None if len(examples) == clips else f"{len(examples)} clips for {clips}"

    return check


def extractor_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """The feature extractor."""
    arguments = {"audio": WAVEFORMS, "sampling_rate": RATES, "padding": PADDINGS, "return_tensors": TENSORS}
    extractor = AussFeatureExtractor()
    return combinations(
        "feature extractor", extractor, arguments, lambda name: (name,), features_are_wrong, count, seed
    )


def picture(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.integers(0, 256, shape or (3, 20, 24, 3)).astype(np.uint8)


def sixteen_bits(random: np.random.Generator) -> Image.Image:
    return Image.fromarray(random.integers(0, 2**16, (20, 24)).astype(np.uint16))


def cut_png(random: np.random.Generator) -> dict[str, Any]:
    stored = io.BytesIO()
    Image.fromarray(picture(random, 20, 24, 3)).save(stored, "PNG")
    return {"bytes": stored.getvalue()[: int(random.integers(0, 200))], "path": None}


VIDEOS = [
    right("uint8", picture),
    right("channels first", lambda random: picture(random, 3, 3, 20, 24)),
    right("grey", lambda random: picture(random, 3, 20, 24, 1)),
    right("with alpha", lambda random: picture(random, 3, 20, 24, 4)),
    right("batch", lambda random: picture(random, 2, 3, 20, 24, 3)),
    right("pictures", lambda random: [Image.fromarray(frame) for frame in picture(random)]),
    right("pictures of 16 bits", lambda random: [sixteen_bits(random)] * 3),
    right("uint16", lambda random: random.integers(0, 2**16, (3, 20, 24, 3)).astype(np.uint16)),
    right("float32 of 0-255", lambda random: picture(random).astype(np.float32)),
    right("int64 of 0-255", lambda random: picture(random).astype(np.int64)),
    right("one pixel", lambda random: picture(random, 2, 1, 1, 3)),
    right("reversed channels", lambda random: picture(random)[..., ::-1]),
    right("a tensor", lambda random: torch.from_numpy(picture(random))),
    right("one frame", lambda random: picture(random, 20, 24, 3)),
    bad("NaN", lambda random: spoilt(picture(random).astype(np.float32), np.nan, random)),
    bad("infinity", lambda random: spoilt(picture(random).astype(np.float32), np.inf, random)),
    bad("negative", lambda random: -picture(random).astype(np.int16) - 1),
    bad("above 255", lambda random: picture(random).astype(np.int32) + 300),
    bad("float beyond float32", lambda random: spoilt(picture(random).astype(float), 1e300, random)),
    bad("bool", lambda random: picture(random) > 9),
    bad("complex", lambda random: picture(random) * 1j),
    bad("words", lambda random: np.full((3, 20, 24, 3), "a")),
    bad("five channels", lambda random: picture(random, 3, 20, 24, 5)),
    bad("two dimensions", lambda random: picture(random, 20, 24)),
    bad("six dimensions", lambda random: picture(random, 1, 1, 1, 20, 24, 3)),
    bad("no frames", lambda random: np.zeros((0, 20, 24, 3), np.uint8)),
    bad("no height", lambda random: np.zeros((3, 0, 24, 3), np.uint8)),
    bad("frames of unequal size", lambda random: [picture(random, 20, 24, 3), picture(random, 21, 24, 3)]),
    bad("clips of unequal length", lambda random: [picture(random), picture(random, 4, 20, 24, 3)]),
    bad("float alpha", lambda random: picture(random, 3, 20, 24, 4).astype(np.float32)),
    bad("a frame and None", lambda random: [picture(random, 20, 24, 3), None]),
    bad("F picture with NaN", lambda random: [Image.fromarray(np.full((20, 24), np.nan, np.float32))]),
    bad("F picture above 255", lambda random: [Image.fromarray(np.full((20, 24), 999, np.float32))]),
    bad("a cut PNG", lambda random: [cut_png(random)]),
    bad("a file that is missing", lambda random: [{"bytes": None, "path": "/nowhere/a.png"}]),
    bad("a path", lambda random: "video.mp4"),
    bad("paths", lambda random: ["a.png", "b.png"]),
    *constants(BAD, 5, [], [[]], {}, b"bytes", object()),
]
SIZES = [
    *constants(RIGHT, SIZE, {"height": 17, "width": 40}),
    *constants(BAD, {"height": 0, "width": 8}, {"height": -3, "width": 8}, {"height": 8}, {"height": "a", "width": 8}),
    *constants(BAD, {"height": float("nan"), "width": 8}, {"height": 2.5, "width": 8}, {}, "large", -5, 0),
    *constants(EITHER, {"shortest_edge": 20}, {"longest_edge": 20}, 20, [20, 20], None),
]
MEANS = [
    *constants(RIGHT, [0.5, 0.5, 0.5], 0.5),
    *constants(BAD, [float("nan")] * 3, [0.5, 0.5], "grey", [None] * 3, float("inf")),
]
DEVIATIONS = [
    *constants(RIGHT, [0.5, 0.5, 0.5], 0.5),
    *constants(BAD, [0.0] * 3, 0.0, [float("nan")] * 3, [-1.0] * 3, [0.5] * 4, "grey"),
]
FACTORS = [
    *constants(RIGHT, 1 / 255, 1 / 256),
    *constants(BAD, float("nan"), float("inf"), "small", -1.0),
    *constants(EITHER, 0, 1.0),
]


def pixels_are_wrong(made: dict[str, Any]):
    """What pixels must be: finite, five-dimensional, of three channels, and of the size that was asked for."""

    def check(features) -> str | None:
        pixels = features["pixel_values"]
        if not torch.is_tensor(pixels) or pixels.ndim != 5 or pixels.shape[2] != 3 or pixels.dtype != torch.float32:
            return f"pixel_values of shape {getattr(pixels, 'shape', type(pixels))}"
        if not pixels.isfinite().all():
            return "pixels with NaN or infinity"
        size = made.get("size")
        if isinstance(size, dict) and {"height", "width"} <= size.keys():
            if tuple(pixels.shape[-2:]) != (size["height"], size["width"]):
                return f"size {tuple(pixels.shape[-2:])} for {size}"
        return None

    return check


def video_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """The video processor."""
    arguments = {
        "videos": VIDEOS,
        "size": SIZES,
        "image_mean": MEANS,
        "image_std": DEVIATIONS,
        "rescale_factor": FACTORS,
    }
    call = partial(AussVideoProcessor(size=SIZE), return_tensors="pt")
    words = {"videos": ("videos", "frame file")}
    return combinations(
        "video processor", call, arguments, lambda name: words.get(name, (name,)), pixels_are_wrong, count, seed
    )


def processor_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """The processor, with pictures and sound together."""
    processor = AussProcessor(AussFeatureExtractor(), AussVideoProcessor(size=SIZE))

    def call(videos, audio, sampling_rate, **others):
        return processor(videos=videos, audio=audio, sampling_rate=sampling_rate, return_tensors="pt", **others)

    def wrong(made):
        checks = (features_are_wrong(made), pixels_are_wrong(made))
        return lambda features: next(filter(None, (check(features) for check in checks)), None)

    # One clip and two clips do not belong together, and neither is a mistake alone.
    def single(values: list[Value]) -> list[Value]:
        return [value for value in values if "batch" not in value.name and value.name != "clips of unequal length"]

    arguments = {"videos": single(VIDEOS), "audio": single(WAVEFORMS), "sampling_rate": RATES}
    words = {"videos": ("videos", "frame file")}
    return combinations("processor", call, arguments, lambda name: words.get(name, (name,)), wrong, count, seed)


def scores(random: np.random.Generator, *shape: int) -> SimpleNamespace:
    values = torch.from_numpy(random.uniform(0, 1, shape or (2, 3, 2, 8, 8)).astype(np.float32))
    return SimpleNamespace(logits=values)


def with_value(value: float, random: np.random.Generator) -> SimpleNamespace:
    outputs = scores(random)
    outputs.logits.view(-1)[int(random.integers(outputs.logits.numel()))] = value
    return outputs


OUTPUTS = [
    right("two labels", scores),
    right("71 labels", lambda random: scores(random, 2, 3, 71, 8, 8)),
    right("one pixel", lambda random: scores(random, 2, 1, 2, 1, 1)),
    right("float16", lambda random: SimpleNamespace(logits=scores(random).logits.half())),
    right("zeros", lambda random: SimpleNamespace(logits=torch.zeros(2, 3, 2, 8, 8))),
    right("with gradient", lambda random: SimpleNamespace(logits=scores(random).logits.requires_grad_())),
    bad("NaN", lambda random: with_value(np.nan, random)),
    bad("infinity", lambda random: with_value(np.inf, random)),
    bad("negative", lambda random: with_value(-1.0, random)),
    bad("four dimensions", lambda random: scores(random, 3, 2, 8, 8)),
    bad("no frames", lambda random: scores(random, 2, 0, 2, 8, 8)),
    bad("no labels", lambda random: scores(random, 2, 3, 0, 8, 8)),
    bad("one label", lambda random: scores(random, 2, 3, 1, 8, 8)),
    bad("no pixels", lambda random: scores(random, 2, 3, 2, 0, 8)),
    bad("integers", lambda random: SimpleNamespace(logits=torch.ones(2, 3, 2, 8, 8, dtype=torch.int64))),
    bad("complex", lambda random: SimpleNamespace(logits=torch.ones(2, 3, 2, 8, 8, dtype=torch.complex64))),
    bad("an array", lambda random: SimpleNamespace(logits=np.zeros((2, 3, 2, 8, 8)))),
    *constants(BAD, None, {}, "masks", SimpleNamespace(logits=None), []),
]
TARGETS = [
    right("two pairs", lambda random: [(20, 24), (20, 24)]),
    right("array", lambda random: np.array([[20, 24], [5, 7]])),
    right("tensor", lambda random: torch.tensor([[20, 24], [5, 7]])),
    right("random pairs", lambda random: [tuple(random.integers(1, 90, 2)) for _ in range(2)]),
    *constants(RIGHT, None),
    *constants(BAD, [], [(20, 24)], [(20, 24)] * 3, [(0, 5)] * 2, [(-1, 5)] * 2, [(5,)] * 2, [(5, 5, 5)] * 2),
    *constants(BAD, [(2.5, 5)] * 2, [(float("nan"), 5)] * 2, [("a", 5)] * 2, [None] * 2, 20, "large", [(True, 5)] * 2),
    *constants(BAD, {(5, 5): 1, (6, 6): 2}, ["55", "66"], [{5, 6}] * 2, [(10**9, 10**9)] * 2),
]
THRESHOLDS = [
    *constants(RIGHT, 0.5, 0, 1, 0.25, np.float32(0.7)),
    *constants(BAD, -0.1, 1.1, True, *NO_NUMBERS),
]


def masks_are_wrong(made: dict[str, Any]):
    """What masks must be: of the sizes that were asked for, labels that there are, scores from 0 to 1."""

    def check(clips) -> str | None:
        labels = made["outputs"].logits.shape[2]
        for clip in clips:
            found, sure = clip["segmentation"], clip["scores"]
            if not ((found >= 0) & (found < labels)).all() or not ((sure >= 0) & (sure <= 1)).all():
                return "labels or scores out of their range"
            if labels == 2 and ((sure > made["threshold"]) != (found == 1)).any():
                return "scores over the threshold are not the sounding pixels"
        targets = made["target_sizes"]
        if targets is not None:
            sizes = [tuple(map(int, size)) for size in targets]
            if [tuple(clip["scores"].shape[-2:]) for clip in clips] != sizes:
                return "masks of other sizes than those asked for"
        return None

    return check


def mask_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """The post-processing."""
    arguments = {"outputs": OUTPUTS, "target_sizes": TARGETS, "threshold": THRESHOLDS}
    call = post_process_audio_visual_segmentation
    return combinations("post-processing", call, arguments, lambda name: (name,), masks_are_wrong, count, seed)


AREAS = {
    "feature extractor": extractor_trials,
    "video processor": video_trials,
    "processor": processor_trials,
    "post-processing": mask_trials,
}

__all__ = ["AREAS"]
