"""The comparison accepts a graph that equals the model and refuses one that does not."""

import pytest
import torch

from auss.inference.exporting.export_comparison import compare, example_inputs, most_frames


class Altered:
    """Stands in for an exported network. It is the model with one output changed."""

    def __init__(self, model, change, output="logits"):
        self.model, self.change, self.output, self.shapes = model, change, output, []

    def to(self, device):
        assert device == "cpu"

    def __call__(self, **inputs):
        self.shapes.append((tuple(inputs["pixel_values"].shape[:2]), int(inputs["input_features_mask"].sum())))
        with torch.no_grad():
            outputs = self.model(**inputs)
        outputs[self.output] = self.change(outputs[self.output])
        return outputs


def test_the_model_itself_has_no_difference(tiny_model):
    difference = compare(tiny_model, Altered(tiny_model, lambda logits: logits), (32, 48))
    assert (difference.scores, difference.largest, difference.audio_queries) == (0.0, 0.0, 0.0)
    assert (difference.typical, difference.frames, difference.is_rounding) == (0.0, 0.0, True)


@pytest.mark.parametrize(("frames", "shapes"), [(None, {(1, 8): 2, (3, 1): 3}), (2, {(1, 2): 4}), (1, {(1, 1): 8})])
def test_sound_padding_and_silence_are_tried(tiny_model, frames, shapes):
    exported = Altered(tiny_model, lambda logits: logits)
    compare(tiny_model, exported, (32, 32), frames)
    assert {shape for shape, _ in exported.shapes} == shapes.keys()
    for (clips, clip_frames), repetitions in shapes.items():
        examples = sorted(count // clips for shape, count in exported.shapes if shape == (clips, clip_frames))
        assert examples == sorted([0, 3, 5, 5] * repetitions)


def test_a_difference_everywhere_is_seen(tiny_model):
    difference = compare(tiny_model, Altered(tiny_model, lambda logits: logits + 0.01), (32, 32))
    assert difference.scores == pytest.approx(0.01, rel=1e-3) and difference.largest == difference.scores
    assert difference.typical == pytest.approx(0.01, rel=1e-3)
    assert difference.frames == 1 and not difference.is_rounding


def test_a_few_values_are_no_wrong_graph(tiny_model):
    def change(logits):
        logits = logits.clone()
        logits[..., 0, 0] += 0.5
        return logits

    difference = compare(tiny_model, Altered(tiny_model, change), (32, 32))
    assert difference.scores == pytest.approx(0.5) and difference.frames == 0 and difference.is_rounding


def test_one_wrong_sound_is_seen(tiny_model):
    """A graph that is wrong only in silence must not pass."""
    exported = Altered(tiny_model, lambda logits: logits + 0.01 * (len(exported.shapes) in (5, 6)))
    difference = compare(tiny_model, exported, (32, 32))
    assert difference.typical == pytest.approx(0.01, rel=1e-3) and not difference.is_rounding


@pytest.mark.parametrize("output", ["logits", "class_queries_logits", "fused_queries"])
@pytest.mark.parametrize(
    "where",
    [
        lambda clips, frames: (slice(None), slice((frames + 1) // 2, None)),  # the last half of the frames
        lambda clips, frames: (slice(None), slice(7, 8)),  # the eighth frame
        lambda clips, frames: (slice(2, 3), slice(None)),  # the third clip
    ],
)
def test_what_is_wrong_in_one_place_is_seen(tiny_model, output, where):
    def change(value):
        value = value.clone()
        value[where(*value.shape[:2])] += 0.01
        return value

    difference = compare(tiny_model, Altered(tiny_model, change, output), (32, 32))
    assert difference.typical == pytest.approx(0.01, rel=1e-3) and not difference.is_rounding


def test_a_frame_that_tips_over_tau_is_no_wrong_graph(tiny_model):
    """Only one frame of one clip differs, in any of its outputs."""

    def change(logits):
        logits = logits.clone()
        logits[:, 3:4] += 0.1 * (len(exported.shapes) == 2)
        return logits

    exported = Altered(tiny_model, change)
    difference = compare(tiny_model, exported, (32, 32))
    assert difference.frames == 0.125 and difference.scores == pytest.approx(0.1) and difference.is_rounding


def test_audio_queries_are_equal_everywhere(tiny_model):
    def change(queries):
        queries = queries.clone()
        queries[0, 0, 0] += 2e-4 * (len(exported.shapes) == 1)
        return queries

    exported = Altered(tiny_model, change, "audio_queries")
    difference = compare(tiny_model, exported, (32, 32))
    assert difference.audio_queries == pytest.approx(2e-4, rel=0.01) and difference.frames == 0
    assert not difference.is_rounding


def test_most_frames():
    wrong = torch.zeros(2, 5, 3, 4, dtype=torch.bool)
    assert most_frames(wrong) == 0
    for kind, index in (("sound", (1,)), ("clip", (..., 2, slice(None))), ("place", (..., 3))):
        one = wrong.clone()
        one[index] = True
        assert most_frames(one) == 1, kind
    wrong[1, :, 2, :3] = True
    assert most_frames(wrong) == pytest.approx(3 / 8)  # of the third clip's frames


def test_not_a_number_is_a_difference(tiny_model):
    difference = compare(tiny_model, Altered(tiny_model, lambda logits: logits * float("nan")), (32, 32))
    assert torch.tensor(difference.largest).isnan() and torch.tensor(difference.typical).isnan()
    assert difference.frames == 1 and not difference.is_rounding


def test_a_few_that_are_no_numbers_are_too_many(tiny_model):
    def change(logits):
        logits = logits.clone()
        logits[0, 0, 0, 0, 0] = float("nan") if len(exported.shapes) == 2 else logits[0, 0, 0, 0, 0]
        return logits

    exported = Altered(tiny_model, change)
    assert not compare(tiny_model, exported, (32, 32)).is_rounding


def test_example_inputs(tiny_config):
    sound = example_inputs(tiny_config, (32, 48), clips=2, frames=3, lacking=2)
    assert sound["pixel_values"].shape == (2, 3, 3, 32, 48) and sound["input_features"].shape == (2, 5, 96, 64)
    assert sound["input_features_mask"].tolist() == [[1, 1, 1, 0, 0]] * 2
    again = example_inputs(tiny_config, (32, 48), clips=2, frames=3)
    assert torch.equal(sound["pixel_values"], again["pixel_values"]) and again["input_features_mask"].all()
    other = example_inputs(tiny_config, (32, 48), clips=2, frames=3, seed=1)
    assert not torch.equal(other["pixel_values"], again["pixel_values"])
    silence = example_inputs(tiny_config, (32, 48), 1, 1, silent=True)["input_features"]
    assert silence.unique().tolist() == pytest.approx([-4.60517])
