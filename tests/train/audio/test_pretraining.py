"""Tests `auss pretrain-audio`: it tells tones of two pitches apart, and its weights fit a network."""

import json

import pytest
import torch
from safetensors import safe_open

from auss import cli
from auss.configuration.configuration_auss import AussAudioConfig
from auss.modeling_auss.published_weights.audio_weights import CONFIG_KEY, encoder_config
from auss.train.audio.labelled_sounds import LabelledSounds
from auss.train.audio.pretraining import SoundClassifier, accuracy, augment, mix_sounds, pretrain

from ..conftest import save_sound

SMALL = AussAudioConfig(
    stage_channels=[4, 8], stage_depths=[1, 1], hidden_features=8, embedding_size=8, batch_norm=True
)


def bands(count=16, seed=0) -> LabelledSounds:
    """Makes sounds of two categories: low bands and high bands."""
    features = torch.full((count, 2, 96, 64), -4.6)
    category = torch.arange(count) % 2
    features[category == 0, :, :, 5:20] = 1.0
    features[category == 1, :, :, 40:55] = 1.0
    features += 0.1 * torch.randn(features.shape, generator=torch.Generator().manual_seed(seed))
    return LabelledSounds(features, torch.ones(count, 2), torch.nn.functional.one_hot(category, 2).float())


def train(sounds, validation, epochs=6, seed=0):
    return pretrain(sounds, validation, SMALL, epochs, 8, 1e-2, 0.5, seed, torch.device("cpu"))


def test_two_categories_are_told_apart_and_the_same_seed_gives_the_same_weights():
    model, history = train(bands(), bands(seed=1))
    assert [set(entry) for entry in history] == 6 * [{"loss", "accuracy", "seconds"}]
    assert history[-1]["accuracy"] == 1.0 and history[-1]["loss"] < history[0]["loss"]
    again, _ = train(bands(), bands(seed=1))
    for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_accuracy_counts_any_of_a_sounds_categories():
    model = SoundClassifier(SMALL, 2).eval()
    sounds = bands(4)
    best = model(sounds.features, sounds.mask).argmax(-1)
    right = torch.nn.functional.one_hot(best, 2).float()
    assert accuracy(model, LabelledSounds(sounds.features, sounds.mask, right), 3) == 1.0
    assert accuracy(model, LabelledSounds(sounds.features, sounds.mask, 1 - right), 3) == 0.0
    assert accuracy(model, LabelledSounds(sounds.features, sounds.mask, torch.full((4, 2), 0.5)), 3) == 1.0


def test_mixtures_have_the_targets_of_both():
    sounds = bands(8)
    batch = sounds.features, sounds.mask, sounds.targets
    features, mask, targets = mix_sounds(*batch, 1.0, torch.Generator().manual_seed(3))
    both = targets[:, 0] == 0.5
    assert both.any() and not both.all()  # some sounds met a sound of their own category
    # If both sounds are heard, both bands are loud.
    assert (features[both][..., 10] > 0).all() and (features[both][..., 45] > 0).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    for one, other in zip(mix_sounds(*batch, 0.0, torch.Generator()), batch, strict=True):
        assert torch.equal(one, other)


def test_augmentation_keeps_the_shape_and_never_goes_below_silence():
    features = bands(4).features.clamp(min=-4.6)
    augmented = augment(features, torch.Generator().manual_seed(0))
    assert augmented.shape == features.shape and augmented.isfinite().all()
    assert augmented.min() >= -4.6053 and not torch.equal(augmented, features)
    assert torch.equal(augmented, augment(features, torch.Generator().manual_seed(0)))


def test_no_sounds_are_refused():
    empty = LabelledSounds(torch.empty(0, 2, 96, 64), torch.empty(0, 2), torch.empty(0, 2))
    with pytest.raises(ValueError, match="must hold sounds to train on"):
        train(empty, empty)


@pytest.fixture
def folder(tmp_path):
    for name, frequency in (("low", 300), ("high", 3000)):
        for index in range(2):
            save_sound(tmp_path / "sounds" / name / f"{index}.wav", 1.0, frequency=frequency + 50 * index)
    return tmp_path / "sounds"


def test_the_command_writes_what_train_takes_and_overwrites_only_if_told(folder, make_config, tmp_path, capsys):
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps(make_config().to_diff_dict()))
    output = tmp_path / "audio.safetensors"
    command = ["pretrain-audio", "--data", str(folder), "--name", "folder", "--preset", str(preset), "-o", str(output)]
    assert cli.main([*command, "--epochs", "1", "--batch-size", "2", "--no-batch-norm"]) == 0
    assert "2 categories, 4 sounds" in capsys.readouterr().out
    assert encoder_config(output).to_diff_dict() == make_config().audio_config.to_diff_dict()
    with safe_open(output, framework="pt") as file:
        assert CONFIG_KEY in file.metadata()
    assert cli.main([*command, "--epochs", "1"]) != 0
    assert "exists" in capsys.readouterr().err
    assert cli.main([*command, "--epochs", "1", "--overwrite"]) == 0
    assert encoder_config(output).batch_norm


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "audio.pth"], "must end in .safetensors"),
        (["-o", "a.safetensors", "--epochs", "0"], "epochs must be at least 1"),
        (["-o", "a.safetensors", "--mixed-share", "2"], "mixed_share must lie between 0 and 1"),
    ],
)
def test_wrong_options_are_refused_before_any_sound_is_read(folder, options, message, capsys):
    assert cli.main(["pretrain-audio", "--data", str(folder), "--name", "folder", *options]) != 0
    assert message in capsys.readouterr().err
