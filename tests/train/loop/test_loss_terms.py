import itertools

import numpy as np
import pytest
import torch

from auss.modeling_auss.outputs import AussSegmentationOutput
from auss.train.loop import loss_terms
from auss.train.loop.loss_terms import (
    check_finite_weights,
    finite_terms,
    means_over_processes,
    query_statistics,
)


def make_outputs(loss, **terms):
    terms = {name: torch.tensor(value) for name, value in terms.items()}
    return AussSegmentationOutput(loss=torch.tensor(loss, requires_grad=True), loss_dict=terms)


def test_terms_become_numbers():
    outputs = make_outputs(1.5, dice=0.25, aqdl=2.0)
    outputs.loss_dict["dice"] = outputs.loss_dict["dice"].half()
    assert finite_terms(outputs, 3, ["a"]) == {"loss": 1.5, "dice": 0.25, "aqdl": 2.0}


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
def test_a_loss_that_is_no_number_names_step_terms_and_clips(loss):
    with pytest.raises(FloatingPointError, match=rf"loss of step 3 is {loss} \(dice 0.25\) on clips a, b: lower"):
        finite_terms(make_outputs(float(loss), dice=0.25), 3, ["a", "b"])


def test_sums_are_averaged_by_name(monkeypatch):
    assert means_over_processes({"loss": 3.0, "dice": 1.0}) == {"dice": 1.0, "loss": 3.0}
    monkeypatch.setattr(loss_terms, "gather_object", lambda ours: [*ours, {"dice": 2.0, "loss": 5.0}])
    assert means_over_processes({"loss": 3.0, "dice": 1.0}) == {"dice": 1.5, "loss": 4.0}


def test_weights_that_are_no_numbers_stop_the_run_by_name():
    model = torch.nn.BatchNorm1d(3)
    check_finite_weights(model, 7)
    model.running_mean[1] = torch.inf
    with pytest.raises(FloatingPointError, match="of step 7 left 1 of the weights .*, first running_mean: lower"):
        check_finite_weights(model, 7)
    with torch.no_grad():
        model.bias[0] = torch.nan
    with pytest.raises(FloatingPointError, match="left 2 of the weights .*, first bias"):
        check_finite_weights(model, 7)


def test_the_statistics_of_queries_are_those_of_every_pair():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 4, generator=generator) * 3
    queries = torch.randn(2, 3, 5, 6, generator=generator)
    outputs = AussSegmentationOutput(class_queries_logits=logits, fused_queries=queries)
    statistics = query_statistics(outputs, 0.4)
    bins, distances = [0.0] * 20, []
    for clip, frame in itertools.product(range(2), range(3)):
        sounding = logits[clip, frame].softmax(-1)[:, 1:3].sum(-1).tolist()
        for one in range(5):
            bins[int(sounding[one] * 20)] += 1 / 6
            for other in range(one):
                if sounding[one] > 0.4 and sounding[other] > 0.4:
                    difference = queries[clip, frame, one] - queries[clip, frame, other]
                    distances.append(difference.square().sum().item())
    assert statistics["confidences"] == pytest.approx(bins)
    expected = np.quantile(distances, (0, 0.05, 0.25, 0.5))
    assert len(distances) > 3 and statistics["squared_distances"] == pytest.approx(expected, rel=1e-4)
    assert query_statistics(outputs, 1.0)["squared_distances"] == []
