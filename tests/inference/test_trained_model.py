"""A folder gives back the model that was saved in it, and nothing else is taken for one."""

import json

import pytest
import torch

from auss.inference.trained_model import load_trained


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
