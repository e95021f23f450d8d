"""Compares an exported network with the model: both run on the same random clips."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...configuration.configuration_auss import AussConfig
from ...hub.exported_model import ExportedAuss
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation

if TYPE_CHECKING:
    from transformers.exporters.base import ExportedModel

# Number of clips and frames of the example for tracing. The exporter would take a size of 1 for a constant, and two
# equal sizes for the same axis.
TRACED_SIZES = (2, 3)
# Largest difference allowed: for each value of the audio queries, and for a frame's median of every other output.
TOLERANCE = 1e-4
# Rounding may move a mask logit across tau (Eq. 13), and then the other outputs of that frame change. Between float32
# and float64 in PyTorch this happens in up to 1 of 20 frames of a random network with 300 queries. A wrong graph is
# wrong in most frames of one kind: with one sound, of one clip of a batch, or at one place of all clips.
MOST_FRAMES = 0.4
# The share is taken over at least so many frames of each kind. Clips are repeated with other noise for this.
FEWEST_FRAMES = 8
# log(0.01), the log-mel of digital silence.
SILENCE = -4.605170185988091


@dataclass(frozen=True)
class Difference:
    """The differences between the outputs of an exported network and of the model."""

    scores: float  # the largest difference of `logits`, which are in [0, 1]
    largest: float  # the largest difference of any output
    audio_queries: float  # the largest difference of `audio_queries`
    typical: float  # the largest median difference of one output in one frame
    frames: float  # share in [0, 1] of frames whose median is over 1e-4, in the worst kind of frames

    @property
    def is_rounding(self) -> bool:
        """Whether only rounding separates the exported network from the model, also where it crosses tau."""
        return math.isfinite(self.largest) and self.audio_queries <= TOLERANCE and self.frames <= MOST_FRAMES


def example_inputs(
    config: AussConfig,
    size: tuple[int, int],
    clips: int,
    frames: int,
    lacking: int = 0,
    silent: bool = False,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """Makes random frames and sound from a seed. `lacking` of the T examples are padding. `silent` mutes all."""
    audio, generator = config.audio_config, torch.Generator().manual_seed(seed)
    features = torch.randn(clips, config.num_audio_examples, audio.num_frames, audio.num_mel_bins, generator=generator)
    mask = torch.ones(features.shape[:2], dtype=torch.long)
    mask[:, config.num_audio_examples - lacking :] = 0
    return {
        "pixel_values": torch.randn(clips, frames, 3, *size, generator=generator),
        "input_features": torch.full_like(features, SILENCE) if silent else features,
        "input_features_mask": mask,
    }


def most_frames(wrong: torch.Tensor) -> float:
    """The largest share of wrong frames among those with one sound, of one clip, or at one place of all clips.

    Args:
        wrong: (kinds of sound, repetitions, B, F) bool.
    """
    share = wrong.double()
    return float(torch.cat([share.mean((1, 2, 3)), share.mean((0, 1, 3)), share.mean((0, 1, 2))]).max())


def compare(
    model: AussForAudioVisualSegmentation,
    exported: "ExportedModel | ExportedAuss",
    size: tuple[int, int],
    frames: int | None = None,
) -> Difference:
    """Runs both on random clips: with sound, with padding and in silence. Without fixed `frames`, in two shapes."""
    exported.to("cpu")
    examples = model.config.num_audio_examples
    shapes = [(1, frames)] if frames is not None else [(1, 2 * TRACED_SIZES[1] + 2), (TRACED_SIZES[0] + 1, 1)]
    sounds = ((0, False), (examples // 2, False), (0, True), (examples, True))
    largest, typical, shares = defaultdict(list), [], []
    for clips, clip_frames in shapes:
        repetitions, medians = max(2, math.ceil(FEWEST_FRAMES / (clips * clip_frames))), []
        for lacking, silent in sounds:
            for _ in range(repetitions):
                seed = len(medians)  # differs each time, so frames cross tau independently
                inputs: dict[str, Any] = example_inputs(model.config, size, clips, clip_frames, lacking, silent, seed)
                with torch.no_grad():
                    expected = model(**inputs)
                got = exported(**inputs)
                differences = {name: (value - got[name]).abs() for name, value in expected.items()}
                for name, difference in differences.items():
                    largest[name].append(difference.max())
                of_frames = [value for name, value in differences.items() if name != "audio_queries"]
                medians.append(torch.stack([value.flatten(2).median(-1).values for value in of_frames]).amax(0))
        medians = torch.stack(medians).unflatten(0, (len(sounds), repetitions))
        typical.append(medians.max())
        shares.append(most_frames(~(medians <= TOLERANCE)))  # `~ <=` counts NaN as wrong
    # The max() of tensors, unlike that of numbers, is NaN if one value is NaN.
    largest = {name: torch.stack(values).max() for name, values in largest.items()}
    return Difference(
        scores=float(largest["logits"]),
        largest=float(torch.stack(list(largest.values())).max()),
        audio_queries=float(largest["audio_queries"]),
        typical=float(torch.stack(typical).max()),
        frames=max(shares),
    )


__all__ = ["TOLERANCE", "TRACED_SIZES", "Difference", "compare", "example_inputs"]
