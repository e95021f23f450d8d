"""Tests the csv tables: lines of other splits may be broken, lines of the wanted split may not."""

from pathlib import Path

import pytest

from auss.train.data.meta_tables import checked_name, read_meta_table, rows_of_split

PATH = Path("table.csv")


def read(text: str | bytes):
    content = text if isinstance(text, bytes) else text.encode()
    return read_meta_table(PATH, content, ("split",), 2)


def test_lines_are_counted_as_an_editor_counts_them():
    rows = read('name,split\n"a\nb",train\n,\nc,val\n')
    assert [(row.line, row.cells) for row in rows] == [(3, ["a\nb", "train"]), (5, ["c", "val"])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_and_a_byte_order_mark(end):
    text = end.join(["name , split", " a, train ", "", "b,val"])
    rows = read(b"\xef\xbb\xbf" + text.encode())
    assert [row.named for row in rows] == [{"name": "a", "split": "train"}, {"name": "b", "split": "val"}]


def test_of_two_columns_of_a_name_the_first_counts():
    assert read("name,split,split\na,train,val\n")[0].named["split"] == "train"


def test_lines_of_no_known_split_are_passed_over_with_a_word(caplog):
    rows = read("name,split\na,train\nb\nc,trian\nd,val,extra\n")
    assert [row.cells[0] for row in rows_of_split(PATH, rows, "train")] == ["a"]
    assert "table.csv: 2 lines are passed over" in caplog.text and "the first is line 3, ['b', '']" in caplog.text
    with pytest.raises(ValueError, match=r"table\.csv line 5 must have 2 cells.*'extra'"):
        rows_of_split(PATH, rows, "val")
    with pytest.raises(ValueError, match=r"no video of split 'test'; it has .*'train': 1.*'trian': 1"):
        rows_of_split(PATH, rows, "test")


def test_a_field_that_is_too_long_and_a_quote_without_end_are_named_in_one_line():
    for text in (f"name,split\n{'a' * 200_000},train\n", f"{'a' * 200_000},split\n", 'name,split\n"a,train\nb,val\n'):
        with pytest.raises(ValueError, match=r"^table\.csv (line \d is no csv|must begin)") as caught:
            read(text)
        assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["-0H4T5Ah1nQ_50000_60000", "horse_clip-clop", "a b", "...", "007", "ä"])
def test_names_of_files_are_names(name):
    assert checked_name(name, "the name") == name


@pytest.mark.parametrize("name", ["", ".", "..", "/", "/etc", "a/b", "a\\b", "a\0", "ä" * 128])
def test_paths_are_no_names(name):
    with pytest.raises(ValueError, match="the name must be the name of one file or folder"):
        checked_name(name, "the name")
