"""Compares the post-processing with Eq. 20, computed pixel by pixel."""

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import ModelOutput

from auss.processing import post_processing_auss
from auss.processing.post_processing_auss import post_process_audio_visual_segmentation


def random_outputs(num_clips=2, num_frames=3, num_labels=2, height=6, width=5, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    logits = torch.rand(num_clips, num_frames, num_labels, height, width, generator=generator)
    return ModelOutput(logits=logits.to(dtype))


def loop_oracle(logits, height, width):
    """Computes labels and scores of one clip's logits (F, K, h, w) pixel by pixel, with explicit bilinear weights."""
    num_frames, num_labels, own_height, own_width = logits.shape
    labels = np.zeros((num_frames, height, width), np.int64)
    scores = np.zeros((num_frames, height, width))

    def neighbours(position, size, own_size):
        place = min(max((position + 0.5) * own_size / size - 0.5, 0.0), own_size - 1.0)
        low = int(place)
        return low, min(low + 1, own_size - 1), place - low

    for frame in range(num_frames):
        for row in range(height):
            top, bottom, down = neighbours(row, height, own_height)
            for column in range(width):
                left, right, across = neighbours(column, width, own_width)
                values = [
                    (1 - down) * ((1 - across) * plane[top, left] + across * plane[top, right])
                    + down * ((1 - across) * plane[bottom, left] + across * plane[bottom, right])
                    for plane in logits[frame].double().numpy()
                ]
                best = 0
                for label in range(num_labels):
                    if values[label] > values[best]:
                        best = label
                labels[frame, row, column] = best
                scores[frame, row, column] = sum(values[1:]) / sum(values) if sum(values) > 0 else 0
    return labels, scores


@pytest.mark.parametrize("num_labels", [2, 5])
@pytest.mark.parametrize("sizes", [[(13, 11), (6, 5)], [(3, 4), (17, 2)]])
def test_equals_the_loop(num_labels, sizes):
    outputs = random_outputs(num_labels=num_labels)
    clips = post_process_audio_visual_segmentation(outputs, target_sizes=sizes)
    assert len(clips) == 2
    for clip, logits, (height, width) in zip(clips, outputs.logits, sizes, strict=True):
        labels, scores = loop_oracle(logits, height, width)
        assert clip["segmentation"].dtype == torch.int64
        assert clip["scores"].dtype == torch.float32
        np.testing.assert_array_equal(clip["segmentation"].numpy(), labels)
        np.testing.assert_allclose(clip["scores"].numpy(), scores, rtol=0, atol=1e-6)


def test_no_sizes_keep_the_logits_size():
    outputs = random_outputs()
    (clip, _) = post_process_audio_visual_segmentation(outputs)
    assert clip["segmentation"].shape == (3, 6, 5)
    torch.testing.assert_close(clip["segmentation"], outputs.logits[0].argmax(dim=1))


def test_what_nothing_claims_and_what_ties_is_silent():
    logits = torch.zeros(1, 1, 2, 2, 2)
    logits[0, 0, :, 0, 0] = 0.3  # a tie
    logits[0, 0, 1, 1, 1] = 1e-12  # very small, but not zero
    (clip,) = post_process_audio_visual_segmentation(ModelOutput(logits=logits))
    assert clip["segmentation"].tolist() == [[[0, 0], [0, 1]]]
    assert clip["scores"].tolist() == [[[0.5, 0], [0, 1]]]


def test_scores_above_one_half_are_exactly_the_sounding_pixels():
    ulp = 2.0**-23
    steps = torch.arange(-4, 5) * ulp
    silent, sounding = torch.meshgrid(0.75 + steps, 0.75 + steps, indexing="ij")
    random = torch.rand(2, 400, 9, generator=torch.Generator().manual_seed(1))
    near = random[0] * (1 + ulp * torch.randint(-3, 4, random[0].shape, generator=torch.Generator().manual_seed(2)))
    logits = torch.cat([torch.stack([silent, sounding]), torch.stack([random[0], near]), random], dim=1)[None, None]
    (clip,) = post_process_audio_visual_segmentation(ModelOutput(logits=logits))
    assert torch.equal(clip["scores"] > 0.5, clip["segmentation"] == 1)
    assert 0 < clip["segmentation"].float().mean() < 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_of_logits(dtype):
    outputs = random_outputs(dtype=dtype)
    sizes = [(12, 10), (12, 10)]
    clips = post_process_audio_visual_segmentation(outputs, sizes)
    expected = post_process_audio_visual_segmentation(ModelOutput(logits=outputs.logits.float()), sizes)
    for clip, other in zip(clips, expected, strict=True):
        assert clip["scores"].dtype == torch.float32
        torch.testing.assert_close(clip["scores"], other["scores"], rtol=0, atol=0)
        assert torch.equal(clip["segmentation"], other["segmentation"])


def test_frames_resized_in_parts_give_the_same(monkeypatch):
    outputs = random_outputs(num_frames=7)
    expected = post_process_audio_visual_segmentation(outputs, [(12, 10), (9, 9)])
    monkeypatch.setattr(post_processing_auss, "MAX_RESIZED_VALUES", 2 * 2 * 12 * 10)
    calls = []
    segment_frames = post_processing_auss.segment_frames
    monkeypatch.setattr(
        post_processing_auss, "segment_frames", lambda *args: calls.append(len(args[0])) or segment_frames(*args)
    )
    clips = post_process_audio_visual_segmentation(outputs, [(12, 10), (9, 9)])
    assert calls == [2, 2, 2, 1, 2, 2, 2, 1]
    for clip, other in zip(clips, expected, strict=True):
        torch.testing.assert_close(clip["scores"], other["scores"], rtol=0, atol=0)
        assert torch.equal(clip["segmentation"], other["segmentation"])


def test_logits_with_a_gradient_give_results_without():
    outputs = ModelOutput(logits=random_outputs().logits.requires_grad_())
    assert not post_process_audio_visual_segmentation(outputs)[0]["scores"].requires_grad


@pytest.mark.parametrize(
    "sizes",
    [
        torch.tensor([[4, 5], [6, 7]]),
        np.array([[4, 5], [6, 7]]),
        ([4, 5], np.array([6, 7])),
        [(np.int64(4), np.int32(5)), (np.uint8(6), 7)],
        [(torch.tensor(4), 5), torch.Size([6, 7])],
    ],
)
def test_sizes_may_come_as_tensors(sizes):
    clips = post_process_audio_visual_segmentation(random_outputs(), sizes)
    assert [tuple(clip["scores"].shape) for clip in clips] == [(3, 4, 5), (3, 6, 7)]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([(4, 5)], "one .height, width. for each of the 2 clips of outputs.logits, got 1"),
        ([(4, 5)] * 3, "got 3"),
        ((4, 5), "pairs of positive integers .height, width., got 4"),
        ([(4, 5), (0, 5)], r"got \(0, 5\)"),
        ([(4, 5), (4, 5, 3)], r"got \(4, 5, 3\)"),
        ([(4, 5), (4.5, 5)], r"got \(4.5, 5\)"),
        ([(4, 5), (np.int64(0), np.int64(5))], "got .*0.*5"),
        ([(4, 5), (-4, 5)], r"got \(-4, 5\)"),
        ([(4, 5), (np.float32(4), 5)], "got .*4.0"),
        ([(4, 5), (True, 5)], r"got \(True, 5\)"),
        ([(4, 5), None], "got None"),
        ([(4, 5), "45"], "got '45'"),
        (7, "got 7"),
        (np.array(7), "got array"),
    ],
)
def test_wrong_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=f"target_sizes must hold .*{message}"):
        post_process_audio_visual_segmentation(random_outputs(), sizes)


@pytest.mark.parametrize("outputs", [ModelOutput(logits=torch.zeros(1, 2, 3, 4)), ModelOutput(), None])
def test_outputs_without_logits_are_refused(outputs):
    with pytest.raises(ValueError, match="outputs must have logits of shape"):
        post_process_audio_visual_segmentation(outputs)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.73, 1.0])
def test_threshold_with_two_labels_is_that_of_the_score(threshold):
    (clip, _) = post_process_audio_visual_segmentation(random_outputs(), [(13, 11)] * 2, threshold=threshold)
    assert torch.equal(clip["scores"] > threshold, clip["segmentation"] == 1)
    plain = post_process_audio_visual_segmentation(random_outputs(), [(13, 11)] * 2)[0]
    torch.testing.assert_close(clip["scores"], plain["scores"], rtol=0, atol=1e-6)
    share = clip["segmentation"].float().mean()
    assert share == 1 if threshold == 0 else share == 0 if threshold == 1 else 0 < share < 1


@pytest.mark.parametrize("threshold", [0.3, 0.8])
def test_threshold_with_more_labels_is_that_of_the_best_against_silence(threshold):
    outputs = random_outputs(num_labels=4)
    (clip, _) = post_process_audio_visual_segmentation(outputs, threshold=threshold)
    best, labels = outputs.logits[0, :, 1:].max(dim=1)
    share = best / (best + outputs.logits[0, :, 0])
    assert torch.equal(clip["segmentation"], torch.where(share > threshold, labels + 1, 0))


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan"), "0.5", True, None])
def test_wrong_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be a number from 0 to 1, got"):
        post_process_audio_visual_segmentation(random_outputs(), threshold=threshold)


def test_nan_is_no_silence():
    outputs = random_outputs()
    outputs.logits[1, 2, 0, 3, 4] = float("nan")
    with pytest.raises(ValueError, match="outputs.logits must be numbers, got NaN"):
        post_process_audio_visual_segmentation(outputs)
