"""The two graphs for videos: what they compute, and that they share the weights of the whole network."""

import json

import onnx
import pytest
import torch

from auss.hub.exported_model import ExportedAuss
from auss.inference.export import export_model
from auss.inference.exporting.network_parts import FrameNetwork, SoundNetwork
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation

from ...exported_models import SIZE, random_inputs


@pytest.mark.parametrize("conditioned", [False, True])
def test_the_parts_together_are_the_network(make_config, conditioned):
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(frame_conditioned_queries=conditioned)).eval()
    inputs = random_inputs(1, 5, 5, 0)
    with torch.no_grad():
        expected = model(**inputs)
        sound = SoundNetwork(model)(inputs["input_features"], inputs["input_features_mask"])
        queries = sound["audio_queries"][0].expand(5, 1, -1, -1)
        if conditioned:  # as many frames as examples: each frame hears its own example
            queries = queries + sound["example_embeddings"][0][:, None, None]
        found = FrameNetwork(model)(inputs["pixel_values"][0], queries)
    torch.testing.assert_close(sound["audio_queries"], expected.audio_queries)
    for name in ("logits", "class_queries_logits", "fused_queries"):
        torch.testing.assert_close(found[name][:, 0], expected[name][0])


def test_the_graphs_share_the_weights(exports):
    pytest.importorskip("transformers.exporters.metadata", reason="export needs transformers>=5.23, Python 3.11")
    largest = max(exports.model.parameters(), key=torch.numel).numel() * 4
    for name in ("sound", "frames"):
        graph = onnx.load(exports.folder / "onnx" / f"{name}.onnx", load_external_data=False).graph
        shared = [weight for weight in graph.initializer if weight.external_data]
        assert {entry.value for one in shared for entry in one.external_data if entry.key == "location"} == {
            "model.onnx.data"
        }
        assert all(len(weight.raw_data) < min(largest, 1024) for weight in graph.initializer)
    assert json.loads((exports.folder / "onnx" / "export.json").read_text())["auss"] == {
        "version": 1,
        "format": "onnx",
        "size": list(SIZE),
    }


@pytest.mark.slow
def test_torch_graphs_are_stored_without_weights(torch_export):
    """One number stands for all numbers of a weight."""
    for name in ("sound", "frames"):
        weights = torch.export.load(torch_export / f"{name}.pt2").state_dict
        assert sum(value.untyped_storage().nbytes() for value in weights.values()) < 8 * len(weights) + 1024


@pytest.mark.slow
def test_int8_gives_nearly_the_same_scores(exports, tmp_path):
    export_model(exports.model, exports.processor, tmp_path / "out", "int8")
    operators = {node.op_type for node in onnx.load(tmp_path / "out" / "frames.onnx").graph.node}
    assert "MatMulInteger" in operators and "ConvInteger" not in operators
    inputs = random_inputs(1, 3, 5, 0)
    with torch.no_grad():
        expected = exports.model(**inputs).logits
    found = ExportedAuss.from_pretrained(tmp_path / "out")(**inputs).logits
    assert 0 < (found - expected).abs().mean() < 0.05
