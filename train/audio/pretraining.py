"""`auss pretrain-audio` trains the audio encoder to classify sounds, before it is trained with pictures."""

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from ...configuration.configuration_auss import AussAudioConfig, AussConfig
from ...files.errors import DivergedError, InputError
from ...files.whole_files import WholeFile
from ...modeling_auss.audio_encoder import VGGish
from ...modeling_auss.published_weights.audio_weights import CONFIG_KEY
from ...processing.feature_extraction_auss import AussFeatureExtractor
from ...processing.log_mel import LOG_OFFSET
from ..arguments import check_at_least, check_share
from ..data.augmentation import mix_log_mels
from ..loop.schedule import create_optimizer, create_scheduler
from .labelled_sounds import LabelledSounds, load_labelled_sounds

GAINS = (-12.0, 6.0)  # dB
NOISE_LEVELS = (-4.6, -1.0)  # natural logarithm of the magnitude in a mel band: from almost silent to clearly audible
MASKED_FRAMES, MASKED_BANDS = 24, 12  # the most frames and bands left out, of 96 and 64


def augment(features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """
    Augments log-mels (B, T, 96, 64): changes the loudness, adds noise, and leaves out a stretch of time and of bands,
    as SpecAugment (Park et al. 2019) does.
    """

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    count, length, frames, bands = features.shape
    gain = 10 ** (draw(count, 1, 1, 1, low=GAINS[0], high=GAINS[1]) / 20)
    louder = ((features.exp() - LOG_OFFSET).clamp(min=0) * gain + LOG_OFFSET).log()
    level = draw(count, 1, 1, 1, low=NOISE_LEVELS[0], high=NOISE_LEVELS[1]) + 0.3 * torch.randn(
        features.shape, generator=generator
    )
    noisy = mix_log_mels(louder, level)
    silence = torch.tensor(LOG_OFFSET).log()
    for axis, size, most in ((2, frames, MASKED_FRAMES), (3, bands, MASKED_BANDS)):
        width = draw(count, length) * most
        start = draw(count, length) * (size - width)
        positions = torch.arange(size)
        left_out = (positions >= start[..., None]) & (positions < (start + width)[..., None])
        noisy = noisy.masked_fill(left_out.unsqueeze(3 if axis == 2 else 2), silence)
    return noisy


def mix_sounds(
    features: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor, share: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Mixes a share of the sounds of a batch with another sound of the batch. The targets of a mixture are the means of
    the targets of both sounds.
    """
    other = torch.randperm(len(features), generator=generator)
    mixed = torch.rand(len(features), generator=generator) < share
    both = mix_log_mels(features, features[other])
    return (
        torch.where(mixed[:, None, None, None], both, features),
        torch.where(mixed[:, None], torch.maximum(mask, mask[other]), mask),
        torch.where(mixed[:, None], (targets + targets[other]) / 2, targets),
    )


class SoundClassifier(nn.Module):
    """The audio encoder with a linear head on the mean of a sound's embeddings."""

    def __init__(self, config: AussAudioConfig, num_categories: int):
        super().__init__()
        self.encoder = VGGish(config)
        self.head = nn.Linear(config.embedding_size, num_categories)

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Maps log-mel (B, T, 96, 64) and mask (B, T), 1 for sound, to logits (B, C)."""
        embeddings = self.encoder(features, mask)
        weights = mask.to(embeddings.dtype).unsqueeze(-1)
        return self.head((embeddings * weights).sum(1) / weights.sum(1).clamp(min=1))


@torch.no_grad()
def accuracy(model: SoundClassifier, sounds: LabelledSounds, batch_size: int) -> float:
    """Returns the share of the sounds whose most probable category is one of their categories."""
    device = next(model.parameters()).device
    model.eval()
    right = 0
    for index in torch.arange(len(sounds)).split(batch_size):
        best = model(sounds.features[index].to(device), sounds.mask[index].to(device)).argmax(-1).cpu()
        right += int((sounds.targets[index, best] > 0).sum())
    return right / len(sounds)


def pretrain(
    sounds: LabelledSounds,
    validation: LabelledSounds,
    config: AussAudioConfig,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    mixed_share: float,
    seed: int,
    device: torch.device,
) -> tuple[SoundClassifier, list[dict[str, float]]]:
    """
    Trains a classifier on all sounds for `epochs` epochs. The share `mixed_share` of them is mixed with other sounds
    (`mix_sounds`).

    Returns:
        The classifier, and for each epoch its `loss`, its `accuracy` on `validation` (on `sounds` if `validation` is
        empty) and the `seconds` since the beginning.

    Raises:
        ValueError: `sounds` is empty.
        FloatingPointError: the loss became infinite or not a number.
    """
    if not len(sounds):
        raise InputError("data must hold sounds to train on, found none")
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = SoundClassifier(config, sounds.targets.shape[1]).to(device)
    batches = max(1, len(sounds) // batch_size)
    optimizer = create_optimizer(model, learning_rate, 1.0, 0.05)
    scheduler = create_scheduler(optimizer, epochs * batches, 0.1, 0.9)
    begin, history = time.perf_counter(), []
    with tqdm(total=epochs * batches, desc="pretraining", unit="step") as bar:
        for epoch in range(epochs):
            model.train()
            total = 0.0
            for index in torch.randperm(len(sounds), generator=generator)[: batches * batch_size].split(batch_size):
                batch = sounds.features[index], sounds.mask[index], sounds.targets[index]
                features, mask, targets = mix_sounds(*batch, mixed_share, generator)
                logits = model(augment(features, generator).to(device), mask.to(device))
                loss = nn.functional.cross_entropy(logits, targets.to(device))
                if not loss.isfinite():
                    raise DivergedError(f"the loss of epoch {epoch} is {loss.item()}: lower learning_rate")
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                total += loss.item()
                bar.update()
            right = accuracy(model, validation if len(validation) else sounds, batch_size)
            history.append({"loss": total / batches, "accuracy": right, "seconds": time.perf_counter() - begin})
            bar.set_postfix({"loss": f"{total / batches:.3f}", "accuracy": f"{right:.3f}"})
    return model, history


def save_encoder(model: SoundClassifier, config: AussAudioConfig, path: Path, overwrite: bool) -> None:
    """Writes the encoder's weights as safetensors, with its configuration, for `auss train --audio-weights`."""
    weights = {name: value.cpu().contiguous() for name, value in model.encoder.state_dict().items()}
    metadata = {"format": "pt", CONFIG_KEY: json.dumps(config.to_diff_dict())}
    with WholeFile(path, overwrite=overwrite) as file:
        file.partial_path.write_bytes(save(weights, metadata))


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    if arguments.output.suffix != ".safetensors":
        raise InputError(f"--output must end in .safetensors, got {str(arguments.output)!r}")
    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(f"{arguments.output} exists: choose another name, or allow it with --overwrite")
    for name in ("epochs", "batch_size"):
        check_at_least(name, getattr(arguments, name), 1)
    check_at_least("learning_rate", arguments.learning_rate, 0)
    check_share("mixed_share", arguments.mixed_share)
    preset = AussConfig.from_preset(arguments.preset)
    config = AussAudioConfig.from_dict(
        {**preset.audio_config.to_dict(), "batch_norm": arguments.batch_norm, "frozen": False}
    )
    extractor = AussFeatureExtractor(num_audio_examples=preset.num_audio_examples)
    names, sounds, validation = load_labelled_sounds(arguments.data, arguments.name, extractor)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model, history = pretrain(
        sounds,
        validation,
        config,
        arguments.epochs,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.mixed_share,
        arguments.seed,
        device or torch.device("cpu"),
    )
    save_encoder(model, config, arguments.output, arguments.overwrite)
    last, heard = history[-1], "validation" if len(validation) else "training"
    print(f"{arguments.output}: {len(names)} categories, {len(sounds)} sounds, {last['seconds']:.0f} s")
    print(f"{heard} accuracy {last['accuracy']:.3f}")
    return 0


__all__ = ["SoundClassifier", "augment", "pretrain", "run", "save_encoder"]
