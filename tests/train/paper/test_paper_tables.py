"""Tests the tables as configurations: every row makes a network, and rows only differ as the table says."""

import pytest

from auss.configuration.configuration_auss import AussConfig
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.train.paper.paper_tables import TABLES, row_config, run_name

ROWS = [pytest.param(row, id=f"table {table}: {row.label}") for table, rows in TABLES.items() for row in rows]


@pytest.fixture
def preset(make_config, tmp_path):
    path = tmp_path / "tiny.json"
    make_config().to_json_file(path, use_diff=False)
    return str(path)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_runs_forward_and_backward(row, preset, make_inputs):
    import torch

    model = AussForAudioVisualSegmentation(row_config(preset, row))
    labels = torch.randint(2, (2, 3, 32, 32))
    model(**make_inputs(), labels=labels).loss.backward()
    heard = model.config.audio_input
    assert (model.auss.audio_encoder is not None) == heard
    if heard:
        assert model.auss.audio_encoder.features[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("preset_name", ["auss-resnet101", "auss-demo"])
def test_rows_of_shipped_presets_are_valid(preset_name):
    for rows in TABLES.values():
        for row in rows:
            assert isinstance(row_config(preset_name, row), AussConfig)


def test_rows_of_frame_conditioned_queries_are_valid_with_and_without_sound(make_config, tmp_path):
    path = tmp_path / "frames.json"
    make_config(frame_conditioned_queries=True).to_json_file(path, use_diff=False)
    for row in (row for rows in TABLES.values() for row in rows):
        config = row_config(str(path), row)
        assert config.frame_conditioned_queries == config.audio_input


def test_our_row_is_the_preset_itself(preset):
    assert row_config(preset, TABLES[5][-1]).to_dict() == AussConfig.from_preset(preset).to_dict()


def test_table_3_hears_in_its_second_half_only_and_has_no_encoders():
    configs = [row_config("auss-resnet101", row) for row in TABLES[3]]
    assert [config.audio_input for config in configs] == [False] * 3 + [True] * 3
    assert [config.num_queries for config in configs] == [100, 200, 300] * 2
    assert [config.hidden_size for config in configs] == [256] * 3 + [128] * 3
    assert all(config.num_audio_layers == 0 for config in configs)


def test_table_4_has_the_sizes_it_prints():
    configs = [row_config("auss-resnet101", row) for row in TABLES[4]]
    assert [(config.num_queries, config.hidden_size) for config in configs] == [
        (5, 256), (100, 256), (300, 256), (300, 256), (500, 256), (700, 256),
    ]  # fmt: skip
    assert [config.num_audio_layers for config in configs] == [0, 0, 0, 6, 6, 6]
    assert all(config.aqdl_weight == config.aqml_weight == 0 for config in configs)


def test_table_5_switches_the_losses_and_delta():
    rows = [row_config("auss-resnet101", row) for row in TABLES[5]]
    assert [(config.aqdl_weight, config.aqml_weight, config.confidence_schedule) for config in rows] == [
        (0, 0, "increasing"),
        (2, 0, "increasing"),
        (2, 0, "fixed"),
        (0, 2, "increasing"),
        (0, 2, "fixed"),
        (2, 2, "increasing"),
    ]


def test_runs_of_one_name_are_one_configuration():
    seen = {}
    for rows in TABLES.values():
        for row in rows:
            key = (row.name, row.pretrained, tuple(sorted(row.changes.items())))
            assert seen.setdefault(row.run, key) == key
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize("preset_name, learned", [("auss-resnet101", False), ("auss-demo", True)])
def test_tables_3_and_4_have_no_learned_term_beside_the_sounds(preset_name, learned):
    for table, rows in TABLES.items():
        for row in rows:
            config = row_config(preset_name, row)
            expected = not config.audio_input if table in (3, 4) else learned
            assert config.query_embedding == expected, (table, row.label)


def test_rows_that_are_the_same_run_share_its_folder():
    runs = {(table, row.run): row for table, rows in TABLES.items() for row in rows}
    a2u_only = runs[5, "a2u-only"]
    # The preset auss-resnet101 has N = 300 and no learned term, as Table 4 has. auss-demo differs in both.
    assert run_name("auss-resnet101", a2u_only) == run_name("auss-resnet101", runs[4, "a2u-n300"]) == "a2u-n300"
    assert run_name("auss-demo", a2u_only) == "a2u-only"
    for row in runs.values():
        if row is not a2u_only:
            assert run_name("auss-resnet101", row) == row.run
