"""A small network with lively outputs, and its exports, which all tests of a run share, in whichever process they run:
the exports take more than a minute."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from torch import nn

from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor

# The size is neither square nor a multiple of any stride.
SIZE = (38, 51)


def random_inputs(clips, frames, examples, padding, size=SIZE) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    mask = torch.ones(clips, examples, dtype=torch.long)
    mask[:, examples - padding :] = 0
    return {
        "pixel_values": torch.randn(clips, frames, 3, *size, generator=generator),
        "input_features": torch.randn(clips, examples, 96, 64, generator=generator),
        "input_features_mask": mask,
    }


def lively(config) -> AussForAudioVisualSegmentation:
    """A model whose masks and classes differ between queries and places. With fresh weights they hardly differ."""
    torch.manual_seed(0)
    sample = random_inputs(2, 2, 5, 0)
    model = AussForAudioVisualSegmentation(config).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        model.class_head.weight.normal_()
        model.auss.fusion_decoder.mask_head.weight.mul_(config.hidden_size**0.5)
        # Deep random networks give features that are much the same everywhere.
        projection = model.auss.image_embedding_extractor.mask_projection
        f_4 = model.auss(**sample).mask_features.flatten(0, 1)
        features = nn.functional.conv2d(f_4, projection.weight, projection.bias)
        projection.bias.sub_(features.mean((0, 2, 3)))
        for parameter in (projection.weight, projection.bias):
            parameter.div_(features.std((2, 3)).mean())
        model.class_head.bias.sub_(model(**sample).class_queries_logits.mean((0, 1, 2)))
    return model


def write_exports(model, processor, folder: Path) -> None:
    from auss.inference.export import export_model

    shutil.rmtree(folder, ignore_errors=True)
    export_model(model, processor, folder / "onnx", "onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auss.inference.export.add_parts", lambda *_: None)
        export_model(model, processor, folder / "torch-export", "torch-export")


@pytest.fixture(scope="session")
def exports(make_config, tmp_path_factory) -> SimpleNamespace:
    """`model` and `processor`, and `folder`, which holds their exports `onnx` and `torch-export`. The latter has the
    whole network's graph only; `torch_export` has all."""
    pytest.importorskip("transformers.exporters.metadata", reason="export needs transformers>=5.23, Python 3.11")
    video_processor = AussVideoProcessor(size={"height": SIZE[0], "width": SIZE[1]})
    processor = AussProcessor(feature_extractor=AussFeatureExtractor(), video_processor=video_processor)
    model = lively(make_config(num_fusion_layers=2))
    # The processes of pytest-xdist have folders of their own, side by side.
    run: Path = tmp_path_factory.getbasetemp()
    run = run.parent if "PYTEST_XDIST_WORKER" in os.environ else run
    folder, complete = run / "exports", run / "exports.complete"
    with FileLock(run / "exports.lock"):
        if not complete.exists():
            write_exports(model, processor, folder)
            complete.touch()
    return SimpleNamespace(model=model, processor=processor, folder=folder)


@pytest.fixture(scope="session")
def torch_export(exports, tmp_path_factory) -> Path:
    """The folder of an export with torch.export, with the graphs for videos. Only slow tests ask for it."""
    from auss.inference.export import add_parts

    folder = tmp_path_factory.mktemp("torch-export") / "torch-export"
    shutil.copytree(exports.folder / "torch-export", folder)
    add_parts(exports.model, folder, "torch-export", SIZE)
    return folder


@pytest.fixture(scope="session")
def whole_export(exports, request):
    """`whole_export(file_format)` is the folder of an export with the graphs for videos."""
    return lambda name: exports.folder / name if name == "onnx" else request.getfixturevalue("torch_export")
