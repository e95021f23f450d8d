"""Numbers out of range and names that are not fields are refused. Unknown names in a saved file are kept."""

import json
import math

import pytest

from auss.configuration.configuration_auss import AussAudioConfig, AussConfig
from auss.configuration.field_checks import check_count, check_number


@pytest.mark.parametrize("value", [0, 0.25, 1])
def test_numbers_in_range_pass(value):
    check_number("dropout", value, 0, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, 1.1, True])
def test_numbers_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match="dropout must be a number from 0 to 1, got"):
        check_number("dropout", value, 0, 1)


def test_an_open_range_ends_before_its_end():
    check_number("dropout", 0.999, 0, 1, open_end=True)
    with pytest.raises(ValueError, match=r"from 0 to 1 \(exclusive\), got 1"):
        check_number("dropout", 1, 0, 1, open_end=True)
    with pytest.raises(ValueError, match="aqdl_weight must be a number of at least 0, got inf"):
        check_number("aqdl_weight", math.inf, 0)


@pytest.mark.parametrize("value", [0, -3, True])
def test_counts_below_one_are_refused(value):
    check_count("num_queries", 1)
    with pytest.raises(ValueError, match="num_queries must be at least 1, got"):
        check_count("num_queries", value)


@pytest.mark.parametrize(
    ("config_class", "fields", "message"),
    [
        (AussConfig, {"num_querys": 3}, "AussConfig has no field num_querys: is num_queries meant"),
        (AussConfig, {"zzz": 3}, "AussConfig has no field zzz$"),
        (AussConfig, {"to_dict": 3}, "AussConfig has no field to_dict"),
        # Without the check, Transformers would ask the Hub for a backbone of this name.
        (AussConfig, {"backbone": "me/mine"}, "no field backbone: is backbone_config meant"),
        (AussConfig, {"audio_config": {"batchnorm": True}}, "AussAudioConfig has no field batchnorm: is batch_norm"),
        (AussAudioConfig, {"batchnorm": True, "depth": 1}, "no field batchnorm, depth"),
    ],
)
def test_misspelt_fields_are_refused(config_class, fields, message):
    with pytest.raises(ValueError, match=message):
        config_class(**fields)


def test_what_transformers_takes_beside_fields_is_taken():
    config = AussConfig(
        attn_implementation="eager",
        torch_dtype="float16",
        output_attentions=True,
        output_hidden_states=True,
        return_dict=False,
        num_labels=3,
        name_or_path="here",
        architectures=["AussModel"],
        tie_word_embeddings=False,
        temperature=0.5,
        num_hidden_layers=2,
    )
    assert config._attn_implementation == "eager" and str(config.dtype) == "torch.float16"
    assert config.num_labels == 3 and config.num_fusion_layers == 2 and config.name_or_path == "here"
    assert AussConfig(**config.to_dict()).to_dict() == config.to_dict()


def test_a_saved_file_of_another_version_loads_with_a_warning(tmp_path, caplog):
    values = AussConfig(num_queries=7).to_dict() | {"a_new_field": 3, "use_cache": False}
    values["audio_config"]["an_old_field"] = 1
    del values["training_progress"]  # an earlier version had no such field
    (tmp_path / "config.json").write_text(json.dumps(values))
    loaded = AussConfig.from_pretrained(tmp_path)
    assert loaded.num_queries == 7 and loaded.a_new_field == 3 and loaded.training_progress == 0
    assert "AussConfig has no field a_new_field: what the file says there has no effect" in caplog.text
    assert "AussAudioConfig has no field an_old_field" in caplog.text and "use_cache" not in caplog.text
    loaded.save_pretrained(tmp_path / "again")
    assert AussConfig.from_pretrained(tmp_path / "again").to_dict() == loaded.to_dict()


def test_a_part_of_the_audio_configuration_may_be_replaced(tmp_path):
    AussConfig(audio_config={"embedding_size": 64}).save_pretrained(tmp_path)
    config, unused = AussConfig.from_pretrained(
        tmp_path, audio_config={"batch_norm": True}, other=1, return_unused_kwargs=True
    )
    assert config.audio_config.batch_norm and config.audio_config.embedding_size == 64 and unused == {"other": 1}
    with pytest.raises(ValueError, match="no field batchnorm"):
        AussConfig.from_pretrained(tmp_path, audio_config={"batchnorm": True})


def test_a_saved_file_cannot_name_a_backbone_on_the_hub(tmp_path, monkeypatch):
    values = AussConfig().to_dict() | {"backbone": "me/mine", "backbone_config": None}
    (tmp_path / "config.json").write_text(json.dumps(values))

    def asked(*args, **kwargs):
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("transformers.backbone_utils.hf_api", asked)
    assert AussConfig.from_pretrained(tmp_path).backbone_config.model_type == "resnet"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_labels": 10**30}, "num_labels must be 2 to 255"),  # too many for Transformers to name each
        ({"id2label": [3]}, "id2label must be a dictionary"),
        ({"label2id": "x"}, "label2id must be a dictionary"),
    ],
)
def test_labels_that_are_none_are_refused_before_they_are_counted(make_config, fields, message):
    with pytest.raises(ValueError, match=message):
        make_config(**fields)
