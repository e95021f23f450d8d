import pytest
import torch
from torch import nn

from auss.train.loop.schedule import (
    create_optimizer,
    create_scheduler,
    parameter_groups,
    poly_with_warmup,
    undecayed_names,
)


def test_rates_are_the_literal_polynomial():
    """Without warm-up: base * (1 - step / steps) ** 0.9, the formula of DeepLab's and Mask2Former's poly schedule."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1e-4)
    scheduler = create_scheduler(optimizer, steps=50, warmup=0.0, power=0.9)
    for step in range(50):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4 * (1 - step / 50) ** 0.9, rel=1e-12)
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_warm_up_rises_linearly_to_the_peak_and_decay_ends_at_zero():
    rates = [poly_with_warmup(step, steps=20, warmup_steps=4, power=0.9) for step in range(22)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:21] == pytest.approx([(1 - (step - 4) / 16) ** 0.9 for step in range(5, 21)])
    assert rates[20:] == [0.0, 0.0]
    assert poly_with_warmup(0, steps=1, warmup_steps=1, power=0.9) == 0.5  # all warm-up


def test_every_trainable_parameter_is_in_one_group_with_its_rate_and_decay(tiny_model):
    optimizer = create_optimizer(tiny_model, learning_rate=1e-3, backbone_rate=0.1, weight_decay=0.05)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "network": (pytest.approx(1e-3), 0.05),
        "network, undecayed": (pytest.approx(1e-3), 0.0),
        "backbone": (pytest.approx(1e-4), 0.05),
        "backbone, undecayed": (pytest.approx(1e-4), 0.0),
    }
    grouped = [id(parameter) for group in groups.values() for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in tiny_model.parameters())
    for name, parameter in tiny_model.named_parameters():
        group = next(n for n, g in groups.items() if any(parameter is other for other in g["params"]))
        assert group.startswith("backbone") == (".backbone." in name)


def test_weight_decay_spares_norms_biases_and_embeddings(make_config):
    from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation

    model = AussForAudioVisualSegmentation(make_config(query_embedding=True))
    undecayed = undecayed_names(model)
    for name, parameter in model.named_parameters():
        if parameter.ndim <= 1 or name.endswith(("query_embedding", "position_embedding", "level_embedding")):
            assert name in undecayed, name
        else:
            assert name not in undecayed, name
    assert any(name.endswith("query_embedding") for name in undecayed)
    assert undecayed_names(nn.Embedding(2, 3)) == {"weight"}


def test_frozen_parameters_are_left_out_and_a_frozen_model_is_refused(tiny_model):
    for name, parameter in tiny_model.named_parameters():
        parameter.requires_grad_(".backbone." not in name)
    names = {group["name"] for group in parameter_groups(tiny_model, 1e-3, 0.1, 0.05)}
    assert names == {"network", "network, undecayed"}
    tiny_model.requires_grad_(False)
    with pytest.raises(ValueError, match="model must have trainable parameters"):
        parameter_groups(tiny_model, 1e-3, 0.1, 0.05)
