"""Draws a mask on the frames of a video with FFmpeg's filter `overlay`. The frames are not converted to RGB."""

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.reformatter import ColorRange, Colorspace

from ....processing.drawing import area_around
from .frame_planes import BT709, FrameColours

ONE_SECOND = Fraction(1)  # time base of the filter's input; the filter only needs stamps that rise
# Pixels around the marks that are converted with them, because FFmpeg computes a colour at half the size from several.
MARGIN = 8
ALIGNMENT = 16  # the marks are cut out at multiples of this; FFmpeg reads rows of pixels in such groups


def cut_area(marks: np.ndarray) -> tuple[slice, slice] | None:
    """Returns the rows and columns to cut out around everything in marks (H, W, 4) uint8 that is not zero. Returns
    None if all is zero, so that nothing is drawn."""
    area = area_around(np.ascontiguousarray(marks).view(np.uint32)[..., 0] != 0, MARGIN)
    if area is None:
        return None
    rows, columns = (
        slice(side.start // ALIGNMENT * ALIGNMENT, min(size, -(-side.stop // ALIGNMENT) * ALIGNMENT))
        for side, size in zip(area, marks.shape[:2], strict=True)
    )
    return rows, columns


class MaskLayer:
    """Lays the marks that `mark_layer` made over frame after frame. The marks are converted once. Only the part of a
    frame that has marks is touched.

    Args:
        marks: (H, W, 4) uint8 red, green, blue and opacity. H and W are even and equal those of the frames.
        colours: the colours of the frames.
    """

    def __init__(self, marks: np.ndarray, colours: FrameColours):
        self._area = cut_area(marks)
        if self._area is None:
            return
        self._layer = av.VideoFrame.from_ndarray(np.ascontiguousarray(marks[self._area]), format="rgba").reformat(
            format="yuva420p",
            dst_colorspace=Colorspace.ITU709 if colours.matrix == BT709 else Colorspace.ITU601,
            dst_color_range=ColorRange.JPEG if colours.full_range else ColorRange.MPEG,
        )
        # The graph, its input for frames, and its output. PyAV's contexts do not keep their graph alive.
        self._filter: tuple[Graph, FilterContext, FilterContext] | None = None
        self._count = 0

    def draw(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Returns a frame that shows `frame` under the marks. It is `frame` itself if there are no marks. `frame` has
        the size of the marks, the format yuv420p and the colours given to the class. Its time stamp is changed."""
        if self._area is None:
            return frame
        frame.pts, frame.time_base = self._count, ONE_SECOND
        self._count += 1
        if self._filter is None:
            self._filter = self._build(frame)
        _, pictures, sink = self._filter
        pictures.push(frame)
        result = sink.pull()
        assert isinstance(result, av.VideoFrame)
        return result

    def _build(self, frame: av.VideoFrame) -> tuple[Graph, FilterContext, FilterContext]:
        """Builds the filter for frames like `frame`. Its second input shows the marks in every frame."""
        assert self._area is not None
        graph = Graph()
        pictures, marks = (
            graph.add_buffer(format=one.format, width=one.width, height=one.height, time_base=ONE_SECOND)
            for one in (frame, self._layer)
        )
        rows, columns = self._area
        place = {"x": str(columns.start), "y": str(rows.start)}
        overlay, sink = graph.add("overlay", format="yuv420", eof_action="repeat", **place), graph.add("buffersink")
        pictures.link_to(overlay, 0, 0)
        marks.link_to(overlay, 0, 1)
        overlay.link_to(sink)
        graph.configure()
        self._layer.pts, self._layer.time_base = 0, ONE_SECOND
        marks.push(self._layer)
        marks.push(None)
        return graph, pictures, sink


__all__ = ["MaskLayer"]
