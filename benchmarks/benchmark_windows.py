"""Measures M_J second by second on composed videos whose sounds change at random times.

    python benchmarks/benchmark_windows.py --model auss-demo/model [--videos 40] [--strides 5 2.5 1] [--objects DIR]

A video lasts 6 to 20 s. Three objects are visible all the time. One of them sounds for 1 to 8 s, then another one. The
masks of the frames, 5 a second, are compared with the object that sounds at that time. The result is a Markdown table.
Its rows are the positions of a frame relative to the changes of the sound, and its columns are the strides.
"""

import argparse
import time
from pathlib import Path

import numpy as np

FPS = 5
SIZE = (144, 256)  # height and width in pixels; the demo's network resizes them to 112 x 112
TURN_SECONDS = (1.0, 8.0)
NUM_OBJECTS = 3
CLEAR = 2.5  # seconds to the nearest change or end; a window of 5 s around such a frame has only one sound


def random_turns(rng: np.random.Generator, seconds: float, whole: bool) -> list[tuple[float, float, int]]:
    """
    Draws which object sounds from when to when, in the format of `ComposedVideo.turns`.

    The changes are at whole seconds if `whole`, otherwise at any time.
    """
    edges = [0.0]
    while True:
        step = rng.uniform(*TURN_SECONDS)
        edge = edges[-1] + (round(step) if whole else step)
        if edge > seconds - TURN_SECONDS[0]:
            break
        edges.append(float(edge))
    edges.append(seconds)
    sounding = [int(rng.integers(NUM_OBJECTS))]
    while len(sounding) < len(edges) - 1:
        sounding.append((sounding[-1] + int(rng.integers(1, NUM_OBJECTS))) % NUM_OBJECTS)
    return list(zip(edges[:-1], edges[1:], sounding, strict=True))


def compose(seed: int, library, changing: bool = True):
    """
    Composes a video.

    In every other video the sounds change at whole seconds.

    Returns:
        The video's plan, which contains the true masks, and its `ArrayClip`.
    """
    from auss.inference.array_clip import ArrayClip
    from auss.train.composer.composed_video import plan_video, sound_of_turns
    from auss.train.composer.synthesised_sounds import SAMPLING_RATE

    rng = np.random.default_rng([seed, 77])
    whole = seed % 2 == 0
    seconds = float(rng.integers(6, 21)) if whole else float(rng.uniform(6, 20))
    video = plan_video(seed, seconds, FPS, SIZE, NUM_OBJECTS, library, Path())
    video.turns = random_turns(rng, seconds, whole) if changing else [(0.0, seconds, 0)]
    waveform = np.concatenate(list(sound_of_turns(video, seed, library)))
    times = np.arange(0, seconds, 1 / FPS)
    frames = np.stack([video.scene.frame(time / seconds) for time in times])
    return video, ArrayClip(frames, waveform, SAMPLING_RATE, times)


def frame_scores(model, processor, video, clip, window: float, stride: float) -> np.ndarray:
    """Returns the intersection over union of each frame's mask with the object that sounds then, (F,)."""
    from auss.inference.clip_batches import clip_batches, frame_masks, predict

    scores = []
    for batch in clip_batches(clip, processor, window, stride):
        for mask in frame_masks(processor, batch, predict(model, batch)["logits"]):
            found, right = mask.segmentation > 0, video.mask(mask.time)
            scores.append((found & right).sum() / max(1, (found | right).sum()))
    return np.array(scores)


def places(times: np.ndarray, turns: list[tuple[float, float, int]]) -> dict[str, np.ndarray]:
    """Returns row of the table -> (F,) bool, True for the frames that belong to the row."""
    edges = np.array([0.0, *(stop for _, stop, _ in turns)])
    turn = np.searchsorted(edges, times, side="right") - 1
    since, until = times - edges[turn], edges[turn + 1] - times
    left = edges[-1] - times
    return {
        f"middle: {CLEAR:g} s or more from any change and end": (since >= CLEAR) & (until > CLEAR),
        "all": np.ones(len(times), bool),
        "1st second of the video": times < 1,
        "2nd second of the video": (times >= 1) & (times < 2),
        "last second but one": (left > 1) & (left <= 2),
        "last second": left <= 1,
        "2nd second before a change": (until > 1) & (until <= 2) & (turn < len(turns) - 1),
        "1st second before a change": (until <= 1) & (turn < len(turns) - 1),
        "1st second after a change": (since < 1) & (turn > 0),
        "2nd second after a change": (since >= 1) & (since < 2) & (turn > 0),
        "3rd second after a change": (since >= 2) & (since < 3) & (turn > 0),
        "sounds of less than 2 s": (since + until) < 2,
        "sounds of 2 to 4 s": ((since + until) >= 2) & ((since + until) < 4),
        "1st second of a window (on the grid of 5 s)": times % 5 < 1,
        "3rd second of a window": (times % 5 >= 2) & (times % 5 < 3),
        "5th second of a window": times % 5 >= 4,
    }


def summarise(scores: list[np.ndarray], masks: list[np.ndarray]) -> tuple[float, float, int]:
    """Returns the mean over all frames of a row, its standard error over the videos, and the number of frames."""
    chosen = [score[mask] for score, mask in zip(scores, masks, strict=True) if mask.any()]
    if not chosen:
        return float("nan"), float("nan"), 0
    values = np.concatenate(chosen)
    # The frames of one video are not independent. So the standard error treats each video as one sample.
    errors = np.array([part.sum() - values.mean() * len(part) for part in chosen])
    return float(values.mean()), float(np.sqrt((errors**2).sum()) / len(values)), len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="the first video's seed")
    parser.add_argument("--strides", type=float, nargs="+", default=[5.0, 2.5, 1.0])
    parser.add_argument("--objects", type=Path, help="a folder of cut-outs and sounds, as `auss compose` takes it")
    parser.add_argument("--unchanging", action="store_true", help="one object sounds from beginning to end")
    arguments = parser.parse_args()

    from auss.inference.segment import load_model
    from auss.train.composer.object_library import ObjectLibrary

    model, processor = load_model(arguments.model, "cpu")
    library = ObjectLibrary(arguments.objects)
    scores: dict[float, list[np.ndarray]] = {stride: [] for stride in arguments.strides}
    seconds = dict.fromkeys(arguments.strides, 0.0)
    where = []
    for seed in range(arguments.first, arguments.first + arguments.videos):
        video, clip = compose(seed, library, not arguments.unchanging)
        where.append(places(np.array([frame.time for frame in clip.frames()]), video.turns))
        for stride in arguments.strides:
            began = time.process_time()
            scores[stride].append(frame_scores(model, processor, video, clip, 5.0, stride))
            seconds[stride] += time.process_time() - began
    print("| place | frames | " + " | ".join(f"stride {stride:g}" for stride in arguments.strides) + " |")
    print("| --- | ---: | " + " | ".join("---:" for _ in arguments.strides) + " |")
    for place in where[0]:
        results = [summarise(scores[stride], [one[place] for one in where]) for stride in arguments.strides]
        cells = [f"{mean:.3f} ± {error:.3f}" for mean, error, _ in results]
        print(f"| {place} | {results[0][2]} | {' | '.join(cells)} |")
    print(f"| CPU seconds | | {' | '.join(f'{seconds[stride]:.0f}' for stride in arguments.strides)} |")


if __name__ == "__main__":
    main()
