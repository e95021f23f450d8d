"""Makes tiny data sets in AVSBench's layout: pictures of 24 x 16 pixels, and one or five seconds of sound."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from ..fixtures import make_tiny_config, make_tiny_model

HEIGHT, WIDTH = 16, 24
RATE = 16_000


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    """Keeps the tables of the tests out of the user's cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.fixture(autouse=True, scope="session")
def short_shutdown():
    """`datasets` sleeps 5 s after each pass over interleaved shards, for a process that ends at once. Tests go on."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1)
        yield


@pytest.fixture(autouse=True, scope="session")
def evaluate_cache(tmp_path_factory):
    """Keeps the files of `evaluate` out of the user's cache. The folder lasts for the whole session, because Python
    finds the copies of metric scripts only in the first folder."""
    import evaluate

    cache = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(cache / "modules"))
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", str(cache / "metrics"))
        patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
        yield cache


@pytest.fixture
def drawn_curves():
    """Lets a training draw its curves, see `undrawn_curves`."""


@pytest.fixture(autouse=True)
def undrawn_curves(request, monkeypatch):
    """Drawing the curves takes as long as training the tiny network. So they stay empty, except where a test asks for
    `drawn_curves`."""
    from auss.train.loop import train

    if "drawn_curves" not in request.fixturenames:
        monkeypatch.setattr(train, "training_curves", lambda history, path: path.touch())


def save_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_sound(path: Path, seconds: float = 5.0, rate: int = RATE, frequency: float = 440.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * frequency * time), rate, "PCM_16")


def frame_pixels(clip: int, frame: int) -> np.ndarray:
    return np.random.default_rng([clip, frame]).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def mask_pixels(frame: int) -> np.ndarray:
    """Draws a square that moves with the frame."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[4:10, frame : frame + 6] = 255
    return mask


def make_s4(root: Path, splits=("train", "val", "test"), clips: int = 2) -> Path:
    lines = ["name,start,category,split"]
    data = root / "Single-source" / "s4_data"
    for split in splits:
        for clip in range(clips):
            name, category = f"{split}_{clip}", ("dog", "bell")[clip % 2]
            for k in range(1, 6):
                home = Path(split, category, name, f"{name}_{k}.png")
                save_picture(data / "visual_frames" / home, frame_pixels(clip, k - 1))
                if split != "train" or k == 1:
                    save_picture(data / "gt_masks" / home, mask_pixels(k - 1))
            save_sound(data / "audio_wav" / split / category / f"{name}.wav", frequency=440 * (clip + 1))
            # This pickle in place of the authors' log-mel runs code when it is opened. It must stay closed.
            pickled = data / "audio_log_mel" / split / category / f"{name}.pkl"
            pickled.parent.mkdir(parents=True, exist_ok=True)
            pickled.write_bytes(b"not to be opened")
            lines.append(f"{name},0,{category},{split}")
    (root / "Single-source" / "s4_meta_data.csv").write_text("\n".join(lines) + "\n")
    return root


def make_ms3(root: Path, splits=("train",), clips: int = 2) -> Path:
    lines = ["name,start,split"]
    data = root / "Multi-sources" / "ms3_data"
    for split in splits:
        for clip in range(clips):
            name = f"{split}_{clip}"
            for k in range(1, 6):
                save_picture(data / "visual_frames" / name / f"{name}.mp4_{k}.png", frame_pixels(clip, k - 1))
                save_picture(data / "gt_masks" / split / name / f"{name}_{k}.png", mask_pixels(k - 1))
            save_sound(data / "audio_wav" / split / f"{name}.wav")
            lines.append(f"{name},0,{split}")
    (root / "Multi-sources" / "ms3_meta_data.csv").write_text("\n".join(lines) + "\n")
    return root


def make_avss(root: Path, splits=("train",)) -> Path:
    """Makes one clip of each of the three kinds. Class 1 (128, 0, 0) fills the square, class 70 the lowest row."""
    lines = ["vid,uid,s_min,s_sec,a_obj,split,label"]
    for split in splits:
        for label, count in (("v1s", 5), ("v1m", 5), ("v2", 10)):
            uid = f"{label}_{split}"
            for k in range(count):
                save_picture(root / label / uid / "frames" / f"{k}.jpg", frame_pixels(0, k))
                if k == 0 or (label, split) != ("v1s", "train"):
                    colours = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
                    colours[mask_pixels(k) > 0] = (128, 0, 0)
                    colours[-1] = (32, 128, 128)
                    save_picture(root / label / uid / "labels_rgb" / f"{k}.png", colours)
            save_sound(root / label / uid / "audio.wav")
            lines.append(f"x,{uid},0,1,guitar,{split},{label}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    names = {"background": 0, **{f"class {index}": index for index in range(1, 71)}}
    (root / "label2idx.json").write_text(json.dumps(names))
    return root


@pytest.fixture(scope="session")
def s4_original(tmp_path_factory):
    return make_s4(tmp_path_factory.mktemp("s4") / "avsbench")


@pytest.fixture
def s4_root(s4_original, tmp_path):
    return shutil.copytree(s4_original, tmp_path / "avsbench", dirs_exist_ok=True)


@pytest.fixture
def ms3_root(tmp_path):
    return make_ms3(tmp_path / "avsbench")


@pytest.fixture
def avss_root(tmp_path):
    return make_avss(tmp_path / "avsbench")


@pytest.fixture
def odd_root(tmp_path):
    """Makes a data set of any of the three names, with an odd number of clips in each split."""

    def make(name: str) -> Path:
        root, splits = tmp_path / name, ("train", "val")
        if name == "avss":
            return make_avss(root, splits)
        return {"s4": make_s4, "ms3": make_ms3}[name](root, splits, clips=3)

    return make


@pytest.fixture
def in_two_processes():
    """Runs `python -m auss ...` as two processes of a distributed run, and returns its output."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "auss", *arguments]
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def tiny_preset(make_config, tmp_path):
    """Returns the path of a JSON file with the configuration of the tiny network, for `--preset`."""
    path = tmp_path / "tiny.json"
    make_config().to_json_file(path, use_diff=False)
    return str(path)


@pytest.fixture(scope="session")
def saved_training(tmp_path_factory) -> Path:
    """The folder that `trained_folder` copies."""
    from auss.train.loop.preparation import create_processor

    folder, model = tmp_path_factory.mktemp("saved") / "trained", make_tiny_model(make_tiny_config())
    model.save_pretrained(folder)
    create_processor(model.config, 32).save_pretrained(folder)
    return folder


@pytest.fixture
def trained_folder(saved_training, tmp_path):
    """Makes a folder as `auss train` writes it: the tiny network, untrained, with its processor for 32 x 32 pixels."""
    import torch

    torch.manual_seed(0)  # what a test draws does not depend on the tests before it
    return shutil.copytree(saved_training, tmp_path / "trained")


@pytest.fixture(params=["bfloat16", "float16"])
def half_folder(trained_folder, tiny_model, request):
    """Returns the trained folder with its weights in half precision."""
    import torch

    tiny_model.to(getattr(torch, request.param)).save_pretrained(trained_folder)
    return trained_folder


@pytest.fixture
def own_accelerator_state():
    """Lets a test choose a mixed precision. Accelerate keeps it for the whole process, so the state is reset."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
