"""Draws mask overlays, contact sheets of clips, and the curves of a training run.

The functions keep no global state. Pictures are Pillow images. Figures use Matplotlib's object interface with the Agg
canvas, so drawing works without a display and from any thread.
"""

import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ..configuration.configuration_auss import IGNORED_LABEL

# A warm red that is rare in photographs of instruments, animals and vehicles, and reads well at half opacity.
SOUNDING_COLOUR = (255, 40, 70)
SCORE_THRESHOLD = 0.5
# Pixels around a mask that get its colour. Video stores colours at half the size, so the colours of pixels beside a
# mask mix into the mask's edge.
COLOUR_MARGIN = 3
# The second tone of an outline, inside the first. All class colours are bright, so one of the two tones shows on any
# picture: the dark line on things of the class colour, and the bright line on dark things.
SECOND_TONE = (0, 0, 0)
# Keys of a history entry that are neither losses nor metrics. They are not drawn.
UNDRAWN_KEYS = frozenset(
    {"step", "epoch", "time", "seconds", "lr", "learning_rate", "delta", "training_progress", "fraction", "grad_norm"}
)

PAGE_COLOUR = (250, 250, 250)
TEXT_COLOUR = (30, 30, 30)
GAP = 4  # pixels between tiles
BLOCK_GAP = 14  # pixels between clips
ROW_NAMES = ("frame", "truth", "predicted")


def class_colour(label: int) -> tuple[int, int, int]:
    """Returns the colour of a class id: `SOUNDING_COLOUR` for 1. The golden ratio spreads other ids over the hues."""
    if label <= 1:
        return SOUNDING_COLOUR
    red, green, blue = colorsys.hsv_to_rgb((label * 0.61803398875) % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def outline_thickness(size: tuple[int, int]) -> int:
    """Returns the thickness of an outline in pixels for a (height, width): 1/200 of the shorter side, at least 1."""
    return max(1, round(min(size) / 200))


def area_around(marked: np.ndarray, margin: int) -> tuple[slice, slice] | None:
    """Returns the rows and columns of the smallest rectangle around the pixels of (H, W) bool that are True, with
    `margin` more pixels on each side. Returns None if no pixel is. The slices may end behind the last pixel."""
    rows = np.flatnonzero(marked.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(marked.any(axis=0))
    sides = (slice(max(0, int(one[0]) - margin), int(one[-1]) + 1 + margin) for one in (rows, columns))
    return next(sides), next(sides)


def outline(mask: np.ndarray, thickness: int) -> np.ndarray:
    """Returns the inner border of a boolean mask (H, W), as bool (H, W).

    The border consists of the mask's pixels that are at most `thickness` pixels away from a pixel outside the mask.
    The edge of the picture is not a border, so an object that leaves the picture has no outline there.
    """
    border = np.zeros_like(mask)
    # Process only the rectangle around the mask, because a mask may be a small part of a large picture.
    area = area_around(mask, thickness)
    if area is None:
        return border
    inside = ndimage.minimum_filter(mask[area].view(np.uint8), 2 * thickness + 1, mode="constant", cval=1)
    border[area] = mask[area] & (inside == 0)
    return border


def mark_layer(
    labels: np.ndarray, alpha: float = 0.5, contour: int | None = None, colour: tuple[int, int, int] | None = None
) -> np.ndarray:
    """Makes the layer to lay over a picture: a tint for every label, with an opaque outline in two tones. The outer
    line has the colour of the label, and the inner line is dark and half as thick.

    Args:
        labels: (H, W) bool or class ids. Pixels of 0 and of 255 (not annotated) stay as they are.
        alpha: opacity of the tint in [0, 1].
        contour: thickness of the outline in pixels. `None` means `outline_thickness`; 0 draws no outline.
        colour: red, green and blue, 0 to 255, for all labels. `None` gives each label its `class_colour`.

    Returns:
        (H, W, 4) uint8: red, green, blue and opacity. Pixels up to `COLOUR_MARGIN` away from a label have its colour,
        but opacity 0.
    """
    result = np.zeros((*labels.shape, 4), np.uint8)
    marked = labels if labels.dtype == bool else (labels != 0) & (labels != IGNORED_LABEL)
    thickness = outline_thickness(labels.shape) if contour is None else contour
    # Process only the rectangle around the labels, because labels may cover a small part of a large picture.
    area = area_around(marked, max(COLOUR_MARGIN, thickness))
    if area is None:
        return result
    marked = marked[area]
    inside = labels[area].astype(np.uint8) * marked
    layer = Image.new("RGBA", marked.shape[::-1])
    nearest = np.where(marked, inside, ndimage.maximum_filter(inside, 2 * COLOUR_MARGIN + 1))
    opacity = marked * np.uint8(round(255 * alpha))
    for label in np.flatnonzero(np.bincount(inside.ravel())).tolist():
        if label:
            shown = class_colour(label) if colour is None else colour
            layer.paste((*shown, 0), (0, 0), Image.fromarray(nearest == label))
            if thickness > 0:
                bright = outline(inside == label, thickness)
                both = outline(inside == label, thickness + max(1, thickness // 2))
                layer.paste((*SECOND_TONE, 0), (0, 0), Image.fromarray(both & ~bright))
                opacity[both] = 255
    result[area] = np.asarray(layer)
    result[area][..., 3] = opacity
    return result


def lay_over(picture: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Lays a layer (H, W, 4) of `mark_layer` over a picture (H, W, 3) uint8. Returns a new picture."""
    result = Image.fromarray(picture)
    result.paste(Image.fromarray(layer[..., :3]), mask=Image.fromarray(layer[..., 3]))
    return np.array(result)


def overlay(
    frame: np.ndarray,
    scores: np.ndarray,
    colour: tuple[int, int, int] = SOUNDING_COLOUR,
    alpha: float = 0.5,
    contour: int | None = None,
) -> np.ndarray:
    """Tints the sounding pixels of a frame and draws their outline.

    Args:
        frame: (H, W, 3) uint8; not changed.
        scores: (H, W), either a boolean mask or scores in [0, 1]. Scores above 0.5 are drawn.
        colour, alpha, contour: the arguments of `mark_layer`.

    Returns:
        A new (H, W, 3) uint8 picture.

    Raises:
        ValueError: the shapes or the dtype do not fit, or `alpha` lies outside [0, 1].
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"frame must be (H, W, 3) uint8, got shape {frame.shape} {frame.dtype}")
    if scores.shape != frame.shape[:2]:
        raise ValueError(
            f"scores must be (H, W) = {frame.shape[:2]} as the frame, got {scores.shape}: resize them first"
        )
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    mask = scores if scores.dtype == bool else scores > SCORE_THRESHOLD
    return lay_over(frame, mark_layer(mask, alpha, contour, colour))


def overlay_labels(
    frame: np.ndarray, labels: np.ndarray, alpha: float = 0.5, contour: int | None = None
) -> np.ndarray:
    """Draws a label map (H, W) of class ids on a frame (H, W, 3) uint8. Pixels of 0 stay as they are. Pixels of 255
    (not annotated) are greyed out. Every other id has its own colour."""
    picture = lay_over(frame, mark_layer(labels, alpha, contour))
    ignored = labels == IGNORED_LABEL
    if ignored.any():
        grey = picture[ignored].mean(axis=-1, keepdims=True)
        picture[ignored] = np.rint(0.35 * grey + 0.65 * 200).astype(np.uint8)
    return picture


def resize_map(values: np.ndarray, size: tuple[int, int], nearest: bool = False) -> np.ndarray:
    """Resizes a map (H, W) or a picture (H, W, 3) to `size` (height, width). The interpolation is bilinear with
    antialiasing, or takes the nearest value."""
    if values.shape[:2] == size:
        return values
    kind = np.uint8 if values.dtype == bool or nearest or values.ndim == 3 else np.float32
    resampling = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    resized = Image.fromarray(values.astype(kind)).resize((size[1], size[0]), resampling)
    return np.asarray(resized).astype(values.dtype)


def contact_sheet(
    clips: Sequence[dict], path: str | Path, columns: int = 1, tile_height: int = 112, max_frames: int = 5
) -> Path:
    """Saves one picture with a block for each clip: its title, its frames, the ground truth and the prediction.

    Args:
        clips: dicts with `title` (str), `frames` (F, H, W, 3) uint8, `labels` (F, h, w) class ids with 255 for "not
            annotated", and `scores` (F, h, w) in [0, 1]. Labels and scores may differ from the frames in size. A clip
            without `scores` has no row for the prediction.
        path: the file to write (.png or .jpg); its folder is made if missing.
        columns: blocks side by side.
        tile_height: height of each small picture in pixels; its width follows the frame.
        max_frames: the largest number of frames to show. A longer clip shows frames that are evenly spread.

    Returns:
        The path written.

    Raises:
        ValueError: there is no clip, or the frames, labels and scores of a clip differ in number.
    """
    if not clips:
        raise ValueError("clips must have at least one clip, got none")
    blocks = [clip_block(clip, tile_height, max_frames) for clip in clips]
    columns = max(1, min(columns, len(blocks)))
    rows = [blocks[start : start + columns] for start in range(0, len(blocks), columns)]
    width = max(sum(block.width + BLOCK_GAP for block in row) for row in rows) + BLOCK_GAP
    heights = [max(block.height for block in row) for row in rows]
    sheet = Image.new("RGB", (width, sum(heights) + BLOCK_GAP * (len(rows) + 1)), PAGE_COLOUR)
    top = BLOCK_GAP
    for row, height in zip(rows, heights, strict=True):
        left = BLOCK_GAP
        for block in row:
            sheet.paste(block, (left, top))
            left += block.width + BLOCK_GAP
        top += height + BLOCK_GAP
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def clip_block(clip: dict, tile_height: int, max_frames: int) -> Image.Image:
    """Draws one clip of a contact sheet: a title and three named rows (frame, truth, predicted), a column a frame. A
    clip without scores has the first two rows."""
    frames, labels = np.asarray(clip["frames"]), np.asarray(clip["labels"])
    scores = np.asarray(clip["scores"]) if "scores" in clip else None
    names = ROW_NAMES if scores is not None else ROW_NAMES[:2]
    counts = [len(part) for part in (frames, labels, scores) if part is not None]
    if len(set(counts)) > 1 or len(frames) == 0:
        raise ValueError(
            f"clip {clip['title']!r}: frames, labels and scores must have the same number of frames, at least one, "
            f"got {', '.join(map(str, counts[:-1]))} and {counts[-1]}"
        )
    size = (tile_height, max(1, round(tile_height * frames.shape[2] / frames.shape[1])))
    shown = np.unique(np.linspace(0, len(frames) - 1, min(max_frames, len(frames))).round().astype(int))
    font = ImageFont.load_default(size=14)
    margin = round(max(font.getlength(name) for name in ROW_NAMES)) + 8
    title_height = 22
    width = max(margin + len(shown) * (size[1] + GAP), round(font.getlength(clip["title"])) + 1)
    block = Image.new("RGB", (width, title_height + len(names) * (tile_height + GAP)), PAGE_COLOUR)
    draw = ImageDraw.Draw(block)
    draw.text((0, 0), clip["title"], fill=TEXT_COLOUR, font=font)
    for row, name in enumerate(names):
        middle = title_height + row * (tile_height + GAP) + tile_height // 2
        draw.text((0, middle), name, fill=TEXT_COLOUR, font=font, anchor="lm")
    for column, index in enumerate(shown):
        frame = resize_map(frames[index], size)
        truth = overlay_labels(frame, resize_map(labels[index], size, nearest=True), contour=2)
        tiles = [frame, truth]
        if scores is not None:
            tiles.append(overlay(frame, resize_map(scores[index].astype(np.float32), size), contour=2))
        for row, tile in enumerate(tiles):
            corner = (margin + column * (size[1] + GAP), title_height + row * (tile_height + GAP))
            block.paste(Image.fromarray(tile), corner)
    return block


def is_metric(name: str) -> bool:
    """Whether a history key names M_J or M_F. The key may have a prefix, as in `validation_M_J`."""
    return name.lower().replace("-", "_").endswith(("m_j", "m_f"))


def history_series(history: Iterable[dict]) -> dict[str, tuple[list[float], list[float]]]:
    """Turns a training history into curves of losses and metrics: {name: (steps, values)}.

    Each entry has `step`, the number of finished optimiser steps. It may hold losses by name, either directly or in a
    dict under `losses` or `loss_dict`. It may hold `M_J` or `M_F` with any prefix. Entries may have different keys,
    because validation is rarer than logging. Values that are not numbers, and keys such as `epoch`, are left out.
    """
    series: dict[str, tuple[list[float], list[float]]] = {}
    for entry in history:
        if "step" not in entry:
            raise ValueError(f"history: every entry needs 'step', got one with only {sorted(entry)}")
        values = dict(entry)
        for nested in ("losses", "loss_dict"):
            values.update(values.pop(nested, None) or {})
        for name, value in values.items():
            if name in UNDRAWN_KEYS or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            steps, points = series.setdefault(name, ([], []))
            steps.append(float(entry["step"]))
            points.append(float(value))
    return series


# What the names of the curves mean, for those that are not words of the field.
CURVE_MEANINGS = {
    "loss": "loss: the weighted sum of all terms",
    "auxiliary": "auxiliary: the terms of the layers before the last, weighted and summed",
    "aqdl": "aqdl: confident queries that are too close (Eq. 16)",
    "aqml": "aqml: confident queries whose masks overlap (Eq. 18)",
}


def draw_curves(axes: Any, series: dict[str, tuple[list[float], list[float]]]) -> None:
    """Draws curves with a legend, which lies below the axes, so that it covers no curve."""
    for name, (steps, values) in series.items():
        style = {"marker": "o"} if is_metric(name) or len(steps) == 1 else {}
        total = name == "loss"
        axes.plot(
            steps,
            values,
            label=CURVE_MEANINGS.get(name, name),
            linewidth=2.2 if total else 1.3,
            color="black" if total else None,
            **style,
        )
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13))


def training_curves(history: list[dict], path: str | Path) -> Path:
    """Saves the curves of a training run: each loss in one panel (logarithmic axis), M_J and M_F in another. A panel
    that would be empty, such as that of a run without validation, is left out.

    Args:
        history: log entries as in `history_series`, in the order of their steps.
        path: the picture to write; its folder is made if missing.

    Returns:
        The path written.

    Raises:
        ValueError: no entry holds a loss or a metric, or an entry lacks `step`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = history_series(history)
    if not series:
        raise ValueError(f"history must hold at least one loss or metric, got {len(history)} entries without any")
    losses = {name: curve for name, curve in series.items() if not is_metric(name)}
    metrics = {name: curve for name, curve in series.items() if is_metric(name)}
    panels = [panel for panel in (losses, metrics) if panel]
    figure = Figure(figsize=(1 + 5.5 * len(panels), 5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw_curves(axes, panel)
        if panel is metrics:
            axes.set(title="validation", ylim=(0, 1))
            continue
        axes.set(title="losses")
        values = [value for _, points in panel.values() for value in points]
        if min(values) > 0:
            axes.set_yscale("log")
        elif max(values) > 0:
            # A logarithmic axis cannot show zero, and AQML is zero if no query is confident.
            axes.set_yscale("symlog", linthresh=max(1e-3, min(value for value in values if value > 0)))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


__all__ = [
    "SOUNDING_COLOUR",
    "class_colour",
    "contact_sheet",
    "history_series",
    "lay_over",
    "mark_layer",
    "outline",
    "overlay",
    "overlay_labels",
    "resize_map",
    "training_curves",
]
