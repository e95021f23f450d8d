"""`auss reproduce`: trains and tests the rows of a table of the paper, and prints its figures beside the measured."""

import argparse
import dataclasses
import json
import statistics
from pathlib import Path

from accelerate import PartialState

from .arguments import DataArguments, OptimArguments, RunArguments, as_dict, from_namespace
from .arguments import add_arguments as add_train_arguments
from .evaluate import evaluate_folder
from .paper_tables import OURS, PAPER_BACKBONES, TABLES, Row, row_config
from .preparation import DEFAULT_PRESET
from .train import train

# The table decides these.
DECIDED = ("name", "init_from", "seed", "resume", "overwrite")
SETTINGS_FILE = "settings.json"
TRAINED_FILE = "model.safetensors"

Groups = tuple[DataArguments, OptimArguments, RunArguments]


def row_groups(groups: Groups, row: Row, seed: int, folder: Path, s4_folder: Path | None) -> Groups:
    """The arguments of one training run: the user's, with what the row decides."""
    data, optim, run = groups
    preset = folder / "preset.json"
    if s4_folder is None:
        folder.mkdir(parents=True, exist_ok=True)
        row_config(run.preset or DEFAULT_PRESET, row).to_json_file(preset, use_diff=False)
    start = {"preset": str(preset)} if s4_folder is None else {"preset": None, "init_from": str(s4_folder)}
    if s4_folder is not None:  # it brings its weights
        start |= {"backbone_weights": None, "audio_weights": None}
    return (
        dataclasses.replace(data, name=row.name),
        optim,
        dataclasses.replace(run, output=str(folder / "model"), seed=seed, resume=True, **start),
    )


def run_row(groups: Groups, row: Row, seed: int, output: Path) -> dict[str, float]:
    """
    Trains and tests a row with one seed, or goes on where an earlier call was stopped.

    Returns:
        M_J and M_F on the test split.
    """
    s4_folder = None
    if row.pretrained:
        s4_row = dataclasses.replace(OURS, changes=row.changes)
        run_row(groups, s4_row, seed, output)
        s4_folder = output / "runs" / f"{s4_row.run}-seed{seed}" / "model"
    folder = output / "runs" / f"{row.run}-seed{seed}"
    results = folder / "results.json"
    if not results.is_file():
        data, optim, run = row_groups(groups, row, seed, folder, s4_folder)
        if not (Path(run.output) / TRAINED_FILE).is_file():
            train(data, optim, run)
        scores = evaluate_folder(
            run.output, data.data, name=row.name, batch_size=data.batch_size, workers=data.workers, overwrite=True
        )
        if PartialState().is_main_process:
            results.write_text(json.dumps({"M_J": scores["M_J"], "M_F": scores["M_F"]}) + "\n", encoding="utf-8")
        PartialState().wait_for_everyone()
    return json.loads(results.read_text(encoding="utf-8"))


def check_settings(groups: Groups, output: Path) -> None:
    """Raises ValueError if `output` holds runs of other settings; their figures would not compare."""
    path = output / SETTINGS_FILE
    ours = {name: value for name, value in as_dict(groups).items() if name not in ("output", "workers")}
    if path.is_file():
        saved = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(name for name in saved.keys() | ours.keys() if saved.get(name) != ours.get(name))
        if other:
            raise ValueError(
                f"output {str(output)!r} has runs with another {', '.join(other)}: choose another folder, or the same "
                "settings"
            )
    elif PartialState().is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")
    PartialState().wait_for_everyone()


def mean_and_deviation(values: list[float]) -> str:
    """ "0.621 ± 0.004", the sample standard deviation over seeds, or the value alone of one seed."""
    mean = statistics.fmean(values)
    return f"{mean:.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else f"{mean:.3f}"


def format_markdown(table: int, rows: list[Row], figures: list[list[dict]], settings: str) -> str:
    """The paper's figures beside ours; a row that has not been run yet has dashes."""
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


def reproduce(table: int, groups: Groups, seeds: int) -> str:
    """
    Trains and tests every row of a table with seeds 0 ... `seeds` - 1, and saves `table{N}.md` and `.json` after each.

    Rows and seeds that the output folder has already are not run again, so that a stopped call goes on when repeated,
    and tables share their rows.

    Args:
        table: 2 ... 6.
        groups: as `train` takes them; `run.output` is the folder for all, `run.preset` the base of every row.
        seeds: runs of each row.

    Returns:
        The table as Markdown.

    Raises:
        ValueError: a table that is none, arguments that the table decides, an output folder with other settings.
    """
    if table not in TABLES:
        raise ValueError(f"table must be one of {', '.join(map(str, TABLES))}, got {table}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    defaults = {one.name: one.default for group in groups for one in dataclasses.fields(group)}
    given = [name for name in DECIDED if as_dict(groups)[name] != defaults[name]]
    if given:
        raise ValueError(f"{', '.join(given)}: the table decides, leave it out")
    output = Path(groups[2].output)
    check_settings(groups, output)
    rows = TABLES[table]
    settings = f"{groups[2].preset or DEFAULT_PRESET}, {groups[1].steps} steps of {groups[0].batch_size} clips"
    figures: list[list[dict]] = [[] for _ in rows]
    text = ""
    for seed in range(seeds):  # seed by seed: a first impression of the whole table comes early
        for index, row in enumerate(rows):
            if PartialState().is_main_process:
                print(
                    f"table {table}, seed {seed + 1} of {seeds}, row {index + 1} of {len(rows)}: {row.label}",
                    flush=True,
                )
            figures[index].append(run_row(groups, row, seed, output))
            text = format_markdown(table, rows, figures, settings)
            if PartialState().is_main_process:
                (output / f"table{table}.md").write_text(text, encoding="utf-8")
                record = [{**dataclasses.asdict(row), "runs": runs} for row, runs in zip(rows, figures, strict=True)]
                (output / f"table{table}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser the options of `auss reproduce`."""
    table = parser.add_argument_group("table")
    table.add_argument("--table", type=int, required=True, choices=list(TABLES), help="which of the paper's tables")
    table.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, ...")
    add_train_arguments(parser)
    for action in parser._actions:
        if action.dest == "output":
            action.required, action.default = False, "reproduction"


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    text = reproduce(arguments.table, from_namespace(arguments), arguments.seeds)
    if PartialState().is_main_process:
        print(f"\n{text}\nsaved in {arguments.output}")
    return 0


__all__ = ["add_arguments", "reproduce", "run"]
