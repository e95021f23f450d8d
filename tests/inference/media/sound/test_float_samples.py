"""Frames of any layout become arrays. Unusable samples are counted and become silence."""

import av
import numpy as np
import pytest

from auss.inference.media.sound.float_samples import channel_samples, silence_unusable


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1", "hexadecagonal", "ambisonic 1", "16 channels"])
def test_every_layout_is_unpacked(layout):
    num_channels = av.AudioLayout(layout).nb_channels
    expected = np.random.default_rng(0).standard_normal((num_channels, 500)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(expected.T.reshape(1, -1).copy(), format="flt", layout=layout)
    np.testing.assert_array_equal(channel_samples(frame), expected)


def test_unusable_samples_are_counted_and_silenced():
    samples = np.full((2, 100), 0.5, np.float32)
    assert silence_unusable(samples) == 0 and (samples == 0.5).all()
    samples[0, 3] = samples[1, 3] = np.nan
    samples[1, 7], samples[0, 9], samples[0, 11], samples[0, 12] = np.inf, -np.inf, 1e30, 3.0
    assert silence_unusable(samples) == 4
    assert samples[0, [3, 9, 11]].tolist() == [0, 0, 0] and samples[1, [3, 7]].tolist() == [0, 0]
    assert samples[0, 12] == 3 and samples[1, 9] == 0.5
    assert silence_unusable(samples[:, :0]) == 0
