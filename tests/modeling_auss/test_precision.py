"""Compares the network in half precision, under autocast and compiled with float32 and eager mode."""

import pytest
import torch

from .conftest import make_labels, make_model, randomise_heads


@pytest.mark.parametrize("labelled", [False, True])
def test_bfloat16_on_cpu(make_config, make_inputs, labelled):
    model = make_model(make_config()).bfloat16()
    inputs = {name: tensor.bfloat16() for name, tensor in make_inputs().items()}
    outputs = model(**inputs, labels=make_labels() if labelled else None)
    assert outputs.logits.isfinite().all()
    if labelled:
        assert outputs.loss.isfinite() and outputs.loss.dtype == torch.float32
        outputs.loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("overrides", [{}, {"audio_input": False, "query_embedding": True}])
def test_float32_inputs_are_taken_in_the_dtype_of_the_weights(make_config, make_inputs, dtype, overrides):
    """The processor always gives float32. The model converts copies, so the inputs themselves do not change."""
    model = make_model(make_config(**overrides)).to(dtype)
    inputs = make_inputs()
    with torch.no_grad():
        outputs = model(**inputs)
        expected = model(**{name: tensor.to(dtype) for name, tensor in inputs.items()})
        queries, frame_queries = model.auss.frame_queries(3, inputs["input_features"])
        again = model(pixel_values=inputs["pixel_values"], frame_queries=frame_queries)
    assert outputs.logits.dtype == expected.logits.dtype and queries.dtype == dtype
    assert torch.equal(outputs.logits, expected.logits) and torch.equal(outputs.logits, again.logits)
    assert torch.equal(outputs.audio_queries, queries)
    assert all(tensor.dtype == torch.float32 for tensor in inputs.values())


def test_compiled_bfloat16_takes_float32_inputs_in_one_graph(tiny_model, make_inputs):
    model = tiny_model.bfloat16().auss.audio_queries
    features = make_inputs()["input_features"]
    with torch.no_grad():
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)(features)
        torch.testing.assert_close(compiled, model(features), rtol=0.02, atol=0.02)


def test_autocast_trains(make_config, make_inputs):
    model = make_model(make_config()).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(**make_inputs(), labels=make_labels())
    outputs.loss.backward()
    plain = model.eval()(**make_inputs(), labels=make_labels()).loss
    assert outputs.loss.item() == pytest.approx(plain.item(), rel=0.2)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [False, True])
def test_torch_compile_gives_the_same(tiny_model, make_inputs, labelled):
    randomise_heads(tiny_model)
    torch._dynamo.reset()
    labels = make_labels() if labelled else None
    plain = tiny_model(**make_inputs(), labels=labels)
    # The network is one graph. With labels it is not, because the matcher copies its costs to the CPU.
    compiled = torch.compile(tiny_model, backend="aot_eager", fullgraph=not labelled)
    compiled = compiled(**make_inputs(), labels=labels)
    torch.testing.assert_close(plain.logits, compiled.logits, rtol=0, atol=1e-4)
    if labelled:
        torch.testing.assert_close(plain.loss, compiled.loss, rtol=1e-4, atol=0)
