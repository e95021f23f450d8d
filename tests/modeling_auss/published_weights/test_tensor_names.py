import pytest
import torch

from auss.modeling_auss.published_weights.tensor_names import Renaming, fill, parse, translate, translate_back

RENAMINGS = (
    Renaming("stem.{p}", "embedder.{p}"),
    Renaming("layer{i+1}.{j}.conv.weight", "stages.{i}.layers.{j}.weight"),
    Renaming("blocks.{j}.qkv.{p}", ("blocks.{j}.q.{p}", "blocks.{j}.k.{p}", "blocks.{j}.v.{p}")),
)


@pytest.mark.parametrize(
    "template, name, values",
    [
        ("layer{i+1}.{j}.bn.{p}", "layer3.0.bn.running_mean", {"i": 2, "j": 0, "p": "running_mean"}),
        ("layer{i+1}.{j}.bn.{p}", "layer0.0.bn.weight", None),
        ("layer{i+1}.{j}.bn.{p}", "layer1.0.bn.weight.extra", None),
        ("layer{i+1}.{j}.bn.{p}", "xlayer1.0.bn.weight", None),
        ("a.b", "axb", None),
        ("a.b", "a.b", {}),
    ],
)
def test_a_template_fits_whole_names(template, name, values):
    assert parse(template, name) == values
    assert values is None or fill(template, values) == name


def test_there_and_back_gives_the_same_tensors():
    theirs = {
        "stem.weight": torch.randn(3, 2),
        "layer1.0.conv.weight": torch.randn(2, 2),
        "layer2.11.conv.weight": torch.randn(2, 2),
        "blocks.0.qkv.weight": torch.randn(6, 2),
        "blocks.0.qkv.bias": torch.randn(6),
    }
    ours, unknown = translate({**theirs, "head.weight": torch.zeros(1)}, RENAMINGS)
    assert unknown == ["head.weight"]
    assert torch.equal(ours["stages.1.layers.11.weight"], theirs["layer2.11.conv.weight"])
    assert torch.equal(ours["blocks.0.k.weight"], theirs["blocks.0.qkv.weight"][2:4])
    back, unknown = translate_back({**ours, "norms.weight": torch.zeros(1)}, RENAMINGS)
    assert unknown == ["norms.weight"] and back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)


def test_a_joined_tensor_with_a_missing_part_is_left_out():
    back, _ = translate_back(
        {"blocks.0.q.weight": torch.zeros(2, 2), "blocks.0.v.weight": torch.zeros(2, 2)}, RENAMINGS
    )
    assert not back
