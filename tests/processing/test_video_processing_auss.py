"""Tests of `AussVideoProcessor`: pixels compared with PIL and plain arithmetic for every input, errors, saving."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoVideoProcessor
from transformers.utils import logging

import auss  # noqa: F401 (registers the Auto classes)
from auss.processing.video_processing_auss import AussVideoProcessor

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def smooth_frames(num_frames=3, height=120, width=90, seed=0):
    """Makes random pictures (F, H, W, 3) uint8 without details as small as a pixel."""
    coarse = np.random.default_rng(seed).integers(0, 256, (num_frames, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in coarse])


def pil_oracle(frames, size):
    """Resizes by PIL, whose bilinear filter is antialiased, and then normalises with ImageNet's statistics."""
    resized = [Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BILINEAR) for frame in frames]
    values = (np.stack([np.asarray(frame) for frame in resized]).astype(np.float32) / 255 - MEAN) / STD
    return values.transpose(0, 3, 1, 2)


@pytest.fixture
def processor():
    return AussVideoProcessor()


# One grey level after normalisation. Rounding to uint8 may cause a difference of this size.
ONE_LEVEL = 1.01 / 255 / STD.min()


@pytest.mark.parametrize(("height", "width"), [(120, 90), (480, 640), (224, 224), (7, 300)])
def test_equals_pil_and_plain_arithmetic(processor, height, width):
    frames = smooth_frames(2, height, width)
    outputs = processor(frames, return_tensors="pt")
    assert set(outputs) == {"pixel_values"}
    assert outputs.pixel_values.shape == (1, 2, 3, 224, 224)
    assert outputs.pixel_values.dtype == torch.float32
    np.testing.assert_allclose(outputs.pixel_values[0], pil_oracle(frames, (224, 224)), rtol=0, atol=ONE_LEVEL)


def test_frames_of_the_right_size_are_only_normalised(processor):
    frames = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    expected = ((frames / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(processor(frames, return_tensors="np").pixel_values[0], expected, rtol=0, atol=1e-5)


def test_pil_numpy_and_torch_give_the_same(processor):
    frames = smooth_frames()
    first = frames.transpose(0, 3, 1, 2)
    expected = processor(frames, return_tensors="pt").pixel_values
    for videos in (
        [Image.fromarray(frame) for frame in frames],
        list(frames),
        first,
        list(first),
        torch.from_numpy(frames),
        torch.from_numpy(first.copy()),
        [frames],
        frames[None],
        [[Image.fromarray(frame) for frame in frames]],
    ):
        torch.testing.assert_close(processor(videos, return_tensors="pt").pixel_values, expected, rtol=0, atol=0)


def test_floating_point_frames_are_within_a_grey_level_of_uint8(processor):
    frames = smooth_frames()
    expected = processor(frames, return_tensors="pt").pixel_values
    for dtype in (np.float32, np.float64, np.int64):
        pixel_values = processor(frames.astype(dtype), return_tensors="pt").pixel_values
        assert (pixel_values - expected).abs().max() < ONE_LEVEL
    scaled = processor(frames.astype(np.float32) / 255, do_rescale=False, return_tensors="pt").pixel_values
    assert (scaled - expected).abs().max() < ONE_LEVEL


def test_frames_in_0_1_are_warned_of(processor, monkeypatch):
    messages = []
    monkeypatch.setattr(
        logging.get_logger("auss.processing.video_processing_auss"), "warning_once", messages.append, raising=False
    )
    processor(smooth_frames())
    processor(np.zeros((1, 8, 8, 3)))
    processor(np.ones((1, 8, 8, 3)), do_rescale=False)
    assert messages == []
    processor(np.ones((1, 8, 8, 3)))
    assert len(messages) == 1 and "do_rescale=False" in messages[0]


def test_a_batch_equals_its_clips_one_by_one(processor):
    clips = [smooth_frames(seed=1), smooth_frames(height=50, seed=2), smooth_frames(seed=3)]
    videos = [
        clips[0],
        [Image.fromarray(frame) for frame in clips[1]],
        torch.from_numpy(clips[2].transpose(0, 3, 1, 2)),
    ]
    batch = processor(videos, return_tensors="pt").pixel_values
    assert batch.shape == (3, 3, 3, 224, 224)
    for pixel_values, clip in zip(batch, clips, strict=True):
        torch.testing.assert_close(pixel_values, processor(clip, return_tensors="pt").pixel_values[0], rtol=0, atol=0)


def test_one_frame_is_a_clip_of_one(processor):
    frame = smooth_frames(1)[0]
    expected = processor([frame], return_tensors="pt").pixel_values
    assert expected.shape == (1, 1, 3, 224, 224)
    for videos in (frame, Image.fromarray(frame), torch.from_numpy(frame), frame.transpose(2, 0, 1)):
        torch.testing.assert_close(processor(videos, return_tensors="pt").pixel_values, expected, rtol=0, atol=0)


def test_grey_and_transparent_images_become_rgb(processor):
    image = Image.fromarray(smooth_frames(1)[0])
    assert processor([image.convert("L")], return_tensors="pt").pixel_values.shape == (1, 1, 3, 224, 224)
    opaque = processor([image.convert("RGBA")], return_tensors="pt").pixel_values
    torch.testing.assert_close(opaque, processor([image], return_tensors="pt").pixel_values, rtol=0, atol=0)


def test_other_sizes_and_steps(processor):
    frames = smooth_frames()
    small = processor(frames, size={"height": 64, "width": 96}, return_tensors="pt").pixel_values
    np.testing.assert_allclose(small[0], pil_oracle(frames, (64, 96)), rtol=0, atol=ONE_LEVEL)
    raw = processor(frames, do_resize=False, do_rescale=False, do_normalize=False, return_tensors="pt").pixel_values
    assert raw.dtype == torch.float32
    np.testing.assert_array_equal(raw[0].numpy(), frames.transpose(0, 3, 1, 2))
    rescaled = processor(frames, do_resize=False, do_normalize=False, return_tensors="pt").pixel_values
    torch.testing.assert_close(rescaled, raw / 255)
    assert AussVideoProcessor(size=32)(frames, return_tensors="pt").pixel_values.shape[-2:] == (32, 32)


def test_the_channel_axis_can_be_told(processor):
    frames = np.random.default_rng(2).integers(0, 256, (2, 3, 8, 3), dtype=np.uint8)
    last = processor(frames, input_data_format="channels_last", return_tensors="pt").pixel_values
    first = processor(
        frames.transpose(0, 3, 1, 2), input_data_format="channels_first", return_tensors="pt"
    ).pixel_values
    torch.testing.assert_close(last, first)


def test_sampling_of_frames(processor):
    frames = smooth_frames(8)
    sampled = processor(frames, do_sample_frames=True, num_frames=4, return_tensors="pt").pixel_values
    torch.testing.assert_close(sampled, processor(frames[::2], return_tensors="pt").pixel_values)


def test_no_return_tensors_gives_a_list(processor):
    pixel_values = processor([smooth_frames(), smooth_frames()]).pixel_values
    assert isinstance(pixel_values, list) and len(pixel_values) == 2
    assert pixel_values[0].shape == (3, 3, 224, 224)


@pytest.mark.parametrize(
    ("videos", "kwargs", "message"),
    [
        ([], {}, "videos holds no clip"),
        ([[]], {}, "videos has no frames"),
        (np.zeros((0, 8, 8, 3), np.uint8), {}, "videos has no frames"),
        ([Image.new("RGB", (4, 4)), Image.new("RGB", (4, 5))], {}, "videos has frames of unequal size"),
        (
            [smooth_frames(), [Image.new("RGB", (4, 4)), Image.new("RGB", (4, 5))]],
            {},
            r"videos\[1\] has frames of unequal",
        ),
        ([smooth_frames(2), smooth_frames(3)], {}, r"videos holds clips of unequal frame counts, \[2, 3\]"),
        ([smooth_frames(height=8), smooth_frames()], {"do_resize": False}, "clips of unequal size after processing"),
        ("clip.mp4", {}, "decode the file first"),
    ],
)
def test_bad_input_is_refused(processor, videos, kwargs, message):
    with pytest.raises(ValueError, match=message):
        processor(videos, return_tensors="pt", **kwargs)


def test_saving_and_loading_keeps_everything(tmp_path):
    saved = AussVideoProcessor(size={"height": 96, "width": 128}, image_mean=[0.5] * 3, do_rescale=False)
    saved.save_pretrained(tmp_path)
    for loaded in (AussVideoProcessor.from_pretrained(tmp_path), AutoVideoProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is AussVideoProcessor
        assert loaded.to_dict() == saved.to_dict()
        assert (loaded.size["height"], loaded.size["width"]) == (96, 128)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size must be a size of positive whole numbers"),
        ({"size": {"height": 8}}, "size must be"),
        ({"size": {"height": 2.5, "width": 8}}, "size must be"),
        ({"image_std": [0.5, 0.0, 0.5]}, "image_std must be a finite image_std above 0.0"),
        ({"image_mean": float("nan")}, "image_mean must be a finite image_mean"),
        ({"image_mean": [0.5, 0.5]}, "image_mean must be .* 3 of them"),
        ({"rescale_factor": float("inf")}, "rescale_factor must be a finite"),
        ({"return_tensors": "tf"}, "return_tensors must be 'pt', 'np' or None, got 'tf'"),
    ],
)
def test_settings_that_no_frame_can_be_made_with_are_named(settings, message):
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        AussVideoProcessor()(frames, **{"return_tensors": "pt", **settings})
