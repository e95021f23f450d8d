"""A decoded frame with its time and its picture, turned and coloured as it is shown."""

import copy
from functools import cached_property

import av
import numpy as np
from av.video.reformatter import Colorspace

from .containers.decoding import media_errors
from .picture.frame_filters import ToneMap
from .picture.frame_planes import BT709, own_colours, upright_copy
from .video_probe import VideoInfo


def composited(picture: np.ndarray) -> np.ndarray:
    """Lays a transparent picture (H, W, 4) uint8 over black. Returns (H, W, 3) uint8."""
    colours, opacity = picture[..., :3], picture[..., 3:]
    if opacity.min(initial=255) == 255:
        return colours
    return ((colours.astype(np.uint16) * opacity + 127) // 255).astype(np.uint8)


def upright_picture(frame: av.VideoFrame, info: VideoInfo, tone_map: ToneMap | None = None) -> np.ndarray:
    """Converts a frame to RGB (H, W, 3) uint8. The picture is turned and mirrored as the file says, and has the size
    given in `info`.

    Transparent pixels lie over black. `tone_map` converts high dynamic range and wide colour to BT.709.
    """
    if tone_map is not None:
        frame = tone_map.convert(frame, "rgb24")
    sideways = info.orientation.sideways
    width, height = (info.height, info.width) if sideways else (info.width, info.height)
    colours = own_colours(frame)  # fills in the colours of frames that do not declare them
    colorspace = Colorspace.ITU709 if colours is not None and colours.matrix == BT709 else None
    transparent = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    # Streams that adapt to a network change their size on the way. Every frame is scaled to the size of the first.
    with media_errors(f"a frame of {frame.width} x {frame.height}, {frame.format.name}, cannot be converted to RGB"):
        picture = frame.to_ndarray(
            format="rgba" if transparent else "rgb24", width=width, height=height, src_colorspace=colorspace
        )
    return np.ascontiguousarray(info.orientation.upright(composited(picture) if transparent else picture))


class TimedFrame:
    """A decoded frame. `index` counts from 0. The frame is shown from `time` to `end`, in seconds from the first
    frame. `picture` is converted when it is first read."""

    def __init__(
        self, index: int, time: float, end: float, frame: av.VideoFrame, info: VideoInfo, tone_map: ToneMap | None
    ):
        self.index = index
        self.time = time
        self.end = end
        self._frame = frame
        self._info = info
        self._tone_map = tone_map

    def held(self, time: float) -> "TimedFrame":
        """The same frame with a later time, at which it is still shown."""
        if time == self.time:
            return self
        later = copy.copy(self)
        later.time = time
        return later

    @cached_property
    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright."""
        return upright_picture(self._frame, self._info, self._tone_map)

    def planar_copy(self) -> av.VideoFrame | None:
        """Copies the planes of the frame, turned upright, to draw on and to write. Returns None if the frame has to be
        converted to RGB first; then use `picture`. See `upright_copy`."""
        size = (self._info.height, self._info.width)
        frame = self._frame
        if self._tone_map is not None and not (size[0] % 2 or size[1] % 2):
            frame = self._tone_map.convert(frame, "yuv420p")
        return upright_copy(frame, size, self._info.orientation, self._info.colours)


__all__ = ["TimedFrame", "upright_picture"]
