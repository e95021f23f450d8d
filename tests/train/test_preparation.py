import json
import logging
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, PartialState
from transformers import ResNetConfig, TimmBackboneConfig

from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.train import preparation
from auss.train.arguments import DataArguments, RunArguments
from auss.train.avsbench import load_avsbench
from auss.train.parquet_writer import prepare_data_set
from auss.train.preparation import (
    create_eval_loader,
    create_model,
    create_processor,
    create_stream_loader,
    create_train_loader,
    new_config,
    open_stream,
    pixel_statistics,
    worker_count,
)
from auss.train.seeded_rows import SeededRows


def test_a_new_model_follows_the_preset_and_takes_frames_of_224_pixels(tiny_preset, tiny_config):
    model, processor = create_model(DataArguments("d"), RunArguments("o", preset=tiny_preset), backbone_rate=0.1)
    assert model.config.to_dict() == tiny_config.to_dict()
    assert dict(processor.video_processor.size) == {"height": 224, "width": 224}
    assert processor.feature_extractor.num_audio_examples == tiny_config.num_audio_examples
    assert all(parameter.requires_grad for parameter in model.parameters())


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
    monkeypatch.setattr(preparation, "load_audio_weights", lambda model, source: loaded.append((model, source)))
    with torch.device("meta"):  # 72 million weights need not be drawn
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


@pytest.fixture
def processor(tiny_config):
    return create_processor(tiny_config, 32)


def test_train_batches_are_augmented_and_of_the_networks_size(s4_root, processor):
    rows = SeededRows(load_avsbench(s4_root, "s4", "train"))
    data = DataArguments(str(s4_root), batch_size=2, frames_per_clip=1, workers=0)
    plain, augmented = (
        next(iter(create_train_loader(rows, processor, DataArguments(**{**vars(data), "augment": augment}), 2, 0)))
        for augment in (False, True)
    )
    for batch in (plain, augmented):
        assert batch["pixel_values"].shape == (2, 1, 3, 32, 32) and batch["labels"].shape == (2, 1, 32, 32)
        assert sorted(batch["clip_id"]) == ["train_0", "train_1"]
    assert not torch.equal(plain["pixel_values"], augmented["pixel_values"])


@pytest.fixture
def streaming(s4_root, tmp_path):
    """Arguments for a stream of two clips in two shards."""

    def make(**options):
        if not (tmp_path / "shards").exists():
            prepare_data_set(s4_root, tmp_path / "shards")
        return DataArguments(str(tmp_path / "shards"), **{"batch_size": 2, "streaming": True, "workers": 0, **options})

    return make


def test_a_streams_batches_are_those_of_the_files(s4_root, processor, streaming):
    """But for their order."""
    data = streaming(augment=False)
    files = create_train_loader(SeededRows(load_avsbench(s4_root, "s4", "train")), processor, data, 2, 0)
    stream = create_stream_loader(open_stream(data, 0), processor, data, 2, 0)
    (from_files,), (from_stream,) = list(files), list(stream)
    assert from_files.keys() == from_stream.keys()
    order = [from_stream["clip_id"].index(clip) for clip in from_files["clip_id"]]
    for name in ("pixel_values", "labels", "input_features", "input_features_mask", "frame_examples"):
        assert torch.equal(from_stream[name][order], from_files[name]), name


def test_the_accelerator_does_not_share_a_stream_out_again(processor, streaming):
    loader = create_stream_loader(open_stream(streaming(), 0), processor, streaming(), 2, 0)
    assert Accelerator().prepare(loader) is loader


@pytest.mark.parametrize(
    "workers, kept, message",
    [
        (3, 2, "2 workers, since there are no more shards for a process"),
        (2, 2, ""),
        (1, 1, ""),
        (0, 0, ""),
    ],
)
def test_workers_are_at_most_the_shards_of_the_process(processor, streaming, caplog, workers, kept, message):
    data = streaming(workers=workers)
    with caplog.at_level(logging.WARNING, "auss"):
        loader = create_stream_loader(open_stream(data, 0), processor, data, 2, 0)
    assert loader.num_workers == kept
    assert message in caplog.text and (message or not caplog.text)


def test_shards_that_do_not_divide_are_told(processor, streaming, caplog):
    data = streaming(batch_size=3)
    rows = open_stream(data, 0)
    rows.world_size = 3
    with caplog.at_level(logging.WARNING, "auss"):
        create_stream_loader(rows, processor, data, 2, 0)
    assert "2 shards do not divide by 3 processes of 1 workers: in an epoch clips can come twice" in caplog.text


@pytest.mark.parametrize("batch_size, batches", [(1, 3), (2, 1), (3, 1), (4, 1)])
def test_only_a_data_set_smaller_than_a_batch_gives_a_batch_that_is_not_full(processor, batch_size, batches):
    loader = create_train_loader(range(3), processor, DataArguments("d", batch_size=batch_size, workers=0), 2, 0)
    assert len(loader) == batches


def test_several_processes_share_no_batch_that_is_not_full(processor, monkeypatch):
    data = DataArguments("d", batch_size=4, workers=0)
    assert len(create_train_loader(range(3), processor, data, 2, 0)) == 1
    monkeypatch.setitem(PartialState._shared_state, "num_processes", 2)
    with pytest.raises(ValueError, match="batch_size must be at most the number of training clips, 3, .* got 4"):
        create_train_loader(range(3), processor, data, 2, 0)
    assert len(create_train_loader(range(4), processor, data, 2, 0)) == 1


def test_muted_evaluation_silences_the_sound_and_keeps_the_labels(s4_root, processor):
    rows = SeededRows(load_avsbench(s4_root, "s4", "test"))
    own, muted = (next(iter(create_eval_loader(rows, processor, 2, 2, 0, muted=muted))) for muted in (False, True))
    assert own["labels"].shape == (2, 5, 16, 24)
    assert torch.equal(own["labels"], muted["labels"]) and torch.equal(own["pixel_values"], muted["pixel_values"])
    assert own["input_features"].std() > 0.1 and muted["input_features"].unique().numel() == 1


@pytest.mark.parametrize("accelerator, expected", [(True, 4), (False, 0)])
def test_workers_are_chosen_by_the_machine_unless_told(monkeypatch, accelerator, expected):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    assert worker_count(None) == expected
    assert worker_count(1) == 1
