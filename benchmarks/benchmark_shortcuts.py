"""Compares the exact shortcuts of docs/paper.md with the plain computations that give the same results.

    python benchmarks/benchmark_shortcuts.py [--frames 5] [--queries 300] [--size 224] [--repeats 5]

It measures time and peak memory. Each measurement runs in its own process, so that the peaks are independent. The
result is a Markdown table.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
from timing import peak_gigabytes
from torch import nn

HIDDEN_SIZE = 256
NUM_LABELS = 2


def random_case(frames: int, queries: int, size: int) -> dict[str, torch.Tensor]:
    """
    Returns random tensors with the sizes of the paper's network at mask stride 1.

    Only a few queries have a class, as in a trained network.
    """
    generator = torch.Generator().manual_seed(0)
    class_logits = torch.randn(frames, queries, NUM_LABELS + 1, generator=generator)
    class_logits[:, 8:, -1] += 20
    return {
        "class_logits": class_logits,
        "embeddings": torch.randn(frames, queries, HIDDEN_SIZE, generator=generator) / HIDDEN_SIZE**0.5,
        "features": torch.randn(frames, HIDDEN_SIZE, size, size, generator=generator),
    }


def all_masks(case: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.einsum("bne,behw->bnhw", case["embeddings"], case["features"])


def visible(mask_logits: torch.Tensor) -> torch.Tensor:
    """Returns the number of positions that the queries may attend to."""
    from auss.modeling_auss.fusion_decoder import attention_mask

    return (attention_mask(mask_logits, 0.5) == 0).sum()


def mask_features(case, size):
    """Returns `MaskFeatures` whose projection h is the identity."""
    from auss.modeling_auss.resized_maps import MaskFeatures

    return MaskFeatures(case["features"], (size, size), torch.eye(HIDDEN_SIZE), torch.zeros(HIDDEN_SIZE))


def attention_masks_plain(case, size):
    """Computes masks at the size of f_4 and resizes them to the sizes of the attended maps, at strides 8, 4 and 2."""
    masks = all_masks(case)
    return [
        visible(nn.functional.interpolate(masks, scale_factor=1 / stride, mode="bilinear")) for stride in (8, 4, 2)
    ]


def attention_masks_shortcut(case, size):
    """Resizes the mask features to the sizes of the attended maps, and then computes the masks."""
    features = mask_features(case, size)
    levels = [(size // stride, size // stride) for stride in (8, 4, 2)]
    return [visible(features.at(level).masks(case["embeddings"])) for level in levels]


def inference_plain(case, size):
    """Computes Eq. 20-21 with the masks of all N queries."""
    probs = case["class_logits"].softmax(-1)
    confidence, classes = probs[..., :NUM_LABELS].max(-1)
    takes_part = probs.argmax(-1) != NUM_LABELS
    scores = all_masks(case).sigmoid() * (confidence * takes_part)[..., None, None]
    best = scores.new_zeros(len(scores), NUM_LABELS, size, size)
    return [best.scatter_reduce(1, classes[..., None, None].expand_as(scores), scores, reduce="amax").sum()]


def inference_shortcut(case, size):
    """Computes Eq. 20-21 with the masks of those queries that are not "no object"."""
    from auss.modeling_auss.semantic_inference import semantic_scores

    return [semantic_scores(case["class_logits"], case["embeddings"], mask_features(case, size)).sum()]


def matched_masks(case, plain: bool) -> torch.Tensor:
    """
    Computes the masks of the dice loss with their gradient.

    The plain route computes all N masks and selects two per frame. The shortcut computes only these two.
    """
    embeddings = case["embeddings"].clone().requires_grad_()
    features = case["features"].clone().requires_grad_()
    if plain:
        masks = all_masks({"embeddings": embeddings, "features": features})[:, :NUM_LABELS]
    else:
        masks = all_masks({"embeddings": embeddings[:, :NUM_LABELS], "features": features})
    masks.sigmoid().sum().backward()
    return embeddings.grad.sum()


ROUTES = {
    ("attention masks of three levels", "plain"): attention_masks_plain,
    ("attention masks of three levels", "shortcut"): attention_masks_shortcut,
    ("inference, 8 queries with a class", "plain"): inference_plain,
    ("inference, 8 queries with a class", "shortcut"): inference_shortcut,
    ("masks of dice, forward and backward", "plain"): lambda case, size: [matched_masks(case, True)],
    ("masks of dice, forward and backward", "shortcut"): lambda case, size: [matched_masks(case, False)],
}


def measure(index: int, frames: int, queries: int, size: int, repeats: int) -> dict[str, float | list[float]]:
    """
    Measures one route.

    Returns:
        The median seconds, the GB that the route needs at its peak in addition to its inputs, and checksums of its
        results.
    """
    route = list(ROUTES.values())[index]
    case = random_case(frames, queries, size)
    with torch.set_grad_enabled("dice" in list(ROUTES)[index][0]):
        small = {name: value[:1, :, :16, :16] if name == "features" else value[:1] for name, value in case.items()}
        route(small, 16)  # do not measure imports and the work of a library's first call
        before = peak_gigabytes()
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            values = route(case, size)
            seconds.append(time.perf_counter() - began)
    return {
        "seconds": statistics.median(seconds),
        "gigabytes": peak_gigabytes() - before,
        "values": [float(value) for value in values],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--route", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = (arguments.frames, arguments.queries, arguments.size, arguments.repeats)
    if arguments.route is not None:
        print(json.dumps(measure(arguments.route, *sizes)))
        return
    options = [
        f"--{name}={value}" for name, value in zip(("frames", "queries", "size", "repeats"), sizes, strict=True)
    ]
    print("| work | route | seconds | peak GB |\n| --- | --- | ---: | ---: |")
    given: dict[str, torch.Tensor] = {}
    for index, (work, route) in enumerate(ROUTES):
        command = [sys.executable, __file__, *options, f"--route={index}"]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"| {work} | {route} | {result['seconds']:.3f} | {result['gigabytes']:.2f} |", flush=True)
        values = torch.tensor(result["values"])
        torch.testing.assert_close(values, given.setdefault(work, values), rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    main()
