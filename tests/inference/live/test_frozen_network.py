"""The frozen network gives the model's logits, for every number of confident queries and every size."""

import logging

import pytest
import torch

from auss.inference.live.frozen_network import FrozenNetwork


@torch.inference_mode()
def test_logits_are_those_of_the_model(tiny_model, caplog):
    # The class head makes some frames have many confident queries and others none.
    frozen = FrozenNetwork(tiny_model)
    generator = torch.Generator().manual_seed(0)
    with caplog.at_level(logging.WARNING):
        for size in ((32, 32), (48, 32), (32, 32)):
            for scale in (0.1, 1.0, 10.0):
                frame = torch.randn(1, 1, 3, *size, generator=generator)
                queries = scale * torch.randn(1, 1, 8, 16, generator=generator)
                expected = tiny_model(pixel_values=frame, frame_queries=queries).logits
                torch.testing.assert_close(frozen(frame, queries).logits, expected, atol=1e-4, rtol=1e-3)
    assert caplog.records == [] and len(frozen._graphs) == 2


@torch.inference_mode()
@pytest.mark.parametrize("fault", ["refused", "different"])
def test_the_model_itself_runs_where_freezing_does_not_work(tiny_model, monkeypatch, caplog, fault):
    def freeze(traced):
        if fault == "refused":
            raise RuntimeError("no such graph")
        return lambda *inputs: tuple(part + 1 for part in traced(*inputs))

    monkeypatch.setattr(torch.jit, "freeze", freeze)
    frozen = FrozenNetwork(tiny_model)
    frame, queries = torch.randn(1, 1, 3, 32, 32), torch.randn(1, 1, 8, 16)
    expected = tiny_model(pixel_values=frame, frame_queries=queries).logits
    torch.testing.assert_close(frozen(frame, queries).logits, expected)
    assert "slower" in caplog.text
