"""FFmpeg filters for frames that must be converted first: interlaced frames and frames of high dynamic range."""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import av
from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.video.reformatter import ColorRange

from ..containers.decoding import media_errors
from .frame_planes import BT709
from .tone_mapping import Range, write_table

# Only frames that are marked as interlaced are changed. Each of them gives one frame.
DEINTERLACING = {"mode": "send_frame", "parity": "auto", "deint": "interlaced"}
# Flags of swscale for converting colour planes to the RGB values of the table, without its shortcuts for speed.
EXACT = "bilinear+accurate_rnd+full_chroma_int+full_chroma_inp"
TABLE_FORMAT = "gbrp10le"


def kind(frame: av.VideoFrame) -> tuple:
    """The properties of a frame that a filter graph depends on. Other values need another graph."""
    return frame.format.name, frame.width, frame.height, frame.time_base


def chain(frame: av.VideoFrame, filters: list[tuple[str, dict[str, str]]]) -> Graph:
    """Builds a graph that applies filters (name, options), one after the other, to frames like `frame`."""
    graph, names = Graph(), ", ".join(name for name, _ in filters)
    with media_errors(f"frames of {frame.width} x {frame.height}, {frame.format.name}, cannot be filtered by {names}"):
        nodes = [
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
        ]
        nodes += [graph.add(name, **options) for name, options in filters]
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def deinterlaced(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yields one frame for each frame, with the same time stamps. From the first interlaced frame on, all frames pass
    the filter `bwdif`. It fills the lines of the missing field from the frames before and after."""
    graph: Graph | None = None
    built_for: tuple = ()
    waiting: deque[av.VideoFrame] = deque()  # frames that the filter has not given back yet

    def finished(flush: bool = False) -> Iterator[av.VideoFrame]:
        if graph is not None:
            if flush:
                graph.push(None)
            while waiting:
                try:
                    result = graph.vpull()
                except (BlockingIOError, EOFError):
                    break
                source = waiting.popleft()
                result.time_base = source.time_base
                result.pts, result.dts, result.duration = source.pts, source.dts, source.duration
                yield result

    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        if graph is None or kind(frame) != built_for:
            yield from finished(flush=True)
            yield from waiting
            waiting.clear()
            graph, built_for = chain(frame, [("bwdif", DEINTERLACING)]), kind(frame)
        waiting.append(frame)
        with media_errors("an interlaced frame cannot be filtered"):
            graph.push(frame)
        yield from finished()
    yield from finished(flush=True)
    yield from waiting


class ToneMap:
    """Converts frames of high dynamic range or wide colour to the colours of an ordinary screen.

    Args:
        source: what the values of the frames mean.
    """

    def __init__(self, source: Range):
        self.source = source
        self._graphs: dict[str, tuple[tuple, Graph]] = {}

    def convert(self, frame: av.VideoFrame, format_name: str) -> av.VideoFrame:
        """Returns a new frame of the same size in BT.709. The format is rgb24, or yuv420p with the limited range."""
        built_for, graph = self._graphs.get(format_name, (None, None))
        if graph is None or built_for != kind(frame):
            graph = self._build(frame, format_name)
            self._graphs[format_name] = kind(frame), graph
        with media_errors("a frame cannot be brought to ordinary colours"):
            graph.push(frame)
            result = graph.vpull()
        result.colorspace = result.color_primaries = result.color_trc = BT709
        result.color_range = ColorRange.JPEG if format_name == "rgb24" else ColorRange.MPEG
        return result

    def _build(self, frame: av.VideoFrame, format_name: str) -> Graph:
        output = {"out_range": "pc"} if format_name == "rgb24" else {"out_range": "tv", "out_color_matrix": "bt709"}
        with TemporaryDirectory(prefix="auss-") as folder:  # the filter reads the table once, when it is created
            table = Path(folder) / "table.cube"
            write_table(table, self.source)
            return chain(
                frame,
                [
                    ("scale", {"flags": EXACT}),
                    ("format", {"pix_fmts": TABLE_FORMAT}),
                    ("lut3d", {"file": str(table), "interp": "tetrahedral"}),
                    ("scale", {"flags": EXACT, **output}),
                    ("format", {"pix_fmts": format_name}),
                ],
            )


__all__ = ["ToneMap", "deinterlaced"]
