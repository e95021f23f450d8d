import numpy as np
import pandas
import pyarrow as pa
import pytest
import torch

from auss.processing.row_formats import list_of_values, plain_row


def test_rows_of_every_kind_become_dicts():
    row = {"clip_id": "a", "frames": [1, 2]}
    table = pa.Table.from_pylist([row])
    frame = pandas.DataFrame({"clip_id": ["a"], "frames": [[1, 2]]})
    for form in (row, table, frame, frame.iloc[0]):
        assert plain_row(form) == row
    assert plain_row(row) is not row


def test_what_is_no_row_is_named():
    with pytest.raises(ValueError, match="a row must be a dict or a table of one row, got int"):
        plain_row(3)
    with pytest.raises(ValueError, match="a row must be a table of one row, got 2"):
        plain_row(pa.table({"a": [1, 2]}))


def test_lists_of_values():
    assert list_of_values(None) == [] and list_of_values((1, 2)) == [1, 2]
    assert [len(part) for part in list_of_values(torch.zeros(3, 2))] == [2, 2, 2]
    assert list_of_values(np.array([{"path": "a"}, None], dtype=object)) == [{"path": "a"}, None]
    assert list_of_values(torch.zeros(0)) == []
    with pytest.raises(ValueError, match="must hold a list or an array, got one Tensor"):
        list_of_values(torch.tensor(3))
