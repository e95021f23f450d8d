"""Channels have FFmpeg's weights if FFmpeg has some. No channel that may carry a sound has the weight 0."""

import av
import numpy as np
import pytest

from auss.inference.media.sound.channel_layouts import channel_weights


def ffmpeg_weights(layout):
    """The weights of FFmpeg's resampler, measured with one impulse in each channel."""
    frame = av.AudioFrame.from_ndarray(np.eye(layout.nb_channels, dtype=np.float32).reshape(1, -1), "flt", layout)
    frame.sample_rate, frame.pts = 48_000, 0
    mono = av.AudioResampler(format="flt", layout="mono", rate=48_000).resample(frame)
    return np.concatenate([piece.to_ndarray()[0] for piece in mono])


@pytest.mark.parametrize(
    "name",
    ["mono", "stereo", "downmix", "2.1", "3.0", "4.0", "quad", "5.0", "5.1", "5.1(side)", "6.1", "7.1", "7.1(wide)"],
)
def test_standard_layouts_are_mixed_as_ffmpeg_mixes_them(name):
    layout = av.AudioLayout(name)
    np.testing.assert_allclose(channel_weights(layout), ffmpeg_weights(layout), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["hexadecagonal", "22.2", "7.1.4", "cube"])
def test_no_channel_is_left_out_but_low_frequencies(name):
    layout = av.AudioLayout(name)
    weights = channel_weights(layout)
    silent = [channel.name for channel, weight in zip(layout.channels, weights, strict=True) if weight == 0]
    assert all(name.startswith("LFE") for name in silent)
    theirs = ffmpeg_weights(layout)
    np.testing.assert_allclose(weights[theirs > 0], theirs[theirs > 0], rtol=0, atol=1e-6)


def test_of_ambisonic_sound_the_first_channel_is_heard():
    assert channel_weights(av.AudioLayout("ambisonic 1")).tolist() == [1, 0, 0, 0]
    assert channel_weights(av.AudioLayout("ambisonic 2")).tolist() == [1] + [0] * 8
    weights = channel_weights(av.AudioLayout("ambisonic 1+stereo"))
    assert weights[:4].tolist() == [1, 0, 0, 0] and (weights[4:] > 0).all()


def test_unknown_channels_are_equal():
    assert channel_weights(av.AudioLayout("16 channels")).tolist() == [1] * 16
    assert channel_weights(av.AudioLayout("1 channels (LFE)")).tolist() == [1]
    assert channel_weights(av.AudioLayout("1 channels (FR)")).shape == (1,)
