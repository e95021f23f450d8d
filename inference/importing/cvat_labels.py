"""Reads CVAT's XML, versions 1.0 and 1.1, "for images" and "for video": polygons, masks and ellipses.

"for video" has a `track` for each object, with a shape for each frame, also for the frames between the keyframes.
Frames are counted from 0, in the video itself. "for images" has an `image` for each frame.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import numpy as np

from ...files.errors import InputError
from .labels import FrameLabels, Moment, Notes, Region
from .regions import check_mask_size, fill_ellipse, fill_polygon, fill_runs

DRAWN = ("polygon", "mask", "ellipse")
NOT_DRAWN = ("box", "polyline", "points", "cuboid", "skeleton")
LONGEST_GAP = 100_000  # frames between two shapes of a track


def parse_xml(content: bytes, origin: str) -> ElementTree.Element:
    """Parses an XML file without declarations of its own (DOCTYPE), as CVAT writes it. Declarations could make the
    parser fill the memory or open other files.

    Raises:
        ValueError: the file is no XML in UTF-8, or has a declaration.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{origin} must be XML in UTF-8: {error}") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{origin} must not have a DOCTYPE, as CVAT's XML has none")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{origin} is no XML: {error}") from error


def attribute(shape: ElementTree.Element, name: str) -> float:
    """Returns a number from an attribute of a shape."""
    try:
        value = float(shape.attrib[name])
    except (KeyError, ValueError) as error:
        raise InputError(f"a {shape.tag} must have a number {name}, got {shape.attrib.get(name)!r}") from error
    if not np.isfinite(value):
        raise InputError(f"a {shape.tag} must have a finite {name}, got {value}")
    return value


def points_of(shape: ElementTree.Element) -> np.ndarray:
    """Returns the points of a polygon, written as x,y;x,y;..., as (N, 2)."""
    text = shape.attrib.get("points", "")
    try:
        pairs = (pair.split(",") for pair in text.split(";"))
        points = np.array([[float(x), float(y)] for x, y in pairs])
    except ValueError as error:
        raise InputError(f"a polygon's points must be written as x,y;x,y;x,y, got {text[:60]!r}") from error
    return points


def draw_boxed_runs(text: str, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Draws a mask whose run lengths, along the rows, fill a box (left, top, width, height). Returns bool (H, W)."""
    left, top, width, height = box
    if left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
        raise InputError(f"a mask of {width} x {height} at {left}, {top} leaves its picture of {size[1]} x {size[0]}")
    try:
        runs = [int(number) for number in text.split(",")]
    except ValueError as error:
        raise InputError(f"a mask's rle must be whole numbers with commas, got {text[:60]!r}") from error
    mask = np.zeros(size, dtype=bool)
    mask[top : top + height, left : left + width] = fill_runs(runs, (height, width), by_columns=False)
    return mask


def read_shape(shape: ElementTree.Element, label: str, size: tuple[int, int] | None) -> Region:
    """Reads a polygon, mask or ellipse. `size` is the (height, width) of its picture, or None."""
    if shape.tag == "polygon":
        return Region(label, size, partial(fill_polygon, points_of(shape)))
    if shape.tag == "ellipse":
        centre, radii = (
            (attribute(shape, "cx"), attribute(shape, "cy")),
            (attribute(shape, "rx"), attribute(shape, "ry")),
        )
        turn = attribute(shape, "rotation") if "rotation" in shape.attrib else 0.0
        return Region(label, size, partial(fill_ellipse, centre, radii, turn))
    left, top, width, height = (int(attribute(shape, name)) for name in ("left", "top", "width", "height"))
    check_mask_size(height, width)
    return Region(label, size, partial(draw_boxed_runs, shape.attrib.get("rle", ""), (left, top, width, height)))


def text_of(element: ElementTree.Element | None, path: str) -> str:
    found = element.find(path) if element is not None else None
    return (found.text or "").strip() if found is not None else ""


def read_cvat_images(root: ElementTree.Element, origin: str, silent: bool, notes: Notes) -> Iterator[FrameLabels]:
    """Yields the labels of each `image`."""
    tasks = tasks_of(root)
    for image in root.iter("image"):
        name = image.attrib.get("name", "")
        where = f"{origin}: image {name}"
        width, height = image.attrib.get("width"), image.attrib.get("height")
        try:
            size = None if width is None or height is None else check_mask_size(height, width)
            regions = []
            for shape in image:
                if shape.tag in DRAWN:
                    regions.append(read_shape(shape, shape.attrib.get("label", ""), size))
                elif shape.tag in NOT_DRAWN:
                    notes.pass_over(origin, f"shapes of type {shape.tag}")
        except InputError as error:
            notes.problem(f"{where}: {error}")
            continue
        if regions or silent:
            videos = video_names_of(root, task_of(image, tasks))
            yield FrameLabels(where, (name, *(f"{video}/{name}" for video in videos)), None, tuple(regions))


def tasks_of(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """Returns the tasks that a file describes, by their ids. The export of a single task has one, that of a project
    several, and that of a job one `job`."""
    meta = root.find("meta")
    described = [one for one in meta.iter() if one.tag in ("task", "job")] if meta is not None else []
    return {text_of(task, "id"): task for task in described}


def task_of(element: ElementTree.Element, tasks: dict[str, ElementTree.Element]) -> ElementTree.Element | None:
    """Returns the task of a track or an image: the one that it names, or else the only one."""
    return tasks.get(element.attrib.get("task_id", ""), next(iter(tasks.values())) if len(tasks) == 1 else None)


def video_names_of(root: ElementTree.Element, task: ElementTree.Element | None) -> list[str]:
    """Returns what the video of a task may be called: its source file, or the task's name."""
    names = [text_of(task, "source"), text_of(root.find("meta"), "source"), text_of(task, "name")]
    return [name for name in names if name]


def original_size(task: ElementTree.Element | None) -> tuple[int, int] | None:
    """Returns the (height, width) of a task's video; None if the file does not say so."""
    if task is None or task.find("original_size") is None:
        return None
    return check_mask_size(text_of(task, "original_size/height"), text_of(task, "original_size/width"))


def track_shapes(track: ElementTree.Element, origin: str, notes: Notes) -> dict[int, ElementTree.Element]:
    """Returns the shapes of a track that can be drawn, by their frames."""
    shapes = {}
    for shape in track:
        if shape.tag in DRAWN:
            frame = attribute(shape, "frame")
            if frame < 0 or frame != int(frame):
                raise InputError(f"a frame must be a whole number of at least 0, got {shape.attrib['frame']!r}")
            shapes[int(frame)] = shape
        elif shape.tag in NOT_DRAWN:
            notes.pass_over(origin, f"shapes of type {shape.tag}")
    return shapes


def seen_regions(
    shapes: dict[int, ElementTree.Element], label: str, size: tuple[int, int] | None, step: int
) -> Iterator[tuple[int, Region]]:
    """Yields (frame, region) for every frame in which a track is seen.

    CVAT writes the frames between two keyframes too. Where they are missing, a polygon with as many points as the next
    one moves evenly to it, and a mask or an ellipse stays as it is. Between polygons that differ in their number of
    points, the frames have no label.

    Args:
        shapes: the shapes of the track by their frames.
        label: the label of the track.
        size: (height, width) of the video, or None.
        step: how many frames apart the labelled frames of the task are.
    """
    frames = sorted(shapes)
    for frame, following in zip(frames, [*frames[1:], None], strict=True):
        shape = shapes[frame]
        if shape.attrib.get("outside") == "1":
            continue
        region = read_shape(shape, label, size)
        yield frame, region
        if following is None:
            continue
        if following - frame > LONGEST_GAP:
            raise InputError(f"nothing is said about the frames from {frame} to {following}")
        after, missing = shapes[following], range(frame + step, following, step)
        if shape.tag != "polygon" or after.attrib.get("outside") == "1":
            yield from ((one, region) for one in missing)
        elif after.tag == "polygon" and len(points_of(shape)) == len(points_of(after)):
            start, end = points_of(shape), points_of(after)
            for one in missing:
                part = (one - frame) / (following - frame)
                yield one, Region(label, size, partial(fill_polygon, (1 - part) * start + part * end))


def frame_step(task: ElementTree.Element | None) -> int:
    """Returns how many frames apart the frames of a task are. CVAT writes it as step=N in `frame_filter`."""
    found = re.search(r"step\s*=\s*(\d{1,6})", text_of(task, "frame_filter"))
    return max(1, int(found[1])) if found else 1


def read_cvat_tracks(root: ElementTree.Element, origin: str, stem: str, notes: Notes) -> Iterator[FrameLabels]:
    """Yields the labels of each frame in which a track is seen."""
    tasks = tasks_of(root)
    names: dict[str, tuple[str, ...]] = {}
    regions: dict[tuple[str, int], list[Region]] = defaultdict(list)
    for track in root.iter("track"):
        task, number = task_of(track, tasks), track.attrib.get("task_id", "")
        label = track.attrib.get("label", "")
        names[number] = (*video_names_of(root, task), stem)
        try:
            shapes = track_shapes(track, origin, notes)
            for frame, region in seen_regions(shapes, label, original_size(task), frame_step(task)):
                regions[number, frame].append(region)
        except InputError as error:
            notes.problem(f"{origin}: track {track.attrib.get('id', '')} ({label}): {error}")
    for (number, frame), found in regions.items():
        yield FrameLabels(f"{origin}: frame {frame}", names[number], Moment(frame=frame), tuple(found))


def read_cvat(content: bytes, origin: str, stem: str, silent: bool, notes: Notes) -> list[FrameLabels]:
    """Reads a CVAT XML file.

    Args:
        content: the bytes of the file.
        origin: the name of the file, for messages.
        stem: a name that the video may have if the file names none, such as the file's own name.
        silent: whether nothing sounds in an image without shapes. Otherwise such an image is left out.
        notes: notes shapes that cannot be used.

    Raises:
        ValueError: the file is no XML of CVAT.
    """
    root = parse_xml(content, origin)
    if root.tag != "annotations":
        raise InputError(f"{origin} must be CVAT's XML, whose root is annotations, got {root.tag!r}")
    return [*read_cvat_images(root, origin, silent, notes), *read_cvat_tracks(root, origin, stem, notes)]


__all__ = ["read_cvat"]
