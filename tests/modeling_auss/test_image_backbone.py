"""Backbones of many families are measured and trained at odd sizes. Backbones that cannot work are refused."""

import re
from pathlib import Path

import pytest
import timm
import torch
from transformers import AutoConfig, TimmBackboneConfig

from auss.modeling_auss import image_backbone
from auss.modeling_auss.image_backbone import build_backbone, measure_layout, read_maps
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation

TABLE = Path(__file__).parents[2] / "docs" / "backbones.md"

PYRAMID = dict(out_indices=[1, 2, 3, 4])
# Transformers' networks get four tiny stages. timm's networks have no tiny form, so the smallest of a family is used.
STAGES = dict(depths=[1, 1, 1, 1], **PYRAMID)
HEADS = dict(num_hidden_layers=2, num_attention_heads=2, hidden_size=16)
TRANSFORMERS = {
    "resnet": dict(embedding_size=8, hidden_sizes=[8, 8, 16, 16], layer_type="basic", **STAGES),
    "bit": dict(embedding_size=8, hidden_sizes=[8, 8, 16, 16], num_groups=2, **STAGES),
    "convnext": dict(hidden_sizes=[8, 8, 16, 16], **STAGES),
    "convnextv2": dict(hidden_sizes=[8, 8, 16, 16], **STAGES),
    "dinov3_convnext": dict(hidden_sizes=[8, 8, 16, 16], **STAGES),
    "swin": dict(embed_dim=8, num_heads=[1, 1, 2, 2], window_size=4, image_size=64, **STAGES),
    "swinv2": dict(embed_dim=8, num_heads=[1, 1, 2, 2], window_size=4, image_size=64, **STAGES),
    "maskformer-swin": dict(embed_dim=8, num_heads=[1, 1, 2, 2], window_size=4, image_size=64, **STAGES),
    "focalnet": dict(embed_dim=8, hidden_sizes=[8, 16, 32, 64], **STAGES),
    "pvt_v2": dict(hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], depths=[1] * 4),
    "hiera": dict(embed_dim=8, num_heads=[1, 1, 2, 2], **STAGES),
    "beit": dict(intermediate_size=16, image_size=64, use_relative_position_bias=True, **HEADS),
    "dinov2": dict(image_size=56, **HEADS),
    "dinov2_with_registers": dict(image_size=56, **HEADS),
    "dinov3_vit": dict(image_size=64, intermediate_size=16, **HEADS),
    "vitdet": dict(image_size=64, **HEADS),
    "lw_detr_vit": HEADS,
}
SLOW_TRANSFORMERS = ("bit", "dinov3_convnext", "maskformer-swin", "vitdet", "lw_detr_vit")
TIMM = {
    "resnet18": [1, 2, 3, 4],
    "mobilenetv3_small_050": [1, 2, 3, 4],
    "mobilenetv4_conv_small": [1, 2, 3, 4],
    "tf_efficientnet_lite0": [1, 2, 3, 4],
    "convnext_atto": [0, 1, 2, 3],
    "pvt_v2_b0": [0, 1, 2, 3],
    "mambaout_femto": [0, 1, 2, 3],
    "swin_tiny_patch4_window7_224": [0, 1, 2, 3],
    "test_vit": [5],
}
SLOW_TIMM = {
    "regnety_002": [1, 2, 3, 4],
    "convnextv2_atto": [0, 1, 2, 3],
    "swinv2_tiny_window8_256": [0, 1, 2, 3],
    "pvt_v2_b2": [0, 1, 2, 3],
    "maxvit_tiny_tf_224": [1, 2, 3, 4],
    "coatnet_0_rw_224": [1, 2, 3, 4],
    "hiera_tiny_224": [0, 1, 2, 3],
    "focalnet_tiny_srf": [0, 1, 2, 3],
    "efficientvit_b0": [0, 1, 2, 3],
    "vit_tiny_patch16_224": [11],
    "vit_small_patch14_dinov2": [11],
    "vit_small_patch16_dinov3": [11],
    "eva02_tiny_patch14_224": [11],
    "beit_base_patch16_224": [11],
}


def timm_config(name: str, out_indices: list[int]) -> TimmBackboneConfig:
    return TimmBackboneConfig(backbone=name, use_pretrained_backbone=False, out_indices=out_indices)


def make_backbone_config(library: str, name: str):
    if library == "timm":
        return timm_config(name, (TIMM | SLOW_TIMM)[name])
    config = AutoConfig.for_model(name, **TRANSFORMERS[name])
    if name == "pvt_v2":  # PVT v2 counts its stages from 0
        config.out_indices = [0, 1, 2, 3]
    return config


def words(layout) -> str:
    """Returns the text of the table about the frame sizes that a backbone takes."""
    if layout.fixed_size is not None:
        return "{} x {} only".format(*layout.fixed_size)
    return "any size" if layout.multiple == 1 else f"any size, padded to multiples of {layout.multiple}"


def table_rows() -> dict[tuple[str, str], tuple[str, str, str]]:
    """Reads the table of the documentation: (library, backbone) -> (strides, order of the maps, frames)."""
    cells = re.findall(r"^\| (\w+) \| `([\w-]+)` \| ([^|]+) \| (\w+) \| ([^|]+) \|$", TABLE.read_text("utf-8"), re.M)
    return {(library, name): tuple(rest) for library, name, *rest in cells}


CASES = [
    *(
        pytest.param("Transformers", name, marks=pytest.mark.slow if name in SLOW_TRANSFORMERS else ())
        for name in TRANSFORMERS
    ),
    *(("timm", name) for name in TIMM),
    *(pytest.param("timm", name, marks=pytest.mark.slow) for name in SLOW_TIMM),
]


def test_the_table_lists_what_is_tested():
    tested = {("Transformers", name) for name in TRANSFORMERS} | {("timm", name) for name in TIMM | SLOW_TIMM}
    assert table_rows().keys() == tested


@pytest.mark.parametrize(("library", "name"), CASES)
def test_forward_loss_and_backward(make_config, library, name):
    """The frame size is not a multiple of any stride, and the layout must be that of the table."""
    torch.manual_seed(0)
    backbone_config = make_backbone_config(library, name)
    layout = measure_layout(build_backbone(backbone_config))
    strides = ", ".join(map(str, layout.strides))
    assert table_rows()[library, name] == (strides, "NHWC" if layout.channels_last else "NCHW", words(layout))

    pyramid = len(set(layout.strides)) == 4
    overrides = dict(feature_strides=(32, 16, 8), mask_stride=4, lateral_connections=pyramid)
    model = AussForAudioVisualSegmentation(make_config(backbone_config=backbone_config, **overrides)).train()
    size = layout.fixed_size or (50, 71)
    frames = torch.randn(1, 2, 3, *size)
    sound = torch.randn(1, 5, 96, 64)
    labels = torch.randint(0, 2, (1, 2, *size))
    outputs = model(pixel_values=frames, input_features=sound, labels=labels)
    assert outputs.logits.shape == (1, 2, 2, -(-size[0] // 4), -(-size[1] // 4))
    outputs.loss.backward()
    extractor = model.auss.image_embedding_extractor
    assert len(extractor.lateral_projections) == (3 if pyramid else 0)
    gradients = [weight.grad for weight in extractor.backbone.parameters() if weight.grad is not None]
    assert outputs.loss.isfinite() and gradients and all(gradient.isfinite().all() for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0

    maps = extractor.backbone_maps(frames[0])
    expected = [(c, -(-size[0] // s), -(-size[1] // s)) for c, s in zip(layout.channels, layout.strides, strict=True)]
    assert [tuple(level.shape[1:]) for level in maps] == expected


@pytest.mark.parametrize(
    ("name", "out_indices", "size"),
    [
        ("swin_tiny_patch4_window7_224", [0, 1], 224),
        ("test_vit3", [8], 160),
        pytest.param("vit_tiny_patch16_224", [11], 224, marks=pytest.mark.slow),
        pytest.param("eva02_tiny_patch14_224", [11], 224, marks=pytest.mark.slow),
        pytest.param("swinv2_tiny_window8_256", [0, 1, 2, 3], 256, marks=pytest.mark.slow),
    ],
)
def test_maps_at_the_own_size_are_those_of_timm(name, out_indices, size):
    """auss builds the network for frames of any size. That must not change its maps at its own size."""
    torch.manual_seed(0)
    backbone = build_backbone(timm_config(name, out_indices)).eval()
    layout = measure_layout(backbone)
    own = timm.create_model(name, features_only=True, out_indices=out_indices).eval()
    own.load_state_dict(backbone._backbone.state_dict())
    frames = torch.randn(1, 3, size, size)
    with torch.no_grad():
        maps = layout.trimmed(backbone(layout.padded(frames)).feature_maps, frames.shape[-2:])
        expected = own(frames)
    assert layout.fixed_size is None
    for level, other in zip(maps, expected, strict=True):
        other = other.permute(0, 3, 1, 2) if layout.channels_last else other
        torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-5)


def test_a_padded_frame_keeps_its_place():
    """A backbone that rounds sizes down also sees the last rows, and each row of a map stays at its own pixels."""
    torch.manual_seed(0)
    backbone = build_backbone(make_backbone_config("Transformers", "convnext")).eval()
    layout = measure_layout(backbone)
    frames = torch.randn(1, 3, 127, 64)
    changed = frames.clone()
    changed[..., 120:, :] += 1  # without padding, the map of stride 32 would end at row 96
    with torch.no_grad():
        maps, others = (
            layout.trimmed(backbone(layout.padded(each)).feature_maps, (127, 64)) for each in (frames, changed)
        )
        whole = backbone(torch.nn.functional.pad(frames, (0, 0, 0, 1))).feature_maps
    for stride, level, other, expected in zip(layout.strides, maps, others, whole, strict=True):
        assert level.shape[-2:] == (-(-127 // stride), 64 // stride)
        torch.testing.assert_close(level, expected)
        assert not torch.allclose(level[..., -1, :], other[..., -1, :])


def test_what_only_takes_one_size_says_so(make_config, make_inputs, caplog):
    config = make_config(backbone_config=make_backbone_config("Transformers", "hiera"), lateral_connections=False)
    model = AussForAudioVisualSegmentation(config)
    assert "'hiera' takes frames of 224 x 224 pixels only" in caplog.text
    with pytest.raises(ValueError, match="pixel_values must have frames of 224 x 224 pixels .* got 32 x 48"):
        model(**make_inputs(size=(32, 48)))


def broken(name: str, **fields) -> TimmBackboneConfig:
    config = timm_config(name, [1])
    for field, value in fields.items():
        setattr(config, field, value)
    return config


@pytest.mark.parametrize(
    ("make_config_of_backbone", "message"),
    [
        (lambda: broken("hf-hub:timm/resnet18.a1_in1k"), "plain name of a timm network.*got 'hf-hub:timm/resnet18"),
        (lambda: broken("hf_hub:me/mine"), "plain name of a timm network"),
        (lambda: broken("local-dir:/etc"), "plain name of a timm network.*got 'local-dir:/etc'"),
        (lambda: broken("me/mine"), "plain name of a timm network"),
        (lambda: broken("resnet19"), "'resnet19' cannot be built .*Unknown model .resnet19"),
        (lambda: broken("resnet18", features_only=False), "features_only must be True"),
        (lambda: broken("resnet18", num_channels=1), "num_channels must be 3.*got 1"),
        (lambda: broken("resnet18", output_stride=3), "'resnet18' cannot be built from backbone_config"),
        (lambda: timm_config("resnet18", [9]), "'resnet18' cannot be built from backbone_config"),
        (lambda: timm_config("inception_v3", [4]), "'inception_v3' gives maps .* one and the same whole number"),
        (
            lambda: AutoConfig.for_model("dinov2", image_size=56, reshape_hidden_states=False, **HEADS),
            "'dinov2' gives tensors of shapes .*reshape_hidden_states, it must be True",
        ),
        (
            lambda: AutoConfig.for_model("pp_lcnet_v4", out_indices=[3]),
            "'pp_lcnet_v4' gives maps .* one and the same whole number",
        ),
        (lambda: AutoConfig.for_model("bert"), "BertConfig"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(make_config, make_config_of_backbone, message):
    with pytest.raises(ValueError, match=message):
        AussForAudioVisualSegmentation(make_config(backbone_config=make_config_of_backbone()))


def test_a_backbone_that_needs_a_missing_package_names_it(make_config):
    dinat = AutoConfig.for_model("dinat", embed_dim=8, depths=[1, 1], num_heads=[1, 2])
    try:
        import natten  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        with pytest.raises(ImportError, match="natten"):
            AussForAudioVisualSegmentation(make_config(backbone_config=dinat))


def test_foreign_code_of_a_backbone_is_never_run(make_config):
    config = make_config()
    config.backbone_config.auto_map = {"AutoBackbone": "evil.Backbone"}
    AussForAudioVisualSegmentation(config)  # builds Transformers' own ResNet without asking the user
    bert = AutoConfig.for_model("bert")
    bert.auto_map = {"AutoBackbone": "evil.Backbone"}
    with pytest.raises(ValueError):
        AussForAudioVisualSegmentation(make_config(backbone_config=bert))


def test_layouts_are_measured_once_and_leave_the_backbone_as_it_was(monkeypatch):
    monkeypatch.setattr(image_backbone, "measured", {})
    backbone = build_backbone(make_backbone_config("Transformers", "resnet")).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    layout = measure_layout(backbone)
    assert backbone.training and all(module.training for module in backbone.modules())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    monkeypatch.setattr(image_backbone, "layout_by", None)
    assert measure_layout(backbone) is layout


def test_a_square_map_is_read_by_the_backbones_own_channels():
    assert read_maps([(1, 8, 8, 8)], (32, 32), [8]) == ([8], [4], False)
    assert read_maps([(1, 4, 4, 7)], (28, 28), [7]) == ([7], [7], True)
    assert read_maps([(1, 7, 4, 4)], (28, 28), [7]) == ([7], [7], False)
    assert read_maps([(1, 8, 3, 5)], (32, 32), [8]) is None
