"""
Defines the paper's Tables 2-6 as configurations. Each row changes some fields of a base preset.

Tables 3 and 4 measure the contribution of each part of the space projector. In the paper the queries are W_1 A W_2
alone. So in these tables the rows with sound have no learned term (`query_embedding`), even if the preset has one. In
the rows without sound the queries are the learned term alone. Tables 2, 5 and 6 keep the setting of the preset.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

from ...configuration.configuration_auss import AussConfig

# Tables 3 and 4 do not use the self-supervised losses: their best row has the results of Table 5's "A2U only".
NO_QUERY_LOSSES = {"aqdl_weight": 0.0, "aqml_weight": 0.0}
ENCODERS_OFF = {"num_audio_layers": 0}
LEARNED_QUERIES = {
    "audio_input": False,
    "frame_conditioned_queries": False,
    "query_embedding": True,
    **ENCODERS_OFF,
    **NO_QUERY_LOSSES,
}
HEARD_QUERIES = {"query_embedding": False, **NO_QUERY_LOSSES}
# The image backbones with which the paper measured its tables.
PAPER_BACKBONES = {2: "ResNet-101", 3: "Swin-B", 4: "ResNet-101", 5: "ResNet-101", 6: "ResNet-101"}


@dataclass(frozen=True)
class Row:
    """
    One row of a table.

    Args:
        label: the label in the paper.
        run: the name of the folder of the row's runs. Rows that are the same run share it: `run_name`.
        paper: M_J and M_F in the paper, with the backbone of `PAPER_BACKBONES`. None if the paper has no such results.
        changes: the fields of `AussConfig` that replace those of the preset.
        name: the subset for training and testing.
        pretrained: True starts from a run on S4 with the same configuration.
    """

    label: str
    run: str
    paper: tuple[float, float] | None
    changes: dict[str, Any] = field(default_factory=dict)
    name: str = "s4"
    pretrained: bool = False


def queries(number: int) -> dict[str, int]:
    return {"num_queries": number}


A2U_ONLY = Row("A2U only", "a2u-only", (0.818, 0.895), NO_QUERY_LOSSES)
OURS = Row("Ours", "ours", (0.831, 0.906))
OURS_MS3 = Row("Ours, pretrained on single-source", "ours-ms3-pretrained", (0.589, 0.729), {}, "ms3", True)

TABLES: dict[int, list[Row]] = {
    2: [OURS, OURS_MS3],
    3: [
        Row("w/o audio input, N = 100", "learned-n100", (0.796, 0.883), LEARNED_QUERIES | queries(100)),
        Row("w/o audio input, N = 200", "learned-n200", (0.796, 0.893), LEARNED_QUERIES | queries(200)),
        Row("w/o audio input, N = 300", "learned-n300", (0.798, 0.896), LEARNED_QUERIES | queries(300)),
        *(
            Row(
                f"w/ audio input, N = {number}",
                f"number-projector-n{number}",
                paper,
                {"channel_projector": False, **ENCODERS_OFF, **HEARD_QUERIES, **queries(number)},
            )
            for number, paper in ((100, (0.808, 0.893)), (200, (0.809, 0.897)), (300, (0.809, 0.901)))
        ),
    ],
    4: [
        Row(
            "dimension projector, T x e",
            "dimension-projector",
            (0.793, 0.872),
            {"number_projector": False, **ENCODERS_OFF, **HEARD_QUERIES},
        ),
        *(
            Row(
                f"and number projector, {number} x e",
                f"projectors-n{number}",
                paper,
                {**ENCODERS_OFF, **HEARD_QUERIES, **queries(number)},
            )
            for number, paper in ((100, (0.808, 0.874)), (300, (0.813, 0.877)))
        ),
        *(
            Row(f"and encoders, {number} x e", f"a2u-n{number}", paper, {**HEARD_QUERIES, **queries(number)})
            for number, paper in ((300, (0.818, 0.895)), (500, (0.812, 0.894)), (700, (0.806, 0.894)))
        ),
    ],
    5: [
        A2U_ONLY,
        Row("AQDL, increasing delta", "aqdl-increasing", (0.813, 0.895), {"aqml_weight": 0.0}),
        Row(
            "AQDL, fixed delta",
            "aqdl-fixed",
            (0.804, 0.894),
            {"aqml_weight": 0.0, "confidence_schedule": "fixed"},
        ),
        Row("AQML, increasing delta", "aqml-increasing", (0.807, 0.881), {"aqdl_weight": 0.0}),
        Row(
            "AQML, fixed delta",
            "aqml-fixed",
            (0.805, 0.877),
            {"aqdl_weight": 0.0, "confidence_schedule": "fixed"},
        ),
        OURS,
    ],
    6: [Row("From scratch", "ours-ms3-scratch", (0.408, 0.610), {}, "ms3"), OURS_MS3],
}


def row_config(preset: str, row: Row) -> AussConfig:
    """
    Returns the configuration of a row.

    Without W_1 the queries are the T examples, so N is T. Without W_2 the queries have the e_0 features of an example,
    so e is e_0.

    Args:
        preset: the base preset, as `AussConfig.from_preset` takes it.
    """
    base = AussConfig.from_preset(preset)
    changes = dict(row.changes)
    if not changes.get("number_projector", True):
        changes["num_queries"] = base.num_audio_examples
    if not changes.get("channel_projector", True):
        changes["hidden_size"] = base.audio_config.embedding_size
    return AussConfig.from_preset(preset, **changes)


@functools.cache
def shared_runs(preset: str) -> dict[str, str]:
    """Returns for the `run` of every row the name under which `run_name` finds it. Building the configurations of all
    rows takes a second, so they are built once."""
    names: dict[str, str] = {}
    found: list[tuple[tuple, str]] = []
    for row in (row for rows in TABLES.values() for row in rows):
        identity = row_config(preset, row).to_dict(), row.name, row.pretrained
        name = next((name for other, name in found if other == identity), row.run)
        found.append((identity, name))
        names[row.run] = name
    return names


def run_name(preset: str, row: Row) -> str:
    """
    Returns the `run` of the first row, over all tables, that is the same run with this preset. For example, if the
    preset has N = 300, Table 5's A2U only is the same run as the last row but two of Table 4.

    Args:
        preset: the base preset, as `row_config` takes it.
    """
    return shared_runs(preset)[row.run]


__all__ = ["OURS", "PAPER_BACKBONES", "Row", "TABLES", "row_config", "run_name"]
