"""From a row of `load_avsbench` to tensors: only the frames that are asked for are decoded."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
import soundfile
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from ..configuration.configuration_auss import IGNORED_LABEL
from ..processing.channel_mix import mix_channels
from ..processing.video_frames import pil_to_rgb
from .avss_palette import label_picture_to_ids

MASK_THRESHOLD = 128
EXIF_ORIENTATION = 0x0112
# What a wav written to a pipe says where its length belongs.
UNKNOWN_LENGTHS = (0, 0xFFFFFFFF)


def _name_of(value) -> str:
    """What an error message calls a picture or sound."""
    path = value.get("path") if isinstance(value, dict) else value
    return str(path) if isinstance(path, str | os.PathLike) else "(without a path)"


def _source(value, column: str):
    """The path or the open bytes of a stored file."""
    if isinstance(value, str | os.PathLike):
        return value
    if isinstance(value, dict) and value.get("bytes") is not None:
        return io.BytesIO(value["bytes"])
    if isinstance(value, dict) and value.get("path") is not None:
        return value["path"]
    raise ValueError(
        f'{column} must hold paths, {{"path", "bytes"}} dicts or decoded values, got {type(value).__name__}'
    )


def _open_picture(value, column: str) -> Image.Image:
    """A loaded PIL picture, turned upright as `datasets` turns it."""
    if isinstance(value, Image.Image):
        return value
    try:
        picture = Image.open(_source(value, column))
        picture.load()
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{column} file {_name_of(value)} is not a picture: {error}") from error
    except FileNotFoundError:
        raise  # names the file itself
    except OSError as error:
        raise ValueError(f"{column} file {_name_of(value)} cannot be decoded: {error}") from error
    if picture.getexif().get(EXIF_ORIENTATION) is not None:
        picture = ImageOps.exif_transpose(picture)
    return picture


def _decode_mask(value, num_labels: int) -> torch.Tensor:
    """Labels (H, W) int64 of a mask picture: 0 and 1 from black and white, or the class ids of its colours."""
    picture = _open_picture(value, "masks")
    name = _name_of(value)
    if num_labels > 2:
        ids = label_picture_to_ids(picture, num_labels, name)
    else:
        colours = np.asarray(picture.convert("RGB"))
        grey = colours[..., 0]
        if (colours != grey[..., None]).any():
            raise ValueError(
                f"mask {name} must be black and white, got colours: pictures of class colours need num_labels"
            )
        ids = (grey >= MASK_THRESHOLD).astype(np.uint8)
        # Not silently empty: 0/1 pictures land here.
        if grey.max() and not ids.any():
            raise ValueError(
                f"mask {name} must be black and white (0 and 255), got grey levels up to {grey.max()}; "
                "pictures of class ids need num_labels"
            )
    return torch.from_numpy(ids).long()


def _check_wav_length(value) -> None:
    """Raises ValueError where a RIFF header announces more bytes than the file has: libsndfile reads on regardless."""
    source = _source(value, "audio")
    if isinstance(source, io.BytesIO):
        head, size = source.getbuffer()[:8].tobytes(), source.getbuffer().nbytes
    else:
        size = os.path.getsize(source)
        with open(source, "rb") as file:
            head = file.read(8)
    announced = int.from_bytes(head[4:8], "little")
    if head[:4] == b"RIFF" and announced not in UNKNOWN_LENGTHS and announced + 8 > size:
        raise ValueError(f"audio file {_name_of(value)} is truncated: {size} of {announced + 8} bytes")


def decode_audio(value) -> tuple[torch.Tensor, int]:
    """A sound as float32 (samples,), mixed by `mix_channels`, in [-1, 1], and its sampling rate in Hz.

    Args:
        value: a path, {"path", "bytes"} or {"array", "sampling_rate"}, the array (samples,) or (samples, channels).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no sound that libsndfile reads, is truncated or has no samples.
    """
    if isinstance(value, dict) and value.get("array") is not None:
        samples, sampling_rate = np.asarray(value["array"], dtype=np.float32), int(value["sampling_rate"])
    else:
        source = _source(value, "audio")
        if not isinstance(source, io.BytesIO) and not os.path.isfile(source):
            raise FileNotFoundError(f"audio file {source} does not exist")
        _check_wav_length(value)
        try:
            samples, sampling_rate = soundfile.read(source, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise ValueError(f"audio file {_name_of(value)} is not a sound file: {error.error_string}") from error
    if samples.shape[0] == 0:
        raise ValueError(f"audio file {_name_of(value)} has no samples")
    if samples.ndim == 2:
        samples = mix_channels(samples.T)
    return torch.from_numpy(np.ascontiguousarray(samples)), sampling_rate


def _checked_indices(row: dict, frame_indices: Sequence[int] | None) -> list[int]:
    count = len(row["frames"])
    if count == 0:
        raise ValueError(f"frames of clip {row.get('clip_id', '')!r} are none; a clip needs at least one")
    if len(row.get("masks") or []) != len(row.get("annotated_frames") or []):
        raise ValueError(
            f"clip {row.get('clip_id', '')!r} has {len(row.get('masks') or [])} masks "
            f"for {len(row.get('annotated_frames') or [])} annotated_frames"
        )
    indices = list(range(count)) if frame_indices is None else [int(index) for index in frame_indices]
    if not indices or not all(0 <= index < count for index in indices):
        raise ValueError(f"frame_indices must name at least one of the frames 0 to {count - 1}, got {indices}")
    return indices


def _stack(tensors: list[torch.Tensor], what: str, clip_id: str) -> torch.Tensor:
    sizes = {tuple(tensor.shape[-2:]) for tensor in tensors}
    if len(sizes) > 1:
        raise ValueError(f"{what} of clip {clip_id!r} must have one size, got (height, width) {sorted(sizes)}")
    return torch.stack(tensors)


def decode_clip(
    row: dict, frame_indices: Sequence[int] | None = None, num_labels: int = 2, with_audio: bool = True
) -> dict:
    """Decodes the chosen frames of a clip with their labels, and its sound.

    Args:
        row: a row of `load_avsbench`; frames and masks are paths, {"path", "bytes"} (not decoded: fast) or PIL
            pictures. A row without masks has no annotated frame.
        frame_indices: the frames to decode, in this order; all unless told.
        num_labels: 2 reads masks as black and white; more reads them as pictures in `avss_palette` colours.
        with_audio: False leaves out waveform and sampling_rate.

    Returns:
        clip_id, category (strings), frames (F, 3, H, W) uint8, labels (F, h, w) int64: class ids in the masks' own
        size, 255 throughout a frame that is not annotated (in the frames' size where no chosen frame is annotated),
        waveform (samples,) float32, sampling_rate in Hz.

    Raises:
        ValueError: frame_indices out of range, pictures of unequal size, a file that cannot be decoded (by name).
        FileNotFoundError: a file that is not there.
    """
    indices = _checked_indices(row, frame_indices)
    clip_id = str(row.get("clip_id", ""))
    frames = []
    for index in indices:
        frames.append(pil_to_rgb(_open_picture(row["frames"][index], "frames")).permute(2, 0, 1))
    frames = _stack(frames, "frames", clip_id)

    positions = {frame: position for position, frame in enumerate(row.get("annotated_frames") or [])}
    masks = {i: _decode_mask(row["masks"][positions[i]], num_labels) for i in set(indices) if i in positions}
    size = next(iter(masks.values())).shape if masks else frames.shape[-2:]
    unannotated = torch.full(size, IGNORED_LABEL, dtype=torch.int64)
    labels = _stack([masks.get(index, unannotated) for index in indices], "masks", clip_id)

    clip = {"clip_id": clip_id, "category": str(row.get("category", "")), "frames": frames, "labels": labels}
    if with_audio:
        clip["waveform"], clip["sampling_rate"] = decode_audio(row["audio"])
    return clip


__all__ = ["IGNORED_LABEL", "decode_audio", "decode_clip"]
