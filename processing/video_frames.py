"""Checks and stacks the frames that users pass: every clip becomes one tensor (F, 3, H, W)."""

import os
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_utils import ChannelDimension

from ..files.errors import InputError
from .pictures import FULL_SCALE, is_stored_picture, on_the_scale, open_stored_picture, to_eight_bits

ACCEPTED = "frames: a list of PIL images, an array (F, H, W, 3) or (F, 3, H, W), a list of frames or of such clips"

# The numbers of channels that a frame may have: grey, RGB, RGB with alpha.
CHANNEL_COUNTS = (1, 3, 4)
WHITE = 255
# The most pixels that a CPU processes in one pass: one frame of 224 x 224. A larger group is not faster and needs more
# memory, because the C library asks the system for new pages for every map of 32 MB or more.
CPU_PIXELS = 224 * 224
MODES_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")


def frames_per_pass(frames: torch.Tensor, most: int) -> int:
    """
    Returns how many frames (..., H, W) a network should process in one pass, from 1 to `most`. On a CPU, small groups
    of frames fit the cache, so they run faster and use less memory. Other devices process `most` frames.
    """
    if frames.device.type != "cpu":
        return max(1, most)
    height, width = frames.shape[-2:]
    return max(1, min(most, CPU_PIXELS // (height * width)))


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor)


def is_frame(value: Any) -> bool:
    """Whether `value` is a single picture: a PIL image or a three-dimensional array."""
    return isinstance(value, Image.Image) or (is_array(value) and value.ndim == 3)


def to_tensor(array: np.ndarray | torch.Tensor, name: str) -> torch.Tensor:
    """Converts an array to a tensor. The tensor shares the array's memory if torch can use it. Big-endian values are
    converted to the machine's byte order."""
    if isinstance(array, torch.Tensor):
        return array
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} must hold uint8 or floating-point values, got {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    # torch refuses negative strides, which come from reversing BGR to RGB, and warns of read-only memory. Such arrays
    # are copied.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def decoded_video(video: Any) -> Any:
    """Returns the pictures in an object of `datasets` or torchcodec. Any other object is returned as it is.

    A `VideoDecoder` returns frames for a slice. A `FrameBatch` holds frames as `data` (F, C, H, W), and their times.
    Both are recognised by their attributes, so torchcodec need not be installed. A picture that is not decoded yet,
    `{"bytes", "path"}`, becomes a PIL image.

    Raises:
        FileNotFoundError, ValueError: as in `open_picture`.
    """
    if is_array(video):
        return video
    if is_stored_picture(video):
        return open_stored_picture(video, "frame file")
    if hasattr(video, "get_frames_in_range") and hasattr(video, "__len__"):
        return video[0 : len(video)]
    if hasattr(video, "pts_seconds") and is_array(getattr(video, "data", None)):
        return video.data
    return video


def list_of_videos(videos: Any) -> list:
    """Splits `videos` into its clips: each is a four-dimensional array or a list of frames.

    A single frame is a clip of one frame. A list of frames is one clip. A five-dimensional array or a list of clips is
    a batch. A decoder or a batch of frames of torchcodec is one clip.

    Raises:
        ValueError: `videos` is empty, a path, or something that holds no frames.
    """
    if isinstance(videos, str | os.PathLike):
        raise InputError(f"videos must be decoded {ACCEPTED}; got the path {str(videos)!r}: decode the file first")
    videos = decoded_video(videos)
    if isinstance(videos, list | tuple):
        videos = [decoded_video(clip) for clip in videos]
    if is_frame(videos):
        return [[videos]]
    if is_array(videos) and videos.ndim in (4, 5):
        clips = [videos] if videos.ndim == 4 else list(videos)
    elif isinstance(videos, list | tuple):
        clips = [videos] if len(videos) and is_frame(videos[0]) else list(videos)
    else:
        got = f"shape {tuple(videos.shape)}" if is_array(videos) else type(videos).__name__
        raise InputError(f"videos must be {ACCEPTED}; got {got}")
    if len(clips) == 0:
        raise InputError(f"videos holds no clip; it must be {ACCEPTED}")
    return clips


def pil_to_rgb(image: Image.Image, name: str = "frame") -> torch.Tensor:
    """Converts a PIL image of any mode to (H, W, 3) uint8. Transparent pixels become white, as in Transformers.

    Raises:
        ValueError: a picture of 32 bits for a pixel has values outside of 0 to 255. The message has `name`.
    """
    if image.mode != "RGB" or "transparency" in image.info:
        image = to_eight_bits(image, name)
        if image.mode in MODES_WITH_ALPHA or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (WHITE,) * 4), image)
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image))


def to_rgb(frames: torch.Tensor, name: str) -> torch.Tensor:
    """Converts frames (F, C, H, W), which are grey, RGB or RGB with alpha, to (F, 3, H, W)."""
    num_channels = frames.shape[1]
    if num_channels == 1:
        return frames.expand(-1, 3, -1, -1)
    if num_channels == 4:
        if frames.dtype != torch.uint8:
            raise InputError(f"{name} has an alpha channel, which only uint8 frames may have; got {frames.dtype}")
        alpha = frames[:, 3:].float() / WHITE
        return (frames[:, :3] * alpha + WHITE * (1 - alpha)).round().to(torch.uint8)
    return frames


def channels_first(frames: torch.Tensor, name: str, data_format: str | ChannelDimension | None) -> torch.Tensor:
    """Moves the channels of frames (F, H, W, C) before the rows. Without `data_format`, an axis of length 1, 3 or 4 is
    taken for the axis of channels."""
    if data_format is None:
        if frames.shape[1] in CHANNEL_COUNTS:
            data_format = ChannelDimension.FIRST
        elif frames.shape[3] in CHANNEL_COUNTS:
            data_format = ChannelDimension.LAST
        else:
            raise InputError(f"{name} must be {ACCEPTED}; got shape {tuple(frames.shape)}, without 1, 3 or 4 channels")
    return frames if ChannelDimension(data_format) == ChannelDimension.FIRST else frames.permute(0, 3, 1, 2)


def stack_frames(
    clip: list | tuple, name: str, data_format: str | ChannelDimension | None, limit: float | None
) -> torch.Tensor:
    """Stacks the frames of one clip to (F, C, H, W). The values of arrays must lie between 0 and `limit`.

    Raises:
        ValueError: there are no frames, the frames have unequal sizes, or an element is not a frame.
    """
    if len(clip) == 0:
        raise InputError(f"{name} has no frames; a clip must have one at least")
    frames = []
    for index, frame in enumerate(map(decoded_video, clip)):
        if not is_frame(frame):
            got = f"shape {tuple(frame.shape)}" if is_array(frame) else type(frame).__name__
            raise InputError(f"{name}[{index}] must be a PIL image or an array (H, W, 3) or (3, H, W), got {got}")
        if isinstance(frame, Image.Image):
            frames.append(pil_to_rgb(frame, f"{name}[{index}]").permute(2, 0, 1))
        else:
            values = channels_first(to_tensor(frame, name)[None], name, data_format)[0]
            # Scale each frame by its own type, because a clip may mix frames of 8 bits and frames of 16 bits.
            frames.append(on_the_scale(values, f"{name}[{index}]" if len(clip) > 1 else name, limit))
    shapes = sorted({tuple(frame.shape) for frame in frames})
    if len(shapes) > 1:
        sizes = ", ".join(" x ".join(map(str, shape)) for shape in shapes)
        raise InputError(f"{name} has frames of unequal size: {sizes} (channels x height x width); they must be equal")
    return torch.stack(frames)


def clip_to_tensor(
    clip: Any,
    name: str = "videos",
    data_format: str | ChannelDimension | None = None,
    convert_rgb: bool = True,
    limit: float | None = FULL_SCALE,
) -> torch.Tensor:
    """Turns one clip into a tensor (F, 3, H, W). A uint8 clip stays uint8, any other clip becomes float32.

    Args:
        clip: a list of frames, or a four-dimensional array (F, C, H, W) or (F, H, W, C).
        name: how the error messages call the clip.
        data_format: the position of the channels in arrays. By default, the axis of length 1, 3 or 4 holds them.
        convert_rgb: whether to repeat a grey channel three times and to lay frames with alpha on white. PIL images are
            always converted.
        limit: the value of full brightness. `None` leaves the range unchecked. uint16 frames are scaled to the limit.

    Raises:
        ValueError: there are no frames, the frames have unequal sizes, the shape or type is another one, or a value is
            NaN, infinite or outside of 0 to `limit`.
    """
    if isinstance(clip, list | tuple):
        frames = stack_frames(clip, name, data_format, limit)
    elif is_array(clip) and clip.ndim == 4:
        frames = on_the_scale(channels_first(to_tensor(clip, name), name, data_format), name, limit)
    else:
        got = f"shape {tuple(clip.shape)}" if is_array(clip) else type(clip).__name__
        raise InputError(f"{name} must be {ACCEPTED}; got {got}")
    if frames.numel() == 0:
        raise InputError(f"{name} has no frames: its shape as (F, C, H, W) is {tuple(frames.shape)}")
    return to_rgb(frames, name) if convert_rgb else frames
