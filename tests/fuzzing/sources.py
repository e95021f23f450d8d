"""Good files that the fuzzing test damages: videos, a data set, cut-outs, a model, and a run with a checkpoint."""

import shutil
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
from PIL import Image

from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor

from ..fixtures import make_tiny_config
from ..small_videos import write_video
from ..train.conftest import make_s4
from .trial import call

# Name -> codecs of picture and sound, and whether the sound has channels.
VIDEOS = {
    "a.mp4": ("libx264", "aac"),
    "b.mkv": ("libx264", "pcm_s16le"),
    "c.webm": ("libvpx", "libopus"),
    "d.avi": ("mpeg4", "libmp3lame"),
    "e.ts": ("libx264", "aac"),
    "f.mkv": ("ffv1", "flac"),
}
SECONDS = 1.0


class Sources:
    """Makes each kind of good file when it is asked for, once."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._count = 0

    def new_folder(self) -> Path:
        """An empty folder; the one of the trial before is removed."""
        shutil.rmtree(self.folder / f"trial-{self._count}", ignore_errors=True)
        self._count += 1
        made = self.folder / f"trial-{self._count}"
        made.mkdir()
        return made

    @cached_property
    def videos(self) -> list[Path]:
        home = self.folder / "videos"
        home.mkdir()
        return [write_video(home / name, seconds=SECONDS, codecs=codecs) for name, codecs in VIDEOS.items()]

    @cached_property
    def short_video(self) -> Path:
        return write_video(self.folder / "short.mp4", seconds=0.3)

    @cached_property
    def float_video(self) -> Path:
        """Its sound is of floats, so that a flipped bit may be a NaN."""
        home = self.folder / "float"
        home.mkdir()
        return write_video(home / "g.mkv", seconds=SECONDS, codecs=("libx264", "pcm_f32le"))

    @cached_property
    def network(self) -> AussForAudioVisualSegmentation:
        torch.manual_seed(0)
        return AussForAudioVisualSegmentation(make_tiny_config()).eval()

    @cached_property
    def processor(self) -> AussProcessor:
        return AussProcessor(AussFeatureExtractor(), AussVideoProcessor(size={"height": 32, "width": 32}))

    @cached_property
    def model(self) -> Path:
        home = self.folder / "model"
        self.network.save_pretrained(home)
        self.processor.save_pretrained(home)
        return home

    @cached_property
    def preset(self) -> Path:
        path = self.folder / "tiny.json"
        make_tiny_config().to_json_file(path, use_diff=False)
        return path

    @cached_property
    def data(self) -> Path:
        """Two clips in each split of S4."""
        return make_s4(self.folder / "data")

    @cached_property
    def objects(self) -> Path:
        """Cut-outs and sounds of three categories."""
        home, random = self.folder / "objects", np.random.default_rng(5)
        for name in ("bell", "dog", "drum"):
            (home / name).mkdir(parents=True)
            pixels = random.integers(0, 256, (40, 40, 4), dtype=np.uint8)
            pixels[..., 3] = np.hypot(*(np.mgrid[:40, :40] - 20)) < 15
            pixels[..., 3] *= 255
            Image.fromarray(pixels).save(home / name / "cut-out.png")
            soundfile.write(home / name / "sound.wav", random.uniform(-0.5, 0.5, 16_000), 16_000, "PCM_16")
        return home

    @cached_property
    def run(self) -> Path:
        """A run of two steps that stopped after the first one."""
        done = call(*self.train_command(self.folder / "run", steps=1))
        if done.status != 0:
            raise RuntimeError(f"the run that is to be resumed failed: {done.errors}")
        return self.folder / "run"

    def train_command(self, output: Path, steps: int = 1, data: Path | None = None) -> list[object]:
        """`auss train` of the tiny network."""
        sizes = ["--image-size", 32, "--batch-size", 2, "--eval-every", 0]
        return [
            "train",
            "--data",
            data or self.data,
            "--preset",
            self.preset,
            "--steps",
            steps,
            "--output",
            output,
            *sizes,
        ]


def copy_of(source: Path, target: Path) -> Path:
    """A copy of a folder whose files are links to the originals, to be replaced where they are to be damaged."""
    shutil.copytree(source, target, copy_function=lambda here, there: Path(there).hardlink_to(here))
    return target


def rewrite(path: Path, content: bytes) -> None:
    """Replaces a file of such a copy; the original stays."""
    path.unlink()
    path.write_bytes(content)


def video_frames(path: Path) -> int:
    """How many frames a video has."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


__all__ = ["SECONDS", "Sources", "copy_of", "rewrite", "video_frames"]
