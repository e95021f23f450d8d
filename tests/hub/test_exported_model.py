"""Exported networks stand in for the model everywhere: called directly, in the pipeline and in the commands."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest
import torch
from transformers import pipeline

from auss import ExportedAuss, cli
from auss.files.model_files import weights_digest
from auss.hub.exported_model import MANIFEST, is_export
from auss.hub.trained_model import load_model, load_trained
from auss.inference.segment import segment_video

from ..exported_models import SIZE, random_inputs

FORMATS = ("onnx", pytest.param("torch-export", marks=pytest.mark.slow))  # each export takes seconds
TASK = "audio-visual-segmentation"


@pytest.fixture(scope="module")
def network(whole_export):
    """`network(file_format)` is the export, loaded once."""
    return lru_cache(lambda name: ExportedAuss.from_pretrained(whole_export(name), threads=1, trust_remote_code=True))


def assert_equal(model, exported, inputs) -> None:
    with torch.no_grad():
        expected = model(**inputs)
    got = exported(**inputs)
    assert set(expected) == set(got)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-4)


@pytest.mark.parametrize("file_format", FORMATS)
def test_it_is_called_like_the_model(exports, network, file_format):
    model, exported = exports.model, network(file_format)
    inputs = random_inputs(2, 3, 5, 1)
    assert_equal(model, exported, inputs)
    assert_equal(model, exported, inputs | {"frame_mask": torch.tensor([[1, 1, 0], [1, 0, 1]])})
    del inputs["input_features_mask"]
    assert_equal(model, exported, inputs)
    # Each of four frames with three sounds. The frames are encoded once.
    config, generator = model.config, torch.Generator().manual_seed(1)
    queries = torch.randn(4, 3, config.num_queries, config.hidden_size, generator=generator)
    pictures = torch.randn(4, 1, 3, *SIZE, generator=generator)
    assert_equal(model, exported, {"pixel_values": pictures, "frame_queries": queries})
    assert_equal(model, exported, {"pixel_values": pictures.double(), "frame_queries": queries[:, :1]})


def masks_of(video, model, processor, **options) -> np.ndarray:
    return np.stack([mask.scores for mask in segment_video(video, model, processor, **options)])


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("stride", [None, 1.5])
def test_a_video_gets_the_models_masks(exports, network, make_video, stride, file_format):
    """The video is longer than one window of sound. With a stride, frames have up to four windows."""
    video = make_video("clip.mkv", seconds=7.0)
    expected = masks_of(video, exports.model, exports.processor, stride=stride)
    assert len(expected) == 35 and 0.05 < (expected > 0.5).mean() < 0.95 and expected.std() > 0.1
    found = masks_of(video, network(file_format), exports.processor, stride=stride)
    assert (abs(found - expected) > 1e-4).mean() < 1e-3  # a mask logit may cross tau by rounding


def test_the_pipeline_takes_a_folder_or_the_network(exports, network, make_video):
    video = make_video("clip.mkv", seconds=1.0)
    folder = str(exports.folder / "onnx")
    segmenters = [
        pipeline(TASK, model=exports.model, processor=exports.processor, device=-1),
        pipeline(TASK, model=folder, model_kwargs={"threads": 1}),
        pipeline(TASK, model=network("onnx"), processor=exports.processor),
    ]
    assert type(segmenters[1].model).__name__ == "ExportedAuss" and segmenters[1].device.type == "cpu"
    results = [segmenter(video, return_queries=True) for segmenter in segmenters]
    for (expected,), *others in zip(*results, strict=True):
        for (found,) in others:
            assert found["score"] == pytest.approx(expected["score"], abs=1e-3)
            assert (np.asarray(found["mask"]) != np.asarray(expected["mask"])).mean() < 1e-3
            torch.testing.assert_close(found["fused_queries"], expected["fused_queries"], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="copy its folder to save it"):
        segmenters[1].model.save_pretrained("anywhere")


def test_the_commands_take_an_export(exports, make_video, tmp_path, capsys):
    video, output = make_video("clip.mp4", seconds=1.0), tmp_path / "out.mp4"
    folder = str(exports.folder / "onnx")
    threads = torch.get_num_threads()
    command = ["segment", str(video), "-o", str(output), "--masks", str(tmp_path / "masks"), "--threads", "1"]
    assert cli.main([*command, "--model", folder]) == 0
    assert len(list((tmp_path / "masks").iterdir())) == 5 and output.exists()
    (tmp_path / "videos").mkdir()
    video.rename(tmp_path / "videos" / "clip.mp4")
    command = ["segment-folder", str(tmp_path / "videos"), "-o", str(tmp_path / "results"), "--write", "masks"]
    assert cli.main([*command, "--model", folder]) == 0
    assert "1 made, 0 there already, 0 failed" in capsys.readouterr().out
    # The results belong to this export: those of the model are not taken for them.
    exports.model.save_pretrained(tmp_path / "model")
    exports.processor.save_pretrained(tmp_path / "model")
    assert cli.main([*command, "--model", str(tmp_path / "model")]) == 2
    assert "was made with other weights" in capsys.readouterr().err
    torch.set_num_threads(threads)


def test_a_pickle_is_only_read_with_consent(tmp_path, capsys):
    """None of the files is read before that: they are empty here."""
    for name in ("sound.pt2", "frames.pt2", "model.pt2", "config.json"):
        (tmp_path / name).touch()
    parts = {"version": 1, "format": "torch-export", "size": [32, 32]}
    (tmp_path / MANIFEST).write_text(json.dumps({"auss": parts}))
    with pytest.raises(ValueError, match="reading a pickle can run code.*trust_remote_code=True"):
        ExportedAuss.from_pretrained(tmp_path)
    command = ["evaluate", "--data", str(tmp_path), "--model", str(tmp_path)]
    assert cli.main(command) == 2
    assert "on the command line --trust-remote-code" in capsys.readouterr().err
    assert cli.main([*command, "--trust-remote-code"]) == 2
    assert "config.json cannot be loaded" in capsys.readouterr().err


def test_threads(exports, network):
    def threads_of(exported):
        return exported._frames.session.get_session_options().intra_op_num_threads

    assert threads_of(network("onnx")) == 1
    assert threads_of(ExportedAuss.from_pretrained(exports.folder / "onnx", threads=3)) == 3
    assert threads_of(ExportedAuss.from_pretrained(exports.folder / "onnx")) == torch.get_num_threads()


def test_what_it_cannot_do_is_said(exports, network):
    network, folder = network("onnx"), exports.folder / "onnx"
    assert is_export(folder) and not network.training and network.eval() is network and network.to("cpu") is network
    with pytest.raises(ValueError, match="is an exported network, which cannot be trained: train the model"):
        network.train()
    with pytest.raises(ValueError, match="is an exported network, which can only be run"):
        load_trained(folder)
    for target in ("meta", torch.float16):
        with pytest.raises(ValueError, match="runs on the cpu in float32"):
            network.to(target)
    with pytest.raises(ValueError, match="runs on the cpu"):
        load_model(folder, "cuda")
    inputs = random_inputs(1, 2, 5, 0)
    with pytest.raises(ValueError, match="labels cannot be given"):
        network(**inputs, labels=torch.zeros(1, 2, *SIZE, dtype=torch.long))
    with pytest.raises(ValueError, match=r"pixel_values must be \(B, F, 3, 38, 51\), the size that .* got .*32, 32\)"):
        network(**random_inputs(1, 2, 5, 0, size=(32, 32)))
    with pytest.raises(ValueError, match="at most num_audio_examples=5"):
        network(**random_inputs(1, 2, 6, 0))


def test_a_missing_runtime_is_named(exports, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    with pytest.raises(ImportError, match="which need onnxruntime to run: pip install onnxruntime"):
        ExportedAuss.from_pretrained(exports.folder / "onnx")


@pytest.mark.parametrize("file_format", FORMATS)
def test_damaged_and_earlier_exports_are_refused_by_file(whole_export, tmp_path, file_format):
    folder = shutil.copytree(whole_export(file_format), tmp_path / "exported")
    suffix = ".pt2" if file_format == "torch-export" else ".onnx"

    def refusal(kind=ValueError) -> str:
        with pytest.raises(kind) as caught:
            ExportedAuss.from_pretrained(folder, trust_remote_code=True)
        return str(caught.value)

    digest = weights_digest(folder)
    whole = (folder / f"frames{suffix}").read_bytes()
    (folder / f"frames{suffix}").write_bytes(whole[: len(whole) // 2])
    assert weights_digest(folder) != digest
    assert re.search(rf"the graph .*frames\{suffix} cannot be loaded", refusal())
    (folder / f"frames{suffix}").unlink()
    assert f"is no whole export: it has no frames{suffix}" in refusal(FileNotFoundError)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"auss": {"version": 99}}))
    assert "got {'version': 99}: export the model again, or use a newer auss" in refusal()
    del manifest["auss"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "was written by an earlier auss export" in refusal()
    (folder / MANIFEST).unlink()
    assert "is no folder that auss export wrote" in refusal(FileNotFoundError)


STREAMING = """
import resource, sys
from auss import AussProcessor, ExportedAuss
from auss.inference.segment import segment_video

folder, *videos = sys.argv[1:]
model = ExportedAuss.from_pretrained(folder, threads=1, trust_remote_code=True)
processor = AussProcessor.from_pretrained(folder)
for video in videos:
    frames = sum(1 for _ in segment_video(video, model, processor, stride=2.5))
    print(frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("file_format", FORMATS)
def test_twenty_minutes_need_no_more_memory_than_one(whole_export, make_video, file_format):
    videos = [make_video("minute.mkv", seconds=60.0), make_video("twenty.mkv", seconds=1200.0)]
    command = [sys.executable, "-c", STREAMING, str(whole_export(file_format)), *map(str, videos)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (frames, minute), (more, twenty) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (frames, more) == (300, 6000) and twenty < minute + 20_000  # in KB
