"""Exported networks are compared with the model, from the command to the masks of ONNX Runtime."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import SwinConfig, TimmBackboneConfig

import auss
from auss import cli
from auss.inference import export
from auss.inference.export import export_model, export_network, load_exported, reserve_space
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor

from ..exported_models import SIZE, lively, random_inputs

pytest.importorskip("transformers.exporters.metadata", reason="export needs transformers>=5.23, Python 3.11")

DOCUMENT = Path(auss.__file__).parent / "docs" / "export.md"
# Numbers of clips, frames, examples of sound, and examples that are padding.
SHAPES = [(1, 1, 5, 0), (1, 7, 5, 2), (3, 2, 5, 0), (2, 3, 2, 1), (1, 4, 1, 0), (1, 2, 5, 5)]


def assert_equal_to(model, exported, inputs) -> None:
    with torch.no_grad():
        expected = model(**inputs)
    got = exported(**inputs)
    assert set(expected) == set(got) == {"logits", "class_queries_logits", "audio_queries", "fused_queries"}
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def model(exports):
    return exports.model


@pytest.fixture(scope="module")
def processor(exports):
    return exports.processor


@pytest.fixture(scope="module")
def folders(exports):
    """An export in float32 of each format, for any number of clips, frames and examples."""
    return exports.folder


@pytest.fixture(scope="module")
def graphs(folders):
    """The exports in the folders. They are loaded once, since loading takes seconds."""
    return {folder.name: load_exported(folder, trust_remote_code=True) for folder in folders.iterdir()}


def test_the_model_is_a_fair_trial(model):
    """Equal outputs prove little unless the outputs of the model vary."""
    with torch.no_grad():
        outputs = model(**random_inputs(1, 3, 5, 0))
        other = model(**random_inputs(1, 3, 5, 2))
    classes = outputs.class_queries_logits.argmax(-1)
    assert set(classes.unique().tolist()) == {0, 1, 2}
    assert 0.05 < outputs.logits.argmax(2).float().mean() < 0.95 and outputs.logits.std() > 0.1
    assert (outputs.logits[:, 0] - outputs.logits[:, 1]).abs().max() > 0.1
    assert (outputs.logits - other.logits).abs().max() > 0.01


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("file_format", ["onnx", "torch-export"])
def test_the_graph_equals_the_model(model, graphs, file_format, shape):
    assert_equal_to(model, graphs[file_format][0], random_inputs(*shape))


@pytest.mark.parametrize("file_format", ["onnx", "torch-export"])
def test_silence_equals_the_models(model, graphs, file_format):
    exported, processor = graphs[file_format]
    frames = np.random.default_rng(0).integers(0, 255, (2, 60, 80, 3), dtype=np.uint8)
    inputs = processor(videos=frames, audio=np.zeros(32_000), sampling_rate=16_000, return_tensors="pt")
    assert inputs["pixel_values"].shape[-2:] == SIZE
    assert_equal_to(model, exported, inputs)


@pytest.mark.slow
def test_int8_has_small_weights_and_nearly_the_same_scores(model, processor, tmp_path):
    export_model(model, processor, tmp_path / "out", "int8")
    operators = {node.op_type for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node}
    assert "MatMulInteger" in operators and "Conv" in operators and "ConvInteger" not in operators
    exported, _ = load_exported(tmp_path / "out")
    inputs = random_inputs(1, 3, 5, 0)
    with torch.no_grad():
        expected = model(**inputs).logits
    difference = (exported(**inputs).logits - expected).abs()
    assert 0 < difference.mean() < 0.05


def test_a_torch_graph_runs_with_torch_alone(model, folders):
    inputs = random_inputs(1, 2, 5, 0)
    graph = torch.export.load(folders / "torch-export" / "model.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(graph(**inputs).logits, model(**inputs).logits)


def test_the_documents_examples_run(model, folders, tmp_path, monkeypatch):
    """The examples run as printed, in order, in one namespace. The masks of the last one equal those of the model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exported").symlink_to(folders / "onnx")
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 255, (3, 60, 80, 3), dtype=np.uint8)
    waveform = rng.normal(0, 0.1, 44_100 * 5)
    found = []
    for block in blocks:
        names = {"frames": frames, "waveform": waveform}
        exec(block, names)
        found.append(names["clips"])
    processor = names["processor"]
    inputs = processor(videos=frames, audio=waveform, sampling_rate=44_100, return_tensors="pt")
    with torch.no_grad():
        expected = processor.post_process_audio_visual_segmentation(model(**inputs), [(60, 80)])[0]
    for (clip,) in found:
        assert clip["segmentation"].shape == (3, 60, 80)
        # A score is a ratio. If all labels of a pixel are near 0, rounding changes it visibly.
        assert (clip["scores"] - expected["scores"]).abs().mean() < 1e-4
        assert (clip["segmentation"] != expected["segmentation"]).float().mean() < 1e-3
    assert 0 < expected["segmentation"].float().mean() < 1


@pytest.mark.slow
def test_a_graph_and_its_processor_run_without_the_package(folders, tmp_path):
    code = """
import sys
sys.modules["auss"] = None  # importing it fails
import numpy as np, onnxruntime
from transformers import AutoProcessor
processor = AutoProcessor.from_pretrained("FOLDER", trust_remote_code=True)
frames = np.zeros((3, 60, 80, 3), np.uint8)
inputs = processor(videos=frames, audio=np.ones(44_100), sampling_rate=44_100, return_tensors="np")
(logits,) = onnxruntime.InferenceSession("FOLDER/model.onnx").run(["logits"], dict(inputs))
print(type(processor).__module__.split(".")[0], logits.shape)
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code.replace("FOLDER", str(folders / "onnx"))]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "transformers_modules (1, 3, 2, 19, 26)"


@pytest.fixture
def saved(model, processor, tmp_path):
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("file_format", ["torch-export", pytest.param("onnx", marks=pytest.mark.slow)])
def test_command_with_fixed_size_and_frames(model, saved, tmp_path, capsys, monkeypatch, file_format):
    monkeypatch.setattr(export, "add_parts", lambda *_: None)  # takes seconds
    command = ["export", str(saved), str(tmp_path / "out"), "--frames", "2", "--size", "32", "48"]
    assert cli.main([*command, "--format", file_format]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"MiB  .*/out/model\.(onnx|pt2)\n", printed)
    largest = re.search(r"scores differ by (\S+) at most, all outputs by (\S+) at most. .* is (\S+)\n$", printed)
    assert max(map(float, largest.groups())) < 1e-4
    exported, processor = load_exported(tmp_path / "out", trust_remote_code=True)
    assert dict(processor.video_processor.size) == {"height": 32, "width": 48}
    assert_equal_to(model, exported, random_inputs(1, 2, 5, 1, size=(32, 48)))
    if file_format == "onnx":
        session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
        shapes = {value.name: value.shape for value in session.get_inputs()}
        assert shapes["pixel_values"] == [1, 2, 3, 32, 48] and shapes["input_features"] == [1, 5, 96, 64]
        assert shapes["input_features_mask"] == [1, 5]


def test_nothing_else_is_overwritten(saved, graphs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "add_parts", lambda *_: None)  # takes seconds
    monkeypatch.setattr(export, "export_network", lambda *_: graphs["torch-export"][0])
    output = tmp_path / "out"
    command = ["export", str(saved), str(output), "--format", "torch-export"]
    assert cli.main(command) == 0
    before = (output / "model.pt2").stat().st_mtime_ns
    assert cli.main(command) == 2
    assert f"{output} exists: choose another name, or allow it with --overwrite" in capsys.readouterr().err
    assert (output / "model.pt2").stat().st_mtime_ns == before
    # The new graph replaces an earlier graph of another format.
    (output / "model.onnx").touch()
    assert cli.main([*command, "--overwrite"]) == 0
    names = {path.name for path in output.iterdir()}
    assert {"config.json", "export.json", "model.pt2", "processor_config.json", "processing_auss.py"} <= names
    assert not {"model.onnx", "README.md"} & names
    assert not [path for path in output.iterdir() if path.is_dir()]
    assert cli.main(["export", str(saved), str(saved), "--overwrite"]) == 2
    assert "is no earlier export" in capsys.readouterr().err


def test_a_graph_that_is_not_the_model_is_refused(make_config, model, processor, graphs, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "add_parts", lambda *_: None)  # takes seconds
    monkeypatch.setattr(export, "export_network", lambda *_: graphs["torch-export"][0])
    torch.manual_seed(5)
    wrong = AussForAudioVisualSegmentation(make_config()).eval()
    with pytest.raises(ValueError, match="format onnx: the graph is not the model, they differ in 100% of the frames"):
        export_model(wrong, processor, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert export_model(model, processor, tmp_path / "out").largest < 1e-4


class LastHalfIsWrong:
    """Stands in for a graph that returns noise for all frames after the first four."""

    def __init__(self, graph):
        self.graph = graph

    def to(self, device):
        self.graph.to(device)

    def __call__(self, **inputs):
        outputs = self.graph(**inputs)
        for name in ("logits", "class_queries_logits", "fused_queries"):
            outputs[name][:, 4:] = torch.rand_like(outputs[name][:, 4:])
        return outputs


def test_a_graph_that_is_wrong_in_half_of_the_frames_is_refused(model, processor, graphs, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "export_network", lambda *_: LastHalfIsWrong(graphs["torch-export"][0]))
    with pytest.raises(ValueError, match="the graph is not the model"):
        export_model(model, processor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_of_somebodys_in_an_earlier_export_stays(model, processor, graphs, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "add_parts", lambda *_: None)  # takes seconds
    monkeypatch.setattr(export, "export_network", lambda *_: graphs["torch-export"][0])
    export_model(model, processor, tmp_path / "out", "torch-export")
    (tmp_path / "out" / "pipeline.py").write_text("print('mine')\n")
    with pytest.raises(FileExistsError, match=r"code: pipeline\.py\."):
        export_model(model, processor, tmp_path / "out", "torch-export", overwrite=True)
    assert (tmp_path / "out" / "pipeline.py").read_text() == "print('mine')\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "0", "32"], r"size and frames must be at least 1, got size \(0, 32\) and frames None"),
        (["--frames", "0"], "got size .* and frames 0"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(saved, tmp_path, capsys, options, message):
    assert cli.main(["export", str(saved), str(tmp_path / "out"), *options]) == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(saved, folders, tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else found(name))
    assert cli.main(["export", str(saved), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "format onnx needs onnx, onnxscript, onnxruntime: pip install onnx onnxscript onnxruntime" in error
    with pytest.raises(ImportError, match="pip install onnx onnxscript onnxruntime"):
        load_exported(folders / "onnx")
    load_exported(folders / "torch-export", trust_remote_code=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="export needs transformers>=5.23"):
        export.check_packages("torch-export")


def test_other_refusals(make_config, model, processor, tmp_path):
    with pytest.raises(ValueError, match="format must be one of onnx, torch-export, int8, got 'tflite'"):
        export_model(model, processor, tmp_path / "out", "tflite")
    with pytest.raises(FileNotFoundError, match="is no folder that auss export wrote"):
        load_exported(tmp_path)
    shortest = AussProcessor(AussFeatureExtractor(), AussVideoProcessor(size={"shortest_edge": 32}))
    with pytest.raises(ValueError, match="size must be given"):
        export_model(model, shortest, tmp_path / "out")
    with pytest.raises(ValueError, match="model must be in evaluation mode"):
        export_model(AussForAudioVisualSegmentation(make_config()), processor, tmp_path / "out")


SWIN = SwinConfig(
    embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4, out_features=["stage1", "stage2"], patch_size=4
)
TIMM = TimmBackboneConfig(backbone="tf_efficientnet_lite0", use_pretrained_backbone=False, out_indices=[2, 3])


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["onnx", "torch-export"])
@pytest.mark.parametrize(
    ("backbone", "overrides"),
    [
        (SWIN, {"feature_strides": (8, 4), "lateral_connections": True, "query_embedding": True}),
        (TIMM, {"feature_strides": (16, 8), "mask_stride": 4, "lateral_connections": True, "query_embedding": True}),
        # In one frame a mask logit is so near tau = 0.5 that even float32 and float64 differ.
        (None, {"frame_conditioned_queries": True, "num_labels": 5, "mask_threshold": 0.45}),
    ],
    ids=["swin", "timm", "frame-conditioned"],
)
def test_other_networks_equal_the_model(make_config, processor, tmp_path, file_format, backbone, overrides):
    model = lively(make_config(**({"backbone_config": backbone} if backbone else {}), **overrides))
    assert model(**random_inputs(1, 1, 5, 0)).logits.std() > 0.05
    export_model(model, processor, tmp_path / "out", file_format)
    exported, _ = load_exported(tmp_path / "out", trust_remote_code=True)
    for shape in SHAPES:
        assert_equal_to(model, exported, random_inputs(*shape))


@pytest.mark.slow
@pytest.mark.parametrize("preset", auss.AussConfig.preset_names())
def test_presets_equal_the_model(preset):
    """The weights are random and the frames small, but widths and depths are those of the presets."""
    model = lively(auss.AussConfig.from_preset(preset))
    exported = export_network(model, "onnx", SIZE)
    differences = []
    for shape in SHAPES:
        inputs = random_inputs(*shape)
        with torch.no_grad():
            expected = model(**inputs)
        assert expected.logits.std() > 0.05
        got = exported(**inputs)
        torch.testing.assert_close(got.audio_queries, expected.audio_queries, rtol=0, atol=1e-4)
        differences.append((got.logits - expected.logits).abs().amax((2, 3, 4)).flatten())
    # With 300 random queries, mask logits of some frames are so near tau that even float32 and float64 differ.
    assert torch.cat(differences).quantile(0.6) < 1e-4


def test_space_is_looked_for_before_the_graph_is_written(tiny_model, tmp_path):
    """The kernel limits the length of a file here, which acts like a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            reserve_space(tmp_path, tiny_model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
    reserve_space(tmp_path, tiny_model)
    assert list(tmp_path.iterdir()) == []
