"""Formats the results of `auss evaluate` as tables for a terminal and for a document, and names its files."""

from pathlib import Path

from ...files.errors import InputError
from ...files.file_names import printable
from ...files.outside_text import markdown_text
from .metrics import OFFICIAL_FRAMES


def results_table(results: dict) -> list[tuple[str, int, float, float]]:
    """
    Returns rows (name, count, M_J, M_F): one for each category, or for each class that occurs, and one for the whole
    split at the end. For AVSBench-semantic the rows hold the scores of the official code, and one more row holds the
    plain scores of the whole split.
    """
    rows = [
        (name, values["clips"], values["M_J"], values["M_F"]) for name, values in results.get("categories", {}).items()
    ]
    rows += [
        (values.get("name", str(index)), values["frames"], values["J"], values["F"])
        for index, values in results.get("classes", {}).items()
        if values["frames"]
    ]
    count = results["clips"] if "clips" in results else results["frames"]
    rows.append(("all", count, results["M_J"], results["M_F"]))
    if "plain" in results:
        rows.append(("all, plain", count, results["plain"]["M_J"], results["plain"]["M_F"]))
    return rows


def scoring_notes(results: dict) -> list[str]:
    """Returns sentences about the sizes at which the masks were scored, and about the two scores of
    AVSBench-semantic."""
    if "sizes" not in results:
        return []
    sizes = ", ".join(f"{size} ({clips} clips)" for size, clips in sorted(results["sizes"].items()))
    own = f"masks scored at their own size, height x width: {sizes}"
    if "plain" not in results:
        return [own]
    occurring = sum(values["frames"] > 0 for values in results["classes"].values())
    return [
        f"classes and all: as the official code of AVSBench-semantic scores, masks at {results['official_size']}, "
        f"clips of fewer than {OFFICIAL_FRAMES} frames padded with background ({results['padded_frames']} frames), "
        f"the mean over all {len(results['classes'])} classes, of which {occurring} occur",
        f"all, plain: without padding, the mean over the {len(results['plain']['classes'])} classes that occur; {own}",
    ]


def format_text(results: dict) -> str:
    """Formats the table for a terminal."""
    rows = [(printable(name), *figures) for name, *figures in results_table(results)]
    width = max(len(name) for name, *_ in rows)
    counted = "clips" if "clips" in results else "frames"
    lines = [f"{'':{width}}  {counted:>6}  {'M_J':>6}  {'M_F':>6}"]
    lines += [f"{name:{width}}  {count:6d}  {m_j:6.3f}  {m_f:6.3f}" for name, count, m_j, m_f in rows]
    return "\n".join([*lines, *scoring_notes(results)])


def format_markdown(results: dict, title: str) -> str:
    """Formats the table for a document."""
    counted = "clips" if "clips" in results else "frames"
    lines = [f"# {markdown_text(title)}", "", f"| | {counted} | M_J | M_F |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {markdown_text(name)} | {count} | {m_j:.3f} | {m_f:.3f} |"
        for name, count, m_j, m_f in results_table(results)
    ]
    lines += [line for note in scoring_notes(results) for line in ("", f"{note[0].upper()}{note[1:]}.")]
    return "\n".join(lines) + "\n"


def result_files(folder: Path, stem: str, overwrite: bool) -> dict[str, Path]:
    """
    Returns the files that an evaluation writes, by kind.

    Raises:
        ValueError: some of the files exist already, and `overwrite` is False.
    """
    endings = {"json": ".json", "markdown": ".md", "best": "-best.png", "worst": "-worst.png"}
    files = {kind: folder / f"{stem}{ending}" for kind, ending in endings.items()}
    existing = [path.name for path in files.values() if path.exists()]
    if existing and not overwrite:
        raise InputError(
            f"output {str(folder)!r} has {', '.join(existing)} of an earlier evaluation: pass --overwrite to replace "
            "it, or another --output"
        )
    return files


__all__ = ["format_markdown", "format_text", "result_files", "results_table", "scoring_notes"]
