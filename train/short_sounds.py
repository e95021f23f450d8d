"""Sounds that end before the frames of their clip do, filled up as the authors of AVSBench fill them up."""

from __future__ import annotations

import torch


def repeat_last_example(
    features: torch.Tensor, mask: torch.Tensor, num_frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Repeats the last example of a sound, so that each frame of the clip has one.

    The frames of AVSBench are a second apart, and an example lasts 0.96 s. A sound of 5 s has 5 examples, but one of
    4.8 s has 4, since a tail that fills no example is dropped. Five frames spread over four examples: the fourth and
    the fifth would then hear the same second, and some frames the second before theirs. The authors' preprocessing
    (`preprocess_s4.py`, `extract_one_log_mel`) repeats the last example instead.

    A clip of more frames than the model takes examples has frames closer than a second; they stay spread evenly.

    Args:
        features: log-mel (T, 96, 64).
        mask: (T,) int64, 1 for the examples that are sound; these come first.
        num_frames: of the whole clip.

    Returns:
        Both, with `num_frames` examples of sound where there were fewer; the arguments themselves stay as they are.
    """
    count = int(mask.sum())
    if not 0 < count < num_frames <= len(mask):
        return features, mask
    features, mask = features.clone(), mask.clone()
    features[count:num_frames] = features[count - 1]
    mask[count:num_frames] = 1
    return features, mask


__all__ = ["repeat_last_example"]
