"""Writes text from outside safely into documents. Such text is the name of a folder, a label or a category.

People read these documents and copy code and commands from them.
"""

import json
import re
import shlex

from .file_names import printable

# Characters that Markdown gives a meaning within a line. An underscore between letters has no meaning.
MARKUP = re.compile(r"[\\`*\[\]|~$!]|(?<!\w)_|_(?!\w)")
HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown_text(text: object) -> str:
    """Returns the text on one line, escaped so that Markdown shows it unchanged. It fits a sentence, a heading or a
    table cell."""
    line = printable(" ".join(str(text).split()))
    line = MARKUP.sub(lambda match: f"\\{match[0]}", line)
    return "".join(HTML.get(character, character) for character in line)


def python_string(text: object) -> str:
    """Returns the text as a Python string literal, for code that people copy."""
    return printable(json.dumps(str(text), ensure_ascii=False))


def shell_word(text: object) -> str:
    """Returns the text as one word of a shell command that people copy. Control characters become Python escapes."""
    return shlex.quote(printable(text))


__all__ = ["markdown_text", "python_string", "shell_word"]
