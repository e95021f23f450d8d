"""`AussVideoProcessor` turns the frames of clips into normalised pixels, on the base classes of Transformers."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import torch
from transformers import BatchFeature
from transformers.image_utils import ChannelDimension, PILImageResampling, SizeDict
from transformers.processing_utils import VideosKwargs
from transformers.utils import logging
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.utils.generic import TensorType
from transformers.video_processing_utils import BaseVideoProcessor
from typing_extensions import Unpack

from ..files.errors import InputError
from ..files.repository_saving import PartRepositoryMixin
from .feature_extraction_auss import check_return_tensors
from .video_frames import clip_to_tensor, list_of_videos

logger = logging.get_logger(__name__)


# The combinations of sides that a size may name.
SIZE_NAMES = (
    {"height", "width"},
    {"shortest_edge"},
    {"shortest_edge", "longest_edge"},
    {"max_height", "max_width"},
)


def check_size(size: Any) -> None:
    """
    Raises ValueError if frames cannot be resized to this size.

    Args:
        size: pixels of the shortest side, a pair (height, width), or a dictionary of sides as Transformers names them.
    """
    sides = [size]
    if isinstance(size, Mapping | SizeDict):
        # Transformers sets the sides that are not given to None.
        named = {name: side for name, side in dict(size).items() if side is not None}
        sides = list(named.values()) if named.keys() in SIZE_NAMES else []
    elif isinstance(size, list | tuple):
        sides = list(size) if len(size) == 2 else []
    if not sides or not all(
        isinstance(side, Integral) and not isinstance(side, bool) and int(side) > 0 for side in sides
    ):
        raise InputError(
            "size must be a size of positive whole numbers of pixels: the shortest side, a pair (height, width), or a "
            "dictionary of height and width, of shortest_edge (and longest_edge), or of max_height and max_width; got "
            f"{size!r}"
        )


def check_setting(name: str, value: Any, low: float, most: int = 1) -> None:
    """Raises ValueError unless `value` is a finite number above `low`. If `most` > 1, a list of `most` such numbers is
    allowed too."""
    values = list(value) if isinstance(value, list | tuple) and len(value) == most > 1 else [value]
    if not all(isinstance(one, Real) and not isinstance(one, bool) and low < float(one) < math.inf for one in values):
        above = f" above {low}" if low > -math.inf else ""
        count = f", one number or {most} of them" if most > 1 else ""
        raise InputError(f"{name} must be a finite {name}{above}{count}, got {value!r}")


class AussVideoProcessor(PartRepositoryMixin, BaseVideoProcessor):
    """Resizes, rescales and normalises frames.

    The constructor takes the arguments of every video processor of Transformers. By default, frames are resized to
    224 x 224 pixels by bilinear interpolation with antialiasing. Values are rescaled from 0-255 to 0-1 and normalised
    with the mean and standard deviation of ImageNet. uint8 frames stay uint8 until they are resized, which is fast.
    """

    model_input_names = ["pixel_values"]

    resample = PILImageResampling.BILINEAR
    size = {"height": 224, "width": 224}
    default_to_square = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    do_resize = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    do_convert_rgb = True
    do_sample_frames = False
    input_data_format: str | ChannelDimension | None  # as the base class sets it

    def preprocess(self, videos: Any, **kwargs: Unpack[VideosKwargs]) -> BatchFeature:
        """Prepares one clip or a batch of clips.

        Args:
            videos: a clip or a batch of clips. A clip is a list of PIL images of any mode, an array (F, H, W, C) or
                (F, C, H, W) of NumPy or torch, or a list of such frames. A single frame is a clip of one frame. A list
                of clips or a five-dimensional array is a batch. Values lie in 0-255. Floating-point frames in 0-1 need
                `do_rescale=False`. Frames of 16 bits (uint16, or I;16 of PIL) are scaled to 0-255.
            kwargs: the constructor's arguments, for this call only; and `return_tensors`, which is `"pt"`, `"np"`, or
                `None` for a list with one tensor for each clip.

        Returns:
            `pixel_values` (B, F, 3, H, W) float32.

        Raises:
            ValueError: there are no clips or frames; the frames of a clip have unequal sizes; the clips have unequal
                frame counts, or unequal sizes after the resizing; an array has another shape, NaN or infinite values,
                values below 0, or values above 255 (above 1 / `rescale_factor` in general); `videos` is a path; or
                `check_settings` refuses a setting.
        """
        check_return_tensors(kwargs.get("return_tensors"))
        self.check_settings(**kwargs)
        data_format = kwargs.get("input_data_format") or self.input_data_format
        convert_rgb = bool(kwargs.get("do_convert_rgb", self.do_convert_rgb))
        rescale = kwargs.get("do_rescale", self.do_rescale)
        factor = kwargs.get("rescale_factor") or self.rescale_factor
        # The value of full brightness in the caller's frames. Without rescaling, the caller may use any scale.
        limit = 1 / factor if rescale and factor else None
        clips = list_of_videos(videos)
        names = [f"videos[{index}]" if len(clips) > 1 else "videos" for index in range(len(clips))]
        tensors = [
            clip_to_tensor(clip, name, data_format, convert_rgb, limit)
            for clip, name in zip(clips, names, strict=True)
        ]
        if rescale and any(clip.is_floating_point() and 0 < clip.max() <= 1 for clip in tensors):
            logger.warning_once(
                "videos holds floating-point frames with values in 0-1, which do_rescale divides by 255 once more: "
                "pass do_rescale=False, or frames with values in 0-255"
            )
        kwargs["input_data_format"] = ChannelDimension.FIRST
        return super().preprocess(tensors, **kwargs)

    def check_settings(self, **kwargs: Any) -> None:
        """
        Checks the sizes and numbers with which frames are processed.

        Args:
            kwargs: arguments of `preprocess`. They replace the processor's own settings.

        Raises:
            ValueError: frames cannot be resized to the size; or a factor, mean or deviation makes pixels NaN or
                infinite, or makes bright pixels dark.
        """

        def setting(name: str) -> Any:
            given = kwargs.get(name)
            return getattr(self, name, None) if given is None else given

        if setting("do_resize"):
            check_size(setting("size"))
        if setting("do_rescale"):
            check_setting("rescale_factor", setting("rescale_factor"), low=0.0)
        if setting("do_normalize"):
            check_setting("image_mean", setting("image_mean"), low=-math.inf, most=3)
            check_setting("image_std", setting("image_std"), low=0.0, most=3)

    def _preprocess(
        self, videos: list[torch.Tensor], return_tensors: str | TensorType | None = None, **kwargs
    ) -> BatchFeature:
        frame_counts = [clip.shape[0] for clip in videos]
        if len(set(frame_counts)) > 1:
            raise InputError(
                f"videos holds clips of unequal frame counts, {frame_counts}: those of a batch must have equally many"
            )
        features = super()._preprocess(videos, return_tensors=None, **kwargs)
        clips = [clip.to(torch.float32) for clip in features["pixel_values_videos"]]
        shapes = sorted({tuple(clip.shape[-2:]) for clip in clips})
        if len(shapes) > 1:
            raise InputError(
                f"videos holds clips of unequal size after processing, {shapes} (height, width): give them equal "
                "sizes, or set do_resize with a height and a width"
            )
        return BatchFeature(data={"pixel_values": clips}, tensor_type=return_tensors)


__all__ = ["AussVideoProcessor"]
