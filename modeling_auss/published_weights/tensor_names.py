"""Templates that translate tensor names between two libraries, in both directions."""

import re
from dataclasses import dataclass
from functools import cache

import torch

# {i}, {j} and {k} stand for numbers counted from 0. {i+1} is the same number counted from 1. {p} and {q} stand for
# words such as "weight" or "proj".
FIELD = re.compile(r"\{(?P<letter>\w)(?P<shift>\+1)?\}")
WORDS = "pq"
Values = dict[str, str | int]


@cache
def template_pattern(template: str) -> re.Pattern[str]:
    """Returns a regular expression with one named group for each field of the template."""
    parts, end = [], 0
    for field in FIELD.finditer(template):
        letter = field["letter"]
        kind = r"\w+" if letter in WORDS else r"\d+"
        parts += [re.escape(template[end : field.start()]), f"(?P<{letter}>{kind})"]
        end = field.end()
    return re.compile("".join(parts) + re.escape(template[end:]))


def parse(template: str, name: str) -> Values | None:
    """Returns the values that the template's fields have in `name`. None if `name` does not fit the template."""
    match = template_pattern(template).fullmatch(name)
    if match is None:
        return None
    shifts = {field["letter"]: 1 if field["shift"] else 0 for field in FIELD.finditer(template)}
    values: Values = {
        letter: text if letter in WORDS else int(text) - shifts[letter] for letter, text in match.groupdict().items()
    }
    return None if any(isinstance(value, int) and value < 0 for value in values.values()) else values


def fill(template: str, values: Values) -> str:
    def value(field: re.Match[str]) -> str:
        known = values[field["letter"]]
        return str(known + 1 if field["shift"] and isinstance(known, int) else known)

    return FIELD.sub(value, template)


@dataclass(frozen=True)
class Renaming:
    """
    The names of one kind of tensor in two libraries.

    Attributes:
        theirs: the template of the first library.
        ours: the template of the second library. If there are several templates, the first library stores their
            tensors as one tensor, joined along the first dimension.
    """

    theirs: str
    ours: str | tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.ours,) if isinstance(self.ours, str) else self.ours


def translate(
    tensors: dict[str, torch.Tensor], renamings: tuple[Renaming, ...]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """
    Translates names from `theirs` to `ours`.

    Returns:
        The renamed tensors, and the names that no template fits.
    """
    renamed, unknown = {}, []
    for name, tensor in tensors.items():
        for renaming in renamings:
            values = parse(renaming.theirs, name)
            if values is not None:
                pieces = tensor.chunk(len(renaming.parts)) if tensor.ndim else (tensor,)
                for template, piece in zip(renaming.parts, pieces, strict=False):
                    renamed[fill(template, values)] = piece
                break
        else:
            unknown.append(name)
    return renamed, unknown


def translate_back(
    tensors: dict[str, torch.Tensor], renamings: tuple[Renaming, ...]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """
    Translates names from `ours` to `theirs`. If one part of a joined tensor is missing, the joined tensor is left out.

    Returns:
        The renamed tensors, and the names that no template fits.
    """
    renamed, unknown = {}, []
    for name in tensors:
        for renaming in renamings:
            values = next((found for part in renaming.parts if (found := parse(part, name)) is not None), None)
            if values is not None:
                pieces = [tensors.get(fill(part, values)) for part in renaming.parts]
                present = [piece for piece in pieces if piece is not None]
                if len(present) == len(pieces):
                    renamed[fill(renaming.theirs, values)] = torch.cat(present) if len(present) > 1 else present[0]
                break
        else:
            unknown.append(name)
    return renamed, unknown


__all__ = ["Renaming", "fill", "parse", "translate", "translate_back"]
