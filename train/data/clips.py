"""Decodes rows of `load_avsbench` to tensors. Only the requested frames are decoded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...configuration.configuration_auss import IGNORED_LABEL
from ...files.errors import InputError
from ...files.stopping import stops_deferred
from ...processing.audio_inputs import decoded_sound, read_sound
from ...processing.channel_mix import mix_channels
from ...processing.pictures import is_stored_picture, on_the_scale, open_picture, to_eight_bits
from ...processing.row_formats import list_of_values, plain_row
from ...processing.video_frames import pil_to_rgb
from ...processing.waveforms import MAX_CHANNELS, to_mono
from .avsbench_layouts import CLASS_MASKS, missing_file_hint
from .avss_palette import AVSS_NUM_LABELS, label_picture_to_ids

MASK_THRESHOLD = 128
PICTURE_CHANNELS = (1, 3, 4)


def clip_row(row: Any) -> dict:
    """Converts a row of any format of `datasets` to a dict whose frames, masks and annotated_frames are lists.

    Raises:
        ValueError: the value is no row, or the row has no frames.
    """
    row = plain_row(row)
    if "frames" not in row:
        raise InputError(f"a row must have the column frames, got {sorted(map(str, row))}")
    lists = {name: list_of_values(row.get(name)) for name in ("frames", "masks", "annotated_frames")}
    return {**row, **lists, "annotated_frames": [int(index) for index in lists["annotated_frames"]]}


def _of_clip(clip_id: str) -> str:
    """Returns the beginning of an error message about a clip."""
    return f"clip {clip_id!r}: " if clip_id else ""


def _picture_name(value: Any, column: str, index: int, clip_id: str) -> str:
    """Returns the name of a frame or mask for error messages: its clip and, if known, its file."""
    path = value.get("path") if isinstance(value, Mapping) else value
    if isinstance(path, str | os.PathLike):
        return f"{_of_clip(clip_id)}{column} file {os.fspath(path)}"
    file = getattr(value, "filename", "")  # `open_picture` and Pillow set the file name on decoded pictures
    return f"{_of_clip(clip_id)}{column}[{index}]{f' ({file})' if file else ''}"


def _picture_of_array(values: Any, name: str) -> Image.Image:
    """Converts an array (H, W), (H, W, C) or (C, H, W), as the formats torch, numpy and jax give it, to a picture."""
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim == 3 and array.shape[0] in PICTURE_CHANNELS and array.shape[2] not in PICTURE_CHANNELS:
        array = np.moveaxis(array, 0, 2)
    elif array.ndim == 3 and array.shape[0] in PICTURE_CHANNELS and isinstance(values, torch.Tensor):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or array.size == 0 or array.dtype.kind not in "bfiu":
        raise InputError(f"{name} must be a picture, got an array of shape {array.shape} and type {array.dtype}")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8 and not (array.dtype == np.uint16 and array.ndim == 2):
        array = on_the_scale(torch.from_numpy(np.ascontiguousarray(array)), name).round().to(torch.uint8).numpy()
    return Image.fromarray(array)


def _open_picture(value: Any, column: str, index: int, clip_id: str) -> tuple[Image.Image, str]:
    """Returns a loaded upright PIL picture of a stored, decoded or formatted column, and its name for error
    messages."""
    name = _picture_name(value, column, index, clip_id)
    if isinstance(value, Image.Image):
        return value, name
    if isinstance(value, str | os.PathLike):
        return open_picture(value, name), name
    if is_stored_picture(value):
        content = value.get("bytes")
        return open_picture(value["path"] if content is None else content, name), name
    if hasattr(value, "shape"):
        return _picture_of_array(value, name), name
    raise InputError(
        f'{_of_clip(clip_id)}{column} must hold paths, {{"path", "bytes"}} dicts or decoded values, got '
        f"{type(value).__name__}"
    )


def _black_and_white_ids(picture: Image.Image, name: str) -> np.ndarray:
    """Returns 0 and 1 (H, W) for the pixels of a black and white mask."""
    colours = np.asarray(to_eight_bits(picture, name).convert("RGB"))
    grey = colours[..., 0]
    if (colours != grey[..., None]).any():
        raise InputError(f"{name} must be black and white, got colours: pictures of class colours need num_labels")
    ids = (grey >= MASK_THRESHOLD).astype(np.uint8)
    # A picture of the values 0 and 1 must be an error, not a silently empty mask.
    brightest = np.asarray(picture).max() if picture.mode.startswith("I") else grey.max()
    if brightest and not ids.any():
        raise InputError(
            f"{name} must be black and white (0 and 255), got grey levels up to {brightest}; "
            "pictures of class ids need num_labels"
        )
    return ids


def _decode_mask(value: Any, index: int, row: dict, num_labels: int) -> torch.Tensor:
    """Decodes a mask picture to labels (H, W) int64: 0 and 1 from black and white, or the class ids of its colours."""
    picture, name = _open_picture(value, "masks", index, str(row.get("clip_id", "")))
    if num_labels > 2:
        ids = label_picture_to_ids(picture, num_labels, name)
    elif row.get("mask_kind") == CLASS_MASKS:  # S4 and MS3 out of AVSS: every class but 0 sounds
        ids = label_picture_to_ids(picture, AVSS_NUM_LABELS, name) > 0
    else:
        ids = _black_and_white_ids(picture, name)
    return torch.from_numpy(ids).long()


def decode_audio(value: Any, clip_id: str = "") -> tuple[torch.Tensor, int]:
    """Decodes a sound to float32 (samples,) in [-1, 1], its channels mixed by `mix_channels`, and its sampling rate in
    Hz.

    Args:
        value: a path, {"path", "bytes"}, {"array", "sampling_rate"} with an array as `to_mono` takes it, or an
            `AudioDecoder` of `datasets`.
        clip_id: the name of the clip for error messages.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: libsndfile cannot read the file, the file is truncated or has no samples, or a sample is NaN or
            infinite.
    """
    path = value.get("path") if isinstance(value, Mapping) else value
    file = f" file {os.fspath(path)}" if isinstance(path, str | os.PathLike) else ""
    name = f"{_of_clip(clip_id)}audio{file}"
    if isinstance(value, str | os.PathLike):
        value = {"path": value}
    if isinstance(value, Mapping) and value.get("array") is None:
        content: Any = value.get("bytes")
        content = content.tobytes() if hasattr(content, "tobytes") else content
        if content is None and path is None:
            raise InputError(f"{name} must hold a path, bytes or an array, got none of them")
        try:
            # libsndfile calls Python to read from memory, and an error that a signal raises there would be lost.
            with stops_deferred():
                samples, sampling_rate = read_sound(path if content is None else content, name)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}{missing_file_hint(str(path), 'audio')}") from error
    else:
        value = decoded_sound(value)
        if not isinstance(value, Mapping) or "array" not in value:
            raise InputError(
                f'{name} must hold paths, {{"path", "bytes"}} dicts or decoded values, got {type(value).__name__}'
            )
        samples, sampling_rate = value["array"], int(value["sampling_rate"])
    if isinstance(samples, np.ndarray) and samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS < samples.shape[0]:
        samples = mix_channels(samples.T)
    return torch.from_numpy(np.ascontiguousarray(to_mono(samples, name), dtype=np.float32)), sampling_rate


def _checked_indices(row: dict, frame_indices: Sequence[int] | None) -> list[int]:
    count, clip_id = len(row["frames"]), row.get("clip_id", "")
    if count == 0:
        raise InputError(f"frames of clip {clip_id!r} are none; a clip needs at least one")
    if len(row["masks"]) != len(row["annotated_frames"]):
        raise InputError(
            f"clip {clip_id!r} has {len(row['masks'])} masks for {len(row['annotated_frames'])} annotated_frames"
        )
    beyond = [index for index in row["annotated_frames"] if not 0 <= index < count]
    if beyond:
        raise InputError(f"annotated_frames of clip {clip_id!r} must be 0 to {count - 1}, got {beyond}")
    indices = list(range(count)) if frame_indices is None else [int(index) for index in frame_indices]
    if not indices or not all(0 <= index < count for index in indices):
        raise InputError(f"frame_indices must name at least one of the frames 0 to {count - 1}, got {indices}")
    return indices


def _stack(tensors: list[torch.Tensor], what: str, clip_id: str) -> torch.Tensor:
    sizes = {tuple(tensor.shape[-2:]) for tensor in tensors}
    if len(sizes) > 1:
        raise InputError(f"{what} of clip {clip_id!r} must have one size, got (height, width) {sorted(sizes)}")
    return torch.stack(tensors)


def decode_clip(
    row: Any, frame_indices: Sequence[int] | None = None, num_labels: int = 2, with_audio: bool = True
) -> dict:
    """Decodes the chosen frames of a clip with their labels, and its sound.

    Args:
        row: a row of `load_avsbench` in any format of `datasets`. Frames and masks are paths, {"path", "bytes"} (not
            yet decoded, the fastest form), PIL pictures or arrays. A row without masks has no annotated frame.
        frame_indices: the frames to decode, in this order. The default is all frames.
        num_labels: 2 reads masks as black and white. A larger number reads masks as pictures in `avss_palette`
            colours, or in grey levels that are class ids.
        with_audio: False leaves out waveform and sampling_rate.

    Returns:
        clip_id and category (strings), frames (F, 3, H, W) uint8, labels (F, h, w) int64, waveform (samples,) float32
        and sampling_rate in Hz. The labels are class ids in the size of the masks. A frame that is not annotated has
        255 everywhere. If no chosen frame is annotated, the labels have the size of the frames.

    Raises:
        ValueError: frame_indices are out of range, pictures have unequal sizes, or a file cannot be decoded. The error
            names the clip and the file.
        FileNotFoundError: a file does not exist.
    """
    row = clip_row(row)
    indices = _checked_indices(row, frame_indices)
    clip_id = str(row.get("clip_id", ""))
    frames = []
    for index in indices:
        picture, name = _open_picture(row["frames"][index], "frames", index, clip_id)
        frames.append(pil_to_rgb(picture, name).permute(2, 0, 1))
    frames = _stack(frames, "frames", clip_id)

    positions = {frame: position for position, frame in enumerate(row["annotated_frames"])}
    masks = {
        index: _decode_mask(row["masks"][positions[index]], positions[index], row, num_labels)
        for index in dict.fromkeys(indices)
        if index in positions
    }
    size = next(iter(masks.values())).shape if masks else frames.shape[-2:]
    unannotated = torch.full(size, IGNORED_LABEL, dtype=torch.int64)
    labels = _stack([masks.get(index, unannotated) for index in indices], "masks", clip_id)

    clip = {"clip_id": clip_id, "category": str(row.get("category", "")), "frames": frames, "labels": labels}
    if with_audio:
        clip["waveform"], clip["sampling_rate"] = decode_audio(row.get("audio"), clip_id)
    return clip


def repeat_last_example(
    features: torch.Tensor, mask: torch.Tensor, num_frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Repeats the last example of a sound, so that every frame of the clip has its own example.

    The frames of AVSBench are a second apart, and an example lasts 0.96 s. A sound of 5 s has 5 examples. A sound of
    4.8 s has only 4, because a tail that fills no example is dropped. If five frames were spread over four examples,
    the fourth and the fifth frame would hear the same second, and some frames would hear the second before their own.
    The authors' preprocessing (`preprocess_s4.py`, `extract_one_log_mel`) repeats the last example instead.

    If a clip has more frames than the model takes examples, its frames are closer than a second. Such frames stay
    spread evenly.

    Args:
        features: log-mel (T, 96, 64).
        mask: (T,) int64, 1 for examples of sound and 0 for padding. Examples of sound come first.
        num_frames: the number of frames of the whole clip.

    Returns:
        Features and mask. If the sound had fewer examples than frames, both now have `num_frames` examples of sound.
        The arguments are not changed.
    """
    count = int(mask.sum())
    if not 0 < count < num_frames <= len(mask):
        return features, mask
    features, mask = features.clone(), mask.clone()
    features[count:num_frames] = features[count - 1]
    mask[count:num_frames] = 1
    return features, mask


__all__ = ["IGNORED_LABEL", "clip_row", "decode_audio", "decode_clip", "repeat_last_example"]
