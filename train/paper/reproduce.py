"""`auss reproduce` trains and tests the rows of a table of the paper, and prints the paper's results beside the
measured ones."""

import argparse
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from ...configuration.configuration_auss import read_json_object
from ...files.errors import InputError
from ...files.whole_files import write_whole
from ..arguments import INCIDENTAL, DataArguments, OptimArguments, RunArguments, as_dict, default_values
from ..command_arguments import reproduce_groups
from ..evaluation.evaluate import evaluate_folder
from ..loop.preparation import DEFAULT_PRESET
from ..loop.train import train
from .paper_tables import OURS, PAPER_BACKBONES, TABLES, Row, row_config, run_name

# The table decides these arguments.
DECIDED = ("name", "init_from", "seed", "resume", "overwrite")
SETTINGS_FILE = "settings.json"
RESULTS_FILE = "results.json"
# This empty file is written when `train` has returned. Without it the files of the model may exist but be incomplete.
TRAINED_FILE = "trained"

Groups = tuple[DataArguments, OptimArguments, RunArguments]


def read_results(path: Path) -> dict[str, float] | None:
    """Reads M_J and M_F of a run. Returns None if there are no results or they are incomplete."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        return {name: float(results[name]) for name in ("M_J", "M_F")}
    except (FileNotFoundError, KeyError, RecursionError, TypeError, ValueError):
        return None


def row_groups(groups: Groups, row: Row, seed: int, folder: Path, s4_folder: Path | None) -> Groups:
    """Returns the arguments of one training run: the user's arguments with those that the row decides. Every process
    calls this."""
    data, optim, run = groups
    preset, config = folder / "preset.json", row_config(run.preset or DEFAULT_PRESET, row)
    if PartialState().is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(preset, config.to_json_string(use_diff=False))
    PartialState().wait_for_everyone()  # before the others read it
    start: dict[str, Any] = {"preset": str(preset)}
    if not config.audio_input:  # a row without sound has no audio encoder, which would refuse its weights
        start |= {"audio_weights": None, "freeze_audio": None}
    if s4_folder is not None:  # the model of that folder brings its configuration and its weights
        start |= {"preset": None, "init_from": str(s4_folder), "backbone_weights": None, "audio_weights": None}
    return (
        dataclasses.replace(data, name=row.name),
        optim,
        dataclasses.replace(run, output=str(folder / "model"), seed=seed, resume=True, **start),
    )


def run_folder(groups: Groups, row: Row, seed: int, output: Path) -> Path:
    """Returns the folder in which a row is trained and tested with one seed."""
    return output / "runs" / f"{run_name(groups[2].preset or DEFAULT_PRESET, row)}-seed{seed}"


def run_row(groups: Groups, row: Row, seed: int, output: Path) -> dict[str, float]:
    """
    Trains and tests a row with one seed, or continues an earlier call that was stopped. Every process calls this
    function.

    Returns:
        M_J and M_F on the test split.
    """
    s4_folder = None
    if row.pretrained:
        run_row(groups, OURS, seed, output)
        s4_folder = run_folder(groups, OURS, seed, output) / "model"
    folder = run_folder(groups, row, seed, output)
    results = read_results(folder / RESULTS_FILE)
    if results is not None:
        return results
    data, optim, run = row_groups(groups, row, seed, folder, s4_folder)
    if not (folder / TRAINED_FILE).is_file():
        train(data, optim, run)
        if PartialState().is_main_process:
            (folder / TRAINED_FILE).touch()
    scores = evaluate_folder(
        run.output, data.data, name=row.name, batch_size=data.batch_size, workers=data.workers, overwrite=True
    )
    results = {"M_J": scores["M_J"], "M_F": scores["M_F"]}
    if PartialState().is_main_process:
        write_whole(folder / RESULTS_FILE, json.dumps(results) + "\n")
    PartialState().wait_for_everyone()  # before the others look for it
    return results


def settings_of(groups: Groups) -> dict:
    """Returns the settings that influence the results in one spelling: the default preset by name, paths absolute."""
    settings = {name: value for name, value in as_dict(groups).items() if name not in INCIDENTAL}
    settings["preset"] = settings["preset"] or DEFAULT_PRESET
    settings["data"] = str(Path(settings["data"]).expanduser().resolve())
    if settings["preset"].endswith(".json"):
        settings["preset"] = str(Path(settings["preset"]).resolve())
    for name in ("backbone_weights", "audio_weights"):
        if settings[name] is not None and Path(settings[name]).exists():  # otherwise it is the name of a package
            settings[name] = str(Path(settings[name]).resolve())
    return settings


def check_settings(groups: Groups, output: Path) -> None:
    """
    Raises ValueError if `output` holds runs of other settings, because their results would not be comparable. Every
    process calls this function.
    """
    path = output / SETTINGS_FILE
    ours = settings_of(groups)
    if PartialState().is_main_process and not path.is_file():
        output.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(ours, indent=2) + "\n")
    PartialState().wait_for_everyone()  # before the others read it
    saved = read_json_object(path)
    other = sorted(name for name in saved.keys() | ours.keys() if saved.get(name) != ours.get(name))
    if other:
        raise InputError(
            f"output {str(output)!r} has runs with another {', '.join(other)}: choose another folder, or the same "
            "settings"
        )


def mean_and_deviation(values: list[float]) -> str:
    """Formats a mean with the sample standard deviation over seeds, such as "0.621 ± 0.004", or the value of a single
    seed."""
    mean = statistics.fmean(values)
    return f"{mean:.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else f"{mean:.3f}"


def format_comparison(table: int, rows: list[Row], figures: list[list[dict]], settings: str) -> str:
    """Formats the paper's results beside ours. A row that has not been run yet has dashes."""
    lines = [
        f"# Table {table}",
        "",
        settings,
        "",
        f"The paper's figures are {PAPER_BACKBONES[table]}'s.",
        "",
        "| | paper M_J | paper M_F | M_J | M_F | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row, runs in zip(rows, figures, strict=True):
        paper = [f"{value:.3f}" for value in row.paper] if row.paper else ["–", "–"]
        ours = [mean_and_deviation([run[name] for run in runs]) if runs else "–" for name in ("M_J", "M_F")]
        lines.append(f"| {row.label} | {' | '.join([*paper, *ours])} | {len(runs)} |")
    return "\n".join(lines) + "\n"


def check_rows(table: int, numbers: list[int] | None) -> list[int]:
    """
    Returns the numbers of the rows to run, counted from 1. None stands for all rows of the table.

    Raises:
        ValueError: the table does not have such a row.
    """
    last = len(TABLES[table])
    for number in numbers or ():
        if not 1 <= number <= last:
            raise InputError(f"rows must be 1 ... {last} for table {table}, got {number}")
    return sorted(set(numbers or range(1, last + 1)))


def earlier_runs(groups: Groups, row: Row, seeds: int, output: Path) -> list[dict]:
    """Returns the results of a row that the output folder already has, seed by seed."""
    found = (read_results(run_folder(groups, row, seed, output) / RESULTS_FILE) for seed in range(seeds))
    return [results for results in found if results is not None]


def save_table(table: int, groups: Groups, figures: list[list[dict]], output: Path) -> str:
    """Writes the table as Markdown and JSON, and returns the Markdown."""
    settings = f"{groups[2].preset or DEFAULT_PRESET}, {groups[1].steps} steps of {groups[0].batch_size} clips"
    text = format_comparison(table, TABLES[table], figures, settings)
    if PartialState().is_main_process:
        write_whole(output / f"table{table}.md", text)
        record = [{**dataclasses.asdict(row), "runs": runs} for row, runs in zip(TABLES[table], figures, strict=True)]
        write_whole(output / f"table{table}.json", json.dumps(record, indent=2) + "\n")
    return text


def reproduce(table: int, groups: Groups, seeds: int, only: list[int] | None = None) -> str:
    """
    Trains and tests rows of a table with seeds 0 ... `seeds` - 1, and saves `table{N}.md` and `.json` after each.

    Rows and seeds with results in the output folder are not run again. So a repeated call continues a stopped one, and
    tables share their rows.

    Args:
        table: 2 ... 6.
        groups: the arguments of `train`. `run.output` is the folder for all runs, and `run.preset` is the base of
            every row.
        seeds: the number of runs of each row.
        only: the numbers of the rows to run, counted from 1, so that several machines may share a table. None runs all
            rows. The table shows the results that the folder has for the other rows.

    Returns:
        The table as Markdown.

    Raises:
        ValueError: the table or a row does not exist, the caller sets arguments that the table decides, or the output
            folder has other settings.
    """
    if table not in TABLES:
        raise InputError(f"table must be one of {', '.join(map(str, TABLES))}, got {table}")
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, got {seeds}")
    numbers = check_rows(table, only)
    defaults = default_values()
    given = [name for name in DECIDED if as_dict(groups)[name] != defaults[name]]
    if given:
        raise InputError(f"{', '.join(given)}: the table decides, leave it out")
    # In a run without accelerators the state only sees the other processes if `cpu` is given here. `Accelerator` would
    # pass it, but it is created later.
    PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    output = Path(groups[2].output)
    check_settings(groups, output)
    rows = TABLES[table]
    text = ""
    for seed in range(seeds):  # seed by seed, so that first results for the whole table come early
        for number in numbers:
            row = rows[number - 1]
            if PartialState().is_main_process:
                place = f"seed {seed + 1} of {seeds}, row {number} of {len(rows)}"
                print(f"table {table}, {place}: {row.label}", flush=True)
            run_row(groups, row, seed, output)
            text = save_table(table, groups, [earlier_runs(groups, one, seeds, output) for one in rows], output)
    return text


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    groups = reproduce_groups(arguments)
    text = reproduce(arguments.table, groups, arguments.seeds, arguments.rows)
    if PartialState().is_main_process:
        print(f"\n{text}\nsaved in {groups[2].output}")
    return 0


__all__ = ["reproduce", "run"]
