"""Tests of the configuration: the paper's defaults, the shipped presets, and the values that are refused."""

import dataclasses
import json

import pytest
from transformers import AutoConfig, ResNetConfig, SwinConfig

from auss.configuration.configuration_auss import PRESETS_FOLDER, AussAudioConfig, AussConfig
from auss.modeling_auss.outputs import AussSegmentationOutput

# Names that the backbone configurations of Transformers accept beside their declared fields.
BACKBONE_KEYS = {"out_features", "out_indices", "use_pretrained_backbone"}
PRESETS = (
    "auss-demo",
    "auss-fast-pvt-v2-b2",
    "auss-fast-resnet50",
    "auss-fast-swin-tiny",
    "auss-resnet101",
    "auss-swin-base",
)


def declared_fields(config_class) -> set[str]:
    return {field.name for field in dataclasses.fields(config_class)} | {"model_type"}


def undeclared_keys(values: dict, config_class) -> set[str]:
    """Returns the keys that `config_class` would accept silently. Sub-configurations are searched too."""
    found = set(values) - declared_fields(config_class)
    for name, sub_class in (("audio_config", AussAudioConfig), ("backbone_config", None)):
        if name in values:
            if sub_class is None:
                sub_class = type(AutoConfig.for_model(values[name]["model_type"]))
            known = declared_fields(sub_class) | (BACKBONE_KEYS if name == "backbone_config" else set())
            found |= {f"{name}.{key}" for key in set(values[name]) - known}
    return found


def test_defaults_are_the_papers():
    config = AussConfig()
    assert (config.num_audio_examples, config.num_queries, config.hidden_size) == (5, 300, 256)
    assert config.hidden_size == 2 * config.audio_config.embedding_size
    assert (config.num_audio_layers, config.num_fusion_layers) == (6, 6)
    assert tuple(config.feature_strides) == (8, 4, 2) and config.mask_stride == 1
    assert config.mask_threshold == 0.5
    weights = (config.aqdl_weight, config.aqml_weight, config.class_weight, config.dice_weight)
    assert weights == (2.0, 2.0, 5.0, 5.0)
    assert not config.lateral_connections and not config.query_embedding
    assert config.mask_cross_entropy_weight == 0
    assert config.confidence_schedule == "increasing"
    assert config.num_labels == 2
    assert isinstance(config.backbone_config, ResNetConfig)
    assert config.backbone_config.depths == [3, 4, 23, 3][: len(config.backbone_config.depths)]


def test_audio_defaults_are_vggish():
    audio = AussConfig().audio_config
    assert isinstance(audio, AussAudioConfig)
    assert (tuple(audio.stage_channels), tuple(audio.stage_depths)) == ((64, 128, 256, 512), (1, 1, 2, 2))
    assert (audio.hidden_features, audio.embedding_size, audio.num_frames, audio.num_mel_bins) == (4096, 128, 96, 64)
    assert not audio.batch_norm


def test_labels_are_silent_and_sounding():
    config = AussConfig()
    assert config.id2label == {0: "silent", 1: "sounding"}
    assert config.label2id == {"silent": 0, "sounding": 1}
    two = AussConfig(num_labels=2)
    assert (two.id2label, two.label2id) == (config.id2label, config.label2id)
    more = AussConfig(num_labels=4)
    assert more.num_labels == 4 and len(more.id2label) == 4
    named = AussConfig(id2label={0: "background", 1: "dog", 2: "cat"}, label2id={"background": 0, "dog": 1, "cat": 2})
    assert named.num_labels == 3 and named.id2label[1] == "dog"


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1"), ("background", "dog")])
def test_two_labels_saved_under_other_names_keep_them(tmp_path, names):
    values = AussConfig().to_dict() | {"id2label": dict(enumerate(names)), "label2id": {names[0]: 0, names[1]: 1}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    loaded = AussConfig.from_pretrained(tmp_path)
    assert loaded.id2label == values["id2label"] and loaded.label2id == values["label2id"]


@pytest.mark.parametrize(
    "overrides", [{}, {"num_labels": 2}, {"num_labels": 4}, {"feature_strides": (16, 8), "mask_stride": 8 // 2}]
)
def test_round_trip_through_a_folder(tmp_path, overrides):
    config = AussConfig(num_queries=7, backbone_config=SwinConfig(embed_dim=8, out_features=["stage2"]), **overrides)
    config.save_pretrained(tmp_path)
    for loaded in (AussConfig.from_pretrained(tmp_path), AussConfig.from_dict(config.to_dict())):
        assert loaded.to_dict() == config.to_dict()
        assert isinstance(loaded.backbone_config, SwinConfig) and isinstance(loaded.audio_config, AussAudioConfig)
        assert loaded.id2label == config.id2label and loaded.num_labels == config.num_labels
        assert list(loaded.backbone_config.out_features) == ["stage2"]


def test_sub_configurations_may_be_dictionaries():
    config = AussConfig(
        backbone_config={"model_type": "swin", "embed_dim": 8, "out_features": ["stage3"]},
        audio_config={"embedding_size": 16},
    )
    assert isinstance(config.backbone_config, SwinConfig) and config.backbone_config.embed_dim == 8
    assert config.audio_config.embedding_size == 16 and config.audio_config.hidden_features == 4096


def test_the_presets_are_the_ones_named_in_the_design():
    assert AussConfig.preset_names() == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_keys_are_all_declared(name):
    # Transformers accepts a misspelt name silently.
    values = json.loads((PRESETS_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert undeclared_keys(values, AussConfig) == set()


def test_a_misspelt_key_would_be_found():
    assert undeclared_keys({"num_querys": 3, "audio_config": {"batchnorm": True}}, AussConfig) == {
        "num_querys",
        "audio_config.batchnorm",
    }
    assert undeclared_keys({"backbone_config": {"model_type": "resnet", "depth": [1]}}, AussConfig)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_values_arrive_and_the_rest_is_default(name):
    values = json.loads((PRESETS_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    config = AussConfig.from_preset(name)
    for key, value in values.items():
        if key in ("backbone_config", "audio_config"):
            for sub_key, sub_value in value.items():
                assert getattr(getattr(config, key), sub_key) == sub_value, (key, sub_key)
        else:
            assert getattr(config, key) == value, key
    default = AussConfig()
    for field in dataclasses.fields(AussConfig):
        if field.name not in values and field.name not in ("backbone_config", "audio_config", "transformers_version"):
            assert getattr(config, field.name) == getattr(default, field.name), field.name


@pytest.mark.parametrize(
    ("name", "strides", "mask_stride"), [("auss-resnet101", (8, 4, 2), 1), ("auss-swin-base", (8, 4, 2), 1)]
)
def test_reference_presets_are_the_papers(name, strides, mask_stride):
    config = AussConfig.from_preset(name)
    assert tuple(config.feature_strides) == (8, 4, 2) and config.mask_stride == 1
    assert (config.num_queries, config.hidden_size) == (300, 256)
    assert not config.lateral_connections and not config.query_embedding
    assert list(config.backbone_config.out_features) == ["stage3"]  # f_ori has stride 16


def test_a_saved_model_is_a_preset_without_what_it_has_learned(tmp_path, tiny_config):
    """`config.json` as `save_pretrained` writes it, also with the entries for the Hub."""
    tiny_config.training_progress, tiny_config.trained_categories = 0.75, ["dog"]
    tiny_config.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoConfig": "x.Y"}, "dtype": "float32"})
    )
    config = AussConfig.from_preset(str(path))
    assert config.training_progress == 0 and config.trained_categories is None
    tiny_config.training_progress, tiny_config.trained_categories = 0.0, None
    expected = tiny_config.to_dict()
    assert {name: value for name, value in config.to_dict().items() if name != "dtype"} == {
        name: value for name, value in expected.items() if name != "dtype"
    }


def test_from_preset_reads_a_file_and_takes_overrides(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"num_queries": 9, "hidden_size": 32}), encoding="utf-8")
    config = AussConfig.from_preset(str(path), num_queries=11)
    assert (config.num_queries, config.hidden_size) == (11, 32)
    assert AussConfig.from_preset("auss-demo", num_labels=71).num_labels == 71


@pytest.mark.parametrize("name", ["auss-resnet", "", "missing.json"])
def test_from_preset_names_what_there_is(name):
    with pytest.raises(ValueError, match="no preset is called.*auss-demo.*auss-swin-base, or a JSON file"):
        AussConfig.from_preset(name)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"feature_strides": (8, 6, 2)}, "powers of two, got"),
        ({"feature_strides": ()}, "powers of two, got"),
        ({"mask_stride": 0}, "powers of two, got"),
        ({"feature_strides": (2, 4, 8)}, r"descend towards mask_stride, got \[2, 4, 8, 1\]"),
        ({"feature_strides": (8, 8, 2)}, "descend towards mask_stride"),
        ({"mask_stride": 2}, r"descend towards mask_stride, got \[8, 4, 2, 2\]"),
        ({"hidden_size": 100}, "hidden_size must be a multiple .* got hidden_size=100 and num_attention_heads=8"),
        ({"hidden_size": 24}, "multiple of twice num_attention_heads"),
        ({"mask_threshold": 1.0}, "mask_threshold must lie between 0 and 1, got 1.0"),
        ({"focal_gamma": 0.5}, "focal_gamma must be 0, or 1 or more, got 0.5"),
        ({"num_queries": 0}, "num_queries must be at least 1, got 0"),
        ({"num_labels": 1}, "num_labels must be 2 to 255, including label 0 for silent, got 1"),
        ({"num_labels": 256}, "num_labels must be 2 to 255"),
        ({"hidden_size": 6, "num_attention_heads": 1}, "hidden_size must be a multiple of 4.*got 6"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1, got 0"),
        ({"num_audio_layers": -1}, "num_audio_layers must be at least 0, got -1"),
        ({"intermediate_size": 0}, "intermediate_size must be at least 1, got 0"),
        ({"dropout": float("nan")}, r"dropout must be a number from 0 to 1 \(exclusive\), got nan"),
        ({"dropout": 1.5}, "dropout must be .*, got 1.5"),
        ({"dropout": -0.1}, "dropout must be .*, got -0.1"),
        ({"dice_weight": -1.0}, "dice_weight must be a number of at least 0, got -1.0"),
        ({"aqdl_weight": float("nan")}, "aqdl_weight must be .*, got nan"),
        ({"no_object_weight": float("inf")}, "no_object_weight must be .*, got inf"),
        ({"query_distance_threshold": float("nan")}, "query_distance_threshold must be .*, got nan"),
        ({"initializer_range": -1.0}, "initializer_range must be .*, got -1.0"),
        ({"mask_threshold": float("nan")}, "mask_threshold must lie between 0 and 1, got nan"),
        ({"focal_gamma": float("nan")}, "focal_gamma must be 0, or 1 or more, got nan"),
        ({"training_progress": 1.5}, "training_progress must be a number from 0 to 1, got 1.5"),
        ({"id2label": {1: "dog", 2: "cat"}}, r"id2label must have the keys 0 ... 1.*got \[1, 2\]"),
        ({"backbone_config": {"model_type": "nothing"}}, "backbone_config must name a type .* got 'nothing'"),
        ({"backbone_config": {"embed_dim": 8}}, "backbone_config must name a type .* got None"),
        ({"audio_config": {"stage_channels": (2, 0, 4, 4)}}, "stage_channels must be at least 1, got 0"),
        ({"audio_config": {"embedding_size": 0}}, "embedding_size must be at least 1, got 0"),
        ({"audio_config": {"num_frames": 8}}, "must be at least 16 for 4 stages"),
        ({"confidence_schedule": "rising"}, '"increasing" or "fixed", got \'rising\''),
        (
            {"audio_config": {"stage_depths": (1, 1)}},
            "stage_channels and stage_depths must have the same length, got 4 and 2",
        ),
    ],
)
def test_fields_that_do_not_fit_are_refused(overrides, message):
    # Transformers' strict dataclasses wrap the ValueError of a validator in an error of their own.
    with pytest.raises(Exception, match=message):
        AussConfig(**overrides)


def test_a_misspelt_override_of_a_preset_is_refused():
    with pytest.raises(ValueError, match="no field num_querys"):
        AussConfig.from_preset("auss-demo", num_querys=3)


def test_a_misspelt_key_in_a_file_is_refused(tmp_path):
    (tmp_path / "mine.json").write_text('{"num_querries": 3}')
    with pytest.raises(ValueError, match="no field num_querries"):
        AussConfig.from_preset(str(tmp_path / "mine.json"))


def test_misspelt_audio_fields_of_a_preset_are_refused(tmp_path):
    with pytest.raises(ValueError, match="AussAudioConfig has no field batchnorm"):
        AussConfig.from_preset("auss-demo", audio_config={"batchnorm": True})


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "mine.json cannot be read as JSON"), (b"\xff", "mine.json cannot be read"), (b"[]", "JSON object.*list")],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / "mine.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        AussConfig.from_preset(str(tmp_path / "mine.json"))


@pytest.mark.parametrize("overrides", [{"num_queries": 2.5}, {"feature_strides": "8"}, {"lateral_connections": "yes"}])
def test_wrong_types_are_refused(overrides):
    with pytest.raises(Exception, match=next(iter(overrides))):
        AussConfig(**overrides)


def test_num_hidden_layers_is_another_name_for_the_fusion_layers():
    assert AussConfig(num_fusion_layers=3).num_hidden_layers == 3


def test_auto_config_knows_the_type(tmp_path):
    import auss  # noqa: F401  registers it

    AussConfig(num_queries=7).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, AussConfig) and loaded.num_queries == 7


def test_trainer_gathers_the_logits_alone(make_config):
    fields = AussSegmentationOutput.__dataclass_fields__.keys()
    assert fields - set(make_config().keys_to_ignore_at_inference) == {"loss", "logits"}


def test_a_name_that_no_backbone_has_is_told(make_config, caplog):
    values = make_config().to_dict()
    AussConfig.from_dict(values)
    assert "has no field" not in caplog.text
    values["backbone_config"]["hidden_actx"] = values["backbone_config"].pop("hidden_act")
    AussConfig.from_dict(values)
    assert "backbone_config, a ResNetConfig, has no field hidden_actx" in caplog.text
