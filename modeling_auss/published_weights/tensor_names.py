"""Two names for one tensor: templates that translate between two libraries' names, in both directions."""

import re
from dataclasses import dataclass
from functools import cache

import torch

# {i}, {j} and {k} stand for numbers, {i+1} for that number counted from one, {p} and {q} for words: weight, proj ...
FIELD = re.compile(r"\{(?P<letter>\w)(?P<shift>\+1)?\}")
WORDS = "pq"
Values = dict[str, str | int]


@cache
def template_pattern(template: str) -> re.Pattern[str]:
    """A pattern with a group for each field."""
    parts, end = [], 0
    for field in FIELD.finditer(template):
        letter = field["letter"]
        kind = r"\w+" if letter in WORDS else r"\d+"
        parts += [re.escape(template[end : field.start()]), f"(?P<{letter}>{kind})"]
        end = field.end()
    return re.compile("".join(parts) + re.escape(template[end:]))


def parse(template: str, name: str) -> Values | None:
    """The values of the template's fields in `name`, or None if the template does not fit it."""
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
    One kind of tensor under its two names.

    Attributes:
        theirs: a template of the one library.
        ours: a template of the other. Several are tensors that `theirs` has joined along its first dimension.
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
    From `theirs` to `ours`.

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
    From `ours` to `theirs`. A joined tensor of which a part is missing is left out.

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
