"""Invalid inputs raise errors that name them, and padding does not change losses, gradients or outputs."""

import pytest
import torch

from auss.configuration.configuration_auss import AussAudioConfig
from auss.modeling_auss.model_inputs import RealFrames

from .conftest import make_labels, make_model, randomise_heads

FRAMES, LONG, LABELS = 5, 10, 4


@pytest.fixture
def model(make_config):
    """A model in training mode with batch norm in both encoders, frame queries and close confident queries."""
    audio = AussAudioConfig(
        stage_channels=(2, 2, 4, 4), stage_depths=(1, 1, 1, 1), hidden_features=8, embedding_size=8, batch_norm=True
    )
    config = make_config(
        num_labels=LABELS,
        num_audio_examples=LONG,
        audio_config=audio,
        frame_conditioned_queries=True,
        query_distance_threshold=1000.0,
        mask_cross_entropy_weight=1.0,
    )
    return randomise_heads(make_model(config)).train()


@pytest.fixture
def short_clip(make_inputs):
    return {**make_inputs(1, FRAMES, FRAMES), "labels": make_labels(1, FRAMES, num_labels=LABELS)}


@pytest.fixture
def long_clip(make_inputs):
    return {**make_inputs(1, LONG, LONG), "labels": make_labels(1, LONG, num_labels=LABELS).flip(1)}


def padded(clip, frames=LONG):
    """
    Returns the clip with padding after it.

    The padding has NaN pictures and invalid labels, so every result that used the padding would be wrong.
    """
    missing, count = frames - clip["pixel_values"].shape[1], clip["input_features"].shape[1]
    junk = torch.full((1, missing, *clip["pixel_values"].shape[2:]), float("nan"))
    sound = torch.full((1, LONG - count, *clip["input_features"].shape[2:]), 9.0)
    labels = torch.full((1, missing, *clip["labels"].shape[2:]), LABELS + 3)
    return {
        "pixel_values": torch.cat([clip["pixel_values"], junk], 1),
        "input_features": torch.cat([clip["input_features"], sound], 1),
        "input_features_mask": (torch.arange(LONG) < count).long()[None],
        "labels": torch.cat([clip["labels"], labels], 1),
        "frame_mask": (torch.arange(frames) < frames - missing).long()[None],
    }


def batch_of(*clips):
    return {name: torch.cat([clip[name] for clip in clips]) for name in clips[0]}


def trained(model, inputs, weights=None):
    """Returns the output, the gradients by name and the buffers after one step. The buffers are batch statistics."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    model.zero_grad(set_to_none=True)
    outputs = model(**inputs)
    outputs.loss.backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    model.load_state_dict(before)
    return outputs, gradients, buffers


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=1e-4, msg=lambda text, n=name: n + text)


def test_a_padded_clip_has_the_losses_gradients_and_statistics_that_it_has_alone(model, short_clip):
    alone, alone_gradients, alone_buffers = trained(model, short_clip)
    outputs, gradients, buffers = trained(model, padded(short_clip))
    assert all(alone.loss_dict[name] > 0 for name in ("class", "dice", "mask_focal", "aqdl", "aqml", "auxiliary"))
    assert_same({"loss": outputs.loss, **outputs.loss_dict}, {"loss": alone.loss, **alone.loss_dict})
    assert_same(gradients, alone_gradients)
    assert_same(buffers, alone_buffers)
    # Padding would have changed these statistics.
    assert any(name.endswith("running_mean") for name in buffers)


def test_what_stands_in_the_padding_changes_nothing_in_a_batch(model, short_clip, long_clip):
    long_clip = padded(long_clip)
    first, second = padded(short_clip), padded(short_clip)
    second["pixel_values"][:, FRAMES:] = 0.0
    second["labels"][:, FRAMES:] = 255
    second["input_features"][:, FRAMES:] = -4.0
    results = [trained(model, batch_of(clip, long_clip)) for clip in (first, second)]
    assert torch.equal(results[0][0].loss, results[1][0].loss)
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_batchs_losses_and_gradients_are_the_clips_own_by_their_counts(make_config, short_clip, long_clip):
    """
    Every loss term is a mean over the frames, weighted queries or segments of all clips in the batch.

    Batch norm does not use batch statistics here, because the clips of a batch share them.
    """
    config = make_config(
        num_labels=LABELS,
        num_audio_examples=LONG,
        query_distance_threshold=1000.0,
        deep_supervision=False,
        mask_cross_entropy_weight=1.0,
    )
    model = randomise_heads(make_model(config))
    short_clip["labels"][:, 1:] = 255  # AVSS annotates only the first frame of a v1s clip
    batch, batch_gradients, _ = trained(model, batch_of(padded(short_clip), padded(long_clip)))
    shares = {}
    for key, clip in (("short", short_clip), ("long", long_clip)):
        weight, segments, frames = model.loss.divisors(clip["labels"][0], config.num_queries)
        shares[key] = {"class": weight, "aqdl": frames, "aqml": frames}
        shares[key] |= dict.fromkeys(("dice", "mask_focal", "mask_cross_entropy"), segments)
    expected_gradients = {name: torch.zeros_like(value) for name, value in batch_gradients.items()}
    for name, term in batch.loss_dict.items():
        if name == "auxiliary":
            continue
        expected = 0.0
        for key, clip in (("short", short_clip), ("long", long_clip)):
            share = shares[key][name] / (shares["short"][name] + shares["long"][name])
            model.zero_grad(set_to_none=True)
            own = model(**clip).loss_dict[name] * share
            (own * model.loss.weights[name]).backward()
            expected += own.detach()
            for parameter, value in model.named_parameters():
                if value.grad is not None:
                    expected_gradients[parameter] += value.grad
        torch.testing.assert_close(term, expected, msg=lambda text, n=name: n + text)
    for name, value in batch_gradients.items():
        torch.testing.assert_close(value, expected_gradients[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@torch.no_grad()
def test_each_clip_has_the_output_that_it_has_alone_and_nothing_sounds_in_the_padding(
    model, short_clip, long_clip, order
):
    model.eval()
    clips = [short_clip, long_clip]
    for clip in clips:
        del clip["labels"]
    alone = [model(**clip, output_masks_queries_logits=True) for clip in clips]
    inputs = [padded({**clip, "labels": torch.zeros(1, clip["pixel_values"].shape[1], 1, 1)}) for clip in clips]
    batch = batch_of(*[inputs[index] for index in order])
    del batch["labels"]
    outputs = model(**batch, output_masks_queries_logits=True)
    names = ("logits", "class_queries_logits", "masks_queries_logits", "fused_queries")
    for place, index in enumerate(order):
        count = (FRAMES, LONG)[index]
        for name in names:
            torch.testing.assert_close(outputs[name][place, :count], alone[index][name][0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(outputs.audio_queries[place], alone[index].audio_queries[0])
        assert not outputs.logits[place, count:].any()
        assert (outputs.class_queries_logits[place, count:].softmax(-1)[..., -1] == 1).all()


@torch.no_grad()
def test_recorded_states_and_the_base_model_keep_the_batchs_axes(model, short_clip):
    model.eval()
    batch = padded(short_clip)
    del batch["labels"]
    outputs = model(**batch, output_hidden_states=True, return_dict=True)
    assert all(len(state) == LONG for state in outputs.hidden_states)
    assert not outputs.hidden_states[-1][FRAMES:].any()
    alone = model.auss(short_clip["pixel_values"], short_clip["input_features"], output_hidden_states=True)
    base = model.auss(**batch, output_hidden_states=True)
    for name in ("last_hidden_state", "mask_features"):
        torch.testing.assert_close(base[name][:, :FRAMES], alone[name], atol=1e-5, rtol=1e-4)
        assert not base[name][:, FRAMES:].any()
    assert [len(state) for state in base.hidden_states] == [LONG] * len(alone.hidden_states)
    assert isinstance(model.auss(**batch, return_dict=False), tuple)
    assert isinstance(model(**batch, return_dict=False), tuple)


def test_a_mask_of_ones_is_no_mask(model, short_clip):
    ones = torch.ones(1, FRAMES, dtype=torch.long)
    assert RealFrames(ones, ones.shape).places is None
    assert torch.equal(model(**short_clip, frame_mask=ones).loss, model(**short_clip).loss)


def test_frames_are_packed_and_unpacked_wherever_the_padding_lies():
    frame_mask = torch.tensor([[0, 1, 1], [1, 0, 1]])
    real = RealFrames(frame_mask, frame_mask.shape)
    values = torch.arange(12.0).reshape(2, 3, 2)
    packed = real.pack(values)
    assert packed.tolist() == [[2.0, 3.0], [4.0, 5.0], [6.0, 7.0], [10.0, 11.0]]
    assert torch.equal(real.unpack(packed), values * frame_mask.unsqueeze(-1))
    row = torch.tensor([-1.0, -2.0])
    assert real.unpack(packed, padding=row)[0, 0].tolist() == [-1.0, -2.0]


@pytest.mark.parametrize(
    "mask, message",
    [
        (torch.ones(1, 4), r"frame_mask must be \(B, F\) as pixel_values \(1, 5\), got \(1, 4\)"),
        (torch.zeros(1, 5), r"frame_mask must leave each clip a frame, got \[0"),
        (torch.full((1, 5), 2), r"must hold 1 for frames and 0 for padding, got \[2\]"),
        (torch.full((1, 5), float("nan")), "must hold 1 for frames and 0 for padding"),
    ],
)
def test_bad_masks_are_refused(model, short_clip, mask, message):
    with pytest.raises(ValueError, match=message):
        model(**short_clip, frame_mask=mask)


def test_labels_of_several_sizes_come_as_a_list(model, short_clip):
    """At the size of the pictures, both clips have the same labels as in one tensor."""
    labels = short_clip["labels"]
    twice = batch_of(short_clip, short_clip)
    fine = labels.repeat_interleave(2, -1).repeat_interleave(2, -2)
    expected = model(**twice)
    twice["labels"] = [labels[0], fine[0]]
    assert torch.equal(model(**twice).loss, expected.loss)
    twice["labels"] = [labels[0], fine[0, :2]]
    with pytest.raises(ValueError, match=r"or a list of \(F, H, W\), with the clips and frames of .* got a list of"):
        model(**twice)


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
