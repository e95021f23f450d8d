"""Tests of COCO's run lengths: they are those of pycocotools, byte for byte."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from auss import decode_rle, encode_rle


def masks():
    generator = np.random.default_rng(0)
    yield from (np.zeros((5, 7), bool), np.ones((5, 7), bool), np.ones((1, 1), bool), np.zeros((1, 3), bool))
    for _ in range(60):
        height, width = generator.integers(1, 80, 2)
        yield generator.random((height, width)) < generator.random() ** 3
    large = np.zeros((1200, 1500), bool)  # run lengths of several groups, and great differences of both signs
    large[:, 700:], large[5, 5], large[100:110, 1400] = True, True, False
    yield large


def test_encoded_as_pycocotools_does():
    for mask in masks():
        encoded, expected = encode_rle(mask), coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert encoded == {"size": expected["size"], "counts": expected["counts"].decode()}
        np.testing.assert_array_equal(coco.decode(json.loads(json.dumps(encoded))), mask)


def test_decoded_as_pycocotools_does():
    for mask in masks():
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        decoded = decode_rle(expected)
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask)
        np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)


def test_pictures_and_numbers_are_masks():
    mask = np.zeros((6, 9), bool)
    mask[2:4, 3:8] = True
    for one in (Image.fromarray(mask.astype(np.uint8) * 255), mask * 7, mask.astype(np.float32)):
        assert encode_rle(one) == encode_rle(mask)


@pytest.mark.parametrize("mask", [np.zeros(4), np.zeros((0, 4)), np.zeros((2, 2, 3))])
def test_other_masks_are_refused(mask):
    with pytest.raises(ValueError, match=r"mask must be an array \(H, W\) of at least one pixel"):
        encode_rle(mask)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 2]}, "rle must be a dict of size"),
        ({"size": 4, "counts": "4"}, "rle must be a dict of size"),
        ({"size": [2, 2], "counts": [4]}, "counts must be text or bytes, got list"),
        ({"size": [2, 2], "counts": ""}, "must be the compressed run lengths of COCO"),
        ({"size": [2, 2], "counts": "T"}, "must be the compressed run lengths of COCO"),  # a group would follow
        ({"size": [2, 2], "counts": "é4"}, "COCO|run lengths of 2 x 2"),
        ({"size": [2, 2], "counts": "5"}, "must be run lengths of 2 x 2 pixels, got 5 in all"),
        ({"size": [2, 2], "counts": "P" * 40 + "0"}, "a number in it is too large"),
        ({"size": [2, 2], "counts": "6N"}, "must be run lengths of 2 x 2 pixels"),  # 6 and -2 add up to 4
    ],
)
def test_other_run_lengths_are_refused(rle, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(rle)
