import pytest
import timm
import torch
from transformers import AutoBackbone, TimmBackboneConfig

from auss.modeling_auss.published_weights.comparison import AnotherNetworkError
from auss.modeling_auss.published_weights.timm_networks import (
    check_name,
    fitted_timm_state,
    native_tensors,
    plain_network,
    plain_tensors,
    wrapped_names,
)

from .published_networks import timm_network

# timm wraps networks in four ways: a list, a getter of intermediate states, a separate class, and hooks. Each of these
# networks uses another way.
WRAPPERS = ["test_convnext", "test_vit", "test_efficientnet", "test_resnet"]


def make_backbone(name, *indices):
    return AutoBackbone.from_config(
        TimmBackboneConfig(backbone=name, use_pretrained_backbone=False, out_indices=list(indices) or [-1])
    ).eval()


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_tensor_of_the_wrapper_has_its_name_in_the_classifier(name):
    backbone, network = make_backbone(name), timm_network(name)
    names = wrapped_names(backbone.config, plain_network(name))
    own, theirs = backbone.state_dict(), network.state_dict()
    assert names.keys() == own.keys() and len(set(names.values())) == len(names)
    assert all(own[name].shape == theirs[plain].shape for name, plain in names.items())
    state = fitted_timm_state(backbone, theirs, "a test", "here")
    assert all(torch.equal(state[name], theirs[plain]) for name, plain in names.items())
    # In the other direction, a saved backbone gives its tensors under the classifier's names.
    assert plain_tensors(backbone.config, state, "here").keys() == set(names.values())


def test_a_filter_of_timms_converts_names_and_never_sizes():
    network = plain_network("swin_tiny_patch4_window7_224")
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    tensors = {name: torch.zeros(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors[table] = torch.zeros(529, 3)  # a table for window 12, which timm would resize
    assert native_tensors(tensors, network)[table].shape == (529, 3)


def test_a_head_of_any_size_and_none_at_all():
    backbone, state = make_backbone("test_convnext"), timm_network("test_convnext", num_classes=5).state_dict()
    assert fitted_timm_state(backbone, state, "a test", "here")
    assert fitted_timm_state(backbone, {n: x for n, x in state.items() if "head" not in n}, "a test", "here")
    with pytest.raises(AnotherNetworkError, match="layers that it lacks, first 'norm_pre.weight'"):
        fitted_timm_state(backbone, {**state, "norm_pre.weight": torch.ones(1)}, "a test", "here")


@pytest.mark.parametrize("name", ["hf-hub:a/b", "local-dir:/etc", "a/b", "nothing", None, ""])
def test_only_timms_own_names(name):
    with pytest.raises(ValueError, match="'here'.*none of the networks of timm"):
        check_name(name, "here")


def test_the_tag_is_no_part_of_the_network():
    assert check_name("resnet50.a1_in1k", "here") == "resnet50" and timm.is_model("resnet50")
