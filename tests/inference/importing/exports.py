"""Exports of labelling programs, written as those programs write them: CVAT's XML after docs.cvat.ai (XML annotation
format, versions 1.1) and its exporter's attributes, Label Studio's JSON after labelstud.io (task format, BrushLabels),
COCO's JSON after its data format."""

import json
from itertools import groupby
from xml.sax.saxutils import quoteattr

import numpy as np


def run_lengths(flat: np.ndarray) -> list[tuple[int, int]]:
    """(value, length) of each run of a flat array."""
    return [(int(value), len(list(run))) for value, run in groupby(flat.tolist())]


def background_first(flat: np.ndarray) -> list[int]:
    """The run lengths of a flat boolean array, alternately outside and inside, beginning outside."""
    runs = run_lengths(flat)
    lengths = [length for _, length in runs]
    return [0, *lengths] if runs and runs[0][0] else lengths


def coco_runs(mask: np.ndarray) -> dict:
    """COCO's uncompressed run lengths of a mask (H, W)."""
    return {"counts": background_first(mask.T.ravel()), "size": list(mask.shape)}


def coco_string(mask: np.ndarray) -> dict:
    """COCO's compressed run lengths of a mask (H, W)."""
    counts = coco_runs(mask)["counts"]
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
    return {"counts": text, "size": list(mask.shape)}


def brush_runs(mask: np.ndarray, word: int = 8, sizes=(3, 4, 8, 16)) -> list[int]:
    """Label Studio's rle of a mask (H, W): an RGBA picture whose four channels are all 255 inside."""
    flat = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    bits = f"{len(flat):032b}{word - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    for value, length in run_lengths(flat):
        while length:
            index = next((index for index, size in enumerate(sizes) if length <= 2**size), len(sizes) - 1)
            part = min(length, 2 ** sizes[index])
            bits += f"{int(part > 1)}{index:02b}{part - 1:0{sizes[index]}b}{value:0{word}b}"
            length -= part
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def brush_result(mask: np.ndarray, label: str, number: str = "a1") -> dict:
    """A result of `<BrushLabels>`."""
    return {
        "original_width": mask.shape[1],
        "original_height": mask.shape[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush_runs(mask), "brushlabels": [label]},
        "id": number,
        "from_name": "tag",
        "to_name": "image",
        "type": "brushlabels",
        "origin": "manual",
    }


def label_studio_task(number: int, image: str, results: list[dict] | None, **annotation) -> dict:
    """A task of Label Studio's JSON export. Without results (None) nobody has annotated it."""
    made = {"id": 10 + number, "completed_by": 1, "result": results, "was_cancelled": False, "ground_truth": False}
    made |= {"lead_time": 4.2, "result_count": len(results or []), "task": number, **annotation}
    return {
        "id": number,
        "annotations": [made] if results is not None else [],
        "file_upload": image.rpartition("/")[2],
        "drafts": [],
        "predictions": [],
        "data": {"image": image},
        "meta": {},
        "created_at": "2024-03-09T21:52:49.513742Z",
        "updated_at": "2024-03-09T22:16:08.746926Z",
        "project": 1,
    }


def cvat_mask(mask: np.ndarray) -> str:
    """The attributes of CVAT's `mask` element: its box and the run lengths in it, along the rows."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    runs = ", ".join(map(str, background_first(box.ravel())))
    size = f'width="{box.shape[1]}" height="{box.shape[0]}"'
    return f'rle="{runs}" left="{columns[0]}" top="{rows[0]}" {size}'


def cvat_points(points) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in points)


def cvat_meta(size: tuple[int, int], name: str = "task", source: str = "", step: int = 1, frames: int = 50) -> str:
    """The `meta` element of a task of a video, size (height, width)."""
    return f"""<meta>
    <task>
      <id>5</id><name>{name}</name><size>{frames}</size><mode>interpolation</mode><overlap>5</overlap>
      <bugtracker></bugtracker><created>2023-09-25 12:32:09.868194+03:00</created>
      <updated>2023-09-25 16:05:05.619841+03:00</updated><subset>default</subset>
      <start_frame>0</start_frame><stop_frame>{frames - 1}</stop_frame>
      <frame_filter>{f"step={step}" if step > 1 else ""}</frame_filter>
      <segments><segment><id>5</id><start>0</start><stop>{frames - 1}</stop><url>http://localhost:8080/api/jobs/5</url></segment></segments>
      <owner><username>admin</username><email></email></owner><assignee></assignee>
      <labels><label><name>dog</name><color>#33ddff</color><type>any</type><attributes></attributes></label></labels>
      <original_size><width>{size[1]}</width><height>{size[0]}</height></original_size>
      <source>{source}</source>
    </task>
    <dumped>2023-09-25 16:05:11.000000+00:00</dumped>
  </meta>"""


def cvat_file(meta: str, content: str) -> str:
    start = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    return f"{start}  {meta}\n{content}\n</annotations>\n"


def cvat_track(label: str, shapes: list[tuple[int, str, str, int]], number: int = 0) -> str:
    """A track of shapes: (frame, element, attributes, 1 if outside)."""
    lines = [
        f'    <{element} frame="{frame}" keyframe="1" outside="{outside}" occluded="0" {attributes} z_order="0">\n'
        f"    </{element}>"
        for frame, element, attributes, outside in shapes
    ]
    return "\n".join([f'  <track id="{number}" label={quoteattr(label)} source="manual">', *lines, "  </track>"])


def cvat_single_masks(label: str, masks: dict[int, np.ndarray], step: int = 1) -> str:
    """Masks of single frames, as CVAT exports them for video: each its own track, which ends in the next frame."""
    tracks = []
    for number, (frame, mask) in enumerate(masks.items()):
        shapes = [(frame, "mask", cvat_mask(mask), 0), (frame + step, "mask", cvat_mask(mask), 1)]
        tracks.append(cvat_track(label, shapes, number))
    return "\n".join(tracks)


def coco_file(images: list[dict], annotations: list[dict], labels: tuple[str, ...] = ("dog",), **more) -> str:
    """COCO's JSON: annotations get their ids, and belong to the first label unless they say otherwise."""
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(labels, 1)]
    made = [
        {"id": number, "category_id": 1, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1], **one}
        for number, one in enumerate(annotations, 1)
    ]
    return json.dumps({"info": {}, "images": images, "annotations": made, "categories": categories, **more})
