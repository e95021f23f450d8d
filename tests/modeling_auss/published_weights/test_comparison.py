import pytest
import torch
from transformers import ResNetConfig, TimmBackboneConfig

from auss.modeling_auss.published_weights.comparison import (
    AnotherNetworkError,
    check_same_network,
    describe_config,
    missing_or_misshapen,
    superfluous,
)


def test_sentences_name_the_first_tensor_and_both_shapes():
    expected = {"a.weight": torch.Size([2, 3]), "b.weight": torch.Size([4]), "c.weight": torch.Size([1])}
    assert missing_or_misshapen(expected, expected) == ""
    assert missing_or_misshapen(expected, {**expected, "b.weight": torch.Size([5])}) == (
        "1 of 3 tensors are missing or of another shape, first 'b.weight' (4,), found (5,)"
    )
    assert missing_or_misshapen(expected, {}) == (
        "3 of 3 tensors are missing or of another shape, first 'a.weight' (2, 3), found none of that name"
    )
    assert superfluous([]) == superfluous(["bn.num_batches_tracked"]) == ""
    assert superfluous(["x.weight", "y.weight"]) == "2 tensors belong to layers that it lacks, first 'x.weight'"


def test_problems_are_raised_in_one_line():
    check_same_network("s", "this", "that", ["", ""])
    with pytest.raises(AnotherNetworkError, match="^the weights at 's' .* Expected this, found that: one; two$"):
        check_same_network("s", "this", "that", ["one", "", "two"])


def test_networks_are_described_by_their_sizes():
    assert describe_config(TimmBackboneConfig(backbone="resnet18")) == "timm's resnet18"
    described = describe_config(ResNetConfig(depths=[1, 2], hidden_sizes=[4, 8]))
    assert described == "resnet (depths=[1, 2], hidden_sizes=[4, 8], layer_type=bottleneck)"
