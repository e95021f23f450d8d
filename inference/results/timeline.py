"""Draws what sounded when, and shows figures in notebooks."""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...files.errors import InputError
from ...files.file_names import printable
from ...processing.drawing import class_colour
from .sounding_times import summarise

ROW_HEIGHT, EDGE_HEIGHT = 0.45, 1.1  # inches
FAINTEST = 0.3  # opacity of a bar with the score 0.5; a score of 1 is opaque
LOWEST_SHOWN_SCORE = 0.5


class ShownFigure(Figure):
    """A Matplotlib figure that a notebook shows, and that belongs to no window. `savefig` writes it to a file."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        memory = io.BytesIO()
        self.savefig(memory, format="png")
        return memory.getvalue()


def bar_colour(label_id: int, score: float) -> tuple[float, float, float, float]:
    """Returns the colour of a bar: that of its class in the marked video, the fainter the lower the score."""
    certain = max(0.0, min(1.0, (score - LOWEST_SHOWN_SCORE) / (1 - LOWEST_SHOWN_SCORE)))
    red, green, blue = (value / 255 for value in class_colour(label_id))
    return red, green, blue, FAINTEST + (1 - FAINTEST) * certain


def plot_timeline(result: Any, title: str = "") -> Figure:
    """Draws what sounded when: a row for each label, a bar for each stretch of time.

    A bar has the colour of its label in the marked video, and is the fainter the lower its score is.

    Args:
        result: what the pipeline returns for one input, or the dict that `summarise` returned.
        title: a line above the picture.

    Returns:
        The figure, which a notebook shows. `figure.savefig("timeline.png")` writes it to a file.

    Raises:
        ValueError: `result` is something else.
    """
    summary = result if isinstance(result, dict) else summarise(result)
    if not {"segments", "seconds", "label_ids"} <= summary.keys():
        raise InputError(
            "result must be what the pipeline returns for one input, or what summarise returns, got a dict of "
            f"{', '.join(map(str, summary)) or 'nothing'}"
        )
    label_ids = summary["label_ids"]
    rows = {label: row for row, label in enumerate(label_ids)}
    figure = ShownFigure(figsize=(10, EDGE_HEIGHT + ROW_HEIGHT * max(1, len(rows))), layout="constrained")
    axes = figure.subplots()
    for segment in summary["segments"]:
        start, length = segment["start"], segment["end"] - segment["start"]
        colour = bar_colour(label_ids[segment["label"]], segment["score"])
        axes.broken_barh([(start, length)], (rows[segment["label"]] - 0.4, 0.8), facecolors=[colour])
    axes.set_xlim(0, summary["seconds"] or 1)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    # A name may hold dollar signs, between which Matplotlib would read a formula.
    axes.set_yticks(range(len(rows)), list(map(printable, rows)), parse_math=False)
    axes.set_xlabel("seconds (the fainter a bar, the lower its score)" if rows else "seconds: nothing sounds")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(printable(title), parse_math=False)
    return figure


__all__ = ["ShownFigure", "plot_timeline"]
