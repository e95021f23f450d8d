"""Compares VGGish with the network of the PyPI package torchvggish, with the same random weights."""

import torch
from torchvggish import torchvggish

from auss.configuration.configuration_auss import AussAudioConfig
from auss.modeling_auss.audio_encoder import VGGish


def make_encoder(**overrides) -> VGGish:
    torch.manual_seed(0)
    fields = dict(stage_channels=(2, 3, 4, 4), stage_depths=(1, 1, 2, 2), hidden_features=8, embedding_size=6)
    return VGGish(AussAudioConfig(**(fields | overrides))).eval()


def test_equals_torchvggish_with_copied_weights():
    torch.manual_seed(0)
    reference = torchvggish._vgg(postprocess=False).eval()
    # Use larger weights than torch draws. With torch's weights the differences between examples vanish before the last
    # layer.
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.5)
    with torch.device("meta"):
        encoder = VGGish(AussAudioConfig())
    encoder.load_state_dict(reference.state_dict(), assign=True)  # strict, so all names are equal
    log_mel = torch.randn(2, 3, 96, 64) * 2 - 3
    with torch.no_grad():
        features = encoder(log_mel)
        expected = reference(log_mel.flatten(0, 1).unsqueeze(1)).view(2, 3, 128)
    assert features.shape == (2, 3, 128)
    assert expected.std() > 1e-3 and not torch.allclose(expected[0, 0], expected[0, 1])
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)


def test_features_are_not_negative_and_examples_are_independent():
    encoder = make_encoder()
    log_mel = torch.randn(2, 3, 96, 64)
    features = encoder(log_mel)
    assert features.shape == (2, 3, 6)
    assert (features >= 0).all()
    for clip in range(2):
        for example in range(3):
            alone = encoder(log_mel[clip : clip + 1, example : example + 1])[0, 0]
            torch.testing.assert_close(features[clip, example], alone, rtol=0, atol=1e-6)


def test_flattening_order_is_time_band_channel():
    encoder = make_encoder()
    flat = {}
    encoder.embeddings[0].register_forward_hook(lambda module, args, output: flat.update(inputs=args[0]))
    log_mel = torch.randn(1, 1, 96, 64)
    encoder(log_mel)
    maps = encoder.features(log_mel.flatten(0, 1).unsqueeze(1))[0]  # (channels, 6, 4)
    for time, band, channel in ((0, 0, 1), (5, 3, 0), (2, 1, 3)):
        assert flat["inputs"][0, (time * 4 + band) * 4 + channel] == maps[channel, time, band]


def test_other_sizes_and_batch_norm():
    encoder = make_encoder(batch_norm=True, num_frames=48, num_mel_bins=32)
    assert encoder(torch.randn(1, 2, 48, 32)).shape == (1, 2, 6)
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in encoder.modules())
    norms = sum(isinstance(module, torch.nn.BatchNorm2d) for module in encoder.modules())
    assert convolutions == norms == 6
    assert sum(isinstance(module, torch.nn.BatchNorm1d) for module in encoder.modules()) == 3


def test_digital_silence_is_finite():
    silence = torch.full((1, 5, 96, 64), 0.01).log()
    assert make_encoder()(silence).isfinite().all()
