"""The feature extractor, the video processor and the processor against Transformers' tests of such."""

import unittest

import numpy as np
from transformers_tests.test_processing_common import ProcessorTesterMixin
from transformers_tests.test_sequence_feature_extraction_common import SequenceFeatureExtractionTestMixin
from transformers_tests.test_video_processing_common import VideoProcessingTestMixin, prepare_video_inputs

from auss import AussFeatureExtractor, AussProcessor, AussVideoProcessor


class FeatureExtractorTester:
    """Sequences of mel frames, of lengths that differ by `seq_length_diff`."""

    batch_size = 4
    feature_size = 64
    min_seq_length = 20
    max_seq_length = 80
    seq_length_diff = 20

    def prepare_feat_extract_dict(self):
        return {"feature_size": self.feature_size, "num_audio_examples": 3, "padding_value": 0.0}

    def prepare_inputs_for_common(self, equal_length=False, numpify=False):
        random = np.random.default_rng(0)
        lengths = range(self.min_seq_length, self.max_seq_length + 1, self.seq_length_diff)
        sequences = [
            random.random((self.max_seq_length if equal_length else length, self.feature_size)) for length in lengths
        ]
        return sequences if numpify else [sequence.tolist() for sequence in sequences]


class AussFeatureExtractorTest(SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = AussFeatureExtractor
    feat_extract_tester = FeatureExtractorTester()


class VideoProcessorTester:
    batch_size = 3
    num_channels = 3
    crop_size = {"height": 18, "width": 18}

    def __init__(self):
        self.num_frames = 4  # the tests change it, and `num_channels`

    def prepare_video_inputs(self, equal_resolution=False, return_tensors="pil"):
        return prepare_video_inputs(
            self.batch_size, self.num_frames, self.num_channels, 30, 80, equal_resolution, return_tensors
        )

    def expected_output_video_shape(self, videos):
        return self.num_frames, self.num_channels, *self.crop_size.values()


class AussVideoProcessorTest(VideoProcessingTestMixin, unittest.TestCase):
    fast_video_processing_class = AussVideoProcessor
    input_name = "pixel_values"
    test_cast_dtype = True

    def setUp(self):
        super().setUp()
        self.video_processor_tester = VideoProcessorTester()

    @property
    def video_processor_dict(self):
        return {
            "size": {"shortest_edge": 20},
            "default_to_square": False,
            "do_center_crop": True,
            "crop_size": self.video_processor_tester.crop_size,
            "image_mean": [0.5] * 3,
            "image_std": [0.25] * 3,
        }


class AussProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = AussProcessor
    videos_input_name = "pixel_values"

    @classmethod
    def _setup_feature_extractor(cls):
        return AussFeatureExtractor()

    @classmethod
    def _setup_video_processor(cls):
        return AussVideoProcessor(size={"height": 18, "width": 20})

    @staticmethod
    def does_processor_return_mm_offsets(processor_class, method_name):
        """Of replaced text, of which there is none. Asked for, as not every base class has such methods."""
        return False

    def prepare_audio_inputs(self, batch_size=None):
        """As `datasets` decodes sound, with its rate: the tests pass none beside it."""
        waveform = np.random.default_rng(0).uniform(-1, 1, 20_000)
        return [{"array": waveform, "sampling_rate": 16_000}] * (batch_size or 1)
