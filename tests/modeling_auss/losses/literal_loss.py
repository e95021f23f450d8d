"""The supervised terms of the loss, computed one segment, query and pixel at a time, and arguments for both ways."""

import itertools
import math

import torch

from auss.modeling_auss.losses import loss as loss_module

from ..conftest import plain_mask_features

E, N = 8, 5


class AussLoss(loss_module.AussLoss):
    """The loss with mask features given as a tensor that has the size of the masks."""

    def forward(self, layers, queries, mask_features, labels, threshold):
        features = plain_mask_features(mask_features)
        return super().forward(layers, queries, features, labels, threshold)


def make_case(num_labels=2, frames=3, layers=3, scale=2, seed=0, mask_size=(4, 5)):
    """Returns arguments for `AussLoss.forward`. The labels are `scale` times as large as the masks."""
    generator = torch.Generator().manual_seed(seed)
    layer = lambda: (  # noqa: E731
        torch.randn(frames, N, num_labels + 1, generator=generator) * 2,
        torch.randn(frames, N, E, generator=generator),
    )
    size = [side * scale for side in mask_size]
    return {
        "layers": [layer() for _ in range(layers)],
        "queries": torch.randn(frames, N, E, generator=generator) * 0.3,
        "mask_features": torch.randn(frames, E, *mask_size, generator=generator),
        "labels": torch.randint(0, num_labels, (frames, *size), generator=generator),
    }


def leaves(case) -> list[torch.Tensor]:
    tensors = [*itertools.chain(*case["layers"]), case["queries"], case["mask_features"]]
    return [tensor.requires_grad_() for tensor in tensors]


def literal_matches(loss, class_logits, mask_logits, labels, scale) -> dict[int, int]:
    """Tries all ways to assign distinct queries to the labels of one frame. Pixel shares are pooled by hand."""
    present = sorted(set(labels.flatten().tolist()) - {255})
    height, width = mask_logits.shape[-2:]
    patches = labels.view(height, scale, width, scale)
    valid = (patches != 255).float().mean((1, 3))
    cost = {}
    for query, label in itertools.product(range(N), present):
        share = (patches == label).float().mean((1, 3))
        mask = mask_logits[query].sigmoid() * valid
        dice = 1 - (2 * (mask * (share / valid.clamp(min=1e-6))).sum() + 1) / (mask.sum() + share.sum() + 1)
        class_cost = -class_logits[query].softmax(-1)[label]
        cost[query, label] = (loss.config.class_weight * class_cost + loss.config.dice_weight * dice).item()
    best = min(
        itertools.permutations(range(N), len(present)),
        key=lambda queries: sum(cost[pair] for pair in zip(queries, present, strict=True)),
    )
    return dict(zip(present, best, strict=True))


def literal_supervised(loss, layer, case, scale=2) -> dict[str, float]:
    """Computes the class, dice and per-pixel terms of one layer over the annotated frames."""
    gamma, no_object = loss.config.focal_gamma, loss.config.no_object_weight
    class_sum = weight_sum = 0.0
    segments = {"dice": [], "mask_focal": [], "mask_cross_entropy": []}
    for frame, labels in enumerate(case["labels"]):
        if (labels == 255).all():
            continue
        class_logits, embeddings = layer[0][frame], layer[1][frame]
        mask_logits = torch.einsum("ne,ehw->nhw", embeddings, case["mask_features"][frame])
        matches = literal_matches(loss, class_logits, mask_logits, labels, scale)
        queries = {query: label for label, query in matches.items()}
        for query in range(N):
            weight = 1.0 if query in queries else no_object
            prob = class_logits[query].softmax(-1)[queries.get(query, loss.num_labels)].item()
            class_sum += -weight * (1 - prob) ** gamma * math.log(prob)
            weight_sum += weight
        for label, query in matches.items():
            large = torch.nn.functional.interpolate(
                mask_logits[query][None, None], size=labels.shape, mode="bilinear", align_corners=False
            )[0, 0]
            logits, target = large[labels != 255], (labels == label)[labels != 255].float()
            probs = logits.sigmoid()
            dice = 1 - (2 * (probs * target).sum() + 1) / (probs.sum() + target.sum() + 1)
            right = probs * target + (1 - probs) * (1 - target)
            balance = 0.25 * target + 0.75 * (1 - target)
            segments["dice"].append(dice.item())
            segments["mask_focal"].append((-balance * (1 - right) ** gamma * right.log()).mean().item())
            segments["mask_cross_entropy"].append(-right.log().mean().item())
    return {"class": class_sum / weight_sum} | {name: sum(x) / len(x) for name, x in segments.items()}
