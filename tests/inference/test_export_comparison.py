"""The comparison tells a graph that is the model from one that is not."""

import pytest
import torch

from auss.inference.export_comparison import TOLERANCE, compare, example_inputs


class Altered:
    """Stands in for an exported network: the model, with its logits changed."""

    def __init__(self, model, change):
        self.model, self.change, self.shapes = model, change, []

    def to(self, device):
        assert device == "cpu"

    def __call__(self, **inputs):
        self.shapes.append((tuple(inputs["pixel_values"].shape[:2]), int(inputs["input_features_mask"].sum())))
        with torch.no_grad():
            outputs = self.model(**inputs)
        outputs["logits"] = self.change(outputs.logits)
        return outputs


def test_the_model_itself_has_no_difference(tiny_model):
    difference = compare(tiny_model, Altered(tiny_model, lambda logits: logits), (32, 48))
    assert (difference.scores, difference.largest, difference.typical) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("frames", "shapes"), [(None, {(1, 4), (3, 1)}), (2, {(1, 2)})])
def test_sound_padding_and_silence_are_tried(tiny_model, frames, shapes):
    exported = Altered(tiny_model, lambda logits: logits)
    compare(tiny_model, exported, (32, 32), frames)
    assert {shape for shape, _ in exported.shapes} == shapes
    for clips, clip_frames in shapes:
        examples = sorted(count // clips for shape, count in exported.shapes if shape == (clips, clip_frames))
        assert examples == [0, 3, 5, 5]


def test_a_difference_everywhere_is_seen(tiny_model):
    difference = compare(tiny_model, Altered(tiny_model, lambda logits: logits + 0.01), (32, 32))
    assert difference.scores == pytest.approx(0.01, rel=1e-3) and difference.largest == difference.scores
    assert difference.typical == pytest.approx(0.01, rel=1e-3)


def test_a_few_values_are_no_wrong_graph(tiny_model):
    def change(logits):
        logits = logits.clone()
        logits[..., 0, 0] += 0.5
        return logits

    difference = compare(tiny_model, Altered(tiny_model, change), (32, 32))
    assert difference.scores == pytest.approx(0.5) and difference.typical < TOLERANCE


def test_one_wrong_clip_is_seen(tiny_model):
    """Else a graph that is wrong in silence alone would pass."""
    exported = Altered(tiny_model, lambda logits: logits + 0.01 * (len(exported.shapes) == 3))
    assert compare(tiny_model, exported, (32, 32)).typical == pytest.approx(0.01, rel=1e-3)


def test_not_a_number_is_a_difference(tiny_model):
    difference = compare(tiny_model, Altered(tiny_model, lambda logits: logits * float("nan")), (32, 32))
    assert torch.tensor(difference.largest).isnan() and torch.tensor(difference.typical).isnan()


def test_example_inputs(tiny_config):
    sound = example_inputs(tiny_config, (32, 48), clips=2, frames=3, lacking=2)
    assert sound["pixel_values"].shape == (2, 3, 3, 32, 48) and sound["input_features"].shape == (2, 5, 96, 64)
    assert sound["input_features_mask"].tolist() == [[1, 1, 1, 0, 0]] * 2
    again = example_inputs(tiny_config, (32, 48), clips=2, frames=3)
    assert torch.equal(sound["pixel_values"], again["pixel_values"]) and again["input_features_mask"].all()
    silence = example_inputs(tiny_config, (32, 48), 1, 1, silent=True)["input_features"]
    assert silence.unique().tolist() == pytest.approx([-4.60517])
