import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import ResNetConfig, TimmBackboneConfig

from auss.configuration.configuration_auss import AussAudioConfig
from auss.files.errors import InputError
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.train.arguments import DataArguments, OptimArguments, RunArguments
from auss.train.audio.pretraining import SoundClassifier, save_encoder
from auss.train.data.rows import SeededRows
from auss.train.loop import preparation
from auss.train.loop.preparation import (
    create_accelerator,
    create_model,
    create_processor,
    new_config,
    pixel_statistics,
    record_categories,
)


def test_a_new_model_follows_the_preset_and_takes_frames_of_224_pixels(tiny_preset, tiny_config):
    model, processor = create_model(DataArguments("d"), RunArguments("o", preset=tiny_preset), backbone_rate=0.1)
    assert model.config.to_dict() == tiny_config.to_dict()
    assert dict(processor.video_processor.size) == {"height": 224, "width": 224}
    assert processor.feature_extractor.num_audio_examples == tiny_config.num_audio_examples
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_remembers_what_it_was_trained_on(tiny_config, make_config):
    rows = SeededRows(Dataset.from_dict({"category": ["dog", "car", "dog", ""]}))
    record_categories(tiny_config, rows)
    assert tiny_config.trained_categories == ["car", "dog"]
    record_categories(tiny_config, SeededRows(Dataset.from_dict({"category": ["drum"]})))  # trained further
    assert tiny_config.trained_categories == ["car", "dog", "drum"]
    record_categories(tiny_config, SeededRows(Dataset.from_dict({"category": ["", ""]})))  # ms3 has no categories
    assert tiny_config.trained_categories == ["car", "dog", "drum"]
    classes = make_config(num_labels=3)
    for config, other in ((classes, rows), (make_config(), SeededRows([{"category": "dog"}]))):
        record_categories(config, other)
        assert config.trained_categories is None


def test_backbone_rate_zero_freezes_the_backbone_alone(tiny_preset):
    model, _ = create_model(DataArguments("d"), RunArguments("o", preset=tiny_preset), backbone_rate=0.0)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (".backbone." not in name), name


def test_a_trained_model_brings_its_weights_and_its_processor(trained_folder, tiny_model):
    model, processor = create_model(DataArguments("d"), RunArguments("o", init_from=str(trained_folder)), 0.1)
    weights = tiny_model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert dict(processor.video_processor.size) == {"height": 32, "width": 32}
    data = DataArguments("d", image_size=48)
    _, processor = create_model(data, RunArguments("o", init_from=str(trained_folder)), 0.1)
    assert dict(processor.video_processor.size) == {"height": 48, "width": 48}


def test_backbone_weights_are_loaded_into_the_backbone(tiny_preset, tiny_model, tmp_path):
    path = tmp_path / "backbone.pth"
    wanted = {
        name.split(".backbone.")[1]: torch.full_like(value, 0.5)
        for name, value in tiny_model.state_dict().items()
        if ".backbone." in name
    }
    torch.save(wanted, path)
    run = RunArguments("o", preset=tiny_preset, backbone_weights=str(path))
    model, _ = create_model(DataArguments("d"), run, 0.1)
    for name, value in model.state_dict().items():
        if ".backbone." in name:
            assert torch.equal(value, torch.full_like(value, 0.5)), name


def test_audio_weights_give_a_new_model_the_standard_encoder(tiny_preset, tmp_path, monkeypatch, caplog):
    values = json.loads(Path(tiny_preset).read_text())
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps(values | {"audio_config": {"batch_norm": True}}))
    loaded = []
    monkeypatch.setattr(
        preparation, "load_audio_weights", lambda model, source, frozen: loaded.append((model, source))
    )
    with torch.device("meta"):  # this avoids drawing 72 million weights
        model, _ = create_model(DataArguments("d"), RunArguments("o", preset=str(preset), audio_weights="v.pth"), 0.1)
        plain, _ = create_model(DataArguments("d"), RunArguments("o", preset=str(preset)), 0.1)
    assert loaded == [(model, "v.pth")] and not model.config.audio_config.batch_norm
    assert plain.config.audio_config.batch_norm and "standard VGGish, without batch norm" in caplog.text
    with pytest.raises(ValueError, match="audio_config is another: .*hidden_features=8.*auss-fast-resnet50"):
        create_model(DataArguments("d"), RunArguments("o", preset=tiny_preset, audio_weights="v.pth"), 0.1)


def test_a_backbone_of_one_size_decides_the_frames(tiny_preset, tmp_path):
    values = json.loads(Path(tiny_preset).read_text())
    hiera = {"model_type": "hiera", "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "image_size": [64, 64]}
    hiera |= {"num_query_pool": 1, "out_indices": [2]}
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps(values | {"backbone_config": hiera}))
    _, processor = create_model(DataArguments("d"), RunArguments("o", preset=str(preset)), 0.1)
    assert dict(processor.video_processor.size) == {"height": 64, "width": 64}
    with pytest.raises(ValueError, match="frames of 64 x 64 pixels only, got image_size 96"):
        create_model(DataArguments("d", image_size=96), RunArguments("o", preset=str(preset)), 0.1)


def test_avss_gives_the_labels_their_names_and_clips_ten_seconds(avss_root, tiny_preset, trained_folder):
    data = DataArguments(str(avss_root), name="avss")
    config = new_config(tiny_preset, data)
    assert (config.num_labels, config.num_audio_examples) == (71, 10)
    assert (config.id2label[0], config.id2label[70]) == ("background", "class 70")
    with pytest.raises(ValueError, match="avss needs a model of 71 labels, the one in .* has 2"):
        create_model(data, RunArguments("o", init_from=str(trained_folder)), 0.1)


def test_a_network_of_five_seconds_is_given_ten_for_avss(avss_root, make_config, tmp_path, caplog):
    names = {index: f"class {index}" for index in range(71)}
    model = AussForAudioVisualSegmentation(make_config(id2label=names))
    model.save_pretrained(tmp_path / "short")
    create_processor(model.config, 32).save_pretrained(tmp_path / "short")
    data, run = DataArguments(str(avss_root), name="avss"), RunArguments("o", init_from=str(tmp_path / "short"))
    longer, processor = create_model(data, run, 0.1)
    assert (longer.config.num_audio_examples, processor.feature_extractor.num_audio_examples) == (10, 10)
    assert "hears 5 sound examples a clip, avss has clips of 10" in caplog.text
    old, new = (one.auss.audio_query_generator.space_projector.number_projector for one in (model, longer))
    assert torch.equal(new[:, :5], old) and not new[:, 5:].any()


def test_pixel_statistics_are_those_of_the_backbones_pretraining(make_config):
    assert pixel_statistics(make_config()) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    timm_backbone = TimmBackboneConfig(backbone="tf_efficientnet_lite0", use_pretrained_backbone=False)
    assert pixel_statistics(make_config(backbone_config=timm_backbone)) == ([0.5] * 3, [0.5] * 3)
    assert pixel_statistics(make_config(backbone_config=ResNetConfig())) == pixel_statistics(make_config())


def test_settings_that_do_not_go_with_this_machine_are_refused_in_one_message(tmp_path, monkeypatch):
    def refusing(**settings):
        raise ValueError("fp16 mixed precision requires a GPU (not 'cpu').")

    arguments = (DataArguments("d"), OptimArguments(), RunArguments("o", mixed_precision="fp16"), tmp_path)
    monkeypatch.setattr(preparation, "Accelerator", refusing)
    with pytest.raises(InputError, match="Accelerate refuses these settings: fp16 mixed precision requires a GPU"):
        create_accelerator(*arguments)
    monkeypatch.setattr(preparation, "Accelerator", lambda **settings: SimpleNamespace(num_processes=3))
    with pytest.raises(InputError, match=r"batch_size must be a multiple of the number of processes \(3\), .* got 8"):
        create_accelerator(*arguments)


def test_pretrained_audio_weights_bring_their_encoder(tiny_preset, tiny_config, tmp_path, caplog):
    config = AussAudioConfig(**{**tiny_config.audio_config.to_diff_dict(), "batch_norm": True, "embedding_size": 12})
    classifier = SoundClassifier(config, 3)
    path = tmp_path / "audio.safetensors"
    save_encoder(classifier, config, path, overwrite=False)
    for frozen in (None, True):
        run = RunArguments("o", preset=tiny_preset, audio_weights=str(path), freeze_audio=frozen)
        model, _ = create_model(DataArguments("d"), run, 0.1)
        assert model.config.audio_config.embedding_size == 12 and "was pretrained with" in caplog.text
        assert model.config.audio_config.frozen == bool(frozen)
        weights = classifier.encoder.state_dict()
        encoder = model.auss.audio_encoder
        assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())
        assert all(weight.requires_grad != bool(frozen) for weight in encoder.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_a_trained_models_encoder_can_be_frozen(trained_folder, frozen):
    run = RunArguments("o", init_from=str(trained_folder), freeze_audio=frozen)
    model, _ = create_model(DataArguments("d"), run, 0.1)
    assert model.config.audio_config.frozen == model.auss.audio_encoder.frozen == frozen
    assert all(weight.requires_grad != frozen for weight in model.auss.audio_encoder.parameters())
