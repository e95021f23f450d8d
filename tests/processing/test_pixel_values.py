"""Frames of every type come on the scale 0-255, or are refused."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from auss.processing.pixel_values import on_the_scale, to_eight_bits
from auss.processing.video_frames import clip_to_tensor, pil_to_rgb
from auss.processing.video_processing_auss import AussVideoProcessor

LEVELS = np.linspace(0, 65_535, 48).reshape(6, 8).astype(np.uint16)
EXPECTED = LEVELS / 257
ROUNDING = 1 / 255 / 0.224  # a level: frames of 8 bits are rounded in both directions in which they are resized


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_a_grey_picture_of_16_bits_is_scaled(order):
    picture = Image.fromarray(LEVELS.astype(order))
    file = io.BytesIO()
    picture.save(file, "PNG" if order == "<u2" else "TIFF")
    for image in (picture, Image.open(file)):
        assert image.mode.startswith("I;16")
        assert np.abs(np.asarray(to_eight_bits(image)) - EXPECTED).max() <= 0.5
        assert np.abs(pil_to_rgb(image).numpy() - EXPECTED[..., None]).max() <= 0.5


def test_a_grey_level_that_is_transparent_stays_so():
    picture = Image.fromarray(LEVELS)
    picture.info["transparency"] = int(LEVELS[2, 3])
    grey = to_eight_bits(picture)
    assert grey.mode == "LA" and (np.asarray(grey)[..., 1] == 0).sum() == 1
    assert pil_to_rgb(picture)[2, 3].tolist() == [255] * 3


def test_pictures_of_32_bits_hold_8_or_are_refused():
    low = np.arange(48, dtype=np.int32).reshape(6, 8)
    for values in (low, low.astype(np.float32)):
        np.testing.assert_array_equal(pil_to_rgb(Image.fromarray(values))[..., 0], low)
    for bad, message in (
        (low - 5, "0 to 255, got -5 to 42"),
        (low * 1000, "0 to 255, got 0 to 47000; a picture of 16 bits has mode I;16"),
        ((low / 47).astype(np.float32), "must hold values of 0 to 255, got 0 to 1: multiply it"),
        (np.full((2, 2), np.nan, np.float32), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=f"a picture of mode [IF] .*{message}"):
            to_eight_bits(Image.fromarray(bad), "a picture")
    from_png = Image.fromarray(low * 1000)
    from_png.format = "PNG"  # as releases of Pillow before 11 open 16 bits
    assert np.asarray(to_eight_bits(from_png)).max() == round(47_000 / 257)


def test_a_picture_without_a_scale_is_named_by_its_place_in_the_clip():
    with pytest.raises(ValueError, match=r"clip\[1\] of mode I must hold values of 0 to 255"):
        clip_to_tensor([Image.new("RGB", (6, 8)), Image.new("I", (6, 8), 70_000)], "clip")


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_arrays_of_16_bits_are_scaled(make):
    frames = np.repeat(LEVELS[None, ..., None], 3, axis=-1)
    tensor = clip_to_tensor(make(frames))
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor[0, 0].numpy(), EXPECTED, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.float32, np.float64])
def test_negative_values_are_refused(dtype):
    frames = np.zeros((2, 6, 8, 3), dtype)
    frames[1, 2, 3] = -3
    with pytest.raises(ValueError, match=r"clip must hold values of 0 to 255, got -3 to 0 of torch"):
        clip_to_tensor(frames, "clip")


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.float32])
def test_values_above_255_are_refused_but_what_rounds_to_255_is_not(dtype):
    with pytest.raises(ValueError, match=r"0 to 255, got 0 to 256 of torch"):
        clip_to_tensor(np.arange(257, dtype=dtype)[None, :, None, None].repeat(3, 3))
    assert on_the_scale(torch.tensor([-0.4, 255.4]), "x").tolist() == pytest.approx([-0.4, 255.4])


def test_8_and_16_bits_mix_in_a_clip():
    tensor = clip_to_tensor([np.full((6, 8, 3), 128, np.uint8), np.full((6, 8, 3), 128 * 257, np.uint16)])
    assert torch.equal(tensor, torch.full((2, 3, 6, 8), 128.0))


def test_the_processor_gives_16_bits_the_pixels_of_8():
    processor = AussVideoProcessor(size={"height": 16, "width": 16})
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    expected = processor(frames, return_tensors="pt")["pixel_values"]
    wide = frames.astype(np.uint16) * 257
    torch.testing.assert_close(processor(wide, return_tensors="pt")["pixel_values"], expected, rtol=0, atol=ROUNDING)
    own = processor(frames.astype(np.float32) * 257, rescale_factor=1 / 65_535, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(own, expected, rtol=0, atol=ROUNDING)
    ones = processor(frames.astype(np.float32) / 255, do_rescale=False, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ones, expected, rtol=0, atol=ROUNDING)
    normalised = processor((frames / 127.5 - 1).astype(np.float32), do_rescale=False, do_normalize=False)
    assert normalised["pixel_values"][0].min() < 0
    with pytest.raises(ValueError, match="videos must hold values of 0 to 255, got -"):
        processor((frames / 127.5 - 1).astype(np.float32))
