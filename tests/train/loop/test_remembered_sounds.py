import pytest
import torch

from auss.configuration.configuration_auss import AussAudioConfig
from auss.modeling_auss.audio_encoder import VGGish
from auss.train.loop import remembered_sounds
from auss.train.loop.remembered_sounds import RememberedSounds, remember_sounds


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    config = AussAudioConfig(
        stage_channels=(2, 2), stage_depths=(1, 1), hidden_features=8, embedding_size=6, batch_norm=True
    )
    encoder = VGGish(config)
    encoder.freeze()
    return encoder.train()


@pytest.fixture
def encoded(encoder, monkeypatch):
    """The number of examples in each call of the encoder's own forward."""
    counts, forward = [], encoder.forward

    def counting(input_features):
        counts.append(len(input_features))
        return forward(input_features)

    monkeypatch.setattr(encoder, "forward", counting)
    return counts


def test_the_features_are_the_encoders_own(encoder):
    sounds = torch.randn(3, 5, 96, 64)
    expected = encoder(sounds)
    remembered = RememberedSounds(encoder)
    torch.testing.assert_close(remembered(sounds), expected)
    torch.testing.assert_close(remembered(sounds.flip(0)), expected.flip(0))
    mask = torch.ones(3, 5).index_fill(1, torch.tensor([4]), 0)
    torch.testing.assert_close(remembered(sounds, mask)[:, :4], expected[:, :4])


def test_every_sound_is_encoded_once(encoder, encoded):
    remembered = RememberedSounds(encoder)
    sounds = torch.randn(4, 5, 96, 64)
    for batch in (sounds, sounds[:2], sounds.flip(0), sounds[:, :3]):
        remembered(batch)
    assert encoded == [16, 16]  # 20 examples in two batches of one size
    remembered(sounds + 1e-6)
    assert len(encoded) == 4


def test_repeated_sounds_within_a_batch_are_right(encoder):
    sounds = torch.randn(1, 1, 96, 64).expand(4, 5, -1, -1)
    features = RememberedSounds(encoder)(sounds)
    assert torch.equal(features, features[:1, :1].expand_as(features))
    torch.testing.assert_close(features, encoder(sounds))


def test_the_order_in_which_sounds_come_changes_no_bit(encoder):
    """A resumed run remembers nothing of the steps before."""
    sounds = torch.randn(6, 5, 96, 64)
    early = RememberedSounds(encoder)
    early(sounds[:4])
    late = RememberedSounds(encoder)
    assert torch.equal(early(sounds[3:]), late(sounds[3:]))


def test_bfloat16_is_remembered_apart(encoder):
    sounds = torch.randn(1, 5, 96, 64)
    remembered = RememberedSounds(encoder)
    with torch.autocast("cpu", torch.bfloat16):
        assert remembered(sounds).dtype == torch.bfloat16
    assert remembered(sounds).dtype == torch.float32


def test_the_memory_is_bounded(encoder, monkeypatch):
    monkeypatch.setattr(remembered_sounds, "MOST_SOUNDS", 10)
    remembered = RememberedSounds(encoder)
    for _ in range(4):
        sounds = torch.randn(2, 4, 96, 64)
        torch.testing.assert_close(remembered(sounds), encoder(sounds))
        assert len(remembered.features) <= 10


def test_only_frozen_encoders_on_a_cpu_remember(encoder):
    remember_sounds(None, torch.device("cpu"))
    remember_sounds(encoder, torch.device("cuda"))
    assert not isinstance(encoder.forward, RememberedSounds)
    names = list(encoder.state_dict())
    remember_sounds(encoder, torch.device("cpu"))
    assert isinstance(encoder.forward, RememberedSounds)
    assert list(encoder.state_dict()) == names
    trained = VGGish(AussAudioConfig(stage_channels=(2,), stage_depths=(1,), hidden_features=4, embedding_size=4))
    remember_sounds(trained, torch.device("cpu"))
    assert not isinstance(trained.forward, RememberedSounds)
