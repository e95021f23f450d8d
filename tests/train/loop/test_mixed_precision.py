"""Tests training under autocast: the losses stay in float32 and are finite."""

import pytest
import torch

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.mark.parametrize("annotated", [True, False])
@pytest.mark.parametrize("precision", DTYPES)
def test_losses_under_autocast_are_float32_and_finite(tiny_model, make_inputs, precision, annotated):
    """The batch has 40 frames and mask logits as large as those of a trained network. Their sums exceed float16's
    65504."""
    model = tiny_model.train()
    with torch.no_grad():
        model.auss.fusion_decoder.mask_head.weight *= 50
    inputs = make_inputs(batch=8, frames=5, size=(64, 64))
    labels = torch.zeros(8, 5, 64, 64, dtype=torch.int64)
    labels[..., 16:40] = 1
    if not annotated:
        labels.fill_(255)
    with torch.autocast("cpu", dtype=DTYPES[precision]):
        outputs = model(**inputs, labels=labels)
    assert outputs.class_queries_logits.dtype == DTYPES[precision]  # this shows that autocast is on
    for name, term in {"loss": outputs.loss, **outputs.loss_dict}.items():
        assert term.dtype == torch.float32 and term.isfinite(), name
    outputs.loss.backward()
    assert [name for name, weight in model.named_parameters() if not weight.grad.isfinite().all()] == []
