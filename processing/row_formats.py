"""Converts rows of a data set to plain dicts, from each format in which `datasets` returns rows."""

from collections.abc import Mapping
from typing import Any

from ..files.errors import InputError


def plain_row(row: Any) -> dict[str, Any]:
    """Converts a row to a dict. The values of its columns are not converted.

    Args:
        row: a mapping, which `datasets` returns without a format and with the formats torch, numpy and jax; or a table
            of one row, which it returns with the formats arrow, pandas and polars.

    Raises:
        ValueError: `row` is something else, or a table with another number of rows.
    """
    if isinstance(row, Mapping):
        return dict(row)
    if hasattr(row, "to_pylist"):  # pyarrow.Table
        rows = row.to_pylist()
    elif hasattr(row, "to_dicts"):  # polars.DataFrame
        rows = row.to_dicts()
    elif hasattr(row, "iloc") and hasattr(row, "to_dict"):  # pandas.DataFrame, and pandas.Series
        rows = row.to_dict("records") if getattr(row, "ndim", 1) == 2 else [row.to_dict()]
    else:
        raise InputError(f"a row must be a dict or a table of one row, got {type(row).__name__}")
    if len(rows) != 1:
        raise InputError(f"a row must be a table of one row, got {len(rows)}")
    return dict(rows[0])


def list_of_values(values: Any) -> list:
    """Returns the value of a list column as a list. `None` gives an empty list. An array is split along its first
    axis."""
    if values is None:
        return []
    if getattr(values, "shape", None) == ():
        raise InputError(f"a column of several values must hold a list or an array, got one {type(values).__name__}")
    return list(values)


__all__ = ["list_of_values", "plain_row"]
