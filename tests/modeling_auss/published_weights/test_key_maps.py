"""Each family's map is one-to-one between all tensors of timm's classifier and of Transformers' classifier."""

import pytest
import timm
import torch
from transformers import (
    ConvNextForImageClassification,
    PvtV2Config,
    PvtV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
)

from auss.modeling_auss.published_weights.key_maps import (
    FAMILIES,
    family_in_own_names,
    family_in_timm_names,
    family_of_model,
)

from .published_pairs import R101, SWIN_B
from .weight_publishers import convnext_tiny

CLASSIFIERS = {
    "resnet": ("resnet101", ResNetForImageClassification, ResNetConfig(depths=R101)),
    "swin": ("swin_base_patch4_window7_224", SwinForImageClassification, SwinConfig(**SWIN_B)),
    "convnext": ("convnext_tiny", ConvNextForImageClassification, convnext_tiny()),
    "pvt_v2": ("pvt_v2_b0", PvtV2ForImageClassification, PvtV2Config()),
}


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.fixture(params=FAMILIES, ids=lambda family: family.model_type)
def family(request):
    return request.param


@pytest.fixture
def both(family):
    """Returns the family's tensors without values, under timm's and Transformers' names, and its configuration."""
    name, cls, config = CLASSIFIERS[family.model_type]
    with torch.device("meta"):
        # Both classifiers get another number of labels.
        config.num_labels = 7
        return timm.create_model(name, num_classes=7).state_dict(), cls(config).state_dict(), config


def test_the_map_is_one_to_one_between_the_two_libraries(family, both):
    theirs, own, _ = both
    own = family.own_names(own)
    translated, unknown = family.to_transformers(theirs)
    assert not unknown and shapes(translated) == shapes(own)
    back, unknown = family.to_timm(own)
    assert not unknown and shapes(back) == shapes(theirs)


def test_a_family_is_known_by_its_names(family, both):
    theirs, own, config = both
    assert family_in_timm_names(theirs) is family and family_in_own_names(theirs) is None
    assert family_in_own_names(own) is family and family_in_timm_names(own) is None
    assert family_in_own_names(family.own_names(own)) is family
    assert family_of_model(config.model_type) is family


def test_sizes_are_read_off_the_tensors(family, both):
    _, own, config = both
    sizes = family.sizes(family.own_names(own))
    assert {"depths"} < sizes.keys()
    for name, value in sizes.items():
        expected = getattr(config, name)
        assert value == (list(expected) if isinstance(expected, tuple) else expected), name


def test_fixed_fields_are_transformers_defaults(family, both):
    config = both[2]
    for name, value in family.fixed.items():
        own = getattr(config, name)
        assert (list(own) if isinstance(own, tuple) else own) == value


def test_older_names_of_swin():
    family = family_of_model("swin")
    older = "swin.encoder.layers.0.blocks.0."
    names = {
        "attention.self.query.weight": "attention.q_proj.weight",
        "attention.self.relative_position_bias_table": "attention.relative_position_bias.relative_position_bias_table",
        "attention.output.dense.bias": "attention.o_proj.bias",
        "intermediate.dense.weight": "mlp.fc1.weight",
        "output.dense.weight": "mlp.fc2.weight",
    }
    tensors = {older + name: torch.zeros(1) for name in names}
    assert family_in_own_names(tensors) is family
    assert [name.partition("blocks.0.")[2] for name in family.own_names(tensors)] == list(names.values())
