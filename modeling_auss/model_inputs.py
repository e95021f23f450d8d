"""Checks the inputs of the models, and removes the padding of clips that differ in length."""

from collections.abc import Sequence
from typing import Any, cast

import torch

from ..configuration.configuration_auss import IGNORED_LABEL, AussConfig
from ..files.errors import InputError

# The class logit of "no object" in a padding frame. The logits of the other classes are 0 there.
CERTAIN = 100.0
FLOATING = ("pixel_values", "input_features", "frame_queries")


def check_types(**arguments: Any) -> None:
    """
    Raises ValueError for an argument of `forward` that is not a tensor or has a wrong dtype.

    None means that an argument was not given. `pixel_values` must be given.
    """
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
    """Whether code may read a tensor's values. It may not while a graph is compiled, nor on the meta device."""
    return tensor.device.type != "meta" and not torch.compiler.is_compiling()


def check_examples(
    input_features: torch.Tensor, input_features_mask: torch.Tensor | None, frame_examples: torch.Tensor | None
) -> None:
    """Raises ValueError for a mask with values other than 0 and 1, and for numbers of examples that do not exist."""
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


def check_sound(config: AussConfig, num_clips: int, features: torch.Tensor, mask: torch.Tensor | None) -> None:
    """Raises ValueError if the shapes of the log-mel, of its mask and of the clips do not agree."""
    audio = config.audio_config
    if features.ndim != 4 or tuple(features.shape[2:]) != (audio.num_frames, audio.num_mel_bins):
        raise InputError(
            f"input_features must be (B, T, {audio.num_frames}, {audio.num_mel_bins}), got {tuple(features.shape)}"
        )
    if num_clips != features.shape[0]:
        raise InputError(
            f"pixel_values and input_features must hold the same number of clips, got {num_clips} and "
            f"{features.shape[0]}"
        )
    if features.shape[1] > config.num_audio_examples:
        raise InputError(
            f"input_features must hold at most num_audio_examples={config.num_audio_examples} examples a clip, got "
            f"{features.shape[1]}: cut the sound into windows of {0.96 * config.num_audio_examples:.1f} s"
        )
    if mask is not None and mask.shape != features.shape[:2]:
        raise InputError(
            f"input_features_mask must be (B, T) as input_features {tuple(features.shape[:2])}, got "
            f"{tuple(mask.shape)}"
        )


def check_frame_queries(config: AussConfig, frames_shape: Sequence[int], frame_queries: torch.Tensor) -> None:
    """
    Raises ValueError for frame queries of a wrong shape.

    Their shape must be that of (B, F) frames. If each clip has one frame, several views of that frame are allowed.
    """
    num_clips, num_frames = frames_shape
    expected = (num_clips, num_frames, config.num_queries, config.hidden_size)
    shape = tuple(frame_queries.shape)
    are_views = len(shape) == 4 and num_frames == 1 and shape[1] > 0 and (shape[0], 1, *shape[2:]) == expected
    if shape != expected and not are_views:
        raise InputError(f"frame_queries must be (B, F, N, e) = {expected}, got {shape}")


def check_frame_mask(frame_mask: torch.Tensor, frames_shape: Sequence[int]) -> None:
    """Raises ValueError for a mask with a shape other than (B, F), values other than 0 and 1, or an empty clip."""
    if frame_mask.shape != frames_shape:
        raise InputError(
            f"frame_mask must be (B, F) as pixel_values {tuple(frames_shape)}, got {tuple(frame_mask.shape)}"
        )
    if not ((frame_mask == 0) | (frame_mask == 1)).all():
        raise InputError(f"frame_mask must hold 1 for frames and 0 for padding, got {frame_mask.unique().tolist()}")
    counts = frame_mask.sum(1)
    if not (counts > 0).all():
        raise InputError(f"frame_mask must leave each clip a frame, got {counts.tolist()} frames")


def check_inputs(
    config: AussConfig,
    pixel_values: torch.Tensor,
    input_features: torch.Tensor | None,
    input_features_mask: torch.Tensor | None = None,
    frame_examples: torch.Tensor | None = None,
    frame_queries: torch.Tensor | None = None,
    frame_mask: torch.Tensor | None = None,
) -> None:
    """Raises ValueError for shapes that do not agree and for arguments that are not tensors. It names the argument."""
    check_types(
        pixel_values=pixel_values,
        input_features=input_features,
        input_features_mask=input_features_mask,
        frame_examples=frame_examples,
        frame_queries=frame_queries,
        frame_mask=frame_mask,
    )
    if pixel_values.ndim != 5 or pixel_values.shape[2] != 3:
        raise InputError(f"pixel_values must be (B, F, 3, H, W), got {tuple(pixel_values.shape)}")
    frames_shape = pixel_values.shape[:2]
    if (input_features is None) == (frame_queries is None):
        given = "neither" if input_features is None else "both"
        raise InputError(f"either input_features or frame_queries must be given, got {given}")
    if frame_queries is not None:
        check_frame_queries(config, frames_shape, frame_queries)
    if input_features is not None:
        check_sound(config, frames_shape[0], input_features, input_features_mask)
    sound = cast(torch.Tensor, frame_queries if input_features is None else input_features)
    if 0 in pixel_values.shape or 0 in sound.shape:
        name = "frame_queries" if input_features is None else "input_features"
        raise InputError(
            f"pixel_values and {name} must not be empty, got {tuple(pixel_values.shape)} and {tuple(sound.shape)}"
        )
    if frame_examples is not None and frame_examples.shape != frames_shape:
        raise InputError(
            f"frame_examples must be (B, F) as pixel_values {tuple(frames_shape)}, got {tuple(frame_examples.shape)}"
        )
    if input_features is not None:
        check_examples(input_features, input_features_mask, frame_examples)
    if frame_mask is not None:
        check_frame_mask(frame_mask, frames_shape)


def stack_labels(labels: Sequence[torch.Tensor], pixel_values: torch.Tensor) -> torch.Tensor:
    """
    Stacks a list of labels, (F, h, w) for each clip, to one tensor (B, F, H, W).

    If all clips have labels of the same size, the labels keep that size. Otherwise they are resized to the size of
    `pixel_values`: each pixel takes the label nearest to its centre.

    Raises:
        ValueError: `labels` is not such a list, or its clips and frames are not those of `pixel_values`.
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


class RealFrames:
    """
    Packs the real frames of a batch into one sequence without padding, and unpacks results again.

    Batch norm, attention and losses work frame by frame or over all frames of a batch. Because the network never sees
    the padding, a clip's result does not depend on how much padding the batch has.

    Args:
        frame_mask: (B, F), 1 for the M real frames and 0 for padding. Real frames may be at any place. None means that
            all frames are real.
        shape: (B, F).
    """

    def __init__(self, frame_mask: torch.Tensor | None, shape: torch.Size):
        self.shape = shape
        self.places = None  # (M,) of the real frames among all, if some are padding
        if frame_mask is not None and not frame_mask.all():
            self.places = frame_mask.flatten().nonzero().squeeze(-1)

    def pack(self, values: torch.Tensor) -> torch.Tensor:
        """Removes the padding: (B, F, ...) to (M, ...)."""
        values = values.flatten(0, 1)
        return values if self.places is None else values.index_select(0, self.places)

    def unpack(self, values: torch.Tensor, padding: torch.Tensor | float = 0.0) -> torch.Tensor:
        """
        Puts the padding back: (M, ...) to (B, F, ...).

        Padding frames are filled with `padding`, which is one value or one row of values.
        """
        if self.places is not None:
            padded = values.new_empty(self.shape.numel(), *values.shape[1:])
            padded[:] = padding
            values = padded.index_copy_(0, self.places, values)
        return values.unflatten(0, self.shape)

    def unpack_states(self, states: tuple | None) -> tuple | None:
        """Unpacks recorded states, each (M, ...) or None, to (B*F, ...). Returns None if no states were recorded."""
        return states and tuple(state if state is None else self.unpack(state).flatten(0, 1) for state in states)

    def unpack_classes(self, class_logits: torch.Tensor) -> torch.Tensor:
        """
        Unpacks class logits: (M, N, K + 1) to (B, F, N, K + 1).

        In padding frames, every query has the class "no object" with a probability close to 1.
        """
        no_object = class_logits.new_zeros(class_logits.shape[-1])
        no_object[-1] = CERTAIN
        return self.unpack(class_logits, padding=no_object)

    def pack_labels(
        self, labels: torch.Tensor | Sequence[torch.Tensor], pixel_values: torch.Tensor, num_labels: int
    ) -> torch.Tensor:
        """
        Checks labels and removes their padding.

        Args:
            labels: (B, F, H, W) integers, or a list with one (F, H, W) for each clip.
            pixel_values: (B, F, 3, H, W), the frames of the labels.
            num_labels: K.

        Returns:
            (M, H, W) int64.

        Raises:
            ValueError: a shape is wrong, or a real frame has values other than 0 ... K-1 and 255.
        """
        if not isinstance(labels, torch.Tensor):
            labels = stack_labels(labels, pixel_values)
        if labels.ndim != 4 or labels.shape[:2] != pixel_values.shape[:2] or 0 in labels.shape:
            raise InputError(
                "labels must be (B, F, H, W) with the clips and frames of pixel_values "
                f"{tuple(pixel_values.shape[:2])}, got {tuple(labels.shape)}"
            )
        if labels.shape[:2] != self.shape:
            raise InputError(f"labels must come without views of a frame, got frame_queries of {self.shape[1]} views")
        if labels.is_floating_point() or labels.is_complex():
            raise InputError(f"labels must be integers, got {labels.dtype}")
        labels = self.pack(labels)
        wrong = ((labels < 0) | (labels >= num_labels)) & (labels != IGNORED_LABEL)
        if wrong.any():
            raise InputError(
                f"labels must be 0 ... {num_labels - 1}, or {IGNORED_LABEL} for not annotated, got "
                f"{int(labels[wrong][0])}"
            )
        return labels.long()


__all__ = ["RealFrames", "check_inputs", "stack_labels"]
