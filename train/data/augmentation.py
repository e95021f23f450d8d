"""
Clip augmentation: flip, crop, scale and colour jitter (paper, section 4.1). All frames of a clip get the same
augmentation. The module also mixes the clips of a batch, which the paper does not do.
"""

from __future__ import annotations

import math

import torch
from torchvision.transforms.v2 import functional

from ...configuration.configuration_auss import IGNORED_LABEL
from ...processing.log_mel import LOG_OFFSET

# The ImageNet normalisation of most backbones maps this colour to zero.
IMAGENET_MEAN_COLOUR = (124, 116, 104)
# Hue is measured in turns of the colour circle and needs a weaker jitter than the factors: a quarter of their
# strength.
HUE_SHARE = 0.25
# The smallest and the largest share of a clip's pixels for a pasted object. Smaller objects are specks, and larger
# objects hide the rest of the picture.
PASTED_AREAS = (0.005, 0.35)


def _uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


class ClipAugmentation:
    """Random flip, scale, crop and colours of a clip. One generator makes all random choices.

    A scale s of 1 or more shows a random crop of 1/s of the height and width. A scale s of less than 1 shrinks the
    whole picture by s and puts it at a random place on `fill`; the labels of the fill are 255. One antialiased
    bilinear resize does crop, scale and the change to `size`. The colours are jittered after the resize, because the
    resized picture is smaller.

    Args:
        size: (height, width) of the augmented clip, in pixels.
        flip: probability of a horizontal flip.
        colour: strength c from 0 (off) to 1: brightness, contrast and saturation are multiplied by factors from
            [1 - c, 1 + c], and the hue turns by up to c / 4 of the colour circle. The order is random. Contrast is
            changed about the mean of the whole clip.
        scale: the lower and the upper bound of the scale, which is drawn uniformly.
        stretch: the largest ratio of the scales of height and width, to either side; 1 keeps the proportions. The
            network sees a wide video squeezed into a square, and stretched clips prepare it for that.
        fill: the colour (0 to 255) around a shrunken picture.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        size: tuple[int, int],
        flip: float = 0.5,
        colour: float = 0.4,
        scale: tuple[float, float] = (0.5, 2.0),
        stretch: float = 1.0,
        fill: tuple[int, int, int] = IMAGENET_MEAN_COLOUR,
    ):
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size must be (height, width), each at least 1, got {size}")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip must be a probability in [0, 1], got {flip}")
        if not 0 <= colour <= 1:
            raise ValueError(f"colour must be a strength in [0, 1], got {colour}")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale must be (low, high) with 0 < low <= high, got {scale}")
        if not 1 <= stretch < math.inf:
            raise ValueError(f"stretch must be a finite ratio of at least 1, got {stretch}")
        self.size = (int(size[0]), int(size[1]))
        self.flip = float(flip)
        self.colour = float(colour)
        self.scale = (float(scale[0]), float(scale[1]))
        self.stretch = float(stretch)
        self.fill = tuple(fill)

    def _draw(self, generator: torch.Generator) -> dict:
        """Draws all random numbers of a clip. Every clip draws the same count in the same order."""
        low, high = 1 - self.colour, 1 + self.colour
        hue = HUE_SHARE * self.colour
        drawn = {
            "flip": _uniform(generator) < self.flip,
            "scale": _uniform(generator, *self.scale),
            "place": (_uniform(generator), _uniform(generator)),
            "factors": [_uniform(generator, low, high) for _ in range(3)] + [_uniform(generator, -hue, hue)],
            "order": torch.randperm(4, generator=generator).tolist(),
        }
        # Drawn last, so that a seed gives an augmentation the same other numbers as in earlier versions.
        limit = math.log(self.stretch) / 2
        drawn["stretch"] = math.exp(_uniform(generator, -limit, limit))
        return drawn

    def _jitter_colours(self, frames: torch.Tensor, factors: list[float], order: list[int]) -> torch.Tensor:
        steps = (
            functional.adjust_brightness,
            functional.adjust_contrast,
            functional.adjust_saturation,
            functional.adjust_hue,
        )
        count, _, height, width = frames.shape
        # Stack the frames to one tall picture. Torchvision changes contrast about the mean of a picture, and that mean
        # must be the mean of the clip.
        tall = frames.transpose(0, 1).reshape(3, count * height, width)
        for index in order:
            tall = steps[index](tall, factors[index])
        return tall.reshape(3, count, height, width).transpose(0, 1)

    def __call__(
        self, frames: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augments a clip.

        Args:
            frames: (F, 3, H, W) uint8.
            labels: (F, h, w) int64, of the same picture at any size.
            generator: the only source of randomness. Every clip draws the same count of numbers.

        Returns:
            Frames (F, 3, *size) uint8 and labels (F, *size) int64. Each label is that of the nearest pixel.
        """
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3:
            raise ValueError(f"frames must be (F, 3, H, W) uint8, got {tuple(frames.shape)} {frames.dtype}")
        if labels.ndim != 3 or labels.shape[0] != frames.shape[0]:
            raise ValueError(f"labels must be (F, h, w) with F = {frames.shape[0]}, got {tuple(labels.shape)}")
        drawn = self._draw(generator)
        scales = drawn["scale"] * drawn["stretch"], drawn["scale"] / drawn["stretch"]
        crops, sizes, offsets = [], [], []  # for height, then width
        for full, target, scale, place in zip(frames.shape[-2:], self.size, scales, drawn["place"], strict=True):
            crop = min(full, max(1, round(full / scale)))
            size = min(target, max(1, round(target * scale)))
            crops.append((math.floor(place * (full - crop + 1)), crop))
            sizes.append(size)
            offsets.append(math.floor(place * (target - size + 1)))

        (top, height), (left, width) = crops
        shown = frames[:, :, top : top + height, left : left + width]
        shown = functional.resize(shown, sizes, antialias=True)
        shown_labels = self._sample_labels(labels, frames.shape[-2:], crops, sizes)
        if self.colour > 0:
            shown = self._jitter_colours(shown, drawn["factors"], drawn["order"])
        if drawn["flip"]:
            shown, shown_labels = shown.flip(-1), shown_labels.flip(-1)
        if tuple(sizes) == self.size:
            return shown.contiguous(), shown_labels.contiguous()

        canvas = torch.tensor(self.fill, dtype=torch.uint8)[None, :, None, None]
        canvas = canvas.expand(len(frames), 3, *self.size).contiguous()
        canvas_labels = torch.full((len(frames), *self.size), IGNORED_LABEL, dtype=labels.dtype)
        inside = (..., slice(offsets[0], offsets[0] + sizes[0]), slice(offsets[1], offsets[1] + sizes[1]))
        canvas[inside] = shown
        canvas_labels[inside] = shown_labels
        return canvas, canvas_labels

    @staticmethod
    def _sample_labels(labels: torch.Tensor, frame_size, crops: list[tuple[int, int]], sizes: list[int]):
        """Takes the label nearest to the centre of each output pixel; one look-up does crop and resize."""
        picks = []
        for full, label_full, (start, length), size in zip(frame_size, labels.shape[-2:], crops, sizes, strict=True):
            centres = start + (torch.arange(size, dtype=torch.float64) + 0.5) * (length / size)
            picks.append((centres * (label_full / full)).long().clamp(max=label_full - 1))
        return labels[:, picks[0][:, None], picks[1][None, :]]


def mix_log_mels(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """
    Computes the log-mel of two sounds heard together from the log-mels of both, of equal shape. The powers of
    unrelated sounds add up.
    """
    magnitudes = [(features.exp() - LOG_OFFSET).clamp(min=0) for features in (one, other)]
    return (torch.hypot(*magnitudes) + LOG_OFFSET).log()


class ClipMixing:
    """
    Audio-visual copy-paste: pastes the sounding objects of one clip of a batch into another clip, with or without
    their sound.

    If the looks of an object alone tell it from the rest of the picture, its clip teaches nothing about the sound. A
    pasted silent object looks like a sounding one, so only the sound tells that it is silent.

    Args:
        paste: probability that a clip gets another clip's object.
        heard: probability that a pasted object brings its sound. Its pixels then belong to the masks.

    Raises:
        ValueError: an argument is not a probability.
    """

    def __init__(self, paste: float = 0.5, heard: float = 0.5):
        for name, value in (("paste", paste), ("heard", heard)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be a probability in [0, 1], got {value}")
        self.paste, self.heard = paste, heard

    def __call__(self, clips: list[dict], generators: list[torch.Generator]) -> list[dict]:
        """
        Mixes the clips of a batch. Every clip takes its object from an unmixed clip.

        Args:
            clips: frames (F, 3, H, W) uint8, labels (F, h, w) int64 with 255 where nothing is annotated,
                input_features (T, 96, 64), input_features_mask (T,), frame_indices (the F numbers of the frames) and
                category. The clips are not changed.
            generators: the only source of randomness of each clip.
        """
        mixed = []
        for index, (clip, generator) in enumerate(zip(clips, generators, strict=True)):
            pastes, heard = (_uniform(generator) for _ in range(2))
            other = int(_uniform(generator) * (len(clips) - 1))
            if len(clips) == 1:
                mixed.append(clip)
                continue
            partner = clips[other + (other >= index)]
            differ = bool(clip["category"] and partner["category"]) and clip["category"] != partner["category"]
            if pastes < self.paste:
                # A silent object must be of another category. An object of the same or an unknown category would also
                # sound whenever the clip's own object sounds.
                clip = self._with_object(clip, partner, heard < self.heard or not differ)
            mixed.append(clip)
        return mixed

    @staticmethod
    def _with_object(clip: dict, partner: dict, heard: bool) -> dict:
        """Pastes the sounding objects of the partner into the clip. Returns the clip itself if they cannot be
        pasted."""
        labels, pasted_labels = clip["labels"], partner["labels"]
        shapes = {clip["frames"].shape, partner["frames"].shape}
        if len(shapes) > 1 or labels.shape != pasted_labels.shape or labels.shape[1:] != clip["frames"].shape[2:]:
            return clip
        # Both clips must show the same seconds: an object that sounds in the partner's third second must appear and
        # sound in the clip's third second.
        if clip["frame_indices"] != partner["frame_indices"]:
            return clip
        annotated = (pasted_labels != IGNORED_LABEL).flatten(1).any(1).nonzero().flatten()
        if not len(annotated):
            return clip
        # A frame without annotation gets the object of the nearest annotated frame.
        distances = (torch.arange(len(labels))[:, None] - annotated).abs()
        source = annotated[distances.argmin(1)]
        pixels, pasted_labels = partner["frames"][source], pasted_labels[source]
        shape = (pasted_labels > 0) & (pasted_labels != IGNORED_LABEL)
        own = (labels > 0) & (labels != IGNORED_LABEL)
        share = shape.float().mean().item()
        if not PASTED_AREAS[0] <= share <= PASTED_AREAS[1] or 2 * (own & shape).sum() > own.sum():
            return clip
        # A frame without annotation stays without labels. Otherwise the pasted object would be its only label.
        known = (labels != IGNORED_LABEL).flatten(1).any(1)[:, None, None]
        pasted = pasted_labels if heard else torch.zeros_like(pasted_labels)
        mixed = {
            "frames": torch.where(shape.unsqueeze(1), pixels, clip["frames"]),
            "labels": torch.where(shape & known, pasted, labels),
        }
        if heard:
            mixed["input_features"] = mix_log_mels(clip["input_features"], partner["input_features"])
            mixed["input_features_mask"] = torch.maximum(clip["input_features_mask"], partner["input_features_mask"])
        return {**clip, **mixed}


__all__ = ["ClipAugmentation", "ClipMixing", "IMAGENET_MEAN_COLOUR", "mix_log_mels"]
