"""Compares A2U with Eq. 1 as a triple sum, and the Dependency Catcher with torch's encoder layers."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from auss.modeling_auss.audio_queries import (
    AudioQueryGenerator,
    DependencyCatcherLayer,
    FrameConditioner,
    SpaceProjector,
    spread_frames,
)
from auss.modeling_auss.modeling_auss import AussModel


def randomise(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module.eval()


def copied_encoder_layer(layer: DependencyCatcherLayer, heads: int) -> torch.nn.TransformerEncoderLayer:
    attention, width = layer.self_attention, layer.feed_forward.expand.out_features
    reference = torch.nn.TransformerEncoderLayer(16, heads, width, dropout=0.0, activation="relu", batch_first=True)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    with torch.no_grad():
        reference.self_attn.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
        reference.self_attn.in_proj_bias.copy_(torch.cat([projection.bias for projection in projections]))
    reference.self_attn.out_proj.load_state_dict(attention.o_proj.state_dict())
    reference.linear1.load_state_dict(layer.feed_forward.expand.state_dict())
    reference.linear2.load_state_dict(layer.feed_forward.contract.state_dict())
    reference.norm1.load_state_dict(layer.self_attention_norm.state_dict())
    reference.norm2.load_state_dict(layer.feed_forward_norm.state_dict())
    return reference.eval()


def test_space_projector_is_equation_1(tiny_config):
    projector = randomise(SpaceProjector(tiny_config))
    audio = torch.randn(2, 5, 8)
    queries = projector(audio, torch.ones(2, 5, dtype=torch.bool))
    number, channel = projector.number_projector, projector.channel_projector.weight.T  # (N, T), (e_0, e)
    assert number.shape == (8, 5) and channel.shape == (8, 16)
    assert len(list(projector.parameters())) == 2  # Eq. 1 has no bias
    for clip in range(2):
        for row in range(8):
            for column in range(16):
                literal = sum(
                    number[row, t] * audio[clip, t, c] * channel[c, column] for t in range(5) for c in range(8)
                )
                assert queries[clip, row, column].item() == pytest.approx(literal.item(), abs=1e-5)


def test_rank_is_the_number_of_examples_unless_queries_are_embedded(make_config):
    valid = torch.ones(1, 5, dtype=torch.bool)
    # The five examples are independent, so only T = 5 limits the rank.
    audio = torch.eye(8)[:5].unsqueeze(0)
    plain = randomise(SpaceProjector(make_config()))
    assert torch.linalg.matrix_rank(plain(audio, valid)[0]) == 5
    embedded = randomise(SpaceProjector(make_config(query_embedding=True)))
    assert torch.linalg.matrix_rank(embedded(audio, valid)[0]) == 8
    without = embedded(audio, valid) - embedded.query_embedding
    expected = embedded.number_projector @ audio @ embedded.channel_projector.weight.T
    torch.testing.assert_close(without, expected, rtol=0, atol=1e-5)


def test_examples_that_are_missing_add_nothing(tiny_config):
    projector = randomise(SpaceProjector(tiny_config))
    audio = torch.randn(1, 5, 8)
    valid = torch.tensor([[True, False, True, True, False]])
    literal = sum(
        torch.outer(projector.number_projector[:, t], projector.channel_projector(audio[0, t])) for t in (0, 2, 3)
    )
    torch.testing.assert_close(projector(audio, valid)[0], literal, rtol=0, atol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("heads", [1, 2])
def test_dependency_catcher_layer_is_torchs_encoder_layer(make_config, implementation, heads):
    config = make_config(num_attention_heads=heads, intermediate_size=24)
    config._attn_implementation = implementation
    layer = randomise(DependencyCatcherLayer(config))
    queries = torch.randn(2, 8, 16)
    expected = copied_encoder_layer(layer, heads)(queries)
    torch.testing.assert_close(layer(queries), expected, rtol=0, atol=2e-5)


def test_generator_is_the_projector_and_then_every_layer(make_config):
    generator = randomise(AudioQueryGenerator(make_config(num_audio_layers=3)))
    audio, valid = torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    assert len(generator.dependency_catcher) == 3
    expected = generator.space_projector(audio, valid)
    for layer in generator.dependency_catcher:
        expected = copied_encoder_layer(layer, heads=2)(expected)
    torch.testing.assert_close(generator(audio, valid), expected, rtol=0, atol=5e-5)


def test_no_layers_leave_the_projector_alone(make_config):
    generator = randomise(AudioQueryGenerator(make_config(num_audio_layers=0)))
    audio, valid = torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    assert torch.equal(generator(audio, valid), generator.space_projector(audio, valid))


def test_clips_are_independent(tiny_config):
    generator = randomise(AudioQueryGenerator(tiny_config))
    audio, valid = torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)
    alone = torch.cat([generator(audio[i : i + 1], valid[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(generator(audio, valid), alone, rtol=0, atol=1e-5)


def test_without_the_number_projector_the_examples_are_the_queries(make_config):
    projector = randomise(SpaceProjector(make_config(number_projector=False, num_queries=5)))
    audio, valid = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True, True, False, False, False]])
    expected = audio @ projector.channel_projector.weight.T
    expected[1, 2:] = 0
    torch.testing.assert_close(projector(audio, valid), expected, rtol=0, atol=1e-5)


def test_without_the_channel_projector_features_keep_their_width(make_config):
    projector = randomise(SpaceProjector(make_config(channel_projector=False, hidden_size=8)))
    audio, valid = torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(projector(audio, valid), projector.number_projector @ audio, rtol=0, atol=1e-5)


def test_without_audio_the_queries_are_learned(make_config, make_inputs):
    config = make_config(audio_input=False, query_embedding=True, num_audio_layers=0)
    torch.manual_seed(0)
    model = AussModel(config).eval()
    names = " ".join(name for name, _ in model.named_parameters())
    assert not any(part in names for part in ("audio_encoder", "number_projector", "channel_projector"))
    inputs = make_inputs()
    other = inputs | {"input_features": torch.randn(2, 2, 96, 64)}
    queries = model(**inputs).audio_queries
    assert torch.equal(queries[0], model.audio_query_generator.space_projector.query_embedding)
    assert torch.equal(model(**inputs).last_hidden_state, model(**other).last_hidden_state)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(audio_input=False), "query_embedding must be True"),
        (dict(number_projector=False), "num_queries must be num_audio_examples=5"),
        (
            dict(audio_input=False, query_embedding=True, frame_conditioned_queries=True),
            "frame_conditioned_queries must be False",
        ),
        (dict(channel_projector=False), "hidden_size must be audio_config.embedding_size=8"),
    ],
)
def test_ablations_that_do_not_fit_are_refused(make_config, fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        make_config(**fields)


def test_frames_spread_evenly_over_the_examples_that_are_sound():
    valid = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    assert spread_frames(5, valid).tolist() == [[0, 1, 2, 3, 4], [0, 0, 1, 1, 1], [0] * 5]
    assert spread_frames(1, valid).tolist() == [[2], [1], [0]]
    fine = spread_frames(125, valid)
    assert fine[0].bincount().tolist() == [25] * 5 and fine.max() == 4


def test_frame_conditioner_adds_each_frames_own_example(make_config):
    conditioner = randomise(FrameConditioner(make_config()))
    queries, audio = torch.randn(2, 3, 8, 16), torch.randn(2, 5, 8)
    examples = torch.tensor([[0, 4, 4], [2, 0, 1]])
    conditioned = conditioner(queries, audio, examples)
    for clip in range(2):
        for frame in range(3):
            own = conditioner.projection(audio[clip, examples[clip, frame]])
            torch.testing.assert_close(conditioned[clip, frame], queries[clip, frame] + own, rtol=0, atol=1e-6)


def test_the_frames_of_a_padded_clip_spread_over_its_sound_alone():
    valid = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0, 0, 0], [1] * 10])
    frame_mask = torch.tensor([[1] * 5 + [0] * 5, [1] * 10])
    spread = spread_frames(10, valid, frame_mask)
    assert spread[0, :5].tolist() == [0, 1, 2, 3, 4] and spread[1].tolist() == list(range(10))
    assert 0 <= int(spread.min()) and int(spread.max()) < 10  # the numbers are also valid in the padding
    assert torch.equal(spread_frames(10, valid, torch.ones(2, 10)), spread_frames(10, valid))
