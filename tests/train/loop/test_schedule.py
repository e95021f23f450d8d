import pytest
import torch
from torch import nn

from auss.train.loop.schedule import create_optimizer, create_scheduler, parameter_groups


def poly_with_warmup(step, steps, warmup_steps, power):
    """Computes the schedule by its formula."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return (1.0 - min(1.0, progress)) ** power


def undecayed_names(model):
    """Returns the parameters without weight decay by the rule: norms, embeddings, biases, and those of one
    dimension."""
    norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase, nn.Embedding)
    return {
        f"{place}.{name}".lstrip(".")
        for place, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, norms) or parameter.ndim <= 1 or name.endswith("bias") or "embedding" in name
    }


def spared_names(model):
    """Returns the names of the parameters that `parameter_groups` gives no weight decay."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 1e-3, 0.1, 0.05)
    return {names[parameter] for group in groups if not group["weight_decay"] for parameter in group["params"]}


def rates(steps, warmup, power, count):
    """Returns the shares of the peak rate in the first `count` steps, for two groups with different rates."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1e-3, 1e-4)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    scheduler = create_scheduler(optimizer, steps, warmup, power)
    found = []
    for _ in range(count):
        found.append([group["lr"] / peak for group, peak in zip(optimizer.param_groups, (1e-3, 1e-4), strict=True)])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("steps, power", [(1, 0.9), (2, 1.0), (20, 0.9), (333, 2.0)])
def test_rates_are_those_of_the_formula(steps, warmup, power):
    expected = [poly_with_warmup(step, steps, round(warmup * steps), power) for step in range(steps + 3)]
    for of_group in zip(*rates(steps, warmup, power, steps + 3), strict=True):
        assert of_group == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_rates_are_the_literal_polynomial():
    """Without warm-up the rate is base * (1 - step / steps) ** 0.9, as in the poly schedule of DeepLab and
    Mask2Former."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1e-4)
    scheduler = create_scheduler(optimizer, steps=50, warmup=0.0, power=0.9)
    for step in range(50):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4 * (1 - step / 50) ** 0.9, rel=1e-12)
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_warm_up_rises_linearly_to_the_peak_and_decay_ends_at_zero():
    found = [share for share, _ in rates(steps=20, warmup=0.2, power=0.9, count=22)]
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[5:21] == pytest.approx([(1 - (step - 4) / 16) ** 0.9 for step in range(5, 21)])
    assert found[20:] == [0.0, 0.0]
    # The only step belongs to the warm-up
    assert rates(steps=1, warmup=1.0, power=0.9, count=1)[0] == pytest.approx([0.5, 0.5])


def test_the_state_is_what_earlier_checkpoints_hold():
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=1e-4)
    state = create_scheduler(optimizer, steps=50, warmup=0.1, power=0.9).state_dict()
    assert state["last_epoch"] == 0 and state["lr_lambdas"] == [None] and state["base_lrs"] == [1e-4]


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
    undecayed = spared_names(model)
    assert undecayed == undecayed_names(model)
    for name, parameter in model.named_parameters():
        if parameter.ndim <= 1 or name.endswith(("query_embedding", "position_embedding", "level_embedding")):
            assert name in undecayed, name
        else:
            assert name not in undecayed, name
    assert any(name.endswith("query_embedding") for name in undecayed)
    assert spared_names(nn.Embedding(2, 3)) == {"weight"}


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_groups_come_in_one_order_with_the_parameters_in_the_models(tiny_model, weight_decay):
    """A checkpoint stores the optimiser's state by group and place."""
    groups = parameter_groups(tiny_model, 1e-3, 0.1, weight_decay)
    assert [group["name"] for group in groups] == ["network, undecayed", "network", "backbone, undecayed", "backbone"]
    undecayed = undecayed_names(tiny_model)
    for group in groups:
        is_backbone, decayed = group["name"].startswith("backbone"), "undecayed" not in group["name"]
        names = [name for name, _ in tiny_model.named_parameters() if (".backbone." in name) == is_backbone]
        expected = [tiny_model.get_parameter(name) for name in names if (name not in undecayed) == decayed]
        assert len(expected) == len(group["params"])
        assert all(one is other for one, other in zip(expected, group["params"], strict=True))


def test_frozen_parameters_are_left_out_and_a_frozen_model_is_refused(tiny_model):
    for name, parameter in tiny_model.named_parameters():
        parameter.requires_grad_(".backbone." not in name)
    names = {group["name"] for group in parameter_groups(tiny_model, 1e-3, 0.1, 0.05)}
    assert names == {"network", "network, undecayed"}
    tiny_model.requires_grad_(False)
    with pytest.raises(ValueError, match="model must have trainable parameters"):
        parameter_groups(tiny_model, 1e-3, 0.1, 0.05)
