"""A folder gives back the model that was saved in it. A folder with anything else is refused."""

import json

import pytest
import torch

from auss import cli
from auss.hub.trained_model import load_trained
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor


def edit(file, *parts, **values) -> None:
    """Sets values in a JSON file, in the nested object that the keys `parts` lead to."""
    content = json.loads(file.read_text())
    target = content
    for part in parts:
        target = target[part]
    target.update(values)
    file.write_text(json.dumps(content))


def test_a_saved_model_comes_back_ready_for_inference(model_folder, tiny_model):
    model, processor = load_trained(model_folder)
    assert not model.training and processor.video_processor.size["height"] == 32
    for name, value in tiny_model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_weights_come_as_saved_or_as_asked(tiny_model, model_folder):
    tiny_model.bfloat16().save_pretrained(model_folder)
    for dtype, expected in ((None, torch.bfloat16), (torch.float32, torch.float32)):
        model, _ = load_trained(model_folder, dtype)
        assert {weight.dtype for weight in model.parameters()} == {expected}


def test_a_model_without_its_heads_is_refused(model_folder, tiny_model, tmp_path):
    tiny_model.auss.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="lacks 4 of the model's weights, first class_head.bias"):
        load_trained(tmp_path)


def test_folders_without_an_auss_model_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder with a trained model: it has no config.json"):
        load_trained(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="must hold a model of type 'auss', got 'bert'"):
        load_trained(tmp_path)


def timm_network(name: str) -> dict[str, str]:
    return {"model_type": "timm_backbone", "backbone": name}


@pytest.fixture(scope="module")
def lateral_folder(make_config, tmp_path_factory):
    """A folder with a saved model that has lateral connections. The model loads without an error."""
    folder = tmp_path_factory.mktemp("models") / "model"
    AussForAudioVisualSegmentation(make_config(lateral_connections=True, query_embedding=True)).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    AussProcessor(AussFeatureExtractor(), AussVideoProcessor(size=size)).save_pretrained(folder)
    load_trained(folder)
    return folder


@pytest.mark.parametrize(
    ("values", "message"),
    [
        # If a part is switched off, Transformers would only warn of its unused weights and run another network.
        (
            {"lateral_connections": False},
            "has 3 weights that the network .* first auss.image_emb.*lateral_pro",
        ),
        ({"num_fusion_layers": 2}, "has 26 weights that the network .* first auss.fusion_decoder.layers.2"),
        ({"query_position_embedding": False}, "has 1 weights .* first auss.fusion_decoder.query_position_embedding"),
        ({"audio_input": False}, "has [0-9]+ weights .* first auss.audio_encoder"),
        ({"num_fusion_layers": 4}, "lacks 26 of the model's weights, first auss.fusion_decoder.layers.3"),
        ({"feature_strides": [8], "mask_stride": 4}, "level_embedding has shape .2, 16., where .* asks for .1, 16."),
        ({"hidden_size": 32}, "has shape .16,., where config.json asks for .32,."),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "class_head.bias has shape .3,., where .* asks for .4,."),
        ({"dropout": float("nan")}, "cannot be loaded: .*dropout must be"),
        (
            {"backbone_config": {"model_type": "timm_backbone", "backbone": "no_net"}},
            "'no_net' cannot be built .*Unknown model",
        ),
        ({"backbone_config": timm_network("hf-hub:a/b")}, "plain name .*'hf-hub:a/b'"),
        (
            {"backbone_config": timm_network("local-dir:/x")},
            "plain name .*'local-dir:/x'",
        ),
        ({"backbone_config": {"model_type": "own", "auto_map": {"AutoConfig": "own.C"}}}, "must name a type .* 'own'"),
        (
            {"attn_implementation": "kernels-community/flash-attn"},
            "asks for the attention 'kernels-community/flash-attn",
        ),
        ({"model_type": None}, "must hold a model of type 'auss', got None"),
    ],
)
def test_a_config_that_is_not_the_models_is_refused(lateral_folder, values, message):
    file = lateral_folder / "config.json"
    saved = file.read_text()
    edit(file, **values)
    try:
        with pytest.raises(ValueError, match=message) as raised:
            load_trained(lateral_folder)
    finally:
        file.write_text(saved)
    assert str(lateral_folder) in str(raised.value)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_json_file_is_named(model_folder, name, content):
    (model_folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{model_folder / name} "):
        load_trained(model_folder)


def test_damaged_and_missing_weights_are_named(model_folder, make_video, capsys):
    file = model_folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="model.safetensors is damaged or cut off: it has"):
        load_trained(model_folder)
    arguments = [str(make_video("x.mp4", seconds=1)), "-o", str(model_folder.parent / "y.mp4")]
    capsys.readouterr()
    assert cli.main(["segment", *arguments, "--model", str(model_folder)]) == cli.USAGE_ERROR
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(file) in lines[0]
    file.unlink()
    with pytest.raises(FileNotFoundError, match="it has no model.safetensors"):
        load_trained(model_folder)


def test_a_damaged_pickle_is_named(model_folder):
    (model_folder / "model.safetensors").unlink()
    (model_folder / "pytorch_model.bin").write_bytes(b"itself no weights at all")
    with pytest.raises(ValueError, match=f"the model in {model_folder} cannot be loaded"):
        load_trained(model_folder)


@pytest.mark.parametrize(
    ("parts", "values"),
    [
        (("feature_extractor",), {"feature_extractor_type": "Own", "auto_map": {"AutoFeatureExtractor": "own.Own"}}),
        (("video_processor",), {"video_processor_type": "Own", "auto_map": {"AutoVideoProcessor": "own.Own"}}),
        ((), {"processor_class": "Own", "auto_map": {"AutoProcessor": "own.Own"}}),
    ],
)
def test_code_of_the_folder_is_never_run(model_folder, monkeypatch, parts, values):
    """Transformers does not even ask whether it may run the code."""
    ran = model_folder / "ran"
    (model_folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    edit(model_folder / "processor_config.json", *parts, **values)

    def ask(*args):
        raise AssertionError("asked for leave to run code")

    monkeypatch.setattr("builtins.input", ask)
    with pytest.raises(ValueError, match="processor_config.json names the .* 'Own', where auss takes"):
        load_trained(model_folder)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("parts", "values", "message"),
    [
        (("video_processor",), {"size": {"height": -3, "width": 0}}, "size of positive whole numbers"),
        (("video_processor",), {"size": {"height": 2.5, "width": 3}}, "size of positive whole numbers"),
        (("video_processor",), {"image_std": [0.2, 0.0, 0.2]}, "a finite image_std above 0.0"),
        (("video_processor",), {"image_mean": [0.2, float("nan"), 0.2]}, "a finite image_mean"),
        ((), {"video_processor": "x"}, "must describe every part by an object"),
    ],
)
def test_bad_values_of_the_processor_are_refused(model_folder, parts, values, message):
    edit(model_folder / "processor_config.json", *parts, **values)
    with pytest.raises(ValueError, match=message):
        load_trained(model_folder)


def test_a_model_without_its_processor_is_refused(model_folder):
    (model_folder / "processor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="has a model, but no processor: it has no processor_config.json"):
        load_trained(model_folder)


def test_a_name_that_no_processor_has_is_told(model_folder, caplog):
    load_trained(model_folder)
    assert "has no field" not in caplog.text
    edit(model_folder / "processor_config.json", "video_processor", image_meen=[0.5, 0.5, 0.5])
    load_trained(model_folder)
    assert "processor_config.json has no field image_meen" in caplog.text
