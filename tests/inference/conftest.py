"""A clip as arrays, for the tests of the pipeline."""

import numpy as np
import pytest


@pytest.fixture
def clip():
    frames = np.random.default_rng(0).integers(0, 255, (7, 24, 32, 3), dtype=np.uint8)
    return {"frames": frames, "audio": np.ones(7 * 8000, np.float32), "sampling_rate": 8000}
