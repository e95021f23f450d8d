"""The rows of a tiny data set and its processor, and comparisons of batches."""

import math

import pytest
import torch

from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor
from auss.train.data.avsbench import load_avsbench
from auss.train.data.rows import SeededRows


@pytest.fixture
def processor():
    return AussProcessor(AussFeatureExtractor(), AussVideoProcessor(size={"height": 32, "width": 32}))


@pytest.fixture
def train_rows(s4_root):
    return SeededRows(load_avsbench(s4_root, "s4", "train"), seed=1)


@pytest.fixture
def whole_rows(s4_root):
    return SeededRows(load_avsbench(s4_root, "s4", "test"))


def is_silent(input_features):
    """Tells whether every value is the log-mel of digital silence."""
    return bool((input_features - math.log(0.01)).abs().max() < 1e-6)


def assert_equal_batches(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]) if torch.is_tensor(value) else value == second[name], name
