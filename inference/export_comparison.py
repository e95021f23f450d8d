"""Whether an exported network computes what the model does: both are run on random clips, and compared."""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..configuration.configuration_auss import AussConfig
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation

if TYPE_CHECKING:
    from transformers.exporters.base import ExportedModel

# Clips and frames of the graph's example. A size of 1 would be taken for a constant, equal sizes for the same one.
TRACED_SIZES = (2, 3)
# For the typical difference, not the largest: a mask logit within rounding of tau (Eq. 13) may fall on the other side
# of it, which moves the scores of that frame. So it does from PyTorch's float32 to its float64.
TOLERANCE = 1e-4
# log(0.01), the log-mel of digital silence.
SILENCE = -4.605170185988091


@dataclass(frozen=True)
class Difference:
    """How far an exported network's outputs are from the model's."""

    scores: float  # the largest of `logits`, which are in [0, 1]
    largest: float  # of any output
    typical: float  # the median of an output of one clip, of the clip and the output where it is largest


def example_inputs(
    config: AussConfig,
    size: tuple[int, int],
    clips: int,
    frames: int,
    lacking: int = 0,
    silent: bool = False,
) -> dict[str, torch.Tensor]:
    """Random frames and sound, always the same. `lacking` of the T examples are padding; or all are silence."""
    audio, generator = config.audio_config, torch.Generator().manual_seed(0)
    features = torch.randn(clips, config.num_audio_examples, audio.num_frames, audio.num_mel_bins, generator=generator)
    mask = torch.ones(features.shape[:2], dtype=torch.long)
    mask[:, config.num_audio_examples - lacking :] = 0
    return {
        "pixel_values": torch.randn(clips, frames, 3, *size, generator=generator),
        "input_features": torch.full_like(features, SILENCE) if silent else features,
        "input_features_mask": mask,
    }


def compare(
    model: AussForAudioVisualSegmentation,
    exported: "ExportedModel",
    size: tuple[int, int],
    frames: int | None = None,
) -> Difference:
    """Runs both on random clips with sound, with padding, in silence and, unless `frames` is fixed, of two shapes."""
    exported.to("cpu")
    examples = model.config.num_audio_examples
    shapes = [(1, frames)] if frames is not None else [(1, TRACED_SIZES[1] + 1), (TRACED_SIZES[0] + 1, 1)]
    largest, medians = defaultdict(list), []
    for clips, clip_frames in shapes:
        for lacking, silent in ((0, False), (examples // 2, False), (0, True), (examples, True)):
            inputs: dict[str, Any] = example_inputs(model.config, size, clips, clip_frames, lacking, silent)
            with torch.no_grad():
                expected = model(**inputs)
            got = exported(**inputs)
            for name, value in expected.items():
                difference = (value - got[name]).abs()
                largest[name].append(difference.max())
                medians.append(difference.median())
    # max() of tensors, other than that of numbers, is NaN where one is.
    largest = {name: torch.stack(values).max() for name, values in largest.items()}
    return Difference(
        scores=float(largest["logits"]),
        largest=float(torch.stack(list(largest.values())).max()),
        typical=float(torch.stack(medians).max()),
    )


__all__ = ["TOLERANCE", "TRACED_SIZES", "Difference", "compare", "example_inputs"]
