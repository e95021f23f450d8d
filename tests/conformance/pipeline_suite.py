"""The pipeline, in the loop by which Transformers tests the pipelines of its tasks."""

import shutil
import unittest

import numpy as np
import sdist
import torch
from PIL import Image
from testers import AussTester
from transformers import pipeline
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers_tests import test_pipeline_mixin
from transformers_tests.test_pipeline_mixin import PipelineTesterMixin

from auss import AussConfig, AussFeatureExtractor, AussForAudioVisualSegmentation, AussProcessor, AussVideoProcessor

TASK = "audio-visual-segmentation"

# Where the loop looks for a task's tests, and for the classes that a test's processor is made of.
test_pipeline_mixin.pipeline_test_mapping[TASK] = {"test": f"{__name__}.AudioVisualSegmentationPipelineTests"}
PROCESSOR_MAPPING_NAMES["auss"] = "AussProcessor"
for part in (AussFeatureExtractor, AussProcessor):
    setattr(test_pipeline_mixin.transformers_module, part.__name__, part)


def examples() -> list[dict]:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (3, 24, 40, 3), dtype=np.uint8)
    sound = {"audio": random.uniform(-1, 1, 32_000), "sampling_rate": 16_000}
    return [{"frames": frames, **sound}, {"frames": [Image.fromarray(frame) for frame in frames], **sound}]


class AudioVisualSegmentationPipelineTests(unittest.TestCase):
    """The part that Transformers has in tests/pipelines for each of its tasks."""

    runs = 0

    def get_test_pipeline(self, model, tokenizer=None, feature_extractor=None, processor=None, dtype="float32"):
        return pipeline(TASK, model=model, processor=processor, dtype=getattr(torch, dtype)), examples()

    def run_pipeline_test(self, segmenter, examples):
        AudioVisualSegmentationPipelineTests.runs += 1
        for example in examples:
            frames = segmenter(example)
            self.assertEqual(len(frames), 3)
            for frame in frames:
                for segment in frame:
                    self.assertEqual(set(segment), {"timestamp", "label", "score", "mask"})
                    self.assertEqual((segment["mask"].mode, segment["mask"].size), ("L", (40, 24)))
                    self.assertLessEqual(set(np.unique(segment["mask"])), {0, 255})
                    self.assertIn(segment["label"], segmenter.model.config.id2label.values())
                    self.assertTrue(0 <= segment["score"] <= 1)
        self.assertEqual([len(frames) for frames in segmenter(examples)], [3, 3])


class AussPipelineTest(PipelineTesterMixin, unittest.TestCase):
    pipeline_model_mapping = {TASK: AussForAudioVisualSegmentation}

    def setUp(self):
        AudioVisualSegmentationPipelineTests.runs = 0

    @classmethod
    def setUpClass(cls):
        folder = sdist.TINY_MODELS / AussConfig.model_type / AussForAudioVisualSegmentation.__name__
        shutil.rmtree(folder, ignore_errors=True)  # an earlier run's
        torch.manual_seed(0)
        AussForAudioVisualSegmentation(AussTester("resnet").get_config()).save_pretrained(folder)
        AussProcessor(AussFeatureExtractor(), AussVideoProcessor()).save_pretrained(folder)

    def test_pipeline_audio_visual_segmentation(self):
        self.run_task_tests(task=TASK)
        self.assertGreater(AudioVisualSegmentationPipelineTests.runs, 0)  # the loop passes over what it cannot load

    def test_pipeline_audio_visual_segmentation_fp16(self):
        self.run_task_tests(task=TASK, dtype="float16")
        self.assertGreater(AudioVisualSegmentationPipelineTests.runs, 0)
