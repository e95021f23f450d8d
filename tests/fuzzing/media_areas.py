"""Damaged videos and doubtful arguments for `auss segment`, and inputs of the pipeline."""

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from auss.inference.media.video_reader import MISSING_END_SECONDS
from auss.inference.pipeline import TASK, AudioVisualSegmentationPipeline

from .damage import damage, decoded_media
from .sources import Sources, video_frames
from .trial import BAD, EITHER, Command, Trial, Unnoticeable, call
from .values import NO_NUMBERS, Value, bad, combinations, constants, either, right

# FFmpeg's reader of mkv and webm tells of elements with a wrong length in its log alone, which a program cannot read
# safely from several threads.
DEMUXER = "matroska,webm: "


@cache
def content_of(path: Path) -> tuple:
    return decoded_media(path)


def compare_media(original: Path, damaged: Path, words: list[str] | None = None) -> str | None:
    """What a run that says nothing of a damaged file has overlooked. None if nothing is lost.

    Raises:
        Unnoticeable: pictures or sound have changed, and FFmpeg has no word about it.
    """
    pictures, sounds, said = decoded_media(damaged)
    before = content_of(original)
    if said and all(line.startswith(DEMUXER) for line in said):
        same = bool(pictures) and pictures == before[0][: len(pictures)]
        if same and pictures[-1][0] >= before[0][-1][0] - MISSING_END_SECONDS:
            raise Unnoticeable("less is missing at the end than headers are wrong by, and only FFmpeg's log tells")
    if said:
        return f"nothing said of what FFmpeg says: {said[0]}"
    if pictures != before[0] or sounds != before[1]:
        raise Unnoticeable("pictures or sound have changed, and neither their format nor FFmpeg tells")
    return None


def segment_wrong(sources: Sources, original: Path, damaged: Path, home: Path):
    """The check of `auss segment`: nothing is left of a failure, and a result is whole."""

    def check(done: Command) -> str | None:
        if not done.told(damaged.name):
            fault = compare_media(original, damaged)
            if fault is not None:
                return fault
        output = home / "out.mp4"
        if not output.is_file() or video_frames(output) == 0:
            return "no output"
        masks = list((home / "masks").iterdir())
        return None if masks and not any(path.name.startswith(".") for path in masks) else "no masks"

    return check


def damaged_videos(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """`auss segment` of a damaged file."""
    videos = [*sources.videos, *sources.videos[:3], sources.float_video]  # mp4, mkv and webm come most
    for number in range(count):
        random = np.random.default_rng([seed, number, 1])
        original = videos[number % len(videos)]
        kind, content = damage(original.read_bytes(), number // len(videos), random)
        home = sources.new_folder()
        video = home / f"broken{original.suffix}"
        video.write_bytes(content)
        command = ["segment", video, "-o", home / "out.mp4", "--masks", home / "masks", "--model", sources.model]
        yield Trial(
            "segment",
            f"{number}: {original.name}, {kind}",
            partial(call, *command),
            (video.name,),
            EITHER,
            segment_wrong(sources, original, video, home),
        )


SEGMENT_OPTIONS = {
    "fps": [
        *constants("right", "5", "every", "0.5", "1e3", "29.97"),
        *constants(BAD, "0", "-1", "nan", "inf", "five", "", "1/2", "None"),
        *constants(EITHER, "1e-9", "1e9", " 5 "),
    ],
    "batch_size": [*constants("right", "8", "1", "1000"), *constants(BAD, "0", "-1", "2.5", "nan", "x", "")],
    "window": [
        *constants("right", "4.8", "1", "0.96"),
        *constants(BAD, "0", "-1", "nan", "inf", "99", "x", ""),
        *constants(EITHER, "1e-9", "0.001"),
    ],
    "stride": [
        *constants("right", "0.9", "0.5"),
        *constants(BAD, "0", "-1", "nan", "inf", "99", "x"),
        *constants(EITHER, "0.01"),
    ],
    "threshold": [*constants("right", "0.5", "0", "1"), *constants(BAD, "-0.1", "1.1", "nan", "inf", "half", "")],
    "audio_track": [*constants("right", "1"), *constants(BAD, "0", "-1", "2", "1000000000000", "x", "1.5")],
    "device": [*constants("right", "cpu", "auto"), *constants(BAD, "warp", "cuda:99", "", "cpu:x", "-1")],
    "model": [
        right("the model", lambda random: None),
        *constants(BAD, "nowhere", "/", "", "/dev/null", "hf-internal-testing/tiny-random-bert"),
    ],
    "output": [
        right("out.mp4", lambda random: "out.mp4"),
        *constants("right", "out.mkv", "out.webm", "deep/er/out.mp4"),
        *constants(BAD, "out.avi", "out", "", ".", "/dev/null", "/proc/nowhere/out.mp4", "a" * 300 + ".mp4"),
    ],
}


def segment_options(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """`auss segment` of a good file with doubtful arguments."""
    video = sources.videos[0]

    def run(output, model, **options):
        home = sources.new_folder()
        words: list[Any] = ["segment", video, f"--model={sources.model if model is None else model}"]
        words += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        return call(*words, f"--output={home / output if output else ''}")

    def words(name: str) -> tuple[str, ...]:
        files = {"output": ("output", "out", "/dev/null", "/proc/nowhere", "aaa"), "model": ("model", "no folder")}
        return files.get(name, (name, name.replace("_", "-")))

    yield from combinations("segment", run, SEGMENT_OPTIONS, words, lambda made: lambda done: None, count, seed)


def noise(random: np.random.Generator, seconds: float = 1.0) -> np.ndarray:
    return random.uniform(-0.5, 0.5, round(16_000 * seconds)).astype(np.float32)


def clip(random: np.random.Generator, **changes: Any) -> dict[str, Any]:
    """A dict of frames and sound that the pipeline takes, but for the changes; `None` leaves a key out."""
    frames = random.integers(0, 256, (3, 20, 24, 3)).astype(np.uint8)
    made = {"frames": frames, "audio": noise(random), "sampling_rate": 16_000, **changes}
    return {key: value for key, value in made.items() if value is not None}


INPUTS: list[Value] = [
    right("frames and sound", clip),
    right("timestamps", lambda random: clip(random, timestamps=[0, 0.2, 0.9])),
    right("frames as a list", lambda random: clip(random, frames=list(clip(random)["frames"]))),
    right(
        "sound with its rate", lambda r: clip(r, audio={"array": noise(r), "sampling_rate": 8000}, sampling_rate=None)
    ),
    right("seven seconds", lambda random: clip(random, audio=noise(random, 7))),
    right("silence", lambda random: clip(random, audio=np.zeros(16_000, np.float32))),
    bad("no frames", lambda random: clip(random, frames=[])),
    bad("no sound", lambda random: clip(random, audio=[])),
    bad("no rate", lambda random: clip(random, sampling_rate=None)),
    bad("no key frames", lambda random: clip(random, frames=None)),
    bad("an unknown key", lambda random: clip(random, frmes=3)),
    bad("a rate of NaN", lambda random: clip(random, sampling_rate=float("nan"))),
    bad("a sample of NaN", lambda random: clip(random, audio=np.full(999, np.nan, np.float32))),
    bad("two sounds", lambda random: clip(random, audio=[noise(random), noise(random)])),
    bad("frames of NaN", lambda random: clip(random, frames=np.full((2, 8, 8, 3), np.nan, np.float32))),
    bad(
        "frames of unequal size",
        lambda r: clip(r, frames=[np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)]),
    ),
    bad("too few timestamps", lambda random: clip(random, timestamps=[0, 1])),
    bad("timestamps that run backwards", lambda random: clip(random, timestamps=[0, 2, 1])),
    bad("a timestamp of NaN", lambda random: clip(random, timestamps=[0, float("nan"), 1])),
    bad("a negative timestamp", lambda random: clip(random, timestamps=[-1, 0, 1])),
    bad("timestamps as words", lambda random: clip(random, timestamps=["a", "b", "c"])),
    bad("a number of timestamps", lambda random: clip(random, timestamps=3)),
    bad("frames as a path", lambda random: clip(random, frames="frames.png")),
    bad("frames of one dimension", lambda random: clip(random, frames=np.zeros(5))),
    either("a timestamp of 10^12", lambda random: clip(random, timestamps=[0, 1, 1e12])),
    either("one frame", lambda random: clip(random, frames=np.zeros((20, 24, 3), np.uint8))),
    *constants(BAD, {}, 5, None, "", "nowhere.mp4", b"bytes", object(), 1.5, "http://", "https://127.0.0.1:9/a.mp4"),
    *constants(EITHER, [], [[]]),
]
PARAMETERS = {
    "fps": [
        *constants("right", 5.0, None, 1),
        *constants(BAD, 0, -1, True, *(value for value in NO_NUMBERS if value is not None)),
    ],
    "batch_size": [*constants("right", 8, 1), *constants(BAD, 0, -1, 2.5, True, "x", float("nan"))],
    "window": [*constants("right", None, 1, 4.8), *constants(BAD, 0, -1, 99, True, "x", float("nan"), [1])],
    "stride": [*constants("right", None, 0.9), *constants(BAD, 0, -1, 99, "x", float("nan"))],
    "threshold": [*constants("right", 0.5, 0, 1), *constants(BAD, -1, 2, True, "x", float("nan"), None)],
    "audio_track": [*constants("right", None), *constants(BAD, 0, -1, 1.5, "x", True)],
    "return_queries": [*constants("right", False, True), *constants(BAD, 1, "yes", None)],
}


def pipeline_wrong(made: dict[str, Any]):
    def check(frames) -> str | None:
        segments = [segment for frame in frames for segment in frame]
        if frames == [] and made.get("inputs") == []:
            return None
        if not segments:
            return "no frames"
        if any(not 0 <= segment["score"] <= 1 for segment in segments):
            return "a score out of its range"
        return None

    return check


def pipeline_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """The pipeline: dicts and parameters first, then damaged files."""
    segmenter = AudioVisualSegmentationPipeline(
        model=sources.network, processor=sources.processor, task=TASK, device=-1
    )
    arguments = {"inputs": INPUTS, **PARAMETERS}
    words = {"inputs": ("inputs", "frames", "audio", "sampling_rate", "timestamps", "video", "batch_size")}
    dicts = count * 2 // 3
    yield from combinations(
        "pipeline", segmenter, arguments, lambda name: words.get(name, (name,)), pipeline_wrong, dicts, seed
    )
    for number in range(count - dicts):
        random = np.random.default_rng([seed, number, 2])
        original = sources.videos[number % 3]
        kind, content = damage(original.read_bytes(), number // 3, random)
        video = sources.new_folder() / f"broken{original.suffix}"
        video.write_bytes(content)

        def wrong(frames, original=original, video=video) -> str | None:
            return compare_media(original, video) or pipeline_wrong({})(frames)

        yield Trial(
            "pipeline",
            f"{number}: {original.name}, {kind}",
            partial(segmenter, str(video)),
            (video.name,),
            EITHER,
            wrong,
        )


def segment_trials(sources: Sources, count: int, seed: int) -> Iterator[Trial]:
    """Two damaged files to one doubtful argument."""
    yield from segment_options(sources, count // 3, seed)
    yield from damaged_videos(sources, count - count // 3, seed)


AREAS = {"segment": segment_trials, "pipeline": pipeline_trials}

__all__ = ["AREAS"]
