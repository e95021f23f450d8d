"""Writes the masks of a video to files: PNG pictures in a folder, COCO annotations in JSON, or NumPy arrays."""

import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ...files.errors import InputError
from ...files.file_names import printable
from ...files.new_contents import NewContents, entries
from ...files.whole_files import WholeFile
from ...processing.drawing import area_around
from .read_results import LabelledFrame, read_frames
from .run_lengths import decode_rle, encode_rle
from .separate_objects import DEFAULT_MIN_AREA, check_min_area, separate_objects

# The names of mask pictures. Only files with exactly such names may be replaced.
MASK_NAME = re.compile(r"mask_[0-9]{6,}_[0-9]{5,}\.[0-9]{3}s(_object[0-9]+)?\.png")
COCO_SUFFIX, ARRAYS_SUFFIX = ".json", ".npz"
MOST_OBJECTS = 255  # of a frame, since the arrays of objects are uint8


def mask_name(index: int, time: float) -> str:
    """Returns the name of the mask of a frame without its ending: the number and the time of the frame."""
    return f"mask_{index:06d}_{time:09.3f}s"


def mask_values(labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Returns the values of a mask picture (H, W) uint8: 255 where something sounds; with more than two labels, class
    ids."""
    return labels if num_labels > 2 else (labels > 0).astype(np.uint8) * 255


def objects_of(frame: LabelledFrame, min_area: float) -> list[tuple[str, float, np.ndarray]]:
    """Returns label, score and mask (H, W) bool of each separate object of a frame, label by label, largest first."""
    return [
        (label, score, part) for label, score, mask in frame.segments for part in separate_objects(mask, min_area)
    ][:MOST_OBJECTS]


def known_size(frame: LabelledFrame) -> tuple[int, int]:
    """Returns the (height, width) of a frame. Raises ValueError if the result does not say it."""
    if frame.size is None:
        raise InputError(
            f"result must have a size for each frame: frame {frame.index} has no segment, and only the list that the "
            "pipeline returned has its size"
        )
    return frame.size


class MaskWriter(Protocol):
    """Writes the masks of a video, frame by frame."""

    def add(self, frame: LabelledFrame) -> None:
        """Adds the next frame."""
        ...

    def finish(self, path: Path) -> None:
        """Writes the file."""
        ...


class CocoWriter:
    """Collects the masks of a video as annotations in COCO's format, with compressed run lengths.

    Args:
        video: the name of the video, for `file_name`; "" if the frames have none.
        separate: whether each separate object is an annotation of its own.
        min_area: as `separate_objects` takes it.
    """

    def __init__(self, video: str = "", separate: bool = False, min_area: float = DEFAULT_MIN_AREA):
        self.video, self.separate, self.min_area = video, separate, min_area
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.label_ids: dict[str, int] = {}

    def add(self, frame: LabelledFrame) -> None:
        """Adds the next frame."""
        height, width = known_size(frame)
        image = {"id": len(self.images) + 1, "file_name": self.video, "height": height, "width": width}
        self.images.append({**image, "frame_index": frame.index, "timestamp": frame.time})
        self.label_ids |= frame.label_ids
        for label, score, mask in objects_of(frame, self.min_area) if self.separate else frame.segments:
            box = area_around(mask, 0)
            if box is None:
                continue
            rows, columns = box
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": image["id"],
                    "category_id": frame.label_ids[label],
                    "segmentation": encode_rle(mask),
                    "area": int(mask.sum()),
                    "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
                    "iscrowd": 0,
                    "score": round(score, 4),
                }
            )

    def finish(self, path: Path) -> None:
        """Writes the file. Label 0, silent, is no category."""
        categories = [{"id": label, "name": name} for name, label in self.label_ids.items() if label]
        content = {"images": self.images, "annotations": self.annotations, "categories": categories}
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")


class ArrayWriter:
    """Collects the masks of a video for a compressed file of NumPy. Until the end, masks are kept as run lengths.

    Args:
        separate, min_area: as `CocoWriter` takes them.
    """

    def __init__(self, separate: bool = False, min_area: float = DEFAULT_MIN_AREA):
        self.separate, self.min_area = separate, min_area
        self.frames: list[list[tuple[int, dict[str, Any]]]] = []
        self.sizes: list[tuple[int, int]] = []
        self.times: list[float] = []
        self.label_ids: dict[str, int] = {}

    def add(self, frame: LabelledFrame) -> None:
        """Adds the next frame. Raises ValueError if it has another size than the frames before."""
        size = known_size(frame)
        if self.sizes and size != self.sizes[0]:
            raise InputError(f"result must have frames of one size, got {self.sizes[0]} and {size}")
        self.sizes.append(size)
        self.times.append(float("nan") if frame.time is None else frame.time)
        self.label_ids |= frame.label_ids
        found = objects_of(frame, self.min_area) if self.separate else frame.segments
        self.frames.append([(frame.label_ids[label], encode_rle(mask)) for label, _, mask in found])

    def _write_array(self, archive: zipfile.ZipFile, name: str, by_object: bool) -> None:
        """Writes the masks (F, H, W) uint8 frame by frame, so that the whole array is never in memory."""
        size = self.sizes[0] if self.sizes else (0, 0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(self.frames), *size)}
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)  # pyright: ignore[reportArgumentType]
            for found in self.frames:
                values = np.zeros(size, np.uint8)
                for number, (label, rle) in enumerate(found, start=1):
                    values[decode_rle(rle)] = number if by_object else label
                file.write(values.tobytes())

    def finish(self, path: Path) -> None:
        """Writes the file."""
        names = [""] * (max([0, *self.label_ids.values()]) + 1)
        for name, label in self.label_ids.items():
            names[label] = name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            self._write_array(archive, "masks", by_object=False)
            if self.separate:
                self._write_array(archive, "objects", by_object=True)
            for name, values in (("timestamps", np.array(self.times, float)), ("labels", np.array(names))):
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, values, allow_pickle=False)


def write_objects(frame: LabelledFrame, folder: Path, num_labels: int, min_area: float = DEFAULT_MIN_AREA) -> None:
    """Saves a picture for each separate object of a frame, beside the mask of the whole frame."""
    for number, (label, _, part) in enumerate(objects_of(frame, min_area), start=1):
        values = mask_values(part * np.uint8(frame.label_ids[label]), num_labels)
        Image.fromarray(values).save(folder / f"{mask_name(frame.index, frame.time or 0.0)}_object{number}.png")


def mask_writer(path: Path, video: str = "", separate: bool = False, min_area: float = DEFAULT_MIN_AREA) -> MaskWriter:
    """Returns the writer for a file that ends in .json or .npz."""
    if path.suffix.lower() == COCO_SUFFIX:
        return CocoWriter(video, separate, min_area)
    return ArrayWriter(separate, min_area)


def is_mask_file(path: Path) -> bool:
    """Whether masks are written to `path` as one file. Any other path is that of a folder of PNG pictures."""
    return path.suffix.lower() in (COCO_SUFFIX, ARRAYS_SUFFIX)


def save_pictures(frames: Iterable[LabelledFrame], folder: Path, separate: bool, min_area: float) -> None:
    """Saves the masks of frames as PNG pictures in a new or an empty folder."""
    if entries(folder):
        raise FileExistsError(f"{printable(folder)} is not empty: choose another folder")
    with NewContents(folder) as contents:
        for frame in frames:
            num_labels = max([1, *frame.label_ids.values()]) + 1
            known_size(frame)
            labels = frame.label_map()
            assert labels is not None  # the size is known
            time = frame.time or 0.0
            picture = Image.fromarray(mask_values(labels, num_labels))
            picture.save(contents.new / f"{mask_name(frame.index, time)}.png")
            if separate:
                write_objects(frame, contents.new, num_labels, min_area)
        contents.install()


def save_masks(
    result: Any,
    path: str | Path,
    separate_objects: bool = False,
    min_area: float = DEFAULT_MIN_AREA,
    video: str = "",
    overwrite: bool = False,
) -> Path:
    """Saves the masks of a result to files. The ending of `path` chooses the form.

    - A folder (no ending): a PNG picture for each frame, `mask_FRAME_SECONDSs.png`. Its values are 255 where something
      sounds; with more than two labels, class ids.
    - .json: annotations in COCO's format, with the masks as compressed run lengths (RLE), box, area and score.
      `images` lists all frames, with `frame_index` and `timestamp`. pycocotools reads it.
    - .npz: `masks` (F, H, W) uint8 of class ids, `timestamps` (F,) in seconds, and `labels`, the names by class id.
      `numpy.load` reads it.

    Args:
        result: what the pipeline returns for one input, or what the processor returns for one clip.
        path: the folder, new or empty, or the file to write.
        separate_objects: whether each separate object gets a mask: further pictures
            `mask_FRAME_SECONDSs_objectNUMBER.png`; an annotation of its own; or in the .npz file `objects` (F, H, W)
            uint8, numbers from 1 in each frame. Objects are not followed from frame to frame.
        min_area: the least share of the picture that an object covers; smaller parts are no objects.
        video: the name of the video, which the annotations carry as `file_name`.
        overwrite: whether an existing file may be replaced. A folder must be empty anyway.

    Returns:
        The path.

    Raises:
        ValueError: `result` is something else, its frames have no or unequal sizes, or `min_area` is out of its range.
        FileExistsError: the file exists, or the folder is not empty.
    """
    path = Path(path)
    check_min_area(min_area)
    frames = read_frames(result)
    if not is_mask_file(path):
        if path.suffix:
            raise InputError(f"path must be a folder, or a file that ends in .json or .npz, got {str(path)!r}")
        save_pictures(frames, path, separate_objects, min_area)
        return path
    writer = mask_writer(path, video, separate_objects, min_area)
    for frame in frames:
        writer.add(frame)
    with WholeFile(path, overwrite) as file:
        writer.finish(file.partial_path)
    return path


__all__ = ["MASK_NAME", "is_mask_file", "mask_name", "mask_values", "mask_writer", "save_masks", "write_objects"]
