import argparse
import dataclasses
import json
import re
from pathlib import Path

import pytest

import auss
from auss.files.errors import InputError
from auss.train.arguments import (
    GROUPS,
    INCIDENTAL,
    DataArguments,
    OptimArguments,
    RunArguments,
    add_train_arguments,
    as_dict,
    differences,
    from_namespace,
    read_config,
    save_arguments,
)

FIELDS = [field for group in GROUPS for field in dataclasses.fields(group)]


def parse(*options):
    parser = argparse.ArgumentParser()
    parser.add_argument("--traceback", action="store_true")  # the command line has this option too
    add_train_arguments(parser)
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
    assert (run.preset, run.resume, run.overwrite, run.mixed_precision) == (None, False, False, None)


def test_options_reach_their_fields_with_hyphens_or_underscores():
    data, optim, run = parse(
        *("--data", "d", "--output", "o", "--name", "ms3", "--image-size", "112", "--batch_size", "4"),
        *("--no-augment", "--mute-probability", "0.25", "--learning-rate", "1e-3", "--resume", "--traceback"),
    )
    assert (data.data, data.name, data.image_size, data.batch_size) == ("d", "ms3", 112, 4)
    assert (data.augment, data.mute_probability) == (False, 0.25)
    assert optim.learning_rate == 1e-3
    assert (run.output, run.resume) == ("o", True)


def help_text():
    parser = argparse.ArgumentParser(prog="auss train")
    add_train_arguments(parser)
    return parser.format_help()


def test_help_is_grouped_and_names_every_option_once(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = help_text()
    assert text.startswith("usage: auss train --data DATA --output OUTPUT [options]\n")
    places = [text.index(f"\n{group._argument_group_name}:\n  {group.__doc__}") for group in GROUPS]
    assert places == sorted(places)
    for field in FIELDS:
        assert text.count(f"\n  --{field.name.replace('_', '-')}") == 1
        assert "_" not in field.name or f"--{field.name}" not in text
    assert "(default: 90000)" in text and "dropout (default: 0)" in text
    assert "(default: None)" not in text and "suppress" not in text.lower()
    # The text may be broken at any space or hyphen.
    assert "(default; --no-augment leaves it out)" in " ".join(text.split()).replace("- ", "-")


@pytest.mark.parametrize("width", ["60", "200"])
def test_help_fits_terminals_of_any_width(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    assert max(map(len, help_text().splitlines())) <= int(width)


def test_every_value_can_come_from_a_file_and_the_command_line_wins(tmp_path):
    groups = (
        DataArguments("d", name="ms3", batch_size=4, augment=False, mute_probability=0.25),
        OptimArguments(steps=7, learning_rate=1e-5),
        RunArguments("o", seed=3, tracker=["tensorboard", "wandb"], eval_clips=2),
    )
    path = tmp_path / "run.yaml"
    path.write_text(
        "data: d\noutput: o  # YAML 1.1 reads the next as a text\nlearning_rate: 1e-5\nbatch-size: 4\nname: ms3\n"
        "augment: false\nmute_probability: .25\nsteps: 7\nseed: 3\ntracker: [tensorboard, wandb]\neval_clips: 2\n"
        "preset:\n"
    )
    assert parse("--config", str(path)) == groups
    for options in (("--steps", "9", "--config", str(path)), ("--config", str(path), "--steps", "9")):
        assert parse(*options)[1] == OptimArguments(steps=9, learning_rate=1e-5)
    # The command line gives the default value, and the file gives another value.
    assert parse("--config", str(path), "--seed", "0", "--augment")[0].augment is True
    assert parse("--config", str(path), "--seed", "0", "--augment")[2].seed == 0


def test_the_file_of_the_documentation_is_one(tmp_path):
    document = (Path(auss.__file__).parent / "docs" / "training.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", document, flags=re.DOTALL)
    (tmp_path / "s4.yaml").write_text(text)
    data, _, run = parse("--config", str(tmp_path / "s4.yaml"), "--output", "runs/s4", "--seed", "1")
    assert (data.data, run.preset, run.tracker, run.seed) == ("DATA", "auss-resnet101", ["tensorboard"], 1)


def test_the_recipes_of_the_examples_are_such_files():
    recipes = sorted((Path(auss.__file__).parent / "examples").rglob("*.yaml"))
    texts = {path.name: path.read_text(encoding="utf-8") for path in recipes if "learning_rate" in path.read_text()}
    assert {"short_training.yaml", "recipe.yaml"} <= texts.keys()
    for path in recipes:
        if path.name in texts:
            read_config(path)


def test_saved_arguments_are_such_a_file(tmp_path):
    groups = (DataArguments("d", workers=0), OptimArguments(warmup=0.5), RunArguments("o", mixed_precision="bf16"))
    save_arguments(groups, tmp_path / "arguments.json")
    assert parse("--config", str(tmp_path / "arguments.json")) == groups


def test_words_of_a_yaml_file_are_those_of_the_command_line(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("mixed_precision: no\nlearning_rate: 1e-4\naugment: no\npreset: null\nseed:\n")
    data, optim, run = parse("--data", "d", "--output", "o", "--config", str(path))
    assert (run.mixed_precision, run.preset, run.seed) == ("no", None, 0)
    assert (optim.learning_rate, data.augment) == (1e-4, False)


@pytest.mark.parametrize(
    "text, message",
    [
        ("step: 7", "run.yaml sets step, but there are only accumulation, "),
        ("steps: many", "run.yaml: argument --steps: invalid int value: 'many'"),
        ("steps: 1.5", "run.yaml: argument --steps: invalid int value: '1.5'"),
        ("name: s5", "run.yaml: argument --name: invalid choice: 's5'"),
        ("resume: perhaps", "run.yaml: argument --resume: "),
        ("- steps", "run.yaml must hold lines such as 'steps: 1000', got list"),
        ("steps: [", "run.yaml is no YAML file"),
        ("steps: 0", "steps must be at least 1, got 0"),
    ],
)
def test_what_a_file_may_not_say(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        parse("--data", "d", "--output", "o", "--config", str(path))


def test_data_and_output_must_come_from_somewhere(tmp_path):
    with pytest.raises(ValueError, match="--data and --output must be given, on the command line or in the file"):
        parse("--steps", "3")
    with pytest.raises(FileNotFoundError):
        parse("--config", str(tmp_path / "nowhere.yaml"))


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
        (RunArguments, {"seed": 2**32}, "seed must be at most 4294967295, got 4294967296"),
        (RunArguments, {"preset": "auss-demo", "init_from": "s4"}, "preset and init_from exclude each other"),
        (RunArguments, {"resume": True, "overwrite": True}, "resume and overwrite exclude each other"),
        (RunArguments, {"freeze_audio": True}, "freeze_audio needs audio_weights or init_from"),
        (DataArguments, {"paste_probability": 1.1}, "paste_probability must lie between 0 and 1"),
        (DataArguments, {"scale_jitter": 0.5}, "scale_jitter must be at least 1"),
        (DataArguments, {"stretch_jitter": 0}, "stretch_jitter must be at least 1"),
        (DataArguments, {"colour_jitter": 2.0}, "colour_jitter must lie between 0 and 1"),
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


@pytest.mark.parametrize("text", ["{", "[1]", "7"])
def test_saved_arguments_that_are_damaged_are_named(tmp_path, text):
    path = tmp_path / "arguments.json"
    path.write_text(text)
    with pytest.raises(InputError, match="arguments.json must hold the earlier run's arguments as JSON: "):
        differences((DataArguments("d"), OptimArguments(), RunArguments("o")), path)
