"""What the models refuse: inputs whose shapes do not belong together, and labels that are no class ids."""

from collections.abc import Sequence
from typing import Any

import torch

from ..configuration.configuration_auss import IGNORED_LABEL, AussConfig
from ..files.errors import InputError

FLOATING = ("pixel_values", "input_features", "frame_queries")


def check_types(**arguments: Any) -> None:
    """Raises ValueError for an argument of `forward` that is no tensor, or whose numbers are of the wrong kind; None
    says that an argument was not given. `pixel_values` must be."""
    if arguments.get("pixel_values") is None:
        raise InputError("pixel_values must be (B, F, 3, H, W), got None")
    for name, value in arguments.items():
        if value is None:
            continue
        if not isinstance(value, torch.Tensor):
            raise InputError(f"{name} must be a tensor, got {type(value).__name__}")
        if name in FLOATING and not value.is_floating_point():
            raise InputError(f"{name} must be of a floating-point type, got {value.dtype}")


def has_values(tensor: torch.Tensor) -> bool:
    """Whether a tensor's numbers may be looked at: not while a graph is made, and not on the meta device."""
    return tensor.device.type != "meta" and not torch.compiler.is_compiling()


def check_examples(
    input_features: torch.Tensor, input_features_mask: torch.Tensor | None, frame_examples: torch.Tensor | None
) -> None:
    """Raises ValueError for a mask of other values than 0 and 1, and for examples that there are not."""
    mask, num_examples = input_features_mask, input_features.shape[1]
    if mask is not None and has_values(mask) and not ((mask == 0) | (mask == 1)).all():
        raise InputError(
            f"input_features_mask must hold 1 for sound and 0 for padding, got {mask.unique().tolist()[:5]}"
        )
    if frame_examples is None:
        return
    if frame_examples.is_floating_point() or frame_examples.is_complex():
        raise InputError(f"frame_examples must be integers, got {frame_examples.dtype}")
    if has_values(frame_examples) and not ((frame_examples >= 0) & (frame_examples < num_examples)).all():
        raise InputError(
            f"frame_examples must be 0 ... {num_examples - 1}, the examples of input_features, got "
            f"{frame_examples.unique().tolist()[:5]}"
        )


def check_inputs(
    config: AussConfig,
    pixel_values: torch.Tensor,
    input_features: torch.Tensor | None,
    input_features_mask: torch.Tensor | None = None,
    frame_examples: torch.Tensor | None = None,
    frame_queries: torch.Tensor | None = None,
) -> None:
    """Raises ValueError for shapes that do not belong together, and what is no tensor, naming the argument."""
    check_types(
        pixel_values=pixel_values,
        input_features=input_features,
        input_features_mask=input_features_mask,
        frame_examples=frame_examples,
        frame_queries=frame_queries,
    )
    audio = config.audio_config
    if pixel_values.ndim != 5 or pixel_values.shape[2] != 3:
        raise InputError(f"pixel_values must be (B, F, 3, H, W), got {tuple(pixel_values.shape)}")
    if input_features is not None and frame_queries is not None:
        raise InputError("either input_features or frame_queries must be given, got both")
    if frame_queries is not None:
        expected = (*pixel_values.shape[:2], config.num_queries, config.hidden_size)
        shape = tuple(frame_queries.shape)
        is_views = expected[1] == 1 and len(shape) == 4 and shape[1] > 0 and (shape[0], 1, *shape[2:]) == expected
        if shape != expected and not is_views:
            raise InputError(f"frame_queries must be (B, F, N, e) = {expected}, got {tuple(frame_queries.shape)}")
        return
    if input_features is None:
        raise InputError("either input_features or frame_queries must be given, got neither")
    if input_features.ndim != 4 or tuple(input_features.shape[2:]) != (audio.num_frames, audio.num_mel_bins):
        raise InputError(
            f"input_features must be (B, T, {audio.num_frames}, {audio.num_mel_bins}), got "
            f"{tuple(input_features.shape)}"
        )
    if pixel_values.shape[0] != input_features.shape[0]:
        raise InputError(
            f"pixel_values and input_features must hold the same number of clips, got {pixel_values.shape[0]} "
            f"and {input_features.shape[0]}"
        )
    if 0 in pixel_values.shape or 0 in input_features.shape:
        raise InputError(
            f"pixel_values and input_features must not be empty, got {tuple(pixel_values.shape)} and "
            f"{tuple(input_features.shape)}"
        )
    if input_features.shape[1] > config.num_audio_examples:
        raise InputError(
            f"input_features must hold at most num_audio_examples={config.num_audio_examples} examples a clip, got "
            f"{input_features.shape[1]}: cut the sound into windows of {0.96 * config.num_audio_examples:.1f} s"
        )
    if input_features_mask is not None and input_features_mask.shape != input_features.shape[:2]:
        raise InputError(
            f"input_features_mask must be (B, T) as input_features {tuple(input_features.shape[:2])}, got "
            f"{tuple(input_features_mask.shape)}"
        )
    if frame_examples is not None and frame_examples.shape != pixel_values.shape[:2]:
        raise InputError(
            f"frame_examples must be (B, F) as pixel_values {tuple(pixel_values.shape[:2])}, got "
            f"{tuple(frame_examples.shape)}"
        )
    check_examples(input_features, input_features_mask, frame_examples)


def check_frame_mask(frame_mask: torch.Tensor | None, pixel_values: torch.Tensor) -> None:
    """Raises ValueError for a mask of another shape than (B, F), of other values than 0 and 1, or an empty clip."""
    check_types(pixel_values=pixel_values, frame_mask=frame_mask)
    if frame_mask is None:
        return
    if frame_mask.shape != pixel_values.shape[:2]:
        raise InputError(
            f"frame_mask must be (B, F) as pixel_values {tuple(pixel_values.shape[:2])}, got {tuple(frame_mask.shape)}"
        )
    if not ((frame_mask == 0) | (frame_mask == 1)).all():
        raise InputError(f"frame_mask must hold 1 for frames and 0 for padding, got {frame_mask.unique().tolist()}")
    counts = frame_mask.sum(1)
    if not (counts > 0).all():
        raise InputError(f"frame_mask must leave each clip a frame, got {counts.tolist()} frames")


def check_label_shape(labels: torch.Tensor, pixel_values: torch.Tensor) -> None:
    """Raises ValueError for labels that are not (B, F, H, W), or have no pixels."""
    if labels.ndim != 4 or labels.shape[:2] != pixel_values.shape[:2] or 0 in labels.shape:
        raise InputError(
            f"labels must be (B, F, H, W) with the clips and frames of pixel_values {tuple(pixel_values.shape[:2])}, "
            f"got {tuple(labels.shape)}"
        )


def stack_labels(labels: Sequence[torch.Tensor], pixel_values: torch.Tensor) -> torch.Tensor:
    """
    A (F, h, w) of labels for each clip to (B, F, H, W): of their own size where they have one, or else of that of
    `pixel_values`, each pixel from the label nearest to its centre. ValueError for those that are no such list.
    """
    if not isinstance(labels, Sequence) or isinstance(labels, str) or not labels:
        got = "an empty list" if isinstance(labels, Sequence) and not labels else type(labels).__name__
        raise InputError(f"labels must be a tensor, or a list of one for each clip, got {got}")
    for clip in labels:
        check_types(pixel_values=pixel_values, labels=clip)
    num_clips, num_frames, _, *size = pixel_values.shape
    shapes = [tuple(clip.shape) for clip in labels]
    if len(shapes) != num_clips or any(len(shape) != 3 or shape[0] != num_frames for shape in shapes):
        raise InputError(
            f"labels must be (B, F, H, W), or a list of (F, H, W), with the clips and frames of pixel_values "
            f"{(num_clips, num_frames)}, got a list of {shapes}"
        )
    if len(set(shapes)) > 1:
        labels = [
            torch.nn.functional.interpolate(clip[:, None].float(), size, mode="nearest-exact")[:, 0].to(clip.dtype)
            for clip in labels
        ]
    return torch.stack(list(labels))


def check_labels(labels: torch.Tensor, pixel_values: torch.Tensor, num_labels: int) -> None:
    """Raises ValueError for labels of a wrong shape or outside 0 ... K-1 and 255."""
    check_label_shape(labels, pixel_values)
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"labels must be integers, got {labels.dtype}")
    wrong = ((labels < 0) | (labels >= num_labels)) & (labels != IGNORED_LABEL)
    if wrong.any():
        raise InputError(
            f"labels must be 0 ... {num_labels - 1}, or {IGNORED_LABEL} for not annotated, got {int(labels[wrong][0])}"
        )


__all__ = ["check_frame_mask", "check_inputs", "check_label_shape", "check_labels", "check_types", "stack_labels"]
