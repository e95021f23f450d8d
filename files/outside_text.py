"""Text from outside, such as names of folders, labels and categories, in documents that others read or copy from."""

import json
import re
import shlex

from .file_names import printable

# What Markdown takes for more than itself within a line. An underscore between letters is itself.
MARKUP = re.compile(r"[\\`*\[\]|~$!]|(?<!\w)_|_(?!\w)")
HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown_text(text: object) -> str:
    """The text on one line, for a sentence, a heading or a cell of a table, shown as it is and nothing else."""
    line = printable(" ".join(str(text).split()))
    line = MARKUP.sub(lambda match: f"\\{match[0]}", line)
    return "".join(HTML.get(character, character) for character in line)


def python_string(text: object) -> str:
    """A Python string literal of the text, to stand in code that people copy."""
    return printable(json.dumps(str(text), ensure_ascii=False))


def shell_word(text: object) -> str:
    """The text as one word of a command that people copy. What a terminal would obey is written as Python escapes."""
    return shlex.quote(printable(text))


__all__ = ["markdown_text", "python_string", "shell_word"]
