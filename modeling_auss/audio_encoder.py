"""The audio encoder VGGish (Hershey et al. 2017; paper, Sec. 3.1). It turns log-mel examples into A_ori, T x e_0."""

import torch
from torch import nn

from ..configuration.configuration_auss import AussAudioConfig


class VGGish(nn.Module):
    """
    The standard VGGish network with its final ReLU. The configuration sets its widths.

    With the default configuration, the layers and their order match the public `torchvggish` weights file.
    """

    def __init__(self, config: AussAudioConfig):
        super().__init__()
        self.frozen = config.frozen
        layers, channels = [], 1
        for stage_channels, depth in zip(config.stage_channels, config.stage_depths, strict=True):
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, stage_channels, kernel_size=3, padding=1))
                if config.batch_norm:
                    layers.append(nn.BatchNorm2d(stage_channels))
                layers.append(nn.ReLU())
                channels = stage_channels
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        shrink = 2 ** len(config.stage_channels)
        features = channels * (config.num_frames // shrink) * (config.num_mel_bins // shrink)
        layers = []
        for width in (config.hidden_features, config.hidden_features, config.embedding_size):
            layers.append(nn.Linear(features, width))
            if config.batch_norm:
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.ReLU())
            features = width
        self.embeddings = nn.Sequential(*layers)
        if self.frozen:
            self.freeze()

    def freeze(self) -> None:
        """Keeps the weights and the statistics of batch norm unchanged from now on."""
        self.frozen = True
        self.eval()

    def train(self, mode: bool = True) -> "VGGish":
        if self.frozen:  # loading a checkpoint creates new parameters and then calls eval(), so freeze them here too
            self.requires_grad_(False)
        return super().train(mode and not self.frozen)

    def forward(self, input_features: torch.Tensor, is_sound: torch.Tensor | None = None) -> torch.Tensor:
        """
        Args:
            input_features: (B, T, 96, 64) log-mel, frames by bands.
            is_sound: (B, T), 1 for sound and 0 for padding. None means that no example is padding. In training, batch
                norm does not see the padding. The exception is a batch with fewer than two examples of sound: batch
                norm cannot normalise a single example.

        Returns:
            A_ori, (B, T, e_0), not negative. The values in the padding are arbitrary.
        """
        if is_sound is not None and self.training and 2 <= is_sound.sum() < is_sound.numel():
            is_sound = is_sound.bool()
            features = self.forward(input_features[is_sound].unsqueeze(1)).squeeze(1)
            return features.new_zeros(*is_sound.shape, features.shape[-1]).index_put((is_sound,), features)
        batch_size, num_examples = input_features.shape[:2]
        # On a CPU, pooling is many times faster in the channels-last layout.
        maps = self.features(input_features.flatten(0, 1).unsqueeze(-1).permute(0, 3, 1, 2))
        # The public weights expect TensorFlow's order: time, band, channel.
        flat = maps.permute(0, 2, 3, 1).flatten(1)
        return self.embeddings(flat).unflatten(0, (batch_size, num_examples))


__all__ = ["VGGish"]
