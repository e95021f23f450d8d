import argparse
import dataclasses
import json

import pytest

from auss.train.arguments import (
    GROUPS,
    INCIDENTAL,
    DataArguments,
    OptimArguments,
    RunArguments,
    add_arguments,
    as_dict,
    differences,
    from_namespace,
    save_arguments,
)

FIELDS = [field for group in GROUPS for field in dataclasses.fields(group)]


def parse(*options):
    parser = argparse.ArgumentParser()
    parser.add_argument("--traceback", action="store_true")  # as the command line has
    add_arguments(parser)
    return from_namespace(parser.parse_args(options))


def test_at_most_forty_fields_each_with_a_name_of_its_own_and_help():
    assert len(FIELDS) <= 40
    assert len({field.name for field in FIELDS}) == len(FIELDS)
    assert all(field.metadata["help"] for field in FIELDS)
    assert {field.name for field in FIELDS} >= INCIDENTAL


def test_defaults_are_the_papers():
    data, optim, run = parse("--data", "d", "--output", "o")
    assert (data.name, data.batch_size, data.augment, data.mute_probability) == ("s4", 8, True, 0.0)
    assert (optim.steps, optim.learning_rate, optim.weight_decay) == (90_000, 1e-4, 0.05)
    assert (optim.backbone_rate, optim.power, optim.accumulation) == (0.1, 0.9, 1)
    assert (run.preset, run.resume, run.overwrite, run.mixed_precision) == (None, False, False, "no")


def test_options_reach_their_fields_with_hyphens_or_underscores():
    data, optim, run = parse(
        *("--data", "d", "--output", "o", "--name", "ms3", "--image-size", "112", "--batch_size", "4"),
        *("--no-augment", "--mute-probability", "0.25", "--learning-rate", "1e-3", "--resume", "--traceback"),
    )
    assert (data.data, data.name, data.image_size, data.batch_size) == ("d", "ms3", 112, 4)
    assert (data.augment, data.mute_probability) == (False, 0.25)
    assert optim.learning_rate == 1e-3
    assert (run.output, run.resume) == ("o", True)


def test_help_is_grouped_and_names_every_option():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = parser.format_help()
    for group in GROUPS:
        assert f"\n{group._argument_group_name}:" in text
    for field in FIELDS:
        assert f"--{field.name}" in text
    assert "(default: 90000)" in text and "(default: None)" not in text


@pytest.mark.parametrize(
    "group, values, message",
    [
        (DataArguments, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (DataArguments, {"image_size": 8}, "image_size must be at least 16, got 8"),
        (DataArguments, {"frames_per_clip": 0}, "frames_per_clip must be at least 1, got 0"),
        (DataArguments, {"workers": -1}, "workers must be at least 0, got -1"),
        (DataArguments, {"mute_probability": 1.5}, "mute_probability must lie between 0 and 1, got 1.5"),
        (OptimArguments, {"steps": 0}, "steps must be at least 1, got 0"),
        (OptimArguments, {"accumulation": 0}, "accumulation must be at least 1, got 0"),
        (OptimArguments, {"learning_rate": float("nan")}, "learning_rate must be at least 0, got nan"),
        (OptimArguments, {"warmup": -0.1}, "warmup must lie between 0 and 1, got -0.1"),
        (RunArguments, {"checkpoint_every": 0}, "checkpoint_every must be at least 1, got 0"),
        (RunArguments, {"eval_every": -1}, "eval_every must be at least 0, got -1"),
        (RunArguments, {"eval_clips": 0}, "eval_clips must be at least 1, got 0"),
        (RunArguments, {"seed": -1}, "seed must be at least 0, got -1"),
        (RunArguments, {"preset": "auss-demo", "init_from": "s4"}, "preset and init_from exclude each other"),
        (RunArguments, {"resume": True, "overwrite": True}, "resume and overwrite exclude each other"),
    ],
)
def test_values_out_of_range_are_refused_by_name(group, values, message):
    required = {"data": "d"} if group is DataArguments else {"output": "o"} if group is RunArguments else {}
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        group(**required, **values)


def test_differences_are_those_that_bear_on_the_result(tmp_path):
    path = tmp_path / "arguments.json"
    groups = (DataArguments("d"), OptimArguments(steps=10), RunArguments("o"))
    save_arguments(groups, path)
    assert json.loads(path.read_text()) == as_dict(groups)
    assert differences(groups, path) == {}
    others = (DataArguments("d", workers=7), OptimArguments(steps=20), RunArguments("elsewhere", resume=True, seed=3))
    assert differences(others, path) == {"steps": (10, 20), "seed": (0, 3)}
