import json

import fsspec
import numpy as np
import pytest
from PIL import Image

from auss.train.data.avss_palette import (
    AVSS_NUM_LABELS,
    avss_palette,
    class_ids_of_colours,
    label_picture_to_ids,
    read_class_names,
)

# PASCAL VOC's published colours: aeroplane, bicycle, person, train, tv monitor.
VOC_COLOURS = {
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    15: (192, 128, 128),
    19: (128, 192, 0),
    20: (0, 64, 128),
}


def test_palette_has_the_voc_colours():
    palette = avss_palette()
    assert palette.shape == (AVSS_NUM_LABELS, 3)
    for index, colour in VOC_COLOURS.items():
        assert tuple(palette[index]) == colour


def test_every_class_has_its_own_colour_and_comes_back():
    palette = avss_palette()
    assert len({tuple(colour) for colour in palette}) == AVSS_NUM_LABELS
    np.testing.assert_array_equal(class_ids_of_colours(palette), np.arange(AVSS_NUM_LABELS))


def test_a_colour_of_no_class_is_minus_one():
    colours = np.array([[255, 255, 255], [1, 0, 0], [128, 0, 0]], dtype=np.uint8)
    beyond = avss_palette(72)[71:]
    assert class_ids_of_colours(np.concatenate([colours, beyond])).tolist()[2:] == [1, -1]
    assert class_ids_of_colours(colours)[0] == -1


@pytest.mark.parametrize("value", [1, 127, 129, 255])
def test_no_near_colour_is_taken_for_class_one(value):
    assert class_ids_of_colours(np.array([value, 0, 0], dtype=np.uint8)) != 1


def test_rgb_and_palette_pictures_give_the_same_ids():
    ids = np.random.default_rng(0).integers(0, AVSS_NUM_LABELS, (7, 9)).astype(np.uint8)
    rgb = Image.fromarray(avss_palette()[ids])
    # In this palette picture class k is not index k. The colours count, not the indices.
    shuffled = np.random.default_rng(1).permutation(AVSS_NUM_LABELS)
    indexed = Image.fromarray(np.argsort(shuffled)[ids].astype(np.uint8), mode="P")
    indexed.putpalette(avss_palette()[shuffled].ravel().tolist())
    np.testing.assert_array_equal(label_picture_to_ids(rgb, AVSS_NUM_LABELS, "a.png"), ids)
    np.testing.assert_array_equal(label_picture_to_ids(indexed, AVSS_NUM_LABELS, "a.png"), ids)


def test_few_unknown_pixels_are_background_and_many_are_an_error():
    pixels = np.full((20, 20, 3), (128, 0, 0), dtype=np.uint8)
    pixels[0, 0] = (77, 3, 9)
    ids = label_picture_to_ids(Image.fromarray(pixels), AVSS_NUM_LABELS, "edge.png")
    assert ids[0, 0] == 0 and (ids == 1).sum() == 399
    pixels[:10] = (255, 255, 255)
    with pytest.raises(ValueError, match=r"edge\.png has colours of no class in 50%.*71 classes"):
        label_picture_to_ids(Image.fromarray(pixels), AVSS_NUM_LABELS, "edge.png")


def test_class_names_come_in_the_order_of_their_ids(tmp_path):
    (tmp_path / "label2idx.json").write_text(json.dumps({"dog": 2, "background": 0, "accordion": 1}))
    assert read_class_names(tmp_path) == ["background", "accordion", "dog"]


def test_class_names_are_read_from_where_a_url_points():
    with fsspec.open("memory://clips/label2idx.json", "w") as file:
        file.write(json.dumps({"dog": 1, "background": 0}))
    assert read_class_names("memory://clips") == ["background", "dog"]


def test_class_names_are_checked(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing .*label2idx\.json"):
        read_class_names(tmp_path)
    (tmp_path / "label2idx.json").write_text(json.dumps({"dog": 2, "cat": 0}))
    with pytest.raises(ValueError, match=r"label2idx\.json must map each class name to its id"):
        read_class_names(tmp_path)
    (tmp_path / "label2idx.json").write_text("dog: 1")
    with pytest.raises(ValueError, match="it is not JSON"):
        read_class_names(tmp_path)
    (tmp_path / "label2idx.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="it is not JSON"):
        read_class_names(tmp_path)
