"""Mask2Former against the same tests of models, for comparison: nothing of it is skipped or replaced here."""

import unittest

from testers import Mask2FormerTester, assert_config_passes
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerModel
from transformers_tests.test_modeling_common import ModelTesterMixin


class Mask2FormerTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (Mask2FormerModel, Mask2FormerForUniversalSegmentation)
    test_can_init_all_missing_weights_before_2023 = True
    test_resize_embeddings = False  # of tokens

    def setUp(self):
        self.model_tester = Mask2FormerTester()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and model_class is Mask2FormerForUniversalSegmentation:
            inputs |= self.model_tester.labels()
        return inputs


class Mask2FormerConfigTest(unittest.TestCase):
    def test_config(self):
        assert_config_passes(self, Mask2FormerConfig)
