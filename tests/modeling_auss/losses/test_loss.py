"""Compares the training objective with terms that are computed one segment, one query and one pixel at a time."""

import itertools

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from auss.modeling_auss.losses import loss as loss_module
from auss.modeling_auss.losses.loss import class_focal_loss, cross_entropy, packed_slots
from auss.modeling_auss.losses.query_losses import audio_query_distance_loss, audio_query_mask_loss
from auss.modeling_auss.resized_maps import resize

from ..conftest import plain_mask_features
from .literal_loss import AussLoss, E, N, leaves, literal_supervised, make_case


def test_class_focal_loss_at_gamma_zero_is_the_cross_entropy():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 5, 4), torch.randint(0, 4, (3, 5))
    weights = torch.tensor([1.0, 1.0, 1.0, 0.1])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), weight=weights)
    torch.testing.assert_close(class_focal_loss(logits, targets, weights, gamma=0.0), expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_class_focal_loss_of_two_classes_is_torchvisions(gamma):
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 6, 2), torch.randint(0, 2, (2, 6))
    # The softmax of two classes is the sigmoid of their difference.
    difference = logits[..., 1] - logits[..., 0]
    expected = sigmoid_focal_loss(difference, targets.float(), alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(class_focal_loss(logits, targets, torch.ones(2), gamma), expected)


def test_class_focal_loss_and_gradient_stay_finite_for_certain_queries():
    logits = torch.tensor([[[200.0, -200.0], [-200.0, 200.0]]], requires_grad=True)
    value = class_focal_loss(logits, torch.tensor([[0, 0]]), torch.ones(2), gamma=2.0)
    value.backward()
    assert value.item() == pytest.approx(200.0)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_cross_entropy_of_every_pair_is_torchs(scale):
    torch.manual_seed(0)
    mask_logits, labels = torch.randn(2, 4, 30) * scale, torch.randint(0, 3, (2, 30))
    labels[0, :7] = 255
    targets = torch.stack([labels == label for label in range(3)], dim=1).float()
    found = cross_entropy(mask_logits, targets, (labels != 255).float().unsqueeze(1))
    assert found.shape == (2, 4, 3)
    for frame, row, label in itertools.product(range(2), range(4), range(3)):
        valid = labels[frame] != 255
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            mask_logits[frame, row, valid], targets[frame, label, valid]
        )
        torch.testing.assert_close(found[frame, row, label], expected)


def test_cross_entropy_without_annotation_is_zero():
    assert (cross_entropy(torch.randn(1, 4, 6), torch.zeros(1, 2, 6), torch.zeros(1, 1, 6)) == 0).all()


@pytest.mark.parametrize("frames", [[0, 0, 0, 2, 2, 3], [1], [0, 1, 2, 3]])
def test_packed_rows_stand_in_their_frames_in_order(frames):
    rows, frames = torch.randn(len(frames), E), torch.tensor(frames)
    slots, most = packed_slots(frames, num_frames=4)
    packed = rows.new_zeros(4, most, E).index_put((frames, slots), rows)
    for frame in range(4):
        own = rows[frames == frame]
        assert torch.equal(packed[frame, : len(own)], own)
        assert (packed[frame, len(own) :] == 0).all()
    assert torch.equal(packed[frames, slots], rows)
    assert packed.shape[1] == frames.bincount().max()  # there are no unused places


@pytest.mark.parametrize("num_labels", [2, 4])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_whole_loss_is_the_literal_one(make_config, num_labels, gamma):
    config = make_config(num_labels=num_labels, focal_gamma=gamma, mask_cross_entropy_weight=3.0)
    loss, case = AussLoss(config), make_case(num_labels)
    case["labels"][1] = 255
    case["labels"][0, :3] = 255
    case["labels"][2, case["labels"][2] == 1] = 0  # a frame without label 1
    value, terms = loss(**case, threshold=0.4)

    weights = loss.weights
    expected = [literal_supervised(loss, layer, case) for layer in case["layers"]]
    for name, term in expected[-1].items():
        assert terms[name].item() == pytest.approx(term, abs=1e-5), name
    auxiliary = sum(weights[name] * term for layer in expected[:-1] for name, term in layer.items())
    assert terms["auxiliary"].item() == pytest.approx(auxiliary, abs=1e-4)

    sounding = case["layers"][-1][0].softmax(-1)[..., 1:num_labels].sum(-1) > 0.4
    masks = torch.einsum("bne,behw->bnhw", case["layers"][-1][1], case["mask_features"]).sigmoid().flatten(2)
    aqdl = audio_query_distance_loss(case["queries"], sounding, config.query_distance_threshold)
    aqml = audio_query_mask_loss(masks, sounding)
    torch.testing.assert_close(terms["aqdl"], aqdl)
    torch.testing.assert_close(terms["aqml"], aqml)
    total = auxiliary + sum(weights[name] * term for name, term in expected[-1].items())
    total += weights["aqdl"] * aqdl.item() + weights["aqml"] * aqml.item()
    assert value.item() == pytest.approx(total, abs=2e-4)


def test_masks_of_the_labels_size_and_smaller_labels(make_config):
    loss = AussLoss(make_config())
    for scale in (1, 2):
        case = make_case(scale=scale)
        _, terms = loss(**case, threshold=0.5)
        expected = literal_supervised(loss, case["layers"][-1], case, scale)
        assert terms["dice"].item() == pytest.approx(expected["dice"], abs=1e-5)
    case = make_case()
    case["labels"] = case["labels"][:, :3, :2]  # fewer pixels than the masks have, and the sizes do not divide
    assert loss(**case, threshold=0.5)[0].isfinite()


@pytest.mark.parametrize("scale", [1, 2])
def test_features_before_their_enlargement_give_the_losses_of_enlarged_ones(make_config, scale):
    loss = loss_module.AussLoss(make_config(mask_cross_entropy_weight=1.0))
    # The matcher computes its costs from the masks before the last resize.
    loss.matcher.assign = lambda costs: torch.tensor(len(costs) * [[2, 4]])
    case = make_case(scale=scale, mask_size=(8, 12))
    small = torch.randn(3, E, 4, 6)
    _, before = loss(**case | {"mask_features": plain_mask_features(small, (8, 12))}, threshold=0.1)
    _, after = loss(**case | {"mask_features": plain_mask_features(resize(small, (8, 12)))}, threshold=0.1)
    assert before["aqml"] > 0
    for name in before:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-5)


def test_pixels_that_are_not_annotated_change_nothing(make_config):
    loss, case = AussLoss(make_config(mask_cross_entropy_weight=1.0)), make_case(scale=1)
    case["labels"][:, :2] = 255
    before, before_terms = loss(**case, threshold=0.9999)
    case["mask_features"][:, :, :2] = torch.randn(3, E, 2, 5) * 10
    after, after_terms = loss(**case, threshold=0.9999)
    for name in ("class", "dice", "mask_focal", "mask_cross_entropy", "auxiliary"):
        torch.testing.assert_close(before_terms[name], after_terms[name])
    assert before_terms["aqml"] == after_terms["aqml"] == 0
    torch.testing.assert_close(before, after)


def test_frames_without_annotation_have_query_losses_only(make_config):
    loss, case = AussLoss(make_config(query_distance_threshold=100.0)), make_case()
    case["labels"][:] = 255
    value, terms = loss(**case, threshold=0.2)
    # Processes average the terms by name, so this batch must have the same terms as any other batch.
    assert set(terms) == {"aqdl", "aqml", "class", "dice", "mask_focal", "auxiliary"}
    assert terms["aqdl"] > 0 and terms["aqml"] > 0
    assert all(terms[name] == 0 for name in ("class", "dice", "mask_focal", "auxiliary"))
    torch.testing.assert_close(value, 2 * terms["aqdl"] + 2 * terms["aqml"])


def test_frames_without_annotation_leave_the_supervised_terms_alone(make_config):
    loss, case = AussLoss(make_config()), make_case(frames=4)
    case["labels"][2:] = 255
    _, mixed = loss(**case, threshold=0.5)
    _, alone = loss(
        [(x[:2], y[:2]) for x, y in case["layers"]],
        case["queries"][:2],
        case["mask_features"][:2],
        case["labels"][:2],
        threshold=0.5,
    )
    for name in ("class", "dice", "mask_focal", "auxiliary"):
        torch.testing.assert_close(mixed[name], alone[name])
    assert not torch.allclose(mixed["aqml"], alone["aqml"])


@pytest.mark.parametrize("change", [None, 0, 255])
@pytest.mark.parametrize("first", [2, 1])
def test_the_losses_of_processes_average_to_that_of_the_whole_batch(make_config, monkeypatch, change, first):
    """Two processes share four frames, evenly or not. The second process has fewer segments, or none."""
    loss, case = AussLoss(make_config()), make_case(frames=4)
    if change is not None:
        case["labels"][2:] = change
    expected, _ = loss(**case, threshold=0.2)
    parts = [
        {
            "layers": [(x[part], y[part]) for x, y in case["layers"]],
            **{name: case[name][part] for name in ("queries", "mask_features", "labels")},
        }
        for part in (slice(first), slice(first, 4))
    ]
    mean = torch.stack([torch.stack(loss.divisors(part["labels"], N)) for part in parts]).mean(0)
    monkeypatch.setattr(loss_module, "mean_over_processes", lambda counts: mean)
    torch.testing.assert_close(sum(loss(**part, threshold=0.2)[0] for part in parts) / 2, expected)
    # In evaluation the processes may have different numbers of batches, so the loss must not wait for other processes.
    monkeypatch.setattr(loss_module, "mean_over_processes", lambda counts: 1 / 0)
    loss.eval()(**parts[0], threshold=0.2)


def test_all_unannotated_batch_reaches_every_head_even_without_confident_queries(make_config):
    loss, case = AussLoss(make_config()), make_case()
    case["labels"][:] = 255
    tensors = leaves(case)
    value, _ = loss(**case, threshold=0.9999)
    value.backward()
    assert value == 0
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in tensors)


def test_all_unannotated_batch_of_huge_half_precision_values_is_not_nan(make_config):
    loss, case = AussLoss(make_config()), make_case()
    case["labels"][:] = 255
    case["layers"] = [(x.half(), y.half()) for x, y in case["layers"]]
    case["queries"] = case["queries"].half()
    # The plain sum of this tensor is far above 65504, the largest number of float16.
    case["mask_features"] = torch.full((3, E, 4, 5), 1000.0).half()
    assert loss(**case, threshold=0.9999)[0].isfinite()


@pytest.mark.parametrize("weight", ["aqdl_weight", "aqml_weight", "mask_focal_weight", "mask_cross_entropy_weight"])
def test_a_weight_of_zero_leaves_its_term_out(make_config, weight):
    name = weight.removesuffix("_weight")
    case = make_case()
    assert name not in AussLoss(make_config(**{weight: 0.0}))(**case, threshold=0.3)[1]
    assert name in AussLoss(make_config(**{weight: 1.0}))(**case, threshold=0.3)[1]


def test_confidence_is_the_probability_of_any_label_but_silent(make_config):
    loss, case = AussLoss(make_config(num_labels=4, query_distance_threshold=100.0)), make_case(num_labels=4, layers=1)
    class_logits = case["layers"][0][0]
    class_logits[:] = torch.tensor([0.0, 0.0, 0.0, 0.0, -50.0])  # a query sounds with probability 0.75
    assert loss(**case, threshold=0.74)[1]["aqdl"] > 0
    assert loss(**case, threshold=0.76)[1]["aqdl"] == 0
    class_logits[..., 0] = 50.0  # silent
    assert loss(**case, threshold=0.1)[1]["aqdl"] == 0
    class_logits[..., -1] = 100.0  # no object
    assert loss(**case, threshold=0.1)[1]["aqdl"] == 0


def test_more_labels_than_queries(make_config):
    loss, case = AussLoss(make_config(num_labels=8)), make_case(num_labels=8, mask_size=(8, 8))
    assert case["labels"].unique().numel() == 8 > N
    tensors = leaves(case)
    value, terms = loss(**case, threshold=0.5)
    value.backward()
    assert value.isfinite() and terms["dice"] > 0
    assert all(tensor.grad is None or tensor.grad.isfinite().all() for tensor in tensors)


def test_a_perfect_prediction_has_next_to_no_supervised_loss(make_config):
    loss, case = AussLoss(make_config()), make_case(layers=1, scale=1)
    class_logits = torch.full((3, N, 3), -20.0)
    class_logits[:, 0, 0] = class_logits[:, 1, 1] = class_logits[:, 2:, 2] = 20.0
    embeddings = torch.zeros(3, N, E)
    embeddings[:, 0, 0], embeddings[:, 1, 0] = -1.0, 1.0
    case["mask_features"][:, 0] = (case["labels"] * 2.0 - 1) * 20
    case["layers"] = [(class_logits, embeddings)]
    _, terms = loss(**case, threshold=0.5)
    assert max(terms[name].item() for name in ("class", "dice", "mask_focal")) < 1e-4
    _, worse = loss(**(case | {"labels": 1 - case["labels"]}), threshold=0.5)
    assert sum(worse[name].item() for name in ("class", "dice", "mask_focal")) > 0.5


@pytest.mark.parametrize("unmatched", ["no_object", "silent", "free"])
def test_what_the_queries_without_a_segment_are_taught(make_config, unmatched):
    loss = loss_module.AussLoss(make_config(unmatched_queries=unmatched))
    logits = torch.randn(1, N, 3, generator=torch.Generator().manual_seed(0))
    log_probs = logits[0].log_softmax(-1)

    def focal(query: int, label: int) -> float:
        return (-((1 - log_probs[query, label].exp()) ** 2) * log_probs[query, label]).item()

    # The labels of the four places are silent, silent, sounding and sounding. One sounding place has no query.
    matches, labels = torch.tensor([[3, 0, 4, -1]]), torch.tensor([[0, 0, 1, 1]])
    matched = focal(3, 0) + focal(0, 0) + focal(4, 1)
    rest = {"no_object": focal(1, 2) + focal(2, 2), "silent": focal(1, 0) + focal(2, 0), "free": 0.0}[unmatched]
    weight = 0.0 if unmatched == "free" else 0.1
    expected = (matched + weight * rest) / (3 + weight * 2)
    assert loss.class_loss(logits, matches, labels=labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("copies", [1, 2])
def test_where_every_label_is_one_component_both_readings_of_segments_agree(make_config, copies):
    values = []
    for segments_by in ("label", "component"):
        case = make_case()
        case["labels"][:] = 0
        case["labels"][0, 2:6, 3:7] = case["labels"][1, :, :4] = 1
        case["labels"][1, :3] = 255
        tensors = leaves(case)
        config = make_config(segments_by=segments_by, queries_per_segment=copies, mask_cross_entropy_weight=1.0)
        value, terms = AussLoss(config)(**case, threshold=0.4)
        values.append((value, terms, torch.autograd.grad(value, tensors)))
    (value, terms, gradients), (other, other_terms, other_gradients) = values
    torch.testing.assert_close(value, other)
    torch.testing.assert_close(terms, other_terms)
    torch.testing.assert_close(gradients, other_gradients)


def test_two_things_of_a_label_are_learnt_by_a_query_each(make_config):
    """By component, a query with the mask of one object is right. By label, the target is the union of the objects."""
    labels = torch.zeros(1, 8, 10, dtype=torch.int64)
    labels[0, :4, :4] = labels[0, 5:, 6:] = 1
    things = torch.stack([labels[0] == 0, labels[0].bool() & (torch.arange(8) < 4)[:, None]])
    things = torch.cat([things, (labels[0].bool() & ~things[1])[None]]).float()
    features = torch.zeros(1, E, 8, 10)
    features[0, :3] = 2 * things - 1
    embeddings, classes = torch.zeros(1, N, E), torch.full((1, N, 3), -9.0)
    for query, label in enumerate((0, 1, 1)):
        embeddings[0, query, query], classes[0, query, label] = 20.0, 9.0
    classes[0, 3:, 2] = 9.0
    case = {"layers": [(classes, embeddings)], "queries": torch.zeros(1, N, E), "mask_features": features}
    terms = {
        segments_by: AussLoss(make_config(segments_by=segments_by))(**case, labels=labels, threshold=0.6)[1]
        for segments_by in ("label", "component")
    }
    assert terms["component"]["dice"] < 0.01 and terms["component"]["class"] < 0.01
    assert terms["label"]["dice"] > 0.1


def test_several_queries_of_a_segment_share_its_losses(make_config):
    """The loss is the mean over the pairs of a query and a segment. The expected value computes each pair alone."""
    loss, case = AussLoss(make_config(queries_per_segment=2, mask_cross_entropy_weight=1.0)), make_case(layers=1)
    pairs = [[2, 4, 0, 1], [1, 0, 3, 2], [4, 3, 2, 0]]  # queries of silent, silent, sounding and sounding per frame
    loss.matcher.assign = lambda costs: torch.tensor(pairs)
    _, terms = loss(**case, threshold=0.9999)
    dice, entropy = [], []
    for frame, queries in enumerate(pairs):
        masks = torch.einsum("ne,ehw->nhw", case["layers"][0][1][frame], case["mask_features"][frame])
        masks = resize(masks[None], case["labels"].shape[1:])[0]
        for place, query in enumerate(queries):
            target = (case["labels"][frame] == place // 2).float()
            probs = masks[query].sigmoid()
            dice.append(1 - (2 * (probs * target).sum() + 1) / (probs.sum() + target.sum() + 1))
            entropy.append(torch.nn.functional.binary_cross_entropy_with_logits(masks[query], target))
    torch.testing.assert_close(terms["dice"], torch.stack(dice).mean())
    torch.testing.assert_close(terms["mask_cross_entropy"], torch.stack(entropy).mean())
