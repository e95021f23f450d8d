"""A frozen audio encoder hears the same sounds in every epoch. Its features are computed once and remembered."""

from hashlib import blake2b

import torch

from ...modeling_auss.audio_encoder import VGGish

# The kernels of a CPU round differently for batches of different sizes. Sounds are encoded in batches of one size, so
# that a resumed run, which has to encode them anew, gets the same features to the last bit.
BATCH_SIZE = 16
# With 128 features in float32, these are about 100 MB. Copy-paste mixes ever new sounds, so there has to be a limit.
MOST_SOUNDS = 150_000


class RememberedSounds:
    """
    Computes what a frozen `VGGish` computes, and encodes each log-mel example only once.

    The examples are recognised by their values, so silence and mixed sounds are right too. It is meant for training
    on a CPU, where the encoder takes a good part of a step. On a GPU, reading the values back would cost more.

    Args:
        encoder: the frozen encoder. Its weights must not change.
    """

    def __init__(self, encoder: VGGish):
        self.encode = encoder.forward
        self.features: dict[tuple[bytes, bool], torch.Tensor] = {}

    def __call__(self, input_features: torch.Tensor, is_sound: torch.Tensor | None = None) -> torch.Tensor:
        """Takes and returns the same as `VGGish.forward`. Frozen, it does not need `is_sound`."""
        examples = input_features.flatten(0, 1).contiguous()
        # Training may run in bfloat16, and validation runs in float32.
        half = torch.is_autocast_enabled("cpu")
        keys = [
            (blake2b(example.view(torch.uint8).numpy().data, digest_size=16).digest(), half) for example in examples
        ]
        new = {key: index for index, key in enumerate(keys) if key not in self.features}
        if len(self.features) + len(new) > MOST_SOUNDS:
            self.features.clear()
            new = {key: index for index, key in enumerate(keys)}
        unheard = list(new.values())
        for start in range(0, len(unheard), BATCH_SIZE):
            chunk = unheard[start : start + BATCH_SIZE]
            filled = chunk + chunk[:1] * (BATCH_SIZE - len(chunk))
            for index, features in zip(chunk, self.encode(examples[filled].unsqueeze(1)), strict=False):
                self.features[keys[index]] = features.squeeze(0).clone()
        return torch.stack([self.features[key] for key in keys]).unflatten(0, input_features.shape[:2])


def remember_sounds(encoder: VGGish | None, device: torch.device) -> None:
    """Lets an encoder that is frozen and computes on a CPU remember its features. Others stay as they are."""
    if encoder is not None and encoder.frozen and device.type == "cpu":
        # nn.Module calls this attribute; names of weights, hooks and saving stay as they are.
        encoder.forward = RememberedSounds(encoder)


__all__ = ["RememberedSounds", "remember_sounds"]
