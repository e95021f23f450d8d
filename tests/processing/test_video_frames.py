"""Frames of every kind become the same tensor. An input without frames is refused, and the error names it."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.video_utils import make_batched_videos

from auss.processing import video_frames
from auss.processing.video_frames import clip_to_tensor, list_of_videos

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 10, 12, 3), dtype=np.uint8)
FIRST = FRAMES.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    "clip",
    [
        FRAMES,
        FIRST,
        torch.from_numpy(FRAMES),
        torch.from_numpy(FIRST.copy()),
        list(FRAMES),
        tuple(FIRST),
        list(torch.from_numpy(FRAMES)),
        [Image.fromarray(frame) for frame in FRAMES],
        [Image.fromarray(FRAMES[0]), FRAMES[1], FIRST[2], torch.from_numpy(FRAMES[3])],
        FRAMES[..., ::-1].copy()[..., ::-1],
    ],
)
def test_every_kind_becomes_the_same_tensor(clip):
    frames = clip_to_tensor(clip)
    assert frames.dtype == torch.uint8
    np.testing.assert_array_equal(frames.numpy(), FIRST)


def test_memory_that_must_not_be_written_is_copied_without_a_warning(recwarn):
    frozen = FRAMES.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(clip_to_tensor(frozen).numpy(), FIRST)
    assert not recwarn


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int16])
def test_other_numbers_become_float32(dtype):
    frames = clip_to_tensor(FRAMES.astype(dtype))
    assert frames.dtype == torch.float32
    np.testing.assert_array_equal(frames.numpy(), FIRST)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_pil_modes_without_alpha(mode):
    image = Image.fromarray(FRAMES[0]).convert(mode)
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(clip_to_tensor([image])[0].numpy(), expected)


def test_transparency_turns_white_in_images_and_arrays():
    rgba = np.dstack([FRAMES[0], np.full((10, 12), 255, np.uint8)])
    rgba[:5, :, 3] = 0
    rgba[5, :, 3] = 128
    from_image = clip_to_tensor([Image.fromarray(rgba)])[0].int()
    from_array = clip_to_tensor(rgba[None])[0].int()
    assert (from_image - from_array).abs().max() <= 1
    assert torch.all(from_image[:, :5] == 255)
    np.testing.assert_array_equal(from_image[:, 6:].numpy(), FIRST[0, :, 6:])
    blended = 0.5 * FIRST[0, :, 5] + 0.5 * 255
    np.testing.assert_allclose(from_array[:, 5].numpy(), blended, rtol=0, atol=2)


def test_a_transparent_grey_and_a_transparent_palette_image():
    grey = Image.fromarray(np.dstack([FRAMES[0, :, :, 0], np.zeros((10, 12), np.uint8)]), "LA")
    palette = Image.new("P", (12, 10))
    palette.info["transparency"] = 0
    for image in (grey, palette):
        assert torch.all(clip_to_tensor([image]) == 255)


def test_grey_arrays_are_repeated_unless_asked_not_to():
    grey = FRAMES[..., :1]
    assert clip_to_tensor(grey).shape == (4, 3, 10, 12)
    assert clip_to_tensor(grey, convert_rgb=False).shape == (4, 1, 10, 12)


def test_the_channel_axis_can_be_told():
    tiny = np.arange(36, dtype=np.uint8).reshape(1, 3, 4, 3)
    np.testing.assert_array_equal(clip_to_tensor(tiny).numpy(), tiny)
    last = clip_to_tensor(tiny, data_format="channels_last")
    np.testing.assert_array_equal(last.numpy(), tiny.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ([], "clip has no frames"),
        (np.zeros((0, 10, 12, 3), np.uint8), "clip has no frames"),
        (np.zeros((2, 0, 12, 3), np.uint8), "clip has no frames"),
        ([FRAMES[0], FRAMES[1, :8]], "clip has frames of unequal size: 3 x 8 x 12, 3 x 10 x 12"),
        ([Image.new("RGB", (4, 5)), Image.new("RGB", (5, 4))], "clip has frames of unequal size"),
        ([FRAMES[0], "frame.png"], r"clip\[1\] must be a PIL image or an array .*, got str"),
        ([FRAMES[0], FRAMES[0, 0]], r"clip\[1\] must be a PIL image or an array .*, got shape \(12, 3\)"),
        (np.zeros((2, 10, 12, 5), np.uint8), "without 1, 3 or 4 channels"),
        (np.zeros((1, 2, 10, 12, 3), np.uint8), r"clip must be frames.* got shape \(1, 2, 10, 12, 3\)"),
        (7, "clip must be frames.* got int"),
        (np.full((2, 10, 12, 3), np.nan), "clip holds NaN or infinite values"),
        (np.zeros((2, 10, 12, 3), bool), "clip must hold uint8 or floating-point values, got torch.bool"),
        (np.zeros((2, 10, 12, 3), complex), "clip must hold uint8 or floating-point values, got complex128"),
        (torch.zeros(2, 10, 12, 3, dtype=torch.complex64), "got torch.complex64"),
        (np.zeros((2, 10, 12, 4), np.float32), "alpha channel, which only uint8 frames may have"),
    ],
)
def test_what_holds_no_frames_is_refused(clip, message):
    with pytest.raises(ValueError, match=message):
        clip_to_tensor(clip, "clip")


def test_what_is_a_batch_and_what_is_a_clip():
    image = Image.fromarray(FRAMES[0])
    assert list_of_videos(image) == [[image]]
    assert list_of_videos([image, image]) == [[image, image]]
    assert list_of_videos([[image], [image]]) == [[image], [image]]
    assert len(list_of_videos(FRAMES[0])) == 1
    assert len(list_of_videos(FRAMES)) == 1
    assert len(list_of_videos(list(FRAMES))) == 1
    assert len(list_of_videos([FRAMES, FRAMES])) == 2
    assert len(list_of_videos(np.stack([FRAMES] * 3))) == 3
    assert len(list_of_videos(torch.zeros(2, 1, 3, 4, 5))) == 2


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([], "videos holds no clip"),
        (np.zeros((0, 5, 3, 8, 8)), "videos holds no clip"),
        ("clip.mp4", "got the path 'clip.mp4': decode the file first"),
        (np.zeros((5, 6)), r"videos must be frames.* got shape \(5, 6\)"),
        (3, "videos must be frames.* got int"),
    ],
)
def test_what_holds_no_clips_is_refused(videos, message):
    with pytest.raises(ValueError, match=message):
        list_of_videos(videos)


def test_batches_are_those_of_transformers_where_it_keeps_the_values():
    """`make_batched_videos` turns PIL frames into bare arrays, so it is an oracle for RGB frames and arrays only."""
    frames = [Image.fromarray(array) for array in np.random.default_rng(0).integers(0, 256, (3, 6, 7, 3), np.uint8)]
    array = np.stack([np.asarray(frame) for frame in frames])
    for videos in (
        frames,
        array,
        frames[0],
        array[0],
        [frames, frames[::-1]],
        [array, array],
        array[None],
        list(array),
    ):
        found, expected = list_of_videos(videos), make_batched_videos(videos)
        assert len(found) == len(expected)
        for clip, other in zip(found, expected, strict=True):
            other = torch.from_numpy(np.asarray(other)).permute(0, 3, 1, 2)
            assert torch.equal(clip_to_tensor(clip), other)
    # Transformers takes the indices of a palette for grey levels; auss converts them to colours.
    palette = [frame.quantize(8) for frame in frames]
    assert make_batched_videos(palette)[0].shape == (3, 6, 7) and clip_to_tensor(palette).shape == (3, 3, 6, 7)
    # If both frames were stacked as 16 bits, the frame of 8 bits would be nearly black.
    mixed = [np.full((6, 7, 3), 255, np.uint8), np.full((6, 7, 3), 65_535, np.uint16)]
    assert clip_to_tensor(list_of_videos(mixed)[0]).unique().tolist() == [255]
    assert np.stack(mixed).dtype == np.uint16


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [((224, 224), 8, video_frames.CPU_PIXELS // 224**2), ((32, 32), 8, 8), ((2000, 2000), 8, 1), ((32, 32), 0, 1)],
)
def test_a_cpu_sees_few_large_frames_at_once(size, most, expected):
    assert video_frames.frames_per_pass(torch.empty(1, 3, *size), most) == expected
    assert video_frames.frames_per_pass(torch.empty(1, 3, *size, device="meta"), most) == max(1, most)
