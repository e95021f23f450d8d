"""Tests that the arguments of the commands in train/ agree with the code of the commands."""

import argparse

import pytest

from auss.train import command_arguments as module
from auss.train.arguments import SUBSETS
from auss.train.command_arguments import REPRODUCE_DEFAULTS, TABLE_NUMBERS, reproduce_groups
from auss.train.data.avsbench_layouts import LAYOUTS
from auss.train.paper.paper_tables import TABLES


def parse(name, *options):
    parser = argparse.ArgumentParser()
    getattr(module, f"add_{name}_arguments")(parser)
    return parser.parse_args(options)


def test_choices_are_those_that_the_commands_know():
    assert set(SUBSETS) == set(LAYOUTS)
    assert list(TABLE_NUMBERS) == list(TABLES)


def test_reproduce_fills_in_its_own_output_folder():
    given = parse("reproduce", "--table", "2", "--data", "d", "--steps", "7")
    data, optim, run = reproduce_groups(given)
    assert (data.data, optim.steps, run.output) == ("d", 7, REPRODUCE_DEFAULTS["output"])
    assert (given.table, given.seeds, given.rows) == (2, 3, None)


def test_counts_that_figures_cannot_be_drawn_of_are_refused():
    for options, message in (
        (["--clips", "0"], "--clips must be at least 1, got 0"),
        (["--query-clips", "2"], "--query-clips must be at least 3, got 2"),
    ):
        given = parse("figures", "--model", "m", "--data", "d", *options)
        with pytest.raises(ValueError, match=message):
            given.check(given)


def test_three_counts_and_subsets():
    assert parse("compose", "out", "--s4", "1", "2", "3").s4 == [1, 2, 3]
    assert parse("prepare", "root", "out", "--names", "s4", "ms3").names == ["s4", "ms3"]
    with pytest.raises(SystemExit):
        parse("evaluate", "--model", "m", "--data", "d", "--sound", "loud")
