import ast
import shlex

import pytest

from auss.files.outside_text import markdown_text, python_string, shell_word

ODD = [
    'a"); import os; os.system("x") #',
    "a|b",
    "<script>alert(1)</script>",
    "[a](http://b)",
    "![a](http://b/c.png)",
    "`a`",
    "$(touch x)",
    "a\n# b\n```\n",
    "*a* _b_ ~~c~~ & &lt;",
    "\x1b[31mred",
    "‮gnp.a",
    "it's",
    "-rf",
    "é 犬",
    "\\",
]


@pytest.mark.parametrize("text", ODD)
def test_it_stays_text(text):
    shown = markdown_text(text)
    assert shown.isprintable() and "<" not in shown and ">" not in shown
    for mark in "|`*[]~$!":  # each character has its own backslash
        assert shown.count(mark) == shown.count(f"\\{mark}"), mark
    literal = python_string(text)
    assert literal.isprintable() and isinstance(ast.parse(literal, mode="eval").body, ast.Constant)
    assert ast.literal_eval(literal) == text
    assert len(shlex.split(shell_word(text))) == 1 and "\n" not in shell_word(text)


def test_plain_text_is_left_as_it_is():
    for text in ("dog", "s4_test_00001", "a-b.c (3)", "é 犬"):
        assert markdown_text(text) == text and python_string(text) == f'"{text}"'
    assert shell_word("a-b") == "a-b" and markdown_text("_a_") == r"\_a\_"
