"""A user without auss loads a repository that was saved or pushed here, and gets the same masks to the last bit."""

import re
import shlex
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import auss
from auss.hub.flat_code import code_files
from auss.hub.model_card import CARD_FILE, TASK

ROOT = Path(auss.__file__).parent
CONFIGURATIONS = ("config.json", "processor_config.json")

LOAD = """
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor, AutoVideoProcessor, pipeline

try:
    import auss
except ModuleNotFoundError:
    pass
else:
    raise AssertionError(f"auss is installed: {auss.__file__}")

given = torch.load("given.pt", weights_only=False)
name, task, clip = given["name"], given["task"], given["clip"]
config = AutoConfig.from_pretrained(name, trust_remote_code=True)
model = AutoModel.from_pretrained(name, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
parts = [auto.from_pretrained(name, trust_remote_code=True) for auto in (AutoFeatureExtractor, AutoVideoProcessor)]
for loaded, expected in zip([config, model, processor, *parts], given["classes"], strict=True):
    assert type(loaded).__name__ == expected and type(loaded).__module__.startswith("transformers_modules."), loaded

sound = {"audio": clip["audio"], "sampling_rate": clip["sampling_rate"]}
inputs = processor(videos=clip["frames"], **sound, return_tensors="pt")
with torch.inference_mode():
    results = {"inputs": dict(inputs), "logits": model(**inputs).logits}
# A frame's segments are a list of a class of the repository, which the reader of the file does not have.
results["by task"] = list(map(list, pipeline(task, model=name, trust_remote_code=True, device=-1)(clip)))
segmenter = pipeline(model=name, trust_remote_code=True, device=-1)
results["by model"] = list(map(list, segmenter(clip)))
torch.save(results, "results.pt")
"""

SAVE_AGAIN = """
segmenter.save_pretrained("again")
model.save_pretrained("apart")
processor.save_pretrained("apart")
"""


def write_video(path):
    """Writes a video of half a second. Its pictures and its sound are noise."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("mpeg4", rate=10), container.add_stream("aac", rate=48_000, layout="mono")
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        for index in range(5):
            picture = av.VideoFrame.from_ndarray(random.integers(0, 255, (48, 64, 3), dtype=np.uint8), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 10)
            container.mux(video.encode(picture))
        sound = av.AudioFrame.from_ndarray(random.normal(0, 0.1, (1, 24_000)).astype(np.float32), "fltp", "mono")
        sound.sample_rate, sound.time_base, sound.pts = 48_000, Fraction(1, 48_000), 0
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))


@pytest.fixture
def segmenter(segmenter):
    """A pipeline that finds something in every frame of `clip`. Random weights alone may find nothing."""
    with torch.no_grad():
        segmenter.model.class_head.bias[1] += 1
    return segmenter


def prepare(folder, name, segmenter, clip):
    """Writes the file that the program `LOAD` reads."""
    processor = segmenter.processor
    objects = (segmenter.model.config, segmenter.model, processor, processor.feature_extractor)
    classes = [type(each).__name__ for each in (*objects, processor.video_processor)]
    torch.save({"name": name, "task": TASK, "clip": clip, "classes": classes}, folder / "given.pt")


def check_results(folder, segmenter, clip):
    """Checks that the results of the program `LOAD` equal the results here, to the last bit."""
    results = torch.load(folder / "results.pt", weights_only=False)
    inputs = segmenter.processor(
        videos=clip["frames"], audio=clip["audio"], sampling_rate=clip["sampling_rate"], return_tensors="pt"
    )
    assert all(torch.equal(results["inputs"][name], value) for name, value in inputs.items())
    with torch.inference_mode():
        logits = segmenter.model(**inputs).logits
    assert torch.equal(results["logits"], logits) and logits.std() > 0
    expected = segmenter(clip)
    assert len({frame[0]["score"] for frame in expected}) == 4  # the frames' masks differ
    for found in (results["by task"], results["by model"]):
        assert found == expected  # PIL images are equal if their pixels are equal


def python_blocks(file):
    return re.findall(r"```python\n(.*?)```", file.read_text(encoding="utf-8"), flags=re.DOTALL)


def check_printed(printed):
    """Checks that an example printed one line for each segment."""
    lines = printed.splitlines()
    assert len(lines) >= 3 and all(re.fullmatch(r"[\d.]+ sounding [\d.]+ \(64, 48\)", line) for line in lines), printed


def test_a_saved_folder(stranger, segmenter, clip, tmp_path):
    folder = tmp_path / "saved"
    segmenter.save_pretrained(folder)
    prepare(tmp_path, "saved", segmenter, clip)
    write_video(tmp_path / "street.mp4")
    (example,) = python_blocks(folder / CARD_FILE)
    check_printed(stranger.run(LOAD + SAVE_AGAIN + example, tmp_path, HF_HUB_OFFLINE="1"))
    check_results(tmp_path, segmenter, clip)
    for again in (tmp_path / "again", tmp_path / "apart"):
        assert {path.name for path in again.iterdir()} == {path.name for path in folder.iterdir()}
        for name in ("model.safetensors", *code_files()):
            assert (again / name).read_bytes() == (folder / name).read_bytes(), name
        for name in CONFIGURATIONS:
            assert '"auto_map"' in (again / name).read_text(encoding="utf-8")
        assert '"custom_pipelines"' in (again / "config.json").read_text(encoding="utf-8")


def test_a_pushed_repository(stranger, at_hub, segmenter, clip, tmp_path, monkeypatch):
    """The test runs the two examples of docs/hub.md: one pushes a model, the other loads it."""
    push, load = python_blocks(ROOT / "docs" / "hub.md")
    segmenter.save_pretrained(tmp_path / "runs" / "s4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", at_hub.token)
    exec(push, {})

    prepare(tmp_path, "your-name/your-model", segmenter, clip)
    write_video(tmp_path / "street.mp4")
    check_printed(stranger.run(LOAD + load, tmp_path, HF_ENDPOINT=at_hub.url, HF_HUB_DISABLE_XET="1"))
    check_results(tmp_path, segmenter, clip)
    loaded = {name for name in code_files() if any(line.endswith(f"/{name}") for line in at_hub.requests)}
    assert loaded == set(code_files())


@pytest.mark.slow
def test_what_the_card_says_to_install_is_enough(bare_stranger, segmenter, clip, tmp_path):
    """pip installs today's versions of the packages, so the masks may differ in the last bits."""
    segmenter.save_pretrained(tmp_path / "saved")
    card = (tmp_path / "saved" / CARD_FILE).read_text(encoding="utf-8")
    (command,) = re.findall(r"```bash\npip install (.*)\n```", card)
    pip = [str(bare_stranger.python), "-m", "pip", "install", "--quiet", *shlex.split(command)]
    subprocess.run(pip, check=True, capture_output=True)
    prepare(tmp_path, "saved", segmenter, clip)
    bare_stranger.run(LOAD, tmp_path, HF_HUB_OFFLINE="1")
    results = torch.load(tmp_path / "results.pt", weights_only=False)
    with torch.inference_mode():
        logits = segmenter.model(**results["inputs"]).logits
    torch.testing.assert_close(results["logits"], logits, rtol=0, atol=1e-5)
