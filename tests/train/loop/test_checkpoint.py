import json
import logging
from dataclasses import dataclass

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from auss.train.loop import checkpoint as checkpoint_module
from auss.train.loop import deepspeed_engine
from auss.train.loop.checkpoint import (
    FOLDER,
    MODEL_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    Position,
    delete_checkpoints,
    load_newest_checkpoint,
    read_position,
    save_checkpoint,
    whole_checkpoints,
)


@dataclass
class Run:
    """A prepared model of one weight and one bias, with its optimiser and scheduler."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler

    def save(self, output, position, keep=2):
        return save_checkpoint(*vars(self).values(), output, position, keep)

    def load_newest(self, output):
        return load_newest_checkpoint(*vars(self).values(), output)

    def step(self, with_bias=False):
        (self.model.weight + (self.model.bias if with_bias else 0)).sum().backward()
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()

    @property
    def weight(self):
        return self.model.weight.item()


@pytest.fixture
def new_run(tiny_config):
    def make(weight=0.5):
        accelerator, model = Accelerator(), nn.Linear(1, 1)
        model.config = tiny_config
        nn.init.constant_(model.weight, weight)
        optimizer = torch.optim.AdamW([{"params": [model.weight], "name": "weights"}, {"params": [model.bias]}], 1e-2)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
        return Run(accelerator, *accelerator.prepare(model, optimizer, scheduler))

    return make


@pytest.fixture
def run(new_run):
    return new_run()


def test_a_checkpoint_restores_weights_optimiser_schedule_and_position(run, new_run, tmp_path):
    run.step()
    expected = Position(2, 3, 1, [{"step": 1, "losses": {"loss": 0.5}}], {"loss": 0.1}, 7)
    path = run.save(tmp_path, expected)
    saved = run.weight
    run.step()
    for resumed in (run, new_run(weight=3.0)):
        assert resumed.load_newest(tmp_path) == expected == read_position(path)
        assert resumed.weight == saved
    # This step uses the restored moments of the optimiser and the restored rate.
    run.step()
    resumed.step()
    assert run.weight == resumed.weight != saved
    assert resumed.optimizer.param_groups[0]["lr"] == 1e-2 * 0.5**2


def test_a_parameter_without_a_gradient_so_far_begins_at_its_first_step(run, new_run, tmp_path):
    """Adam corrects for the number of steps of a parameter. torch would begin to count them at 1."""
    run.step()
    run.save(tmp_path, Position(step=1))
    resumed = new_run()
    resumed.load_newest(tmp_path)
    for one in (run, resumed):
        one.step(with_bias=True)
    assert run.model.bias.item() == resumed.model.bias.item()
    assert resumed.optimizer.state[resumed.model.bias]["step"] == 1


def test_nothing_in_a_checkpoint_is_a_pickle(run, tmp_path):
    run.step()
    path = run.save(tmp_path, Position(step=1))
    assert {file.name for file in path.iterdir()} == {"config.json", MODEL_FILE, OPTIMIZER_FILE, STATE_FILE}
    assert load_file(path / OPTIMIZER_FILE).keys() == {f"weight:{kind}" for kind in ("step", "exp_avg", "exp_avg_sq")}
    assert json.loads((path / STATE_FILE).read_text())["optimizer_groups"][0]["params"] == ["weight"]


def test_the_scale_of_float16_gradients_is_restored(run, tmp_path):
    run.step()
    run.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    run.save(tmp_path, Position(step=1))
    run.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    run.load_newest(tmp_path)
    assert run.accelerator.scaler.get_scale() == 4.0


def test_the_newest_are_kept_and_found(run, tmp_path):
    for number in (5, 10, 15):
        run.save(tmp_path, Position(step=number))
    assert [path.name for path in whole_checkpoints(tmp_path)] == ["step-00000010", "step-00000015"]
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["step-00000010", "step-00000015"]
    assert run.load_newest(tmp_path).step == 15


def test_saving_stopped_half_way_leaves_no_checkpoint(run, tmp_path, monkeypatch, caplog):
    run.save(tmp_path, Position(step=1))

    def save_half(tensors, file, **kwargs):
        if file.name == OPTIMIZER_FILE:
            raise KeyboardInterrupt
        save_file(tensors, file, **kwargs)

    unfinished = tmp_path / FOLDER / "unfinished-step-00000002"
    monkeypatch.setattr(checkpoint_module, "save_file", save_half)
    with pytest.raises(KeyboardInterrupt):
        run.save(tmp_path, Position(step=2))
    assert not unfinished.exists()
    # A process that is killed cannot clear up.
    monkeypatch.setattr(checkpoint_module.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        run.save(tmp_path, Position(step=2))
    monkeypatch.undo()
    assert (unfinished / MODEL_FILE).is_file()
    with caplog.at_level(logging.WARNING):
        assert run.load_newest(tmp_path).step == 1
    assert f"checkpoint {unfinished} was not finished and is passed over" in caplog.text
    # The next checkpoint removes the unfinished one.
    run.save(tmp_path, Position(step=3))
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["step-00000001", "step-00000003"]


@pytest.mark.parametrize("content", [None, "{", "{}", '{"position": {"unknown": 1}}'])
def test_a_folder_without_a_readable_position_is_passed_over_with_a_warning(run, tmp_path, content, caplog):
    run.save(tmp_path, Position(step=1))
    broken = run.save(tmp_path, Position(step=9))
    (broken / STATE_FILE).unlink()
    if content is not None:
        (broken / STATE_FILE).write_text(content)
    with caplog.at_level(logging.WARNING):
        assert run.load_newest(tmp_path).step == 1
    assert f"checkpoint {broken} is not whole and is passed over" in caplog.text


@pytest.mark.parametrize("name", [MODEL_FILE, OPTIMIZER_FILE])
@pytest.mark.parametrize("left", [0, -1, None])
def test_a_file_that_was_cut_off_is_passed_over_with_a_warning(run, tmp_path, name, left, caplog):
    """A machine that loses power may leave such a file: empty, a byte short, or missing."""
    run.step()
    run.save(tmp_path, Position(step=1))
    broken = run.save(tmp_path, Position(step=9)) / name
    if left is None:
        broken.unlink()
    else:
        broken.write_bytes(broken.read_bytes()[:left])
    with caplog.at_level(logging.WARNING):
        assert run.load_newest(tmp_path).step == 1
    assert f"checkpoint {broken.parent} is not whole and is passed over" in caplog.text


@pytest.mark.parametrize(
    ("wrote", "reads"),
    [
        ({}, {"processes": 2, "zero_stage": 3}),
        ({"processes": 2, "zero_stage": 3}, {}),
        ({"processes": 2, "zero_stage": 3}, {"processes": 4, "zero_stage": 3}),
        ({"processes": 2, "zero_stage": 3}, {"processes": 2, "zero_stage": 2}),
    ],
)
def test_a_checkpoint_of_another_engine_is_refused(run, tmp_path, monkeypatch, wrote, reads):
    """DeepSpeed wrote the checkpoint with other settings, or another engine wrote it."""
    path = run.save(tmp_path, Position(step=1))
    state = json.loads((path / STATE_FILE).read_text())
    if wrote:
        state["deepspeed"] = wrote | {"files": []}
    (path / STATE_FILE).write_text(json.dumps(state))
    monkeypatch.setattr(deepspeed_engine, "is_deepspeed", lambda accelerator: bool(reads))
    monkeypatch.setattr(deepspeed_engine, "engine_state", lambda model, accelerator: reads)
    before = run.weight
    names = [
        f"DeepSpeed of zero_stage {one['zero_stage']} in {one['processes']} processes" if one else "DDP, FSDP or one"
        for one in (wrote, reads)
    ]
    with pytest.raises(ValueError, match="was written by {}.* and can only be resumed so, got {}".format(*names)):
        run.load_newest(tmp_path)
    assert run.weight == before


def test_a_checkpoint_of_the_same_step_is_replaced(run, tmp_path):
    run.save(tmp_path, Position(step=3, epoch=0), keep=1)
    run.save(tmp_path, Position(step=3, epoch=7), keep=1)
    assert run.load_newest(tmp_path).epoch == 7


def test_without_checkpoints_nothing_is_restored(run, tmp_path):
    before = run.weight
    assert run.load_newest(tmp_path) is None
    assert run.weight == before
    delete_checkpoints(tmp_path)  # nothing to delete is no error
    run.save(tmp_path, Position(step=1), keep=1)
    delete_checkpoints(tmp_path)
    assert whole_checkpoints(tmp_path) == [] and not (tmp_path / FOLDER).exists()
