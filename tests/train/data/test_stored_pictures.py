import io
import pickle

import datasets
import numpy as np
import pytest
from datasets import Dataset, Features, Image, List
from PIL import Image as Pillow

from auss.train.data.stored_pictures import StoredPicture, with_stored_pictures


def png(value: int = 7) -> dict:
    file = io.BytesIO()
    Pillow.fromarray(np.full((4, 6), value, np.uint8)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": "clip_1.png"}


def make(values: list) -> Dataset:
    features = Features({"frames": List(Image())})
    return with_stored_pictures(Dataset.from_dict({"frames": values}, features=features))


def test_it_counts_as_the_image_feature_and_is_saved_as_that():
    assert List(StoredPicture()) == List(Image()) == List(StoredPicture())
    assert StoredPicture(decode=False) != Image() and Image(mode="L") != StoredPicture()
    assert Features({"a": StoredPicture()}).to_dict() == Features({"a": Image()}).to_dict()
    assert "Image" in Features({"a": StoredPicture()}).arrow_schema.metadata[b"huggingface"].decode()


def test_rows_are_decoded_in_every_format_and_after_every_step():
    dataset = make([[png(1), png(2)], [png(3)]])
    for step in (dataset, dataset.select([0]), dataset.with_format("numpy"), pickle.loads(pickle.dumps(dataset))):
        assert type(step.features["frames"].feature) is StoredPicture
        assert [int(np.asarray(frame).flat[0]) for frame in step[0]["frames"]] == [1, 2]
    assert dataset.with_format("torch")[0]["frames"].shape == (2, 1, 4, 6)


def test_a_bad_picture_is_named():
    broken = {**png(), "bytes": png()["bytes"][:40]}
    with pytest.raises(ValueError, match=r"picture file clip_1\.png (cannot be decoded|is not a picture)"):
        _ = make([[broken]])[0]
    with pytest.raises(FileNotFoundError, match=r"picture file /nowhere/a\.png does not exist"):
        StoredPicture().decode_example({"path": "/nowhere/a.png", "bytes": None})
    with pytest.raises(ValueError, match="bytes or a path, got neither"):
        StoredPicture().decode_example({"path": None, "bytes": None})


def test_what_it_is_told_beyond_decoding():
    assert StoredPicture(mode="RGB").decode_example(png()).mode == "RGB"
    picture = Pillow.new("L", (2, 2))
    assert StoredPicture().decode_example(picture) is picture
    with pytest.raises(RuntimeError, match="decode=False"):
        StoredPicture(decode=False).decode_example(png())
    other = Dataset.from_dict({"frames": [1]}, features=Features({"frames": datasets.Value("int32")}))
    assert with_stored_pictures(other).features == other.features
