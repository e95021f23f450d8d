"""Inputs and labels that do not belong together are refused by name."""

import pytest
import torch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixel_values": torch.zeros(2, 3, 32, 32)}, r"pixel_values must be \(B, F, 3, H, W\), got \(2, 3, 32, 32\)"),
        ({"pixel_values": torch.zeros(2, 3, 1, 32, 32)}, r"pixel_values must be .* got \(2, 3, 1, 32, 32\)"),
        ({"input_features": torch.zeros(2, 96, 64)}, r"input_features must be \(B, T, 96, 64\), got \(2, 96, 64\)"),
        ({"input_features": torch.zeros(2, 5, 64, 96)}, r"input_features must be \(B, T, 96, 64\)"),
        ({"input_features": torch.zeros(3, 5, 96, 64)}, "same number of clips, got 2 and 3"),
        ({"input_features": torch.zeros(2, 6, 96, 64)}, "at most num_audio_examples=5.*got 6: .*4.8 s"),
        ({"input_features_mask": torch.ones(2, 4)}, r"input_features_mask must be .*\(2, 5\), got \(2, 4\)"),
        ({"labels": torch.zeros(2, 32, 32).long()}, r"labels must be \(B, F, H, W\).*got \(2, 32, 32\)"),
        ({"labels": torch.zeros(2, 4, 32, 32).long()}, r"labels .*\(2, 3\), got \(2, 4, 32, 32\)"),
        ({"labels": torch.zeros(2, 3, 32, 32)}, "labels must be integers, got torch.float32"),
        ({"labels": torch.full((2, 3, 32, 32), 2)}, "labels must be 0 ... 1, or 255 for not annotated, got 2"),
        ({"labels": torch.full((2, 3, 32, 32), -100)}, "labels must be 0 ... 1, or 255 .* got -100"),
    ],
)
def test_bad_input_is_named(tiny_model, make_inputs, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(**(make_inputs() | changes))


def test_frame_examples_of_another_shape_are_refused(tiny_model, make_inputs):
    with pytest.raises(ValueError, match=r"frame_examples must be \(B, F\) as pixel_values \(2, 3\), got \(2, 5\)"):
        tiny_model(**make_inputs(), frame_examples=torch.zeros(2, 5, dtype=torch.int64))


def test_either_the_sound_or_its_queries(tiny_model, make_inputs):
    inputs = make_inputs()
    with pytest.raises(ValueError, match="either input_features or frame_queries must be given, got both"):
        tiny_model(**inputs, frame_queries=torch.zeros(2, 3, 8, 16))
    del inputs["input_features"]
    with pytest.raises(ValueError, match="must be given, got neither"):
        tiny_model(**inputs)
    with pytest.raises(ValueError, match=r"must be \(B, F, N, e\) = \(2, 3, 8, 16\), got \(2, 8, 16\)"):
        tiny_model(**inputs, frame_queries=torch.zeros(2, 8, 16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixel_values": None}, "pixel_values must be"),
        ({"pixel_values": [1]}, "pixel_values must be a tensor, got list"),
        ({"pixel_values": torch.zeros(2, 3, 3, 32, 32).long()}, "pixel_values must be of a floating-point type"),
        ({"input_features_mask": torch.full((2, 5), 7)}, r"input_features_mask must hold 1 .* got \[7\]"),
        ({"input_features_mask": torch.full((2, 5), torch.nan)}, "input_features_mask must hold 1"),
        ({"frame_examples": torch.full((2, 3), 5)}, r"frame_examples must be 0 ... 4, .* got \[5\]"),
        ({"frame_examples": torch.zeros(2, 3)}, "frame_examples must be integers, got torch.float32"),
        ({"labels": 5}, "labels must be a tensor, or a list of one for each clip, got int"),
        ({"labels": []}, "labels must be a tensor, .* got an empty list"),
        ({"labels": torch.zeros(2, 3, 0, 0).long()}, "labels must be"),
        ({"frame_mask": 1}, "frame_mask must be a tensor, got int"),
    ],
)
def test_what_is_no_tensor_of_its_kind_is_named(tiny_model, make_inputs, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(**(make_inputs() | changes))
