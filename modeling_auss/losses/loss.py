"""Eq. 19: AQDL and AQML on confident queries, focal and dice losses on matched ones, with deep supervision."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from ...configuration.configuration_auss import IGNORED_LABEL, AussConfig
from ..resized_maps import MaskFeatures, resize
from .components import component_segments
from .frame_targets import FrameTargets, frame_targets
from .matcher import HungarianMatcher, dice_cost
from .query_losses import audio_query_distance_loss, audio_query_mask_loss
from .query_selection import confident_rows, sounding_probabilities


def class_focal_loss(
    class_logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    gamma: float,
    total_weight: torch.Tensor | None = None,
):
    """
    Focal loss [20] over the queries' classes, the weighted mean over queries.

    Args:
        class_logits: (M, N, K + 1).
        targets: (M, N) int64 in 0 ... K.
        weights: (K + 1,), one for each class, or (M, N), one for each query.
        gamma: the focusing exponent; 0 gives the cross-entropy.
        total_weight: what the weighted sum is divided by, if not the sum of the weights.
    """
    log_probs = class_logits.float().log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    if weights.ndim == 1:
        weights = weights[targets]
    if total_weight is None:
        total_weight = weights.sum()
    return (-weights * (1 - log_probs.exp()) ** gamma * log_probs).sum() / total_weight.clamp(min=1e-6)


def cross_entropy(mask_logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """
    The mean binary cross-entropy over the annotated pixels of every mask with every target.

    Args:
        mask_logits: (M, n, P).
        targets: (M, K, P), 0 or 1, and 0 where nothing is annotated.
        valid: (M, 1, P), 0 or 1.

    Returns:
        (M, n, K).
    """
    # log(1 + e^x) - xt, summed by products: no tensor of all pixels but the first term's. Rounding leaves some 1e-6 of
    # the logits' size, and 1e-7 in a pixel's gradient: far below what trains.
    entropy = nn.functional.softplus(mask_logits) @ valid.mT - mask_logits @ targets.mT
    return entropy / valid.sum(-1, keepdim=True).clamp(min=1)


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """
    The mean of a tensor over the processes of data parallelism, which all call this. Their gradients are averaged: a
    sum in each, divided by such a mean, becomes the mean over what all of them have.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()


def on_device(indices: Sequence[torch.Tensor], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Indices of the CPU, (S,) int64 each, on a device: in one copy, for which the CPU does not wait."""
    joined = torch.cat(list(indices)).to(device, non_blocking=True)
    return joined.split([len(one) for one in indices])


def packed_slots(frames: torch.Tensor, num_frames: int) -> tuple[torch.Tensor, int]:
    """
    For rows that belong to the frames (S,), which ascend: the number of each row in its frame, (S,) int64, and the
    largest number of rows that a frame has.
    """
    counts = frames.bincount(minlength=num_frames)
    slots = torch.arange(len(frames), device=frames.device) - (counts.cumsum(0) - counts)[frames]
    return slots, int(counts.max())


class AussLoss(nn.Module):
    """The training objective; each term is a method that returns an unweighted scalar."""

    def __init__(self, config: AussConfig):
        super().__init__()
        self.config = config
        self.num_labels = config.num_labels
        self.matcher = HungarianMatcher(config.class_weight, config.dice_weight, config.queries_per_segment)
        self.weights = {
            "aqdl": config.aqdl_weight,
            "aqml": config.aqml_weight,
            "class": config.class_weight,
            "dice": config.dice_weight,
            "mask_focal": config.mask_focal_weight,
            "mask_cross_entropy": config.mask_cross_entropy_weight,
        }

    @property
    def supervised_terms(self) -> list[str]:
        """The names of `supervised_losses`' terms."""
        per_pixel = [name for name in ("mask_focal", "mask_cross_entropy") if self.weights[name]]
        return ["class", "dice", *per_pixel]

    @property
    def unmatched_weight(self) -> float:
        """The weight of a query without a segment in the class loss."""
        return 0.0 if self.config.unmatched_queries == "free" else float(self.config.no_object_weight)

    def numbered_segments(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, int]:
        """The segments of frames with labels (M, H, W), as `frame_targets` takes them, and how many a frame has."""
        if self.config.segments_by == "label":
            return labels, None, self.num_labels
        numbers, segment_labels = component_segments(labels, self.num_labels)
        return numbers, segment_labels, segment_labels.shape[1]

    def divisors(
        self, numbers: torch.Tensor, num_queries: int, num_segments: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        What the sums over queries, over segments and over frames are divided by, for the mean over the queries (by
        their classes' weights) and segments of the annotated frames, and over all frames; in training those of all
        processes, whose clips may differ in length.

        Args:
            numbers: (M, H, W) int64, the labels or, with `segments_by="component"`, the numbers of the segments.
            num_queries: N.
            num_segments: how many numbers there are; None for one a label.
        """
        flat = numbers.flatten(1)
        present = torch.stack([(flat == number).any(-1) for number in range(num_segments or self.num_labels)], dim=-1)
        # As long as there are queries.
        matched = (present.sum(-1) * self.config.queries_per_segment).clamp(max=num_queries)
        annotated = (flat != IGNORED_LABEL).any(-1)
        segments = matched.sum().float()
        weight = segments + self.unmatched_weight * (annotated.sum() * num_queries - segments)
        counts = torch.stack([weight, segments, torch.full_like(segments, len(numbers))])
        if self.training:  # in evaluation some processes may have more batches than others
            counts = mean_over_processes(counts)
        return counts[0], counts[1], counts[2]

    def class_loss(
        self,
        class_logits: torch.Tensor,
        matches: torch.Tensor,
        total_weight: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Focal loss of (M, N, K + 1) against the labels of the matched queries; `unmatched_queries` says what the others
        are taught.

        Args:
            class_logits: (M, N, K + 1).
            matches: (M, P), the query of each place, -1 for places without one.
            total_weight: as `class_focal_loss` takes it.
            labels: (M, P), the label of each place; None where the places are the K labels.
        """
        num_frames, num_queries, _ = class_logits.shape
        if labels is None:
            labels = torch.arange(self.num_labels, device=class_logits.device).expand_as(matches)
        # One row more than there are queries takes the places that have no query.
        rest = 0 if self.config.unmatched_queries == "silent" else self.num_labels
        targets = torch.full((num_frames, num_queries + 1), rest, device=class_logits.device)
        weights = torch.full_like(targets, self.unmatched_weight, dtype=torch.float32)
        rows = matches.where(matches >= 0, num_queries)
        targets = targets.scatter(1, rows, labels)[:, :num_queries]
        weights = weights.scatter(1, rows, 1.0)[:, :num_queries]
        return class_focal_loss(class_logits, targets, weights, self.config.focal_gamma, total_weight)

    def mask_losses(
        self, mask_logits: torch.Tensor, targets: FrameTargets, chosen: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """
        The dice loss [28] and the per-pixel losses of each pair of a mask and a segment, (S,).

        Args:
            mask_logits: (M, n, H, W).
            targets: those of the M frames.
            chosen: the frame, the mask in it and the segment in it of each pair, each (S,) on the CPU.
        """
        mask_logits = mask_logits.flatten(2).float()
        # Of 71 labels a batch shows a few.
        shown, columns = chosen[2].unique(return_inverse=True)
        frames, rows, labels, shown = on_device((*chosen[:2], columns, shown), mask_logits.device)
        chosen = frames, rows, labels
        segments = targets.segments[:, shown].flatten(2).float()
        valid = targets.valid.flatten(1).unsqueeze(1).float()
        # Of all pairs, since the sums over pixels are then products and keep no tensor of all pixels.
        losses = {"dice": dice_cost(mask_logits.sigmoid(), segments, valid)[chosen]}
        if self.weights["mask_focal"]:
            focal = sigmoid_focal_loss(
                mask_logits[frames, rows], segments[frames, labels], gamma=self.config.focal_gamma
            )
            pixels = valid[frames, 0]
            losses["mask_focal"] = (focal * pixels).sum(-1) / pixels.sum(-1).clamp(min=1)
        if self.weights["mask_cross_entropy"]:
            losses["mask_cross_entropy"] = cross_entropy(mask_logits, segments, valid)[chosen]
        return losses

    def matching_costs(
        self,
        class_logits: torch.Tensor,
        mask_embeddings: torch.Tensor,
        mask_features: MaskFeatures,
        targets: FrameTargets,
    ) -> torch.Tensor:
        """What matching costs with one layer's class logits (M, N, K + 1) and mask embeddings (M, N, e), (M, N, S)."""
        # Autocast would compute the costs in half precision.
        with torch.no_grad(), torch.autocast(mask_embeddings.device.type, enabled=False):
            # All N masks, so before the last enlargement.
            mask_logits = mask_features.to(torch.float32).masks_before_resize(mask_embeddings.float()).flatten(2)
            return self.matcher.costs(
                class_logits, mask_logits, targets.shares, targets.annotated, targets.present, targets.labels
            )

    def supervised_losses(
        self,
        class_logits: torch.Tensor,
        mask_embeddings: torch.Tensor,
        mask_features: MaskFeatures,
        targets: FrameTargets,
        divisors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """
        Class and mask losses over the annotated frames, each (L,), one for each layer.

        Args:
            class_logits: (L, M, N, K + 1).
            mask_embeddings: g_3(A_l), (L, M, N, e).
            mask_features: those of the M frames.
            targets: those of the M frames, none of which is wholly 255.
            divisors: as `divisors` gives them.
        """
        total_weight, num_segments, _ = divisors
        layers = list(zip(class_logits, mask_embeddings, strict=True))
        costs = torch.stack([self.matching_costs(*layer, mask_features, targets) for layer in layers], dim=1)
        num_frames = len(costs)
        # The matches and all indices that follow from them stay on the CPU until they are complete. Only the copy of
        # the costs waits for the device.
        matches = self.matcher.assign(costs.flatten(0, 1)).unflatten(0, (num_frames, len(layers)))  # (M, L, P)
        chosen_frames, chosen_layers, places = (matches >= 0).nonzero(as_tuple=True)
        slots, most = packed_slots(chosen_frames, num_frames)
        queries = matches[chosen_frames, chosen_layers, places]
        segments = places // self.config.queries_per_segment
        indices = (chosen_frames, chosen_layers, queries, slots, matches.flatten())
        frames, layer, queries, columns, of_places = on_device(indices, costs.device)
        labels = targets.labels.repeat_interleave(self.config.queries_per_segment, dim=1)
        of_layers = zip(class_logits, of_places.view_as(matches).unbind(1), strict=True)
        of_queries = [self.class_loss(*of_layer, total_weight, labels) for of_layer in of_layers]
        losses = {"class": torch.stack(of_queries)}
        # The masks of all layers at once, so that f_4 gets its gradient in one piece.
        embeddings = mask_embeddings[layer, frames, queries]
        rows = embeddings.new_zeros(num_frames, most, embeddings.shape[-1]).index_put((frames, columns), embeddings)
        mask_logits = resize(mask_features.masks(rows), targets.valid.shape[-2:])
        with torch.autocast(mask_logits.device.type, enabled=False):
            of_segments = self.mask_losses(mask_logits, targets, (chosen_frames, slots, segments))
        for name, values in of_segments.items():
            # Without a segment anywhere the sums are 0.
            losses[name] = values.new_zeros(len(layers)).index_add(0, layer, values) / num_segments.clamp(min=1e-6)
        return losses

    def query_losses(
        self,
        class_logits: torch.Tensor,
        queries: torch.Tensor,
        mask_embeddings: torch.Tensor,
        mask_features: MaskFeatures,
        threshold: float,
    ) -> dict[str, torch.Tensor]:
        """AQDL and AQML (Eq. 15-18) of the last layer over all frames; `threshold` is delta of Eq. 22."""
        confident = sounding_probabilities(class_logits) > threshold
        losses = {}
        if self.weights["aqdl"]:
            losses["aqdl"] = audio_query_distance_loss(queries, confident, self.config.query_distance_threshold)
        if self.weights["aqml"]:
            embeddings, chosen, _ = confident_rows(mask_embeddings, confident)
            mask_probs = mask_features.masks(embeddings).flatten(2).sigmoid()
            losses["aqml"] = audio_query_mask_loss(mask_probs, chosen)
        return losses

    def forward(
        self,
        layers: list[tuple[torch.Tensor, torch.Tensor]],
        queries: torch.Tensor,
        mask_features: MaskFeatures,
        labels: torch.Tensor,
        threshold: float,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """
        Args:
            layers: class logits (M, N, K + 1) and mask embeddings (M, N, e) of each supervised layer, the last last.
            queries: A_L, (M, N, e).
            mask_features: those of M frames.
            labels: (M, H, W) int64; a frame that is all 255 has no supervised loss.
            threshold: delta of Eq. 22.

        Returns:
            The loss of Eq. 19 and the last layer's terms by name, with `auxiliary` for the earlier layers' sum.
        """
        # A collective call in training: every process must reach it, also one without any annotated frame.
        numbers, segment_labels, num_segments = self.numbered_segments(labels)
        divisors = self.divisors(numbers, layers[-1][0].shape[1], num_segments)
        terms = self.query_losses(layers[-1][0], queries, layers[-1][1], mask_features, threshold)
        # They are means over this process's frames, of which it may have more than others.
        terms = {name: value * (len(labels) / divisors[2]) for name, value in terms.items()}
        annotated = (labels != IGNORED_LABEL).flatten(1).any(-1).nonzero().squeeze(-1)
        auxiliary = mask_features.maps.new_zeros((), dtype=torch.float32)
        if len(annotated):
            class_logits, embeddings = (torch.stack(heads) for heads in zip(*layers, strict=True))
            if len(annotated) < len(labels):
                numbers, mask_features = numbers[annotated], mask_features.of_frames(annotated)
                segment_labels = None if segment_labels is None else segment_labels[annotated]
                class_logits, embeddings = class_logits[:, annotated], embeddings[:, annotated]
            height, width = mask_features.maps.shape[-2:]
            targets = frame_targets(numbers, (height, width), num_segments, segment_labels)
            losses = self.supervised_losses(class_logits, embeddings, mask_features, targets, divisors)
            terms |= {name: values[-1] for name, values in losses.items()}
            auxiliary = auxiliary + self.weighted_sum({name: values[:-1].sum() for name, values in losses.items()})
        else:
            # Zero, but with every head in the graph: under data parallelism no process may lack a gradient.
            # Each is multiplied before it is summed, since a sum may overflow float16 and 0 * inf is NaN.
            features = (mask_features.maps, mask_features.weight, mask_features.bias)
            auxiliary = auxiliary + sum((0.0 * tensor).sum() for tensor in (*itertools.chain(*layers), *features))
            # Every batch has the same terms, so that they can be averaged over batches and processes.
            terms |= {name: torch.zeros_like(auxiliary) for name in self.supervised_terms}
        return self.weighted_sum(terms) + auxiliary, terms | {"auxiliary": auxiliary}

    def weighted_sum(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """Eq. 19."""
        first, *others = (self.weights[name] * term for name, term in terms.items())
        return sum(others, start=first)


__all__ = ["AussLoss", "class_focal_loss", "cross_entropy", "packed_slots"]
