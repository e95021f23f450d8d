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
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "reliability.md"
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


def run_tests(folder: str, counts: Path) -> dict[str, str]:
    """The outcome of each test of a folder, slow ones too."""
    environment = os.environ | {"AUSS_FUZZING_COUNTS": str(counts), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", folder, "-m", "slow or not slow", "-v", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout[-4000:])
    return dict(re.findall(r"^\S+::(\S+) (PASSED|FAILED|ERROR|SKIPPED)", done.stdout, re.MULTILINE))


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
    """Tests and their outcomes."""
    return "\n".join(
        [
            "| test | outcome |",
            "| --- | --- |",
            *(f"| `{name}` | {how.lower()} |" for name, how in outcomes.items()),
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=Path, help="of a run before")
    parser.add_argument("--fuzzing-only", action="store_true")
    arguments = parser.parse_args()
    failed = False
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        counts = arguments.counts or Path(folder) / "counts.jsonl"
        if arguments.counts is None:
            failed |= "FAILED" in run_tests("tests/fuzzing", counts).values()
        text = replaced(text, "fuzzing", fuzzing_table(counts))
        if not arguments.fuzzing_only:
            for name in ("interruption", "security"):
                outcomes = run_tests(f"tests/{name}", Path(folder) / "none")
                failed |= bool({"FAILED", "ERROR"} & set(outcomes.values()))
                text = replaced(text, name, outcome_table(outcomes))
    PAGE.write_text(text, encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
