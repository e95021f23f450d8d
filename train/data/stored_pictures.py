"""The picture columns of `load_avsbench`, decoded by auss: a bad file is named, and only pictures are opened."""

from __future__ import annotations

from typing import Any

import datasets
from datasets import Image, List
from PIL.Image import Image as Picture

from ...files.errors import InputError
from ...processing.pictures import open_picture


class StoredPicture(Image):
    """The `Image` feature of `datasets`, decoded by `open_picture`.

    `datasets` would let Pillow try every format that it knows, and its errors do not name the file. What is saved of
    a data set, as Arrow, Parquet or on the Hub, says `Image`, so auss is not needed to read it.
    """

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Image):
            return NotImplemented
        return (self.mode, self.decode) == (other.mode, other.decode)

    __hash__ = None  # type: ignore[assignment]  # as `Image`, whose fields can change

    def decode_example(self, value: Any, token_per_repo_id: dict | None = None) -> Picture:
        """Decodes the `{"bytes", "path"}` of a picture on this machine; a picture is returned as it is.

        Raises:
            FileNotFoundError, ValueError: as `open_picture`, by the path of the file.
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
    """The same data set, whose columns `frames` and `masks` are decoded as `StoredPicture`. It is changed in place."""
    features = dataset.features
    for column in ("frames", "masks"):
        if features.get(column) == List(Image()):
            features[column] = List(StoredPicture())
    dataset.info.features = features
    return dataset


__all__ = ["StoredPicture", "with_stored_pictures"]
