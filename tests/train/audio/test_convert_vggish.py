"""Tests `auss convert-vggish` from the command line: the file, the refused arguments, and training from the file."""

import torch

from auss import cli
from auss.configuration.configuration_auss import AussAudioConfig
from auss.modeling_auss.published_weights.audio_weights import read_audio_weights
from auss.train.arguments import DataArguments, RunArguments
from auss.train.loop.preparation import create_model


def test_command_writes_beside_the_file_and_overwrites_only_when_told(public_file, capsys):
    assert cli.main(["convert-vggish", str(public_file)]) == 0
    converted = public_file.with_suffix(".safetensors")
    assert capsys.readouterr().out == f"{converted}: 72,141,184 weights\n"
    original = read_audio_weights(public_file)
    assert all(torch.equal(weight, original[name]) for name, weight in read_audio_weights(converted).items())
    assert cli.main(["convert-vggish", str(public_file)]) == cli.USAGE_ERROR
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main(["convert-vggish", str(public_file), "--overwrite"]) == 0
    converted.unlink()


def test_output_must_be_safetensors(public_file, tmp_path, capsys):
    assert cli.main(["convert-vggish", str(public_file), "-o", str(tmp_path / "out.pth")]) == cli.USAGE_ERROR
    assert ".safetensors" in capsys.readouterr().err


def test_training_starts_from_the_weights_and_freezes_them(public_file, make_config, tmp_path):
    preset = tmp_path / "preset.json"
    make_config(audio_config=AussAudioConfig()).to_json_file(preset, use_diff=False)
    run = RunArguments("o", preset=str(preset), audio_weights=str(public_file))
    model, _ = create_model(DataArguments("d"), run, backbone_rate=0.1)
    encoder = model.auss.audio_encoder
    expected = read_audio_weights(public_file)
    assert all(torch.equal(weight, expected[name]) for name, weight in encoder.state_dict().items())
    assert encoder.frozen and model.config.audio_config.frozen
    assert all(
        parameter.requires_grad == ("audio_encoder" not in name) for name, parameter in model.named_parameters()
    )
