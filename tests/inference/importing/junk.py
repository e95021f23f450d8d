"""Puts values of other types into every place of a parsed JSON document."""

import copy
from collections.abc import Iterator
from typing import Any

JUNK = (None, -1, 10**30, 1.5e300, float("nan"), "", "x", True, [], [[]], {}, {"a": 1})


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all values in a document."""
    yield path
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, key))


def every_junk(document: Any, most: int = 3) -> Iterator[Any]:
    """Copies of a document, each with one value replaced. Of a long list only the first values are replaced."""
    for path in places(document):
        if not path or any(isinstance(key, int) and key >= most for key in path):
            continue
        for junk in JUNK:
            changed = copy.deepcopy(document)
            holder = changed
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = junk
            yield changed
