"""Reads Label Studio's JSON export: brush masks, bitmasks and polygons of pictures that are frames of videos.

Each task has `data` with the addresses of its pictures, and `annotations` with `result`. Coordinates are percentages
of `original_width` and `original_height`. Label Studio has no masks on videos themselves, only boxes
(`videorectangle`). The short export, JSON-MIN, has the results of a task under the name of the tag instead of
`annotations`.
"""

import base64
import binascii
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ...files.errors import InputError
from ...processing.pictures import open_picture
from .labels import FrameLabels, Notes, Region
from .regions import check_mask_size, fill_ellipse, fill_polygon, read_label_studio_runs
from .video_names import PICTURE_SUFFIX

PICTURE_ADDRESS = "data:image/png;base64,"


def is_label_studio(content: Any) -> bool:
    """Tells whether the content of a JSON file is a list of Label Studio's tasks, or one task."""
    tasks = content if isinstance(content, list) else [content]
    return bool(tasks) and all(
        isinstance(task, dict) and ("data" in task or "annotation_id" in task) for task in tasks
    )


def draw_bitmask(address: Any, size: tuple[int, int]) -> np.ndarray:
    """Draws a bitmask: a PNG file in a `data:` address, opaque where the label is."""
    try:
        if not isinstance(address, str) or not address.startswith(PICTURE_ADDRESS):
            raise InputError(f"a bitmask must begin with {PICTURE_ADDRESS}, got {str(address)[:40]!r}")
        content = base64.b64decode(address.removeprefix(PICTURE_ADDRESS), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"a bitmask is no PNG in base64: {error}") from error
    picture = open_picture(content, "the bitmask")
    opacity = np.asarray(picture.convert("RGBA").getchannel("A"))
    return opacity >= 128


def draw_percent_polygon(points: Any, size: tuple[int, int]) -> np.ndarray:
    """Draws a polygon whose points are percentages of the width and the height."""
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise InputError(f"a polygon must be a list of [x, y], got {str(points)[:60]}")
    try:
        pixels = [(float(x) * size[1] / 100, float(y) * size[0] / 100) for x, y in points]
    except (TypeError, ValueError) as error:
        raise InputError(f"a polygon must be a list of [x, y], got {str(points)[:60]}") from error
    return fill_polygon(pixels, size)


def draw_percent_ellipse(value: dict, size: tuple[int, int]) -> np.ndarray:
    """Draws an ellipse. Its centre and its radii are percentages, and `rotation` turns it clockwise, in degrees."""
    try:
        x, y, radius_x, radius_y = (float(value[name]) for name in ("x", "y", "radiusX", "radiusY"))
        degrees = float(value.get("rotation") or 0)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"an ellipse must have x, y, radiusX and radiusY, got {str(value)[:60]}") from error
    centre = x * size[1] / 100, y * size[0] / 100
    return fill_ellipse(centre, (radius_x * size[1] / 100, radius_y * size[0] / 100), degrees, size)


def first_label(value: dict) -> str:
    """Returns the first label of a result. It stands under the name of the tag, such as `brushlabels`."""
    for name, given in value.items():
        if name.endswith("labels") and isinstance(given, list) and given:
            return str(given[0])
    return ""


def read_labelled_result(result: dict, origin: str, notes: Notes) -> Region | None:
    """Reads one result: a mask, a polygon or an ellipse. Returns None for anything else."""
    nested = result.get("value")
    value = nested if isinstance(nested, dict) else result
    kind = str(result.get("type") or "").lower()
    if not {"rle", "imageDataURL", "points", "radiusX"} & value.keys() or "keypoint" in kind:
        if kind not in ("choices", "textarea", "rating", "number", "datetime", "relation"):
            notes.pass_over(origin, f"results of type {kind or 'unknown'}")
        return None
    size = check_mask_size(result.get("original_height"), result.get("original_width"))
    if result.get("image_rotation"):
        raise InputError("its picture was turned in Label Studio: turn it back, so that it is like the video's frame")
    if "rle" in value:
        draw = partial(read_label_studio_runs, value["rle"])
    elif "imageDataURL" in value:
        draw = partial(draw_bitmask, value["imageDataURL"])
    elif "points" in value:
        draw = partial(draw_percent_polygon, value["points"])
    else:
        draw = partial(draw_percent_ellipse, value)
    return Region(first_label(value), size, draw)


def merged_labels(results: list[dict]) -> list[dict]:
    """Returns the results with the labels of separate tags. `<Brush>` and `<Labels>` give two results of the same id:
    one has the mask, the other one the label."""
    labels = {}
    for result in results:
        value = result.get("value")
        if isinstance(value, dict) and first_label(value):
            labels.setdefault(str(result.get("id")), first_label(value))
    merged = []
    for result in results:
        value = result.get("value")
        if isinstance(value, dict) and not first_label(value) and str(result.get("id")) in labels:
            result = {**result, "value": {**value, "labels": [labels[str(result.get("id"))]]}}
        elif str(result.get("type")).lower() == "labels" and isinstance(value, dict) and "rle" not in value:
            if sum(other.get("id") == result.get("id") for other in results) > 1:
                continue
        merged.append(result)
    return merged


def chosen_annotation(task: dict, where: str, notes: Notes) -> list[dict] | None:
    """Returns the results of a task: of its ground truth, or else of the first annotation that nobody cancelled. None
    if there is none."""
    if "annotations" not in task and "completions" not in task:  # the short export
        results = [one for found in task.values() if isinstance(found, list) for one in found if isinstance(one, dict)]
        return results or None
    listed = task.get("annotations", task.get("completions"))
    annotations = [
        one
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict) and not one.get("was_cancelled")
    ]
    if not annotations:
        return None
    truths = [one for one in annotations if one.get("ground_truth")]
    if len(annotations) > 1 and len(truths) != 1:
        notes.warn(f"{where} has {len(annotations)} annotations: the first one counts")
    results = (truths or annotations)[0].get("result")
    return merged_labels([one for one in (results if isinstance(results, list) else []) if isinstance(one, dict)])


def picture_addresses(task: dict) -> list[str]:
    """Returns the texts of a task that may be addresses of its picture, those with a picture's ending first."""
    nested = task.get("data")
    data = nested if isinstance(nested, dict) else task
    texts = [value for value in (*data.values(), task.get("file_upload")) if isinstance(value, str)]
    return sorted(texts, key=lambda text: not PICTURE_SUFFIX.search(text))  # texts of one kind keep their order


def pages_of(task: dict) -> list[str] | None:
    """Returns the addresses of a task with a list of pictures (`valueList`), or None."""
    data = task.get("data")
    for value in data.values() if isinstance(data, dict) else ():
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            return value
    return None


def read_task(task: dict, origin: str, notes: Notes) -> Iterator[FrameLabels]:
    """Yields the labels of the pictures of one task."""
    where = f"{origin}: task {task.get('id')}"
    results = chosen_annotation(task, where, notes)
    if results is None:
        return
    pages = pages_of(task)
    regions: dict[int, list[Region]] = {}
    if not results:
        regions[0] = []  # the annotator submitted the picture without a label: nothing sounds
    for result in results:
        try:
            region = read_labelled_result(result, origin, notes)
        except InputError as error:
            notes.problem(f"{where}: {error}")
            continue
        if region is not None:
            page = result.get("item_index")
            regions.setdefault(page if isinstance(page, int) and pages else 0, []).append(region)
    for page, found in regions.items():
        if pages is not None and not 0 <= page < len(pages):
            notes.problem(f"{where}: its item_index is {page}, but it has {len(pages)} pictures")
            continue
        names = [pages[page]] if pages is not None else picture_addresses(task)
        yield FrameLabels(f"{where} ({', '.join(names)[:100]})", tuple(names), None, tuple(found))


def read_label_studio(content: Any, origin: str, notes: Notes) -> list[FrameLabels]:
    """Reads the content of a JSON export of Label Studio.

    A task that was submitted without a label means that nothing sounds in its picture. A task that nobody submitted is
    left out.

    Args:
        content: the parsed JSON.
        origin: the name of the file, for messages.
        notes: notes results that cannot be used.
    """
    tasks = content if isinstance(content, list) else [content]
    return [one for task in tasks for one in read_task(task, origin, notes)]


__all__ = ["is_label_studio", "read_label_studio"]
