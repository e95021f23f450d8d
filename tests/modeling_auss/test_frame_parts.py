"""A window seen in parts on a CPU gives what it gives as a whole."""

import pytest
import torch

from auss.modeling_auss import modeling_auss
from auss.modeling_auss.frame_parts import frame_parts, splits_frames
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation

from .conftest import make_labels, make_model, randomise_heads


@pytest.mark.parametrize(
    ("frames", "elements", "most", "expected"),
    [(5, 10, 50, [5]), (5, 10, 49, [4, 1]), (7, 10, 25, [2, 2, 2, 1]), (3, 10, 5, [1, 1, 1]), (1, 1, 100, [1])],
)
def test_parts_are_consecutive_and_no_larger_than_they_may_be(frames, elements, most, expected):
    numbers = list(range(frames))
    parts = [numbers[part] for part in frame_parts(frames, elements, most)]
    assert [len(part) for part in parts] == expected
    assert sum(parts, start=[]) == numbers


@pytest.fixture
def counted(monkeypatch):
    """The numbers of frames of each pass through the backbone and through the fusion."""
    monkeypatch.setattr(modeling_auss, "BACKBONE_PIXELS", 2 * 32 * 32)
    monkeypatch.setattr(modeling_auss, "FUSION_ELEMENTS", 1)
    seen: dict[str, list[int]] = {"backbone": [], "fusion": []}

    def count(model):
        extractor, decoder = model.auss.image_embedding_extractor, model.auss.fusion_decoder
        extractor.backbone.register_forward_pre_hook(lambda _, args: seen["backbone"].append(len(args[0])))
        decoder.register_forward_pre_hook(lambda _, args: seen["fusion"].append(len(args[0])))
        return seen

    return count


def test_parts_change_nothing(make_config, make_inputs, counted):
    model = randomise_heads(make_model(make_config()))
    inputs, labels = make_inputs(batch=1, frames=5), make_labels(1, 5)
    whole = model(**inputs, labels=labels, output_masks_queries_logits=True)
    seen = counted(model)
    with torch.no_grad():
        parts = model(**inputs, labels=labels, output_masks_queries_logits=True)
    assert seen == {"backbone": [2, 2, 1], "fusion": [1] * 5}
    assert parts.keys() == whole.keys()
    for name in ("loss", "logits", "class_queries_logits", "masks_queries_logits", "audio_queries", "fused_queries"):
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("batch", "frames"), [(1, 5), (2, 3), (5, 1)])
@pytest.mark.parametrize("conditioned", [False, True])
def test_a_window_that_only_masks_are_asked_of_keeps_no_more_than_a_part(
    make_config, make_inputs, counted, batch, frames, conditioned
):
    model = randomise_heads(make_model(make_config(frame_conditioned_queries=conditioned)))
    inputs = make_inputs(batch=batch, frames=frames)
    if conditioned:
        inputs["frame_examples"] = torch.arange(batch * frames).flip(0).view(batch, frames) % 2
    whole = model(**inputs)
    seen, heard, kept = counted(model), [], []
    model.auss.audio_encoder.register_forward_hook(lambda *_: heard.append(1))
    model.auss.register_forward_hook(lambda _, __, output: kept.append(output.mask_features.shape[:2].numel()))
    with torch.no_grad():
        parts = model(**inputs)
    total = batch * frames
    assert kept == seen["backbone"] == [2] * (total // 2) + [1] * (total % 2) and len(heard) == 1
    assert parts.keys() == whole.keys()
    for name, expected in whole.items():
        torch.testing.assert_close(parts[name], expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        as_tuple = model(**inputs, return_dict=False)
    assert [each.shape for each in as_tuple] == [each.shape for each in parts.to_tuple()]


def test_what_wraps_forward_is_called_once_for_all_parts(make_config, make_inputs, counted):
    class Halved(AussForAudioVisualSegmentation):
        def forward(self, pixel_values, input_features):
            outputs = super().forward(pixel_values, input_features)
            outputs.logits = outputs.logits * 0.5
            return outputs

    torch.manual_seed(0)
    model = randomise_heads(Halved(make_config()).eval())
    inputs = make_inputs(batch=1, frames=5)
    whole = model(**inputs)
    seen = counted(model)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, whole.logits, rtol=1e-4, atol=1e-4)
    assert seen["backbone"] == [2, 2, 1]


def test_queries_in_place_of_the_sound_and_less_sound(make_config, make_inputs, counted):
    model = randomise_heads(make_model(make_config()))
    inputs = make_inputs(batch=1, frames=5)
    inputs["input_features"] = inputs["input_features"][:, :3]
    whole = model(**inputs)
    counted(model)
    model.config.return_dict = False
    with torch.no_grad():
        _, queries = model.auss.frame_queries(5, inputs["input_features"])
        for sound in ({"frame_queries": queries}, {"input_features": inputs["input_features"]}):
            logits = model(inputs["pixel_values"], **sound)[0]
            torch.testing.assert_close(logits, whole.logits, rtol=1e-4, atol=1e-4)


def test_a_frame_larger_than_a_part_is_seen_whole(make_config, make_inputs, counted):
    model = make_model(make_config())
    inputs = make_inputs(batch=1, frames=2) | {"pixel_values": torch.randn(1, 2, 3, 64, 96)}
    whole = model(**inputs)
    seen = counted(model)
    with torch.no_grad():
        parts = model(**inputs)
    assert seen["backbone"] == [1, 1]
    torch.testing.assert_close(parts.logits, whole.logits, rtol=1e-4, atol=1e-4)


def test_a_window_in_parts_is_checked_as_a_whole(make_config, make_inputs, counted):
    model = make_model(make_config())
    counted(model)
    inputs = make_inputs(batch=2, frames=3)
    with torch.no_grad(), pytest.raises(ValueError, match="same number of clips, got 2 and 1"):
        model(inputs["pixel_values"], inputs["input_features"][:1])
    with torch.no_grad(), pytest.raises(ValueError, match=r"pixel_values must be \(B, F, 3, H, W\)"):
        model(inputs["pixel_values"][0], inputs["input_features"])


@pytest.mark.parametrize("size", [(7, 5), (1, 40)])
def test_frames_smaller_than_a_stride(make_config, make_inputs, size):
    model = make_model(make_config(feature_strides=(8,), mask_stride=4, num_fusion_layers=1))
    inputs = make_inputs(batch=1, frames=2) | {"pixel_values": torch.randn(1, 2, 3, *size)}
    whole = model(**inputs)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, whole.logits, rtol=1e-4, atol=1e-4)


def test_base_outputs_keep_their_frame_axes(make_config, make_inputs, counted):
    model = make_model(make_config())
    inputs = make_inputs(batch=2, frames=3)
    whole = model.auss(**inputs)
    seen = counted(model)
    with torch.no_grad():
        parts = model.auss(**inputs)
    assert len(seen["fusion"]) == 6
    torch.testing.assert_close(parts.mask_features, whole.mask_features, rtol=1e-4, atol=1e-4)
    for part, expected in zip(parts.layer_queries, whole.layer_queries, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("recorded", ["output_hidden_states", "output_attentions"])
def test_what_is_recorded_has_all_frames(make_config, make_inputs, counted, recorded):
    model = make_model(make_config())
    model.set_attn_implementation("eager")
    seen = counted(model)
    with torch.no_grad():
        outputs = model(**make_inputs(batch=1, frames=5), **{recorded: True})
    assert seen == {"backbone": [5], "fusion": [5]}
    assert {len(states) for states in outputs[recorded.removeprefix("output_")]} == {5}


def test_training_gradients_and_other_devices_are_whole(make_config):
    model, frames = make_model(make_config()), torch.zeros(1, 3, 8, 8)
    assert not splits_frames(model, frames)  # gradients
    with torch.no_grad():
        assert splits_frames(model, frames)
        assert not splits_frames(model, frames.to("meta"))
        model.auss.image_embedding_extractor.backbone.train()  # its batch norm would see parts
        assert not splits_frames(model, frames)
        assert not splits_frames(model.train(), frames)
