import json

import numpy as np
import pytest
import torch

from auss.train.evaluation.metrics import (
    _thresholds,
    _thresholds_passed,
    annotated_frames,
    class_means,
    class_scores,
    clip_means,
    f_score,
    jaccard,
    official_class_means,
    official_padding,
)


def plain_jaccard(scores, masks):
    values = []
    for score, mask in zip(scores, masks, strict=True):
        predicted = score > 0.5
        if not mask.any():
            values.append((~predicted).mean())
        else:
            values.append((predicted & mask).sum() / (predicted | mask).sum())
    return np.mean(values)


def plain_f_score(scores, masks):
    """Loops over thresholds in torch, as the authors' code does. float32 scores are compared with float32
    thresholds."""
    scores, masks = torch.as_tensor(scores), torch.as_tensor(masks)
    thresholds = torch.linspace(0, 1 - 1e-10, 255, dtype=scores.dtype)
    total, frames = torch.zeros(255, dtype=torch.float64), 0
    for score, mask in zip(scores, masks, strict=True):
        if not mask.any():
            continue
        values = torch.zeros(255, dtype=torch.float64)
        for index, threshold in enumerate(thresholds):
            predicted = score >= threshold
            true_positives = (predicted & mask).sum().double()
            precision = true_positives / (predicted.sum() + 1e-20)
            recall = true_positives / (mask.sum() + 1e-20)
            values[index] = 1.3 * precision * recall / (0.3 * precision + recall)
        total += values.nan_to_num(0.0)
        frames += 1
    return float((total / frames).max()) if frames else 0.0


def random_clip(seed, shape=(4, 17, 13), dtype=np.float32, filled=0.3):
    rng = np.random.default_rng(seed)
    masks = rng.random(shape) < filled
    scores = np.clip(0.35 * masks + 0.65 * rng.random(shape), 0, 1).astype(dtype)
    return scores, masks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(6))
def test_both_equal_the_plain_loops(seed, dtype):
    scores, masks = random_clip(seed, dtype=dtype, filled=(0.3, 0.02, 0.9)[seed % 3])
    masks[seed % 4] = False
    assert jaccard(scores, masks) == pytest.approx(plain_jaccard(scores, masks), abs=1e-9)
    assert f_score(scores, masks) == pytest.approx(plain_f_score(scores, masks), abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_on_the_thresholds_and_beside_them(dtype):
    """The scores are every threshold, its two neighbours, and the ends. There >= and > give different results."""
    thresholds = torch.linspace(0, 1 - 1e-10, 255, dtype=dtype)
    one = torch.ones_like(thresholds)
    ties = torch.cat([thresholds, torch.nextafter(thresholds, one), torch.nextafter(thresholds, -one), one[:2]])
    ties = ties.clamp(0, 1)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        scores = ties[torch.randint(len(ties), (2, 5, 6), generator=generator)]
        masks = torch.rand(2, 5, 6, generator=generator) < 0.4
        assert f_score(scores, masks) == pytest.approx(plain_f_score(scores, masks), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_count_of_passed_thresholds_equals_a_binary_search(dtype):
    thresholds = _thresholds(np.dtype(dtype))
    beside = [np.nextafter(thresholds, dtype(side)) for side in (-1, 2)]
    steps = [np.arange(255, dtype=dtype) / dtype(count) for count in (254, 255, 256)]
    scores = np.concatenate([thresholds, *beside, *steps, np.random.default_rng(0).random(5000).astype(dtype), [1, 0]])
    scores = scores.astype(dtype).clip(0, 1)
    np.testing.assert_array_equal(_thresholds_passed(scores), np.searchsorted(thresholds, scores, side="right"))


def test_float32_scores_meet_the_float32_thresholds_of_the_authors():
    """float32(i / 254) is less than the float64 threshold for some i, so float64 thresholds would decide the tie
    differently."""
    single = torch.linspace(0, 1 - 1e-10, 255)
    double = torch.linspace(0, 1 - 1e-10, 255, dtype=torch.float64)
    index = int(torch.nonzero(single.double() < double)[0])
    # One mask pixel on the tie, all others one threshold lower: F is 1 only if the pixel reaches its threshold.
    scores = torch.full((1, 4, 4), float(single[index - 1]))
    scores[0, 0, 0] = single[index]
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, 0, 0] = True
    assert f_score(scores, masks) == pytest.approx(1.0)
    assert f_score(scores.double(), masks) < 1.0


def test_a_perfect_and_an_inverted_clip():
    _, masks = random_clip(0)
    assert jaccard(masks.astype(np.float32), masks) == 1.0
    assert f_score(masks.astype(np.float32), masks) == pytest.approx(1.0)
    assert jaccard(1 - masks.astype(np.float32), masks) == 0.0
    # Every pixel reaches the threshold 0, so precision is the share of the mask and recall is 1.
    share = masks.mean(axis=(1, 2))
    expected = (1.3 * share / (0.3 * share + 1)).mean()
    assert f_score(1 - masks.astype(np.float32), masks) == pytest.approx(expected)


def test_a_score_of_one_half_is_empty():
    masks = np.ones((1, 2, 2), dtype=bool)
    assert jaccard(np.full((1, 2, 2), 0.5, dtype=np.float32), masks) == 0.0
    assert jaccard(np.full((1, 2, 2), np.nextafter(np.float32(0.5), np.float32(1))), masks) == 1.0


def test_empty_masks_count_what_was_left_empty_and_give_no_f():
    scores = np.zeros((2, 2, 4), dtype=np.float32)
    scores[1, 0, :3] = 0.9
    masks = np.zeros((2, 2, 4), dtype=bool)
    assert jaccard(scores, masks) == pytest.approx((1 + 5 / 8) / 2)
    assert f_score(scores, masks) == 0.0


def test_a_frame_with_an_empty_mask_leaves_f_as_it_was():
    scores, masks = random_clip(3, shape=(2, 8, 8))
    alone = f_score(scores[:1], masks[:1])
    masks[1] = False
    assert f_score(scores, masks) == alone


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_scores(value):
    scores = np.full((1, 4, 4), value, dtype=np.float32)
    masks = np.zeros((1, 4, 4), dtype=bool)
    masks[0, 0] = True
    expected = 1.3 * 0.25 / (0.3 * 0.25 + 1)
    assert f_score(scores, masks) == pytest.approx(expected)
    assert jaccard(scores, masks) == (0.25 if value else 0.0)


def test_numpy_torch_and_half_precision_agree():
    scores, masks = random_clip(5)
    half = torch.from_numpy(scores).bfloat16()
    assert jaccard(torch.from_numpy(scores), torch.from_numpy(masks)) == jaccard(scores, masks)
    assert f_score(torch.from_numpy(scores), masks.astype(np.int64)) == f_score(scores, masks)
    assert f_score(half, torch.from_numpy(masks)) == f_score(half.float(), masks)
    assert f_score(half.half(), torch.from_numpy(masks)) == f_score(half.half().float(), masks)


@pytest.mark.parametrize("metric", [jaccard, f_score])
@pytest.mark.parametrize(
    "scores, masks, message",
    [
        (np.zeros((2, 3, 3)), np.zeros((2, 3, 4), bool), r"masks must have the shape of scores, \(2, 3, 3\)"),
        (np.zeros((3, 3)), np.zeros((3, 3), bool), r"scores must be \(F, H, W\).*got shape \(3, 3\)"),
        (np.zeros((0, 3, 3)), np.zeros((0, 3, 3), bool), "with F >= 1"),
        (np.full((1, 2, 2), np.nan), np.ones((1, 2, 2), bool), r"scores must lie in \[0, 1\] without NaN"),
        (np.full((1, 2, 2), 1.5), np.ones((1, 2, 2), bool), r"got 1.5 to 1.5"),
        (np.zeros((1, 2, 2)), np.full((1, 2, 2), 255), "masks must be boolean or hold 0 and 1 only.*255"),
    ],
)
def test_bad_input_is_named(metric, scores, masks, message):
    with pytest.raises(ValueError, match=message):
        metric(scores, masks)


def test_means_over_clips_and_categories():
    j, f = [0.1, 0.2, 0.4, 0.8], [0.3, 0.5, 0.7, 0.9]
    categories = ["dog", "bell", "dog", ""]
    records = [{"category": c, "J": one, "F": other} for c, one, other in zip(categories, j, f, strict=True)]
    results = clip_means(records)
    assert (results["M_J"], results["M_F"]) == pytest.approx((np.mean(j), np.mean(f)))
    assert results["clips"] == 4 and list(results["categories"]) == ["bell", "dog"]
    assert results["categories"]["dog"] == {"M_J": pytest.approx(0.25), "M_F": pytest.approx(0.5), "clips": 2}
    assert json.loads(json.dumps(results)) == results
    with pytest.raises(ValueError, match="no clip has an annotated frame"):
        clip_means([])


def test_means_do_not_depend_on_the_order_of_clips():
    records = [{"category": "", "J": value, "F": value} for value in np.random.default_rng(0).random(100).tolist()]
    assert clip_means(records) == clip_means(records[::-1]) == clip_means(records[50:] + records[:50])


def test_frames_without_annotation_are_left_out():
    scores, masks = random_clip(7)
    labels = torch.from_numpy(masks).long()
    labels[1:] = 255
    kept_scores, kept_masks = annotated_frames(torch.from_numpy(scores).bfloat16(), labels)
    np.testing.assert_array_equal(kept_masks, masks[:1])
    np.testing.assert_allclose(kept_scores, scores[:1], atol=0.01)
    assert all(len(part) == 0 for part in annotated_frames(scores, np.full(masks.shape, 255)))
    assert all(len(part) == 4 for part in annotated_frames(scores, masks))
    with pytest.raises(
        ValueError, match=r"scores and masks must both be \(F, H, W\), got \(4, 17, 13\) and \(17, 13\)"
    ):
        annotated_frames(scores, masks[0])


def plain_semantic(predictions, labels, num_labels):
    """Loops over frames and classes. 0 / 0 gives NaN."""
    iou, f, count = np.zeros(num_labels), np.zeros(num_labels), np.zeros(num_labels)
    for prediction, label in zip(predictions, labels, strict=True):
        for index in range(num_labels):
            in_prediction = (prediction == index) & (label != 255)
            in_label = label == index
            union = (in_prediction | in_label).sum()
            if union == 0:
                continue
            intersection = float((in_prediction & in_label).sum())
            count[index] += 1
            iou[index] += intersection / union
            with np.errstate(all="ignore"):
                precision = np.divide(intersection, in_prediction.sum())
                recall = np.divide(intersection, in_label.sum())
                f[index] += np.nan_to_num(1.3 * precision * recall / (0.3 * precision + recall))
    occurs = count > 0
    return (iou[occurs] / count[occurs]).mean(), (f[occurs] / count[occurs]).mean()


@pytest.mark.parametrize("seed", range(4))
def test_class_means_equal_the_plain_loop(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (6, 7, 8)) * (rng.random((6, 7, 8)) < 0.5)
    predictions = np.where(rng.random(labels.shape) < 0.6, labels, rng.integers(0, 7, labels.shape))
    predictions[0] = 6  # a class that no label has
    labels[1, :3] = 255
    labels[2] = 255
    clips = [
        class_scores(predictions[:3], torch.from_numpy(labels[:3]), 9),
        class_scores(predictions[3:], labels[3:], 9),
    ]
    results = class_means([rows.tolist() for rows, _ in clips])
    kept = np.arange(6) != 2
    m_j, m_f = plain_semantic(predictions[kept], labels[kept], 9)
    assert results["M_J"] == pytest.approx(m_j, abs=1e-9) and results["M_F"] == pytest.approx(m_f, abs=1e-9)
    assert sum(frames for _, frames in clips) == 5
    assert results["classes"][6]["J"] == 0.0 and 8 not in results["classes"]
    assert list(results["classes"]) == sorted(results["classes"])


def test_class_scores_check_their_input():
    with pytest.raises(ValueError, match="no clip has an annotated frame"):
        class_means([])
    with pytest.raises(ValueError, match=r"must both be \(F, H, W\)"):
        class_scores(np.zeros((2, 2)), np.zeros((2, 2)), 3)
    with pytest.raises(ValueError, match="labels must hold class ids 0 to 2, got 0 to 3"):
        class_scores(np.zeros((1, 2, 2)), np.array([[[0, 1], [2, 3]]]), 3)
    with pytest.raises(ValueError, match="predictions must hold class ids 0 to 2"):
        class_scores(np.full((1, 2, 2), -1), np.zeros((1, 2, 2)), 3)


def test_the_official_means_pad_with_background_and_count_every_class():
    """There are clips of five and of ten frames. Background has J 0.8 in the real frames and 1 in five padded
    frames."""
    clips = [[[0, 4.0, 4.5, 5], [2, 1.0, 2.0, 4]], [[0, 8.0, 9.0, 10], [3, 0.0, 0.0, 1]]]
    padding = sum(map(official_padding, (5, 10)))
    official = official_class_means(clips, padding, 5)
    background = {"J": pytest.approx((12 + 5) / 20), "F": pytest.approx((13.5 + 5) / 20), "frames": 20}
    assert official["classes"][0] == background
    assert official["classes"][1] == official["classes"][4] == {"J": 0.0, "F": 0.0, "frames": 0}
    assert official["M_J"] == pytest.approx((17 / 20 + 0.25) / 5)
    plain = class_means(clips)
    assert plain["classes"].keys() == {0, 2, 3} and plain["classes"][0]["J"] == pytest.approx(0.8)
    assert plain["M_J"] == pytest.approx((0.8 + 0.25) / 3)
    assert [official_padding(frames) for frames in (1, 10, 12)] == [9, 0, 0]
    with pytest.raises(ValueError, match="no clip has an annotated frame"):
        official_class_means([], 5, 5)
