"""Reads the csv tables of AVSBench as tolerantly as the authors' code, which uses pandas.

pandas fills short lines up and then selects the lines of the wanted split. So a broken line of another split does no
harm there, and it does no harm here. But a broken line of the wanted split raises an error that names its number.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ...files.errors import InputError

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
# Characters that could lead out of the folder of a name. Backslashes separate folders on Windows.
SEPARATORS = ("/", "\\", "\0")
LONGEST_NAME = 255  # bytes; the limit of every usual file system


@dataclass(frozen=True)
class MetaRow:
    """A line of a table: its cells in order, and by the header's names. `problem` says what is wrong with the line, if
    anything."""

    line: int
    cells: list[str]
    named: dict[str, str]
    problem: str = ""


def checked_name(name: str, what: str) -> str:
    """Returns a cell that becomes part of a path if it names a single file or folder.

    Raises:
        ValueError: the cell is empty, too long, or a path. A table must not lead out of the data set's folder.
    """
    too_long = len(os.fsencode(name)) > LONGEST_NAME
    if not name or too_long or name in (".", "..") or any(separator in name for separator in SEPARATORS):
        shown = f"{name[:50]!r}... ({len(name)} characters)" if too_long else repr(name)
        raise InputError(f"{what} must be the name of one file or folder, not a path, got {shown}")
    return name


def _checked_row(cells: list[str], header: list[str], line: int) -> MetaRow:
    cells = [cell.strip() for cell in cells]
    while len(cells) > len(header) and not cells[-1]:
        cells.pop()
    problem = ""
    if len(cells) != len(header) or not cells[0]:
        problem = f"must have {len(header)} cells, a video name first; got {cells}"
    filled = cells + [""] * (len(header) - len(cells))
    # If several columns have the same name, the first one counts, as in pandas.
    named = dict(reversed(list(zip(header, filled, strict=False))))
    return MetaRow(line, filled, named, problem)


def read_meta_table(path: Path, content: bytes, columns: tuple[str, ...], min_columns: int) -> list[MetaRow]:
    """Reads the lines of a table after its header, without empty lines.

    Args:
        path: the path of the table, for error messages.
        content: the bytes of the file: UTF-8 with or without a byte order mark, with any usual line ends.
        columns: the names that the header must have.
        min_columns: the least number of columns.

    Raises:
        ValueError: the content is no csv in UTF-8, or the header lacks a column.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a csv in UTF-8: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        if missing or len(header) < min_columns:
            raise InputError(
                f"{path} must begin with a header of at least {min_columns} columns that names "
                f"{', '.join(columns)}; got {str(header)[:200]}"
            )
        return [_checked_row(cells, header, reader.line_num) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num} is no csv: {error}") from error


def rows_of_split(path: Path, rows: list[MetaRow], split: str) -> list[MetaRow]:
    """Returns the lines of one split. Lines of an unknown split are skipped, with a warning that counts them.

    Raises:
        ValueError: a line of this split is broken, or the split has no line.
    """
    chosen = [row for row in rows if row.named["split"] == split]
    for row in chosen:
        if row.problem:
            raise InputError(f"{path} line {row.line} {row.problem[:300]}")
    others = [row for row in rows if row.named["split"] not in SPLITS]
    if others:
        logger.warning(
            "%s: %d lines are passed over, whose split is none of %s; the first is line %d, %s",
            path,
            len(others),
            ", ".join(SPLITS),
            others[0].line,
            str(others[0].cells)[:200],
        )
    if not chosen:
        counts = dict.fromkeys(SPLITS, 0) | dict(Counter(row.named["split"] for row in rows))
        raise InputError(f"{path} has no video of split {split!r}; it has {str(counts)[:300]}")
    return chosen


__all__ = ["SPLITS", "MetaRow", "checked_name", "read_meta_table", "rows_of_split"]
