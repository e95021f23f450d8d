"""Decodes the picture columns of `load_avsbench`. Errors name the bad file, and only pictures are opened."""

from __future__ import annotations

from typing import Any

import datasets
from datasets import Image, List
from PIL.Image import Image as Picture

from ...files.errors import InputError
from ...processing.pictures import open_picture


class StoredPicture(Image):
    """The `Image` feature of `datasets`, decoded by `open_picture`.

    The `Image` of `datasets` would let Pillow try every format that it knows, and its errors do not name the file. A
    data set saved as Arrow, as Parquet or on the Hub records the type `Image`, so reading it does not need auss.
    """

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Image):
            return NotImplemented
        return (self.mode, self.decode) == (other.mode, other.decode)

    __hash__ = None  # the same as for `Image`, because the fields can change

    def decode_example(self, value: Any, token_per_repo_id: dict | None = None) -> Picture:
        """Decodes the `{"bytes", "path"}` of a picture on this machine. A decoded picture is returned unchanged.

        Raises:
            FileNotFoundError, ValueError: `open_picture` raises the error, which names the path of the file.
        """
        if not self.decode:
            raise RuntimeError("decode_example needs Image(decode=True), got decode=False")
        if isinstance(value, str):
            value = {"path": value, "bytes": None}
        if not isinstance(value, dict):
            return value
        path, content = value.get("path"), value.get("bytes")
        if path is None and content is None:
            raise InputError("a picture must have bytes or a path, got neither")
        picture = open_picture(path if content is None else content, f"picture file {path or '(bytes)'}")
        if self.mode and self.mode != picture.mode:
            picture = picture.convert(self.mode)
        return picture


def with_stored_pictures(dataset: datasets.Dataset) -> datasets.Dataset:
    """Decodes the columns `frames` and `masks` as `StoredPicture`. The data set is changed in place and returned."""
    features = dataset.features
    for column in ("frames", "masks"):
        if features.get(column) == List(Image()):
            features[column] = List(StoredPicture())
    dataset.info.features = features
    return dataset


__all__ = ["StoredPicture", "with_stored_pictures"]
