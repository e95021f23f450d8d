"""VGGish weights are read, converted, loaded and frozen. Expected values come from torchvggish's network."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvggish import torchvggish

from auss.configuration.configuration_auss import AussAudioConfig, AussConfig
from auss.modeling_auss.audio_encoder import VGGish
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation, AussModel
from auss.modeling_auss.published_weights.audio_weights import (
    CONFIG_KEY,
    convert_vggish,
    freeze_encoder,
    load_audio_weights,
    read_audio_weights,
    use_encoder_of,
    use_standard_encoder,
)


def standard_model(make_config) -> AussModel:
    torch.manual_seed(0)
    return AussModel(make_config(audio_config=AussAudioConfig()))


def test_converted_file_makes_the_encoder_equal_to_torchvggish(public_file, make_config, tmp_path):
    converted = tmp_path / "vggish.safetensors"
    assert convert_vggish(public_file, converted) == 72_141_184
    assert load_file(converted).keys() == torch.load(public_file, weights_only=True).keys()
    model = standard_model(make_config)
    load_audio_weights(model, converted)
    reference = torchvggish._vgg(postprocess=False).eval()
    reference.load_state_dict(torch.load(public_file, weights_only=True))
    log_mel = torch.randn(1, 2, 96, 64) * 2 - 3
    with torch.no_grad():
        expected = reference(log_mel[0].unsqueeze(1))
        torch.testing.assert_close(model.audio_encoder(log_mel)[0], expected, rtol=1e-5, atol=1e-5)
    converted.unlink()


def test_loaded_encoder_is_frozen_and_stays_so_when_saved(public_file, make_config, make_inputs, tmp_path):
    model = AussForAudioVisualSegmentation(make_config(audio_config=AussAudioConfig()))
    load_audio_weights(model, public_file)
    model.train()
    encoder = model.auss.audio_encoder
    assert not encoder.training and model.auss.audio_query_generator.training
    assert not any(weight.requires_grad for weight in encoder.parameters())
    labels = torch.zeros(2, 3, 32, 32, dtype=torch.int64)
    model(**make_inputs(), labels=labels).loss.backward()
    assert all(weight.grad is None for weight in encoder.parameters())
    # The layers after the frozen encoder still get gradients.
    assert model.auss.audio_query_generator.space_projector.number_projector.grad.abs().sum() > 0
    model.save_pretrained(tmp_path)
    again = AussForAudioVisualSegmentation.from_pretrained(tmp_path).train()
    assert again.auss.audio_encoder.frozen and not again.auss.audio_encoder.training
    assert not any(weight.requires_grad for weight in again.auss.audio_encoder.parameters())


def warnings_of(caplog, make) -> list[str]:
    caplog.clear()
    make()
    return [record.getMessage() for record in caplog.records if "frozen" in record.getMessage()]


def test_freezing_random_weights_warns_and_loaded_ones_do_not(make_config, tmp_path, caplog):

    small = dict(stage_channels=(2, 2, 4, 4), stage_depths=(1, 1, 1, 1), hidden_features=8, embedding_size=8)
    frozen = make_config(audio_config=AussAudioConfig(**small, frozen=True))
    messages = warnings_of(caplog, lambda: AussModel(frozen))
    assert len(messages) == 1 and "load_audio_weights" in messages[0]
    assert not warnings_of(caplog, lambda: AussModel(make_config()))
    AussModel(frozen).save_pretrained(tmp_path)
    assert not warnings_of(caplog, lambda: AussModel.from_pretrained(tmp_path))


def test_frozen_batch_norm_keeps_its_statistics(make_config, make_inputs):
    small = dict(stage_channels=(2, 2, 4, 4), stage_depths=(1, 1, 1, 1), hidden_features=8, embedding_size=8)
    model = AussModel(make_config(audio_config=AussAudioConfig(**small, batch_norm=True, frozen=True))).train()
    before = {name: value.clone() for name, value in model.audio_encoder.state_dict().items()}
    model(**make_inputs())
    for name, value in model.audio_encoder.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_postprocessing_weights_are_left_out(public_file, tmp_path):
    weights = torch.load(public_file, weights_only=True) | {"pproc.pca_means": torch.zeros(128, 1)}
    path = tmp_path / "with_postprocessing.pth"
    torch.save(weights, path)
    assert "pproc.pca_means" not in read_audio_weights(path)
    assert len(read_audio_weights(path)) == 18


@pytest.mark.parametrize(
    "content, message",
    [
        ({"features.0.weight": torch.zeros(64, 1, 3, 3)}, "features.0.bias is missing"),
        ({"features.0.weight": torch.zeros(32, 1, 3, 3)}, r"features.0.weight has shape \(32, 1, 3, 3\)"),
        ([1, 2], "must be tensors by name, got list"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        convert_vggish(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors"])
def test_files_that_are_no_weights_are_refused(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"itself no weights at all")  # for the first byte, "i", torch fails with KeyError: 105
    with pytest.raises(ValueError, match=r"cannot be read: expected tensors by name, .*; \w+Error: "):
        read_audio_weights(path)


def test_missing_file_and_deaf_model(make_config, public_file, tmp_path):
    with pytest.raises(FileNotFoundError, match="audio weights"):
        read_audio_weights(tmp_path / "none.pth")
    deaf = AussModel(make_config(audio_input=False, query_embedding=True))
    with pytest.raises(ValueError, match="audio_input=False"):
        load_audio_weights(deaf, public_file)


def test_too_many_tensors_are_refused(public_file, tmp_path):
    path = tmp_path / "more.pth"
    torch.save(torch.load(public_file, weights_only=True) | {"features.99.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="it has no features.99.weight"):
        convert_vggish(path, tmp_path / "out.safetensors")


@pytest.mark.parametrize("name", AussConfig.preset_names())
def test_every_preset_of_vggishs_sizes_takes_the_public_weights(public_file, name, caplog):
    """A new network for audio weights has the standard encoder. The error for a small preset lists fitting presets."""
    config = AussConfig.from_preset(name)
    before = config.audio_config.batch_norm
    if name == "auss-demo":
        with pytest.raises(ValueError, match=r"stage_channels=\[16, .* VGGish's sizes: .*auss-fast-resnet50"):
            use_standard_encoder(config)
        assert config.audio_config.batch_norm
        return
    use_standard_encoder(config)
    assert ("without batch norm" in caplog.text) == before == name.startswith("auss-fast")
    with torch.device("meta"):
        encoder = VGGish(config.audio_config).state_dict()
    weights = torch.load(public_file, weights_only=True, mmap=True)
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in encoder.items()
    }


def test_a_built_model_that_does_not_fit_says_why_and_what_to_do(make_config, public_file):
    model = AussModel(make_config(audio_config=AussAudioConfig(hidden_features=8, batch_norm=True)))
    with pytest.raises(ValueError, match="is another: hidden_features=8. Start from a preset .*resnet101"):
        load_audio_weights(model, public_file)
    with torch.device("meta"):
        model = AussModel(make_config(audio_config=AussAudioConfig(batch_norm=True)))
    with pytest.raises(ValueError, match='batch_norm=True, and VGGish has none. Build .*audio_config={"batch_norm"'):
        load_audio_weights(model, public_file)


def test_a_network_that_hears_nothing_needs_no_weights():
    with pytest.raises(ValueError, match="audio_input=False"):
        use_standard_encoder(AussConfig(audio_input=False, query_embedding=True))


class Pickled:
    """A user's class, which pickle stores in a file."""


def test_files_are_called_what_they_are(public_file, tmp_path, monkeypatch):
    path = tmp_path / "vggish.pth"
    for content, message in (
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer.*git lfs pull"),
        (public_file.read_bytes()[:5_000_000], "cannot be read: expected tensors by name"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"audio weights at {str(path)!r} .*{message}"):
            read_audio_weights(path)
    torch.save({"a": Pickled()}, path)
    with pytest.raises(ValueError, match="pickled objects beside its tensors, which could run code"):
        read_audio_weights(path)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="vggish.pth may not be read by this user"):
        read_audio_weights(path)


def save_pretrained_audio(config: AussAudioConfig, path, metadata=None) -> dict[str, torch.Tensor]:
    weights = {name: torch.rand_like(value.float()) for name, value in VGGish(config).state_dict().items()}
    weights = {name: value.long() if "num_batches" in name else value for name, value in weights.items()}
    metadata = {CONFIG_KEY: json.dumps(config.to_diff_dict())} if metadata is None else metadata
    save_file(weights, path, metadata=metadata)
    return weights


def test_weights_that_name_their_encoder_make_it_the_networks(make_config, tmp_path):
    audio_config = AussAudioConfig(**{**make_config().audio_config.to_diff_dict(), "batch_norm": True})
    weights = save_pretrained_audio(audio_config, tmp_path / "a.safetensors")
    config = make_config()
    use_encoder_of(config, tmp_path / "a.safetensors")
    assert config.audio_config.to_diff_dict() == audio_config.to_diff_dict()
    model = AussModel(config)
    load_audio_weights(model, tmp_path / "a.safetensors")
    for name, value in model.audio_encoder.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert not model.config.audio_config.frozen and all(w.requires_grad for w in model.audio_encoder.parameters())
    load_audio_weights(model, tmp_path / "a.safetensors", frozen=True)
    assert model.config.audio_config.frozen and not any(w.requires_grad for w in model.audio_encoder.parameters())
    assert not model.train().audio_encoder.training
    freeze_encoder(model, False)
    assert model.train().audio_encoder.training and not model.config.audio_config.frozen
    assert all(w.requires_grad for w in model.audio_encoder.parameters())


def test_weights_of_another_encoder_or_of_none_that_is_known_are_refused(make_config, tmp_path):
    wider = AussAudioConfig(**{**make_config().audio_config.to_diff_dict(), "hidden_features": 12})
    save_pretrained_audio(wider, tmp_path / "wider.safetensors")
    with pytest.raises(ValueError, match="are another network's"):
        load_audio_weights(AussModel(make_config()), tmp_path / "wider.safetensors")
    for number, saved in enumerate(("{", '{"hidden_features": -1}', '{"unknown": 1}')):
        path = tmp_path / f"{number}.safetensors"
        save_pretrained_audio(wider, path, {CONFIG_KEY: saved})
        with pytest.raises(ValueError, match="no audio_config that auss knows"):
            use_encoder_of(make_config(), path)
    deaf = make_config(audio_input=False, query_embedding=True, frame_conditioned_queries=False)
    with pytest.raises(ValueError, match="a model that hears"):
        use_encoder_of(deaf, tmp_path / "wider.safetensors")
    with pytest.raises(ValueError, match="a model that hears"):
        freeze_encoder(AussModel(deaf), True)
