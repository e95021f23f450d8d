"""`python tests/fuzzing/report.py`: runs the fuzzing test, the interruptions and the attacks, and writes
docs/reliability.md. `--fuzzing-only` renews the first table alone, and `--counts FILE` takes it from a run before."""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "reliability.md"
ATTACKS = ["tests/security", "tests/files/test_outside_text.py", "tests/inference/test_names.py"]
COLUMNS = (
    "works",
    "result, and a warning",
    "clear error",
    "damage that cannot be noticed",
    "right input refused",
    "unclear error",
    "traceback",
    "silent wrong answer",
    "hang",
    "looks finished after an error",
)
FAULTS = COLUMNS[4:]
BEGIN, END = "<!-- {} begins -->\n", "<!-- {} ends -->\n"


def run_tests(paths: list[str], counts: Path, only: str = "") -> tuple[dict[str, str], bool]:
    """The outcome of each test of some folders and files, slow ones too, and whether all is well."""
    environment = os.environ | {"AUSS_FUZZING_COUNTS": str(counts), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", *paths, "-m", "slow or not slow", "-v", "-p", "no:cacheprovider"]
    outcomes = {}
    with subprocess.Popen(
        [*command, "-k", only], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            found = re.match(r"[\w/.]+::(.+) (PASSED|FAILED|ERROR|SKIPPED)", line)
            if found:
                outcomes[found[1]] = found[2]
    return outcomes, process.returncode == 0


def fuzzing_table(counts: Path) -> str:
    """Inputs by area and outcome."""
    rows = [json.loads(line) for line in counts.read_text(encoding="utf-8").splitlines()]
    shown = [name for name in COLUMNS if name not in FAULTS] + ["faults"]
    lines = [f"| area | inputs | {' | '.join(shown)} |", "| --- |" + " ---: |" * (len(shown) + 1)]
    sums = [0] * (len(shown) + 1)
    for row in rows:
        figures = [row[name] for name in COLUMNS if name not in FAULTS] + [sum(row[name] for name in FAULTS)]
        figures = [sum(figures), *figures]
        sums = [one + other for one, other in zip(sums, figures, strict=True)]
        lines.append(f"| {row['area']} | {' | '.join(map(str, figures))} |")
    lines.append(f"| **all** | {' | '.join(f'**{one}**' for one in sums)} |")
    faults = ", ".join(f"{sum(row[name] for row in rows)} {name}" for name in FAULTS)
    minutes, processor = (sum(row[name] for row in rows) / 60 for name in ("seconds", "cpu"))
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "av", "pillow"))
    head = f"{datetime.date.today()}, Python {platform.python_version()}, {packages}. "
    head += f"{minutes:.0f} minutes, {processor:.1f} of them of the processor."
    return "\n".join([head, "", *lines, "", f"Faults: {faults}.", ""])


def replaced(text: str, name: str, table: str) -> str:
    """The page with the part between the two marks of a name replaced."""
    begin, end = BEGIN.format(name), END.format(name)
    before, _, rest = text.partition(begin)
    return before + begin + "\n" + table + "\n" + end + rest.partition(end)[2]


def outcome_table(outcomes: dict[str, str]) -> str:
    """Tests, and how many of their cases had each outcome."""
    counts: dict[str, Counter[str]] = {}
    for name, how in outcomes.items():
        counts.setdefault(name.partition("[")[0], Counter())[how.lower()] += 1
    rows = [
        f"| `{name}` | {', '.join(f'{count} {how}' for how, count in hows.items())} |" for name, hows in counts.items()
    ]
    return "\n".join(["| test | outcome |", "| --- | --- |", *rows, ""])


def interruption_table(outcomes: dict[str, str]) -> str:
    """Commands and what stopped them, from the names of the tests: `test_signal[COMMAND-SIGINT]`."""
    parts = [re.fullmatch(r"\w+\[([\w-]+?)-(SIG\w+|full-disk)\]", name) for name in outcomes]
    named = {(found[1], found[2]): outcomes[found[0]].lower() for found in parts if found}
    kinds = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGKILL": "SIGKILL", "full-disk": "full disk"}
    lines = [f"| command | {' | '.join(kinds.values())} |", "| --- |" + " --- |" * len(kinds)]
    for command in dict.fromkeys(command for command, _ in named):
        lines.append(f"| {command} | {' | '.join(named.get((command, kind), 'not run') for kind in kinds)} |")
    others = {name: how for name, how, found in zip(outcomes, outcomes.values(), parts, strict=True) if not found}
    return "\n".join(
        [f"{datetime.date.today()}, each next run too:", "", *lines, "", *([outcome_table(others)] if others else [])]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=Path, help="of a run before")
    parser.add_argument("--fuzzing-only", action="store_true")
    parser.add_argument(
        "--only", default="", metavar="WORDS", help="the tests with these words alone, as for pytest -k"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write")
    arguments = parser.parse_args()
    text, well = PAGE.read_text(encoding="utf-8"), True
    with tempfile.TemporaryDirectory() as folder:
        counts = arguments.counts or Path(folder) / "counts.jsonl"
        if arguments.counts is None:
            well &= run_tests(["tests/fuzzing"], counts, arguments.only)[1]
        text = replaced(text, "fuzzing", fuzzing_table(counts))
        if not arguments.fuzzing_only:
            outcomes, passed = run_tests(["tests/interruption"], Path(folder) / "none", arguments.only)
            text, well = replaced(text, "interruption", interruption_table(outcomes)), well & passed
            outcomes, passed = run_tests(ATTACKS, Path(folder) / "none", arguments.only)
            text, well = replaced(text, "security", outcome_table(outcomes)), well & passed
    arguments.page.write_text(text, encoding="utf-8")
    return int(not well)


if __name__ == "__main__":
    sys.exit(main())
