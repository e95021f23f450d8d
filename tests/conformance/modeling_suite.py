"""The models against Transformers' tests of models, configurations and training, with each kind of backbone."""

import unittest

import torch
from testers import AussTester, assert_config_passes
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES
from transformers_tests.test_modeling_common import ModelTesterMixin
from transformers_tests.test_training_mixin import TrainingTesterMixin

from auss import AussAudioConfig, AussConfig, AussForAudioVisualSegmentation, AussModel

# By this table of Transformers' own models the tests know which class has no head, and so no loss.
MODEL_MAPPING_NAMES["auss"] = "AussModel"


class AussModelTests(ModelTesterMixin):
    all_model_classes = (AussModel, AussForAudioVisualSegmentation)
    additional_model_inputs = ["input_features"]
    test_can_init_all_missing_weights_before_2023 = True
    test_resize_embeddings = False  # of tokens
    backbone = ""

    def setUp(self):
        self.model_tester = AussTester(self.backbone)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and model_class is AussForAudioVisualSegmentation:
            inputs |= self.model_tester.labels()
        return inputs


class AussWithResNetTest(AussModelTests, unittest.TestCase):
    backbone = "resnet"


class AussWithSwinTest(AussModelTests, unittest.TestCase):
    backbone = "swin"
    _is_composite = True  # in attention: both parts have an implementation to choose
    test_all_params_have_gradient = False


class AussWithTimmTest(AussModelTests, unittest.TestCase):
    backbone = "timm"


class AussConfigTest(unittest.TestCase):
    def setUp(self):
        self.model_tester = AussTester("resnet")

    def test_config(self):
        fields = dict(num_queries=8, hidden_size=16, num_attention_heads=2, feature_strides=[8, 4], mask_stride=2)
        names = ["hidden_size", "num_attention_heads", "num_hidden_layers", "num_labels"]
        assert_config_passes(self, AussConfig, names, **fields)

    def test_audio_config(self):
        fields = dict(stage_channels=[2, 4], stage_depths=[1, 1], hidden_features=8, embedding_size=8)
        assert_config_passes(self, AussAudioConfig, [], **fields)


class TrainingTester(AussTester):
    def get_config(self):
        # Without the terms that do not tend to zero as a batch is learned; the test reads `vocab_size` off any config.
        config = super().get_config()
        for name in ("aqdl_weight", "aqml_weight"):
            setattr(config, name, 0.0)
        config.vocab_size = 0
        return config


class AussTrainingTest(TrainingTesterMixin, unittest.TestCase):
    """Transformers' loop and its bounds, on a batch of ours: it makes batches of text alone."""

    model_tester = TrainingTester("resnet")

    def _get_model_modality(self):
        return "text"

    def _get_trainable_model_class(self):
        return AussForAudioVisualSegmentation

    def _create_text_training_batch(self, batch_size, seq_length, vocab_size):
        torch.manual_seed(0)
        return self.model_tester.prepare_config_and_inputs_for_common()[1] | self.model_tester.labels()
