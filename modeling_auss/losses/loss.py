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
    Computes the focal loss [20] of the queries' classes, as the weighted mean over queries.

    Args:
        class_logits: (M, N, K + 1).
        targets: (M, N) int64 in 0 ... K.
        weights: (K + 1,), one for each class, or (M, N), one for each query.
        gamma: the focusing exponent; 0 gives the cross-entropy.
        total_weight: the divisor of the weighted sum. None means the sum of the weights.
    """
    log_probs = class_logits.float().log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    if weights.ndim == 1:
        weights = weights[targets]
    if total_weight is None:
        total_weight = weights.sum()
    return (-weights * (1 - log_probs.exp()) ** gamma * log_probs).sum() / total_weight.clamp(min=1e-6)


def cross_entropy(mask_logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """
    Computes the binary cross-entropy of every mask with every target, as the mean over the annotated pixels.

    Args:
        mask_logits: (M, n, P).
        targets: (M, K, P), 0 or 1, and 0 where nothing is annotated.
        valid: (M, 1, P), 0 or 1.

    Returns:
        (M, n, K).
    """
    # The cross-entropy is log(1 + e^x) - xt. Matrix products sum it over the pixels, so only log(1 + e^x) needs a
    # tensor of all pixels. The rounding error is about 1e-6 relative to the logits, and 1e-7 in the gradient of a
    # pixel. Both are too small to affect training.
    entropy = nn.functional.softplus(mask_logits) @ valid.mT - mask_logits @ targets.mT
    return entropy / valid.sum(-1, keepdim=True).clamp(min=1)


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """
    Returns the mean of a tensor over all processes of data parallelism. Every process must call this function.

    Data parallelism averages the gradients of the processes. If each process divides its own sum by this mean of the
    counts, the averaged gradient is that of the mean over the items of all processes.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()


def on_device(indices: Sequence[torch.Tensor], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Moves index tensors, (S,) int64 each, from the CPU to a device in one copy. The CPU does not wait for it."""
    joined = torch.cat(list(indices)).to(device, non_blocking=True)
    return joined.split([len(one) for one in indices])


def packed_slots(frames: torch.Tensor, num_frames: int) -> tuple[torch.Tensor, int]:
    """
    Numbers the rows of each frame from 0.

    Args:
        frames: (S,) int64, the frame of each row, in ascending order.
        num_frames: M.

    Returns:
        (S,) int64, the number of each row within its frame; and the largest number of rows of a frame.
    """
    counts = frames.bincount(minlength=num_frames)
    slots = torch.arange(len(frames), device=frames.device) - (counts.cumsum(0) - counts)[frames]
    return slots, int(counts.max())


class AussLoss(nn.Module):
    """The training objective of Eq. 19. Its methods return unweighted terms, which `forward` weights and adds."""

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
        """The names of the terms that `supervised_losses` returns."""
        per_pixel = [name for name in ("mask_focal", "mask_cross_entropy") if self.weights[name]]
        return ["class", "dice", *per_pixel]

    @property
    def unmatched_weight(self) -> float:
        """The weight that a query without a segment has in the class loss."""
        return 0.0 if self.config.unmatched_queries == "free" else float(self.config.no_object_weight)

    def numbered_segments(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, int]:
        """
        Numbers the segments of frames with labels (M, H, W).

        Returns:
            The arguments `numbers` and `segment_labels` of `frame_targets`, and S.
        """
        if self.config.segments_by == "label":
            return labels, None, self.num_labels
        numbers, segment_labels = component_segments(labels, self.num_labels)
        return numbers, segment_labels, segment_labels.shape[1]

    def divisors(
        self, numbers: torch.Tensor, num_queries: int, num_segments: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Counts the divisors that turn the sums of the loss terms into means.

        In training the counts are means over all processes, because their clips may differ in length.

        Args:
            numbers: (M, H, W) int64, the labels or, with `segments_by="component"`, the numbers of the segments.
            num_queries: N.
            num_segments: S. None means one segment for each label.

        Returns:
            Three scalars: the weight of all queries of the annotated frames in the class loss, the number of matched
            queries, and the number of all frames.
        """
        flat = numbers.flatten(1)
        present = torch.stack([(flat == number).any(-1) for number in range(num_segments or self.num_labels)], dim=-1)
        # A frame cannot have more matched queries than it has queries.
        matched = (present.sum(-1) * self.config.queries_per_segment).clamp(max=num_queries)
        annotated = (flat != IGNORED_LABEL).any(-1)
        segments = matched.sum().float()
        weight = segments + self.unmatched_weight * (annotated.sum() * num_queries - segments)
        counts = torch.stack([weight, segments, torch.full_like(segments, len(numbers))])
        if self.training:  # in evaluation the processes may have different numbers of batches, so they must not wait
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
        Computes the focal loss of the queries' classes.

        The target of a matched query is the label of its segment. `config.unmatched_queries` sets the target of the
        other queries.

        Args:
            class_logits: (M, N, K + 1).
            matches: (M, P), the query of each place, -1 for a place without a query. See `HungarianMatcher.assign`.
            total_weight: see `class_focal_loss`.
            labels: (M, P), the label of each place. None if the places are the K labels.
        """
        num_frames, num_queries, _ = class_logits.shape
        if labels is None:
            labels = torch.arange(self.num_labels, device=class_logits.device).expand_as(matches)
        # Places without a query are written to one additional row, which is cut off afterwards.
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
        Computes the dice loss [28] and the per-pixel losses of pairs of a mask and a segment.

        Args:
            mask_logits: (M, n, H, W).
            targets: the targets of the M frames.
            chosen: three index tensors, each (S,) on the CPU, where S is here the number of pairs. They are the frame
                of each pair, the number of its mask in the frame and the number of its segment in the frame.

        Returns:
            Each loss by name, (S,).
        """
        mask_logits = mask_logits.flatten(2).float()
        # A batch shows only a few of up to 71 labels, so compute the losses for those segments only.
        shown, columns = chosen[2].unique(return_inverse=True)
        frames, rows, labels, shown = on_device((*chosen[:2], columns, shown), mask_logits.device)
        chosen = frames, rows, labels
        segments = targets.segments[:, shown].flatten(2).float()
        valid = targets.valid.flatten(1).unsqueeze(1).float()
        # Compute dice for every pair by a matrix product and select the matched pairs afterwards. No per-pixel tensor
        # is kept for the backward pass.
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
        """
        Computes the matching costs of one layer, (M, N, S).

        Args:
            class_logits: (M, N, K + 1).
            mask_embeddings: (M, N, e).
            mask_features: the mask features of the M frames.
            targets: the targets of the M frames.
        """
        # Autocast would compute the costs in half precision.
        with torch.no_grad(), torch.autocast(mask_embeddings.device.type, enabled=False):
            # Matching needs all N masks, so it uses the small masks before the last resize.
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
        Computes the class and mask losses over the annotated frames.

        Args:
            class_logits: (L, M, N, K + 1).
            mask_embeddings: g_3(A_l), (L, M, N, e).
            mask_features: the mask features of the M frames.
            targets: the targets of the M frames. Each frame has annotated pixels.
            divisors: the result of `divisors`.

        Returns:
            Each loss by name, (L,), one value for each layer.
        """
        total_weight, num_segments, _ = divisors
        layers = list(zip(class_logits, mask_embeddings, strict=True))
        costs = torch.stack([self.matching_costs(*layer, mask_features, targets) for layer in layers], dim=1)
        num_frames = len(costs)
        # The matches and all indices that follow from them are computed on the CPU and then moved in one copy. So
        # only the copy of the costs waits for the device.
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
        # Compute the masks of all layers together, so that the gradient of f_4 is computed once.
        embeddings = mask_embeddings[layer, frames, queries]
        rows = embeddings.new_zeros(num_frames, most, embeddings.shape[-1]).index_put((frames, columns), embeddings)
        mask_logits = resize(mask_features.masks(rows), targets.valid.shape[-2:])
        with torch.autocast(mask_logits.device.type, enabled=False):
            of_segments = self.mask_losses(mask_logits, targets, (chosen_frames, slots, segments))
        for name, values in of_segments.items():
            # If no frame has a segment, the sums are 0, and so is the loss.
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
        """Computes AQDL and AQML (Eq. 15-18) of the last layer over all frames. `threshold` is delta of Eq. 22."""
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
            layers: class logits (M, N, K + 1) and mask embeddings (M, N, e) of each supervised layer, in the order of
                the layers.
            queries: A_L, (M, N, e).
            mask_features: the mask features of the M frames.
            labels: (M, H, W) int64. A frame that is 255 everywhere has no supervised loss.
            threshold: delta of Eq. 22.

        Returns:
            The loss of Eq. 19; and the unweighted terms of the last layer by name, with `auxiliary` for the weighted
            sum of the earlier layers' terms.
        """
        # `divisors` is a collective call in training. Every process must reach it, even without an annotated frame.
        numbers, segment_labels, num_segments = self.numbered_segments(labels)
        divisors = self.divisors(numbers, layers[-1][0].shape[1], num_segments)
        terms = self.query_losses(layers[-1][0], queries, layers[-1][1], mask_features, threshold)
        # These terms are means over the frames of this process. The processes may have different numbers of frames,
        # so scale the terms.
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
            # The loss is 0, but every head must be in the graph, because data parallelism expects a gradient for
            # every parameter from every process. Multiply by 0 before summing: a sum may overflow float16, and
            # 0 * inf is NaN.
            features = (mask_features.maps, mask_features.weight, mask_features.bias)
            auxiliary = auxiliary + sum((0.0 * tensor).sum() for tensor in (*itertools.chain(*layers), *features))
            # Add the missing terms as zeros. All batches then have the same terms, and these can be averaged over
            # batches and processes.
            terms |= {name: torch.zeros_like(auxiliary) for name in self.supervised_terms}
        return self.weighted_sum(terms) + auxiliary, terms | {"auxiliary": auxiliary}

    def weighted_sum(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """Returns the weighted sum of Eq. 19."""
        first, *others = (self.weights[name] * term for name, term in terms.items())
        return sum(others, start=first)


__all__ = ["AussLoss", "class_focal_loss", "cross_entropy", "packed_slots"]
