"""Composes a video with sound in which objects take turns to sound, as an input for segmentation with known truth."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from ...files.errors import InputError
from ...files.whole_files import WholeFile
from .composed_clips import coloured_noise, fade
from .object_library import ObjectLibrary
from .scenes import BACKGROUND_SCALE, LONGEST, Scene, arrange
from .synthesised_sounds import LOUDNESS, SAMPLING_RATE

TURN = 5.0  # the seconds that an object sounds; the network listens in windows of this length
AREAS = (0.06, 0.15)  # the smallest and the largest object, as shares of the frame
NOISE_DECIBELS = 34.0  # the level of the noise below the sounds
LOOK_EVERY = 0.4  # the seconds between the moments at which the visibility of every object is checked
VIDEO_CODECS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}


@dataclass
class ComposedVideo:
    """The content of a composed video.

    path: the file. size: (height, width) in pixels. seconds, fps: the requested length and frame rate. categories: the
        categories of the objects, from the lowest to the highest layer. turns: (start, stop, index of the object that
        sounds), in seconds, in order.
    """

    path: Path
    size: tuple[int, int]
    seconds: float
    fps: int
    categories: list[str]
    turns: list[tuple[float, float, int]]
    scene: Scene = field(repr=False)

    def sounding(self, time: float) -> int:
        """Returns the index of the object that sounds at a time in seconds. Raises ValueError outside the video."""
        for start, stop, index in self.turns:
            if start <= time < stop:
                return index
        raise InputError(f"time must be at least 0 and less than {self.seconds} s, got {time}")

    def mask(self, time: float) -> np.ndarray:
        """Returns the visible part of the object that sounds at a time in seconds: (height, width) bool."""
        visible, _ = self.scene.shapes(time / self.seconds)
        return visible[self.sounding(time)]


def take_turns(seconds: float, count: int) -> list[tuple[float, float, int]]:
    turns = range(math.ceil(seconds / TURN))
    return [(turn * TURN, min(seconds, (turn + 1) * TURN), turn % count) for turn in turns]


def plan_video(
    seed: int, seconds: float, fps: int, size: tuple[int, int], count: int, library: ObjectLibrary, path: Path
):
    """Choose objects, background and paths. Returns a ComposedVideo, and nothing is written yet."""
    rng = np.random.default_rng([seed, 2])
    height, width = size
    first = [library.sounding[index] for index in rng.permutation(len(library.sounding))[:count]]
    side = round(LONGEST * math.sqrt(height * width) * 1.1)
    pictures = [library.picture(name, rng, side)[1] for name in first]
    large = math.ceil(BACKGROUND_SCALE * height), math.ceil(BACKGROUND_SCALE * width)
    _, background = library.background(rng, *large)
    times = np.linspace(0, 1, 1 + math.ceil(seconds / LOOK_EVERY)).tolist()
    laps = max(1.0, seconds / TURN)
    scene = arrange(rng, pictures, AREAS, height, width, times, laps=laps, background=background)
    return ComposedVideo(path, size, seconds, fps, first, take_turns(seconds, len(first)), scene)


def sound_of_turns(video: ComposedVideo, seed: int, library: ObjectLibrary) -> Iterator[np.ndarray]:
    """Yields the waveform (samples,) float32 of each turn. An object keeps its voice in all of its turns."""
    noise = np.random.default_rng([seed, 3])
    for start, stop, index in video.turns:
        voice = np.random.default_rng([seed, 4, index])
        wave = library.sound(video.categories[index], voice, stop - start)[1]
        floor = coloured_noise(noise, len(wave)) * np.float32(LOUDNESS * 10 ** (-NOISE_DECIBELS / 20))
        yield np.clip(wave * fade(len(wave)) + floor, -1, 1)


def open_streams(container, fps: int, size: tuple[int, int]):
    """Opens the video stream, with x264 if PyAV has it and MPEG-4 otherwise, and the AAC stream."""
    codec = next((name for name in VIDEO_CODECS if name in av.codecs_available), None)
    if codec is None:
        raise RuntimeError(f"this build of PyAV {av.__version__} encodes none of {', '.join(VIDEO_CODECS)}")
    pictures = container.add_stream(codec, rate=fps, options=VIDEO_CODECS[codec])
    pictures.height, pictures.width = size
    pictures.pix_fmt = "yuv420p"
    sound = container.add_stream("aac", rate=SAMPLING_RATE, layout="mono")
    return pictures, sound


def encode(container, video: ComposedVideo, waves: Iterator[np.ndarray]) -> None:
    """Draw and encode turn by turn, the sound of a turn before its frames. Memory never holds more than one turn."""
    pictures, sound = open_streams(container, video.fps, video.size)
    count, sample, number = round(video.seconds * video.fps), 0, 0
    with tqdm(total=count, desc="compose video", unit="frame") as bar:
        for (_, stop, _), wave in zip(video.turns, waves, strict=True):
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None]), format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = SAMPLING_RATE, sample, Fraction(1, SAMPLING_RATE)
            container.mux(sound.encode(block))
            sample += len(wave)
            while number < min(count, round(stop * video.fps)):
                frame = video.scene.frame((number + 0.5) / count)
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                number += 1
                bar.update()
        container.mux(sound.encode(None))
        container.mux(pictures.encode(None))


def compose_video(
    path: str | Path,
    seed: int = 0,
    seconds: float = 12.0,
    fps: int = 25,
    size: tuple[int, int] = (360, 640),
    *,
    count: int = 3,
    library: ObjectLibrary | None = None,
    overwrite: bool = False,
) -> ComposedVideo:
    """Compose a video with sound and return its content. Memory use does not depend on its length.

    `count` objects move over a background and are visible all the time. One of them sounds, and every five seconds the
    next object takes its turn.

    Args:
        path: the file to write. Its suffix must name a container for H.264 and AAC (.mp4, .mkv).
        seed: 0 or more. The seed decides all random choices.
        seconds: more than 0.
        fps: frames per second, 1 or more.
        size: height and width in pixels, even numbers of 64 or more.
        count: the number of objects, at least 2 and at most the number of sounding categories of the library.
        library: the source of the objects. None selects the composer's own objects.
        overwrite: True replaces an existing file.

    Raises ValueError for an argument outside these ranges or an existing `path`.
    """
    path, library = Path(path), library or ObjectLibrary()
    if path.exists() and not overwrite:
        raise InputError(f"path must not exist yet, and {path} does; nothing was written")
    if seed < 0 or seconds <= 0 or fps < 1:
        raise InputError(f"seed, seconds, fps must be >= 0, > 0 and >= 1, got {seed}, {seconds}, {fps}")
    if min(size) < 64 or size[0] % 2 or size[1] % 2:
        raise InputError(f"size must be an even height and width of 64 or more, got {tuple(size)}")
    if not 2 <= count <= len(library.sounding):
        raise InputError(f"count must be 2 to {len(library.sounding)} (sounding categories), got {count}")
    video = plan_video(seed, seconds, fps, (int(size[0]), int(size[1])), count, library, path)
    with WholeFile(path, overwrite) as file:
        # The scheme "file:" keeps FFmpeg from reading a file name as a URL.
        with av.open(f"file:{file.partial_path}", "w") as container:
            encode(container, video, sound_of_turns(video, seed, library))
    return video


__all__ = ["TURN", "ComposedVideo", "compose_video"]
