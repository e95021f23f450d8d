"""Compares semantic inference with Eq. 20-21 in a triple loop over frames, pixels and queries."""

import pytest
import torch

from auss.modeling_auss import semantic_inference
from auss.modeling_auss.resized_maps import resize

from .conftest import plain_mask_features


def semantic_scores(class_logits, mask_embeddings, mask_features):
    """Computes the scores from mask features that have the size of the masks."""
    features = plain_mask_features(mask_features)
    return semantic_inference.semantic_scores(class_logits, mask_embeddings, features)


def make_case(num_labels=2, seed=0, num_queries=6):
    generator = torch.Generator().manual_seed(seed)
    return {
        "class_logits": torch.randn(3, num_queries, num_labels + 1, generator=generator) * 2,
        "mask_embeddings": torch.randn(3, num_queries, 8, generator=generator),
        "mask_features": torch.randn(3, 8, 4, 5, generator=generator),
    }


def literal_scores(class_logits, mask_embeddings, mask_features) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns, for every pixel, the largest product of each label and the label of the best query (Eq. 20)."""
    num_labels = class_logits.shape[-1] - 1
    num_frames, _, height, width = mask_features.shape
    scores = torch.zeros(num_frames, num_labels, height, width)
    segmentation = torch.zeros(num_frames, height, width, dtype=torch.int64)
    for frame in range(num_frames):
        for y in range(height):
            for x in range(width):
                best = 0.0
                for logits, embedding in zip(class_logits[frame], mask_embeddings[frame], strict=True):
                    probs = logits.softmax(-1)
                    label = int(probs.argmax())
                    if label == num_labels:  # "no object" never wins a pixel
                        continue
                    product = (probs[label] * (embedding @ mask_features[frame, :, y, x]).sigmoid()).item()
                    scores[frame, label, y, x] = max(scores[frame, label, y, x].item(), product)
                    if product > best:
                        best, segmentation[frame, y, x] = product, label
    return scores, segmentation


@pytest.mark.parametrize("num_labels", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_triple_loop(num_labels, seed):
    case = make_case(num_labels, seed)
    scores = semantic_scores(**case)
    expected, segmentation = literal_scores(**case)
    assert scores.shape == (3, num_labels, 4, 5)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    assert torch.equal(scores.argmax(1), segmentation)
    assert (scores >= 0).all() and (scores <= 1).all()


def test_features_before_their_enlargement_give_the_scores_of_enlarged_ones():
    case = make_case()
    small = case["mask_features"]
    before = semantic_inference.semantic_scores(**case | {"mask_features": plain_mask_features(small, (9, 11))})
    after, _ = literal_scores(**case | {"mask_features": resize(small, (9, 11))})
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_no_object_queries_never_win():
    case = make_case()
    case["class_logits"][:, 0] = torch.tensor([3.0, 3.1, 3.2])  # "no object" wins by a small margin
    case["mask_features"][:, 0] = 1.0
    without = {name: tensor[:, 1:] if name != "mask_features" else tensor for name, tensor in case.items()}
    case["mask_embeddings"][:, 0] = torch.tensor([100.0] + 7 * [0.0])
    torch.testing.assert_close(semantic_scores(**case), semantic_scores(**without))


def test_only_no_object_gives_zeros():
    case = make_case()
    case["class_logits"][1, :, -1] = 50.0
    scores = semantic_scores(**case)
    assert (scores[1] == 0).all()
    assert (scores[[0, 2]] > 0).any()
    case["class_logits"][..., -1] = 50.0
    assert (semantic_scores(**case) == 0).all()


def test_one_certain_query_gives_its_mask():
    class_logits = torch.tensor([[[0.0, 100.0, 0.0]]])
    embedding, features = torch.randn(1, 1, 8), torch.randn(1, 8, 4, 5)
    scores = semantic_scores(class_logits, embedding, features)
    torch.testing.assert_close(scores[0, 1], torch.einsum("e,ehw->hw", embedding[0, 0], features[0]).sigmoid())
    assert (scores[0, 0] == 0).all()


def test_order_of_queries_and_company_of_frames_do_not_matter():
    case = make_case()
    scores = semantic_scores(**case)
    order = torch.randperm(6)
    permuted = {name: tensor[:, order] if name != "mask_features" else tensor for name, tensor in case.items()}
    torch.testing.assert_close(scores, semantic_scores(**permuted))
    for frame in range(3):
        alone = semantic_scores(**{name: tensor[frame : frame + 1] for name, tensor in case.items()})
        torch.testing.assert_close(scores[frame : frame + 1], alone, rtol=0, atol=1e-6)


def test_scores_carry_gradient_to_masks_and_classes():
    case = {name: tensor.requires_grad_() for name, tensor in make_case().items()}
    semantic_scores(**case).sum().backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in case.values())


def test_bfloat16_keeps_the_range_and_the_classes():
    case = make_case(num_labels=4)
    scores = semantic_scores(**{name: tensor.bfloat16() for name, tensor in case.items()})
    expected, _ = literal_scores(**{name: tensor.bfloat16().float() for name, tensor in case.items()})
    assert (scores >= 0).all() and (scores <= 1).all()
    torch.testing.assert_close(scores.float(), expected, rtol=0, atol=2e-2)
