"""The whole model: any frame size, independent clips and frames, missing sound, gradients, saving and loading."""

import json
import math

import pytest
import torch
from transformers import SwinConfig, Trainer, TrainingArguments

from auss.modeling_auss.losses.frame_targets import frame_targets
from auss.modeling_auss.losses.loss import AussLoss
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation, AussModel

from .conftest import make_labels, make_model, randomise_heads


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 16), (9, 5)])
@pytest.mark.parametrize("frames", [1, 7])
def test_any_size_and_any_number_of_frames(tiny_model, make_inputs, size, frames):
    inputs = make_inputs(batch=2, frames=frames, size=size)
    outputs = tiny_model(**inputs, labels=make_labels(2, frames, size), output_masks_queries_logits=True)
    h, w = (math.ceil(side / 2) for side in size)
    assert outputs.logits.shape == (2, frames, 2, h, w)
    assert outputs.masks_queries_logits.shape == (2, frames, 8, h, w)
    assert outputs.class_queries_logits.shape == (2, frames, 8, 3)
    assert outputs.audio_queries.shape == (2, 8, 16)
    assert outputs.fused_queries.shape == (2, frames, 8, 16)
    assert outputs.loss.shape == () and outputs.loss.isfinite()
    assert all(term.shape == () for term in outputs.loss_dict.values())
    assert (outputs.logits >= 0).all() and (outputs.logits <= 1).all()


def test_masks_come_on_request_and_the_loss_with_labels(tiny_model, make_inputs):
    outputs = tiny_model(**make_inputs())
    assert outputs.masks_queries_logits is None and outputs.loss is None and outputs.loss_dict is None
    assert isinstance(tiny_model(**make_inputs(), return_dict=False), tuple)


def test_class_logits_and_masks_are_equations_11_and_12(tiny_model, make_inputs):
    outputs = tiny_model(**make_inputs(), output_masks_queries_logits=True)
    base = tiny_model.auss(**make_inputs())
    head = tiny_model.class_head
    normed = torch.nn.functional.layer_norm(base.last_hidden_state, (16,), *tiny_model.class_norm.parameters())
    torch.testing.assert_close(outputs.class_queries_logits, normed @ head.weight.T + head.bias)
    embeddings = tiny_model.auss.fusion_decoder.mask_head(base.last_hidden_state)
    size = outputs.masks_queries_logits.shape[-2:]
    f_4 = torch.nn.functional.interpolate(base.mask_features.flatten(0, 1), size=size, mode="bilinear")
    features = torch.nn.functional.conv2d(f_4, *tiny_model.auss.image_embedding_extractor.mask_projection.parameters())
    expected = torch.einsum("bfne,bfehw->bfnhw", embeddings, features.unflatten(0, embeddings.shape[:2]))
    torch.testing.assert_close(outputs.masks_queries_logits, expected)


def test_clips_and_frames_are_independent(tiny_model, make_inputs):
    randomise_heads(tiny_model)
    inputs = make_inputs(batch=2, frames=3)
    together = tiny_model(**inputs)
    for clip in range(2):
        for frame in range(3):
            alone = tiny_model(
                pixel_values=inputs["pixel_values"][clip : clip + 1, frame : frame + 1],
                input_features=inputs["input_features"][clip : clip + 1],
            )
            torch.testing.assert_close(together.logits[clip, frame], alone.logits[0, 0], rtol=0, atol=2e-5)


def test_sound_and_picture_both_matter(tiny_model, make_inputs):
    inputs = make_inputs()
    before = tiny_model(**inputs).fused_queries
    for name in inputs:
        other = inputs | {name: inputs[name].flip(0)}
        assert not torch.allclose(before, tiny_model(**other).fused_queries, atol=1e-4), name


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_fewer_examples_equal_masked_ones(tiny_model, make_inputs, dtype):
    inputs = make_inputs(examples=3)
    padded = inputs | {"input_features": torch.nn.functional.pad(inputs["input_features"], (0, 0, 0, 0, 0, 2))}
    padded["input_features"][:, 3:] = 7.0
    mask = torch.tensor([1, 1, 1, 0, 0]).expand(2, 5).to(dtype)
    short, masked = tiny_model(**inputs), tiny_model(**padded, input_features_mask=mask)
    torch.testing.assert_close(short.logits, masked.logits)
    torch.testing.assert_close(short.audio_queries, masked.audio_queries)
    assert not torch.allclose(masked.audio_queries, tiny_model(**padded).audio_queries, atol=1e-4)


def test_silence_and_missing_sound_are_not_nan(tiny_model, make_inputs):
    inputs = make_inputs()
    silence = torch.full_like(inputs["input_features"], 0.01).log()
    for mask in (None, torch.zeros(2, 5, dtype=torch.int64)):
        outputs = tiny_model(
            **(inputs | {"input_features": silence}), input_features_mask=mask, labels=make_labels().zero_()
        )
        assert outputs.logits.isfinite().all() and outputs.loss.isfinite()


def test_labels_of_any_integer_type_and_their_own_size(tiny_model, make_inputs):
    labels = make_labels(size=(45, 61))
    expected = tiny_model(**make_inputs(), labels=labels).loss
    assert expected.isfinite()
    assert torch.equal(expected, tiny_model(**make_inputs(), labels=labels.to(torch.uint8)).loss)


@pytest.mark.parametrize("query_embedding", [False, True])
def test_every_parameter_gets_a_gradient(make_config, make_inputs, query_embedding):
    model = make_model(make_config(query_embedding=query_embedding, lateral_connections=True)).train()
    labels = make_labels()
    labels[0, 1:] = 255
    model(**make_inputs(), labels=labels).loss.backward()
    assert [name for name, grad in gradients(model).items() if grad is None or not grad.isfinite().all()] == []
    still = [name for name, grad in gradients(model).items() if not grad.any() and "k_proj.bias" not in name]
    assert [name for name in still if "audio_encoder" not in name] == []  # a ReLU of the tiny VGGish may always be 0
    assert any(parameter.grad.any() for parameter in model.auss.audio_encoder.parameters())


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_an_unannotated_batch_still_gives_every_parameter_a_gradient(make_config, make_inputs, deep_supervision):
    model = make_model(make_config(deep_supervision=deep_supervision)).train()
    outputs = model(**make_inputs(), labels=torch.full((2, 3, 32, 32), 255))
    assert outputs.loss_dict["class"] == outputs.loss_dict["dice"] == 0
    outputs.loss.backward()
    assert [name for name, grad in gradients(model).items() if grad is None or not grad.isfinite().all()] == []


def test_deep_supervision_is_the_sum_over_all_layers(make_config, make_inputs):
    inputs, labels = make_inputs(), make_labels()
    model = make_model(make_config())
    outputs = model(**inputs, labels=labels)
    base = model.auss(**inputs)
    assert len(base.layer_queries) == 4  # A_0 and three blocks
    loss = AussLoss(model.config)
    features = model.auss.mask_features(base, inputs["pixel_values"])
    targets = frame_targets(labels.flatten(0, 1), features.maps.shape[-2:], 2)
    expected = 0.0
    for queries in base.layer_queries:
        divisors = loss.divisors(labels.flatten(0, 1), queries.shape[2])
        heads = (head.unsqueeze(0) for head in model.heads(queries))
        terms = loss.supervised_losses(*heads, features, targets, divisors)
        expected += sum(loss.weights[name] * term.item() for name, term in terms.items())
    expected += sum(loss.weights[name] * outputs.loss_dict[name].item() for name in ("aqdl", "aqml"))
    assert outputs.loss.item() == pytest.approx(expected, rel=1e-5)

    shallow = make_model(make_config(deep_supervision=False))(**inputs, labels=labels)
    assert shallow.loss_dict["auxiliary"] == 0
    weighted = sum(loss.weights[name] * shallow.loss_dict[name].item() for name in loss.weights if name in terms)
    weighted += sum(loss.weights[name] * shallow.loss_dict[name].item() for name in ("aqdl", "aqml"))
    assert shallow.loss.item() == pytest.approx(weighted, rel=1e-5)
    for name in terms:
        torch.testing.assert_close(shallow.loss_dict[name], outputs.loss_dict[name])


def test_labels_do_not_change_the_prediction(tiny_model, make_inputs):
    with_labels = tiny_model(**make_inputs(), labels=make_labels())
    assert torch.equal(with_labels.logits, tiny_model(**make_inputs()).logits)
    assert not with_labels.logits.requires_grad and tiny_model(**make_inputs()).logits.requires_grad


def test_training_progress_moves_delta(tiny_model, make_config):
    assert tiny_model.confidence_threshold == pytest.approx(0.55)
    tiny_model.set_training_progress(0.5)
    assert tiny_model.confidence_threshold == pytest.approx(0.55 + 0.9 / 17)
    for progress in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"progress must be in \[0, 1\]"):
            tiny_model.set_training_progress(progress)
    fixed = make_model(make_config(confidence_schedule="fixed"))
    fixed.set_training_progress(0.9)
    assert fixed.confidence_threshold == 0.6


def test_delta_survives_saving_and_loading(tiny_model, tmp_path):
    """Fine-tuning a finished model then continues with the model's delta, unless the user resets it."""
    tiny_model.set_training_progress(0.5)
    tiny_model.save_pretrained(tmp_path)
    loaded = AussForAudioVisualSegmentation.from_pretrained(tmp_path)
    assert loaded.confidence_threshold == tiny_model.confidence_threshold == pytest.approx(0.55 + 0.9 / 17)
    loaded.set_training_progress(0.0)  # a new run
    assert loaded.confidence_threshold == pytest.approx(0.55)
    # delta is not stored with the weights, so bfloat16 does not round it. Older files do not store delta at all.
    values = json.loads((tmp_path / "config.json").read_text())
    assert values.pop("training_progress") == 0.5
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert AussForAudioVisualSegmentation.from_pretrained(tmp_path).confidence_threshold == pytest.approx(0.55)


def test_delta_decides_which_queries_are_pushed_apart(make_config, make_inputs):
    model = make_model(make_config(query_distance_threshold=1e6))
    with torch.no_grad():
        model.class_head.weight.zero_()
        # p(sounding) = 0.57 for all queries: above delta at the start, below it at the end.
        model.class_head.bias.copy_(torch.tensor([0.215, 0.57, 0.215]).log())
    start = model(**make_inputs(), labels=make_labels()).loss_dict
    model.set_training_progress(1.0)
    end = model(**make_inputs(), labels=make_labels()).loss_dict
    assert start["aqdl"] > 0 and start["aqml"] > 0
    assert end["aqdl"] == 0 and end["aqml"] == 0


@pytest.mark.parametrize("num_labels", [4, 71])
def test_more_labels(make_config, make_inputs, num_labels):
    model = make_model(make_config(num_labels=num_labels))
    outputs = model(**make_inputs(), labels=make_labels(num_labels=num_labels))
    assert outputs.logits.shape == (2, 3, num_labels, 16, 16)
    assert outputs.class_queries_logits.shape[-1] == num_labels + 1
    assert outputs.loss.isfinite()


def test_eager_equals_sdpa(make_config, make_inputs):
    models = []
    for implementation in ("eager", "sdpa"):
        torch.manual_seed(0)
        model = AussForAudioVisualSegmentation._from_config(
            make_config(), attn_implementation={"": implementation}
        ).eval()
        assert model.auss.fusion_decoder.layers[0].masked_attention.config._attn_implementation == implementation
        models.append(randomise_heads(model))
    eager, sdpa = (model(**make_inputs(), labels=make_labels()) for model in models)
    torch.testing.assert_close(eager.fused_queries, sdpa.fused_queries, rtol=0, atol=2e-5)
    torch.testing.assert_close(eager.logits, sdpa.logits, rtol=0, atol=2e-5)
    torch.testing.assert_close(eager.loss, sdpa.loss, rtol=1e-5, atol=0)


def test_hidden_states_and_attentions_on_request(make_config, make_inputs):
    model = AussForAudioVisualSegmentation._from_config(make_config(), attn_implementation="eager").eval()
    outputs = model(**make_inputs(), output_hidden_states=True, output_attentions=True)
    assert [tuple(state.shape) for state in outputs.hidden_states] == 4 * [(6, 8, 16)]
    torch.testing.assert_close(outputs.hidden_states[-1], outputs.fused_queries.flatten(0, 1))
    expected = outputs.audio_queries.repeat_interleave(3, dim=0)
    torch.testing.assert_close(outputs.hidden_states[0], expected)
    # The blocks attend in turn to f_1 and f_2 of a 32 x 32 frame, at strides 8 and 4.
    assert [tuple(weights.shape) for weights in outputs.attentions] == [(6, 2, 8, s) for s in (16, 64, 16)]
    torch.testing.assert_close(outputs.attentions[1].sum(-1), torch.ones(6, 2, 8))
    assert model(**make_inputs()).hidden_states is None


def test_trainer_scales_accumulated_losses_itself(tiny_model, tmp_path):
    # `forward` takes **kwargs. Trainer would conclude that the loss is already divided by `num_items_in_batch`, and
    # would not divide it by the number of accumulation steps.
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    assert not Trainer(model=tiny_model, args=arguments).model_accepts_loss_kwargs


def test_gradient_checkpointing_gives_the_same_gradients(make_config, make_inputs):
    found = []
    for checkpointing in (False, True):
        model = make_model(make_config()).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.auss.fusion_decoder.layers[0].gradient_checkpointing
        model(**make_inputs(), labels=make_labels()).loss.backward()
        found.append(gradients(model))
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], msg=lambda text, name=name: f"{name}: {text}")


def test_save_and_load_bit_for_bit(make_config, make_inputs, tmp_path):
    model = make_model(make_config(query_embedding=True))
    # The weights must come from the file and not from a second, equal initialisation.
    model.save_pretrained(tmp_path)
    torch.manual_seed(99)
    loaded, info = AussForAudioVisualSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    own, other = model.state_dict(), loaded.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert torch.equal(model(**make_inputs()).logits, loaded.eval()(**make_inputs()).logits)
    base = AussModel.from_pretrained(tmp_path).eval()
    assert torch.equal(base(**make_inputs()).last_hidden_state, model(**make_inputs()).fused_queries)


def test_loading_for_other_labels_keeps_all_but_the_class_head(tiny_model, make_inputs, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    loaded = AussForAudioVisualSegmentation.from_pretrained(tmp_path, num_labels=4, ignore_mismatched_sizes=True)
    assert loaded.class_head.weight.shape == (5, 16) and loaded.config.num_labels == 4
    own, other = tiny_model.state_dict(), loaded.state_dict()
    changed = [name for name in own if own[name].shape != other[name].shape or not torch.equal(own[name], other[name])]
    assert sorted(changed) == ["class_head.bias", "class_head.weight"]
    outputs = loaded(**make_inputs(), labels=make_labels(num_labels=4))
    assert outputs.loss.isfinite() and outputs.logits.shape[2] == 4


def test_frame_conditioned_queries_hear_their_own_moment_only(make_config, make_inputs):
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(frame_conditioned_queries=True)).eval()
    inputs = make_inputs(batch=1, frames=5)
    inputs["pixel_values"] = inputs["pixel_values"][:, :1].expand(-1, 5, -1, -1, -1)
    with torch.no_grad():
        queries = model(**inputs).fused_queries[0]
        told = model(**inputs, frame_examples=torch.tensor([[3, 3, 3, 0, 4]])).fused_queries[0]
    # The picture is the same at each second, but the result is not. A frame that is told its second gives the result
    # of that second.
    assert all((queries[0] - queries[other]).abs().max() > 1e-4 for other in range(1, 5))
    torch.testing.assert_close(told, queries[[3, 3, 3, 0, 4]], rtol=0, atol=1e-5)


def test_frames_of_a_clip_share_their_queries_unless_conditioned(tiny_model, make_inputs):
    inputs = make_inputs(batch=1, frames=3)
    inputs["pixel_values"] = inputs["pixel_values"][:, :1].expand(-1, 3, -1, -1, -1)
    with torch.no_grad():
        queries = tiny_model(**inputs, frame_examples=torch.tensor([[0, 2, 4]])).fused_queries[0]
    torch.testing.assert_close(queries, queries[:1].expand(3, -1, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("conditioned", [False, True])
def test_frame_queries_in_place_of_the_sound(make_config, make_inputs, conditioned):
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(frame_conditioned_queries=conditioned)).eval()
    inputs = make_inputs(batch=2, frames=5, examples=4)
    with torch.no_grad():
        expected = model(**inputs)
        audio_queries, frame_queries = model.auss.frame_queries(5, inputs.pop("input_features"))
        outputs = model(**inputs, frame_queries=frame_queries)
        # Give the frames of both clips as clips of one frame each.
        frames = model(
            pixel_values=inputs["pixel_values"].flatten(0, 1)[:, None],
            frame_queries=frame_queries.flatten(0, 1)[:, None],
        )
    torch.testing.assert_close(outputs.logits, expected.logits, rtol=0, atol=0)
    torch.testing.assert_close(audio_queries, expected.audio_queries, rtol=0, atol=0)
    torch.testing.assert_close(frames.logits.flatten(0, 1), expected.logits.flatten(0, 1), rtol=0, atol=1e-5)
    assert outputs.audio_queries is None


def test_hidden_states_are_the_fusion_blocks_whatever_the_backbone_records(make_config, make_inputs):
    # Swin records its own hidden states while it computes feature maps.
    swin = SwinConfig(embed_dim=4, depths=[1, 1], num_heads=[1, 2], window_size=4, out_indices=[1, 2])
    model = AussForAudioVisualSegmentation(make_config(backbone_config=swin)).eval()
    outputs = model(**make_inputs(), output_hidden_states=True)
    assert [tuple(state.shape) for state in outputs.hidden_states] == 4 * [(6, 8, 16)]
    torch.testing.assert_close(outputs.hidden_states[-1], outputs.fused_queries.flatten(0, 1))


@pytest.mark.parametrize("head", [False, True])
def test_a_configuration_may_ask_for_tuples(make_config, make_inputs, head):
    model = make_model(make_config())
    expected = (model if head else model.auss)(**make_inputs(), output_hidden_states=True).to_tuple()
    model.config.return_dict = False
    outputs = (model if head else model.auss)(**make_inputs(), output_hidden_states=True)
    assert isinstance(outputs, tuple) and len(outputs) == len(expected)
    torch.testing.assert_close(outputs, expected)


def test_views_of_a_frame_are_as_frames_of_their_own_but_the_picture_is_encoded_once(make_config, make_inputs):
    model = randomise_heads(make_model(make_config()))
    pixels = make_inputs(batch=3, frames=1)["pixel_values"]
    queries = torch.randn(3, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(pixel_values=pixels.expand(-1, 4, -1, -1, -1), frame_queries=queries)
    encoded = []
    backbone = model.auss.image_embedding_extractor.backbone
    backbone.register_forward_pre_hook(lambda _, args: encoded.append(len(args[0])))
    with torch.no_grad():
        found = model(pixel_values=pixels, frame_queries=queries)
    assert sum(encoded) == 3
    assert found.logits.shape[:2] == (3, 4) and found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="labels must come without views of a frame, got frame_queries of 4 views"):
        model(pixel_values=pixels, frame_queries=queries, labels=make_labels(3, 1))
