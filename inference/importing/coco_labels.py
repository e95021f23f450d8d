"""Reads COCO's JSON: polygons and run lengths of pictures that are frames of videos, with or without a `videos` list.

`images` and `annotations` are those of COCO. In the variant for videos (COCO-VID, TAO) an image has a `video_id` and a
`frame_id` from 0. YouTube-VIS has no `images`; its annotations have `segmentations`, one for each name in a video's
`file_names`, or null.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ...files.errors import InputError
from .labels import FrameLabels, Notes, Region
from .regions import check_mask_size, fill_polygon, fill_runs, read_coco_string
from .video_names import Numbering


def is_coco(content: Any) -> bool:
    """Tells whether the content of a JSON file has the lists of COCO or of YouTube-VIS."""
    return isinstance(content, dict) and "annotations" in content and ("images" in content or "videos" in content)


def table_of(content: dict, name: str) -> list[dict]:
    """Returns one of COCO's lists; an empty one if it is missing. Raises ValueError unless it is a list of objects."""
    table = content.get(name) or []
    if not isinstance(table, list) or not all(isinstance(one, dict) for one in table):
        raise InputError(f"COCO's {name} must be a list of objects, got {str(table)[:60]}")
    return table


def entries_by_id(content: dict, name: str) -> dict[Any, dict]:
    """Returns the entries of one of COCO's lists by their ids."""
    found = {}
    for one in table_of(content, name):
        if not isinstance(one.get("id"), int | str):
            raise InputError(f"an entry of COCO's {name} has no id: {str(one)[:80]}")
        found[one["id"]] = one
    return found


def entry_of(table: dict[Any, Any], number: Any) -> Any:
    """Returns the entry of an id; None if there is none, or if the id is neither a number nor a text."""
    return table.get(number) if isinstance(number, int | str) else None


def declared_size(entry: dict) -> tuple[int, int] | None:
    """Returns (height, width) of an image or a video; None if it does not say so."""
    height, width = entry.get("height"), entry.get("width")
    return None if not height or not width else check_mask_size(height, width)


def draw_polygons(polygons: list, size: tuple[int, int]) -> np.ndarray:
    """Draws the union of COCO's polygons, each a flat list of x and y."""
    mask = np.zeros(size, dtype=bool)
    for flat in polygons:
        if not isinstance(flat, list) or len(flat) % 2:
            raise InputError(f"a polygon of COCO must be a list of x and y in turn, got {str(flat)[:60]}")
        mask |= fill_polygon([flat[index : index + 2] for index in range(0, len(flat), 2)], size)
    return mask


def draw_runs(counts: Any, size: tuple[int, int]) -> np.ndarray:
    """Draws COCO's run lengths: a list, or a compressed string."""
    return fill_runs(read_coco_string(counts) if isinstance(counts, str) else counts, size, by_columns=True)


def read_segmentation(segmentation: Any, label: str, size: tuple[int, int] | None) -> Region:
    """Reads a `segmentation` of COCO. `size` is the (height, width) of its picture, or None.

    Raises:
        ValueError: it is neither a list of polygons nor an object with counts and size.
    """
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list | str):
        own = segmentation.get("size")
        if not isinstance(own, list) or len(own) != 2:
            raise InputError(f"run lengths of COCO must have a size [height, width], got {own!r}")
        return Region(label, check_mask_size(*own), partial(draw_runs, segmentation["counts"]))
    if isinstance(segmentation, list):
        polygons = [segmentation] if segmentation and isinstance(segmentation[0], int | float) else segmentation
        return Region(label, size, partial(draw_polygons, polygons))
    raise InputError(f"a segmentation of COCO must be polygons or run lengths, got {str(segmentation)[:60]}")


def category_names(content: dict) -> dict[Any, str]:
    return {number: str(one.get("name", "")) for number, one in entries_by_id(content, "categories").items()}


def read_coco_images(
    content: dict, origin: str, numbering: Numbering, silent: bool, notes: Notes
) -> Iterator[FrameLabels]:
    """Yields the labels of each image. `read_coco` describes the arguments."""
    labels, images, videos = (
        category_names(content),
        entries_by_id(content, "images"),
        entries_by_id(content, "videos"),
    )
    regions: dict[Any, list[Region]] = defaultdict(list)
    for annotation in table_of(content, "annotations"):
        image = entry_of(images, annotation.get("image_id"))
        where = f"{origin}: annotation {annotation.get('id')}"
        if image is None:
            notes.problem(f"{where} belongs to image {annotation.get('image_id')!r}, which the file does not list")
            continue
        segmentation = annotation.get("segmentation")
        if not segmentation:
            notes.pass_over(origin, "boxes or keypoints")
            continue
        try:
            label = entry_of(labels, annotation.get("category_id")) or ""
            regions[image["id"]].append(read_segmentation(segmentation, label, declared_size(image)))
        except InputError as error:
            notes.problem(f"{where}: {error}")
    for number, image in images.items():
        if number not in regions and not silent:
            continue
        name = str(image.get("file_name") or "")
        where = f"{origin}: image {name or number}"
        video = entry_of(videos, image.get("video_id")) or {}
        names = (name, str(video.get("name") or video.get("file_name") or ""))
        moment = None
        frame = image.get("frame_id", image.get("frame_index"))
        if video and isinstance(frame, int) and frame >= 0:
            names, moment = names[::-1], Numbering(numbering.rate).moment(frame)
        yield FrameLabels(where, names, moment, tuple(regions[number]))


def read_youtube_tracks(content: dict, origin: str, silent: bool, notes: Notes) -> Iterator[FrameLabels]:
    """Yields the labels of each frame of YouTube-VIS. `read_coco` describes the arguments."""
    labels, videos = category_names(content), entries_by_id(content, "videos")
    regions: dict[tuple[Any, int], list[Region]] = defaultdict(list)
    for annotation in table_of(content, "annotations"):
        video = entry_of(videos, annotation.get("video_id"))
        where = f"{origin}: annotation {annotation.get('id')}"
        found = annotation.get("segmentations")
        if video is None or not isinstance(found, list):
            notes.problem(f"{where} has no list of segmentations, or belongs to a video that the file does not list")
            continue
        for index, segmentation in enumerate(found):
            if not segmentation:
                continue
            try:
                label = entry_of(labels, annotation.get("category_id")) or ""
                regions[video["id"], index].append(read_segmentation(segmentation, label, declared_size(video)))
            except InputError as error:
                notes.problem(f"{where}, frame {index}: {error}")
    for number, video in videos.items():
        files = video.get("file_names")
        for index, name in enumerate(files if isinstance(files, list) else []):
            if silent or (number, index) in regions:
                where = f"{origin}: image {name}"
                yield FrameLabels(where, (str(name),), None, tuple(regions[number, index]))


def read_coco(content: Any, origin: str, numbering: Numbering, silent: bool, notes: Notes) -> list[FrameLabels]:
    """Reads the content of a COCO JSON file.

    Args:
        content: the parsed JSON.
        origin: the name of the file, for messages.
        numbering: what `frame_id` counts: frames of the video, or pictures taken at a rate.
        silent: whether nothing sounds in an image without annotations. Otherwise such an image is left out.
        notes: notes annotations that cannot be used.

    Raises:
        ValueError: a list of COCO is malformed.
    """
    try:
        if "images" not in content:
            return list(read_youtube_tracks(content, origin, silent, notes))
        return list(read_coco_images(content, origin, numbering, silent, notes))
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error


__all__ = ["is_coco", "read_coco"]
