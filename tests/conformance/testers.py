"""What the model tests of Transformers are run on: small networks, and inputs for them."""

import unittest

import torch
from transformers import Mask2FormerConfig, ResNetConfig, SwinConfig, TimmBackboneConfig
from transformers_tests.test_configuration_common import ConfigTester

from auss import AussAudioConfig, AussConfig

# A ResNet has no attention; a Swin has, as Transformers computes it; one of
# timm is a module that Transformers only wraps.
BACKBONES = {
    "resnet": lambda: ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", out_indices=[1, 2]
    ),
    "swin": lambda: SwinConfig(embed_dim=4, depths=[1, 1], num_heads=[1, 2], window_size=4, out_indices=[1, 2]),
    "timm": lambda: TimmBackboneConfig(
        backbone="test_efficientnet", use_pretrained_backbone=False, out_indices=[1, 2, 3, 4]
    ),
}


def assert_config_passes(
    test_case: unittest.TestCase, config_class: type, properties: list[str] | None = None, **fields
) -> None:
    """By Transformers' configuration tests, which assert by `test_case`; they must object to a missing property."""

    def run(common_properties: list[str] | None) -> None:
        options = dict(has_text_modality=False, common_properties=common_properties)
        ConfigTester(test_case, config_class, **options, **fields).run_common_tests()

    run(properties)
    with test_case.assertRaisesRegex(AssertionError, "no_such_property"):
        run(["no_such_property"])


class AussTester:
    """The numbers under the names that the tests read them by."""

    is_training = True
    batch_size = 3
    num_frames = 2
    image_size = 32
    num_audio_examples = 2
    num_labels = 3
    hidden_size = 16
    num_hidden_layers = 2
    num_attention_heads = 2
    seq_length = 8  # queries

    def __init__(self, backbone: str):
        self.backbone = backbone
        self.strides = (16, 8, 4) if backbone == "timm" else (8, 4)
        # Positions of the coarsest map, which the first fusion block attends.
        self.key_length = (self.image_size // self.strides[0]) ** 2

    def get_config(self) -> AussConfig:
        return AussConfig(
            backbone_config=BACKBONES[self.backbone](),
            audio_config=AussAudioConfig(
                stage_channels=(2, 2, 4, 4), stage_depths=(1, 1, 1, 1), hidden_features=8, embedding_size=8
            ),
            num_audio_examples=self.num_audio_examples,
            num_queries=self.seq_length,
            hidden_size=self.hidden_size,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=16,
            num_audio_layers=1,
            num_fusion_layers=self.num_hidden_layers,
            mask_stride=2,
            feature_strides=self.strides,
            lateral_connections=self.backbone != "resnet",
            num_labels=self.num_labels,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[AussConfig, dict[str, torch.Tensor]]:
        frames = (self.batch_size, self.num_frames, 3, self.image_size, self.image_size)
        inputs = {
            "pixel_values": torch.rand(frames),
            "input_features": torch.rand(self.batch_size, self.num_audio_examples, 96, 64),
        }
        return self.get_config(), inputs

    def labels(self) -> dict[str, torch.Tensor]:
        """The left half sounds."""
        labels = torch.zeros(self.batch_size, self.num_frames, self.image_size, self.image_size, dtype=torch.long)
        labels[..., : self.image_size // 2] = 1
        return {"labels": labels}


class Mask2FormerTester:
    """As `AussTester`, for the network that auss is measured against, with its default kind of backbone."""

    is_training = True
    batch_size = 3
    image_size = 64
    num_labels = 3
    hidden_size = 32  # of 32 groups
    num_hidden_layers = 2
    num_attention_heads = 2
    seq_length = 8
    key_length = 8

    def get_config(self) -> Mask2FormerConfig:
        return Mask2FormerConfig(
            backbone_config=SwinConfig(
                embed_dim=4, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2, out_indices=[1, 2, 3, 4]
            ),
            feature_size=self.hidden_size,
            mask_feature_size=self.hidden_size,
            hidden_dim=self.hidden_size,
            encoder_feedforward_dim=16,
            encoder_layers=1,
            decoder_layers=self.num_hidden_layers + 1,  # it builds one less
            num_attention_heads=self.num_attention_heads,
            dim_feedforward=16,
            num_queries=self.seq_length,
            train_num_points=64,
            num_labels=self.num_labels,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[Mask2FormerConfig, dict[str, torch.Tensor]]:
        images = (self.batch_size, 3, self.image_size, self.image_size)
        inputs = {"pixel_values": torch.rand(images), "pixel_mask": torch.ones(images[0], *images[2:])}
        return self.get_config(), inputs

    def labels(self) -> dict[str, torch.Tensor]:
        masks = torch.zeros(self.batch_size, 2, self.image_size, self.image_size)
        masks[:, 0, :, : self.image_size // 2] = 1
        masks[:, 1] = 1 - masks[:, 0]
        return {"mask_labels": masks, "class_labels": torch.tensor([[1, 0]] * self.batch_size)}
