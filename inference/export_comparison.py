"""Whether an exported network computes what the model does: both are run on random clips, and compared."""

import math
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
# Of the audio queries everywhere, and of the other outputs for the median in a frame.
TOLERANCE = 1e-4
# A mask logit within rounding of tau (Eq. 13) may fall on the other side of it, which moves what comes of that frame;
# so it does from PyTorch's float32 to its float64, in up to 1 of 20 frames of a random network of 300 queries. A wrong
# graph is wrong in most frames of one kind: with one sound, of one clip of a batch, or at one place of all clips.
MOST_FRAMES = 0.4
# Frames of each kind to take that share of: clips are repeated, with other noise.
FEWEST_FRAMES = 8
# log(0.01), the log-mel of digital silence.
SILENCE = -4.605170185988091


@dataclass(frozen=True)
class Difference:
    """How far an exported network's outputs are from the model's."""

    scores: float  # the largest of `logits`, which are in [0, 1]
    largest: float  # of any output
    audio_queries: float  # the largest of `audio_queries`
    typical: float  # the median of an output in one frame, of the frame and the output where it is largest
    frames: float  # the share of frames, in [0, 1], whose median is over 1e-4: of the kind with the most

    @property
    def is_rounding(self) -> bool:
        """Whether the exported network is the model, but for rounding and for frames that it tipped over tau."""
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
    """Random frames and sound, the same for a seed. `lacking` of the T examples are padding; or all are silence."""
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
    """The largest share of wrong frames with one sound, of one clip of the batch, or at one place of all clips.

    Args:
        wrong: (kinds of sound, repetitions, B, F) bool.
    """
    share = wrong.double()
    return float(torch.cat([share.mean((1, 2, 3)), share.mean((0, 1, 3)), share.mean((0, 1, 2))]).max())


def compare(
    model: AussForAudioVisualSegmentation,
    exported: "ExportedModel",
    size: tuple[int, int],
    frames: int | None = None,
) -> Difference:
    """Runs both on random clips with sound, with padding, in silence and, unless `frames` is fixed, of two shapes."""
    exported.to("cpu")
    examples = model.config.num_audio_examples
    shapes = [(1, frames)] if frames is not None else [(1, 2 * TRACED_SIZES[1] + 2), (TRACED_SIZES[0] + 1, 1)]
    sounds = ((0, False), (examples // 2, False), (0, True), (examples, True))
    largest, typical, shares = defaultdict(list), [], []
    for clips, clip_frames in shapes:
        repetitions, medians = max(2, math.ceil(FEWEST_FRAMES / (clips * clip_frames))), []
        for lacking, silent in sounds:
            for _ in range(repetitions):
                seed = len(medians)  # another each time: frames are tipped over tau independently then
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
        shares.append(most_frames(~(medians <= TOLERANCE)))  # NaN is wrong too
    # max() of tensors, other than that of numbers, is NaN where one is.
    largest = {name: torch.stack(values).max() for name, values in largest.items()}
    return Difference(
        scores=float(largest["logits"]),
        largest=float(torch.stack(list(largest.values())).max()),
        audio_queries=float(largest["audio_queries"]),
        typical=float(torch.stack(typical).max()),
        frames=max(shares),
    )


__all__ = ["TOLERANCE", "TRACED_SIZES", "Difference", "compare", "example_inputs"]
