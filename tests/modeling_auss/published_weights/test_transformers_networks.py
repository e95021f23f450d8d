import pytest
import torch
from transformers import AutoBackbone, ResNetConfig, ResNetForImageClassification, SwinForMaskedImageModeling
from transformers.utils import logging

from auss.modeling_auss.published_weights.comparison import AnotherNetworkError
from auss.modeling_auss.published_weights.transformers_networks import (
    check_same_maps,
    fitted_state,
    own_network,
    quiet_loading,
    read_network_config,
)

from .published_networks import transformers_network
from .weight_publishers import small_swin_config


def resnet_config(**fields):
    sizes = dict(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    return ResNetConfig(**(sizes | fields))


def test_loading_is_quiet_and_leaves_the_settings_alone(capfd):
    classifier = transformers_network(ResNetForImageClassification, resnet_config())
    backbone = AutoBackbone.from_config(resnet_config(out_features=["stage1"]))
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    own_network(backbone, resnet_config(), classifier.state_dict(), "here")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    with pytest.raises(KeyError), quiet_loading():
        raise KeyError
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_heads_of_the_published_class_may_be_there_and_nothing_else():
    config = small_swin_config(architectures=["SwinForMaskedImageModeling"])
    network = transformers_network(SwinForMaskedImageModeling, config)
    backbone = AutoBackbone.from_config(small_swin_config(out_features=["stage1"]))
    tensors = network.state_dict()
    assert {"decoder.0.weight", "swin.embeddings.mask_token"} <= tensors.keys()
    assert own_network(backbone, config, tensors, "here")
    with pytest.raises(AnotherNetworkError, match="layers that it lacks, first 'encoder.layers.0.blocks.7"):
        own_network(
            backbone, config, {**tensors, "swin.encoder.layers.0.blocks.7.mlp.fc1.weight": torch.ones(1)}, "here"
        )


def test_a_missing_layer_is_refused():
    tensors = transformers_network(ResNetForImageClassification, resnet_config()).state_dict()
    name = "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight"
    backbone = AutoBackbone.from_config(resnet_config(out_features=["stage1"]))
    with pytest.raises(AnotherNetworkError, match="1 of .* first 'encoder.stages.0.* found none of that name"):
        own_network(backbone, resnet_config(), {key: x for key, x in tensors.items() if key != name}, "here")
    # Tensors that no map depends on may be missing.
    own_network(backbone, resnet_config(), {key: x for key, x in tensors.items() if "stages.1" not in key}, "here")


def test_maps_are_compared():
    config = resnet_config(out_features=["stage2"])
    torch.manual_seed(0)
    first = AutoBackbone.from_config(config).eval()
    second = AutoBackbone.from_config(resnet_config(out_features=["stage2"], hidden_act="gelu")).eval()
    assert fitted_state(first, first, "here").keys() == first.state_dict().keys()
    with pytest.raises(AnotherNetworkError, match="its tensors fit, but its maps differ by"):
        check_same_maps(first, second.state_dict(), second, "here", "another")


@pytest.mark.parametrize(
    "content, message",
    [
        ({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}, "does not know; auss runs no code"),
        ({}, "model_type None"),
        ({"model_type": "swin", "depths": 3}, "its config.json is wrong"),
    ],
)
def test_configurations_that_are_not_read(content, message):
    with pytest.raises(ValueError, match=f"'here'.*{message}"):
        read_network_config(content, "here")


def test_a_stage_that_there_is_not():
    backbone = AutoBackbone.from_config(
        resnet_config(depths=[1, 1, 1], hidden_sizes=[4, 8, 8], out_features=["stage3"])
    )
    with pytest.raises(AnotherNetworkError, match="it has no 'stage3', only stem, stage1, stage2"):
        own_network(backbone, resnet_config(), {}, "here")
