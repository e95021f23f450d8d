import logging

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from auss.train.checkpoint import (
    FOLDER,
    POSITION_FILE,
    Position,
    delete_checkpoints,
    load_newest_checkpoint,
    read_position,
    save_checkpoint,
    whole_checkpoints,
)


@pytest.fixture
def accelerator():
    """One that has prepared a model of one weight, its optimiser and a scheduler."""
    accelerator = Accelerator()
    model = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    accelerator.prepare(model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step))
    return accelerator


def step(accelerator):
    accelerator._models[0](torch.ones(1, 1)).sum().backward()
    accelerator._optimizers[0].step()
    accelerator._schedulers[0].step()
    accelerator._optimizers[0].zero_grad()


def weight(accelerator):
    return accelerator._models[0].weight.item()


def test_a_checkpoint_restores_weights_optimiser_schedule_and_position(accelerator, tmp_path):
    step(accelerator)
    history = [{"step": 1, "losses": {"loss": 0.5}}]
    path = save_checkpoint(accelerator, tmp_path, Position(epoch=2, batch=3, step=1, history=history), keep=2)
    saved = weight(accelerator)
    step(accelerator)
    expected = weight(accelerator)
    position = load_newest_checkpoint(accelerator, tmp_path)
    assert position == Position(2, 3, 1, history) == read_position(path)
    assert weight(accelerator) == saved
    step(accelerator)  # with the optimiser's moments and the rate of then
    assert weight(accelerator) == expected


def test_the_newest_are_kept_and_found(accelerator, tmp_path):
    for number in (5, 10, 15):
        save_checkpoint(accelerator, tmp_path, Position(step=number), keep=2)
    assert [path.name for path in whole_checkpoints(tmp_path)] == ["step-00000010", "step-00000015"]
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["step-00000010", "step-00000015"]
    assert load_newest_checkpoint(accelerator, tmp_path).step == 15


def test_saving_stopped_half_way_leaves_no_checkpoint(accelerator, tmp_path, monkeypatch):
    save_checkpoint(accelerator, tmp_path, Position(step=1), keep=2)

    def save_half(folder):
        (tmp_path / FOLDER / folder).joinpath("model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(accelerator, "save_state", save_half)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(accelerator, tmp_path, Position(step=2), keep=2)
    monkeypatch.undo()
    assert load_newest_checkpoint(accelerator, tmp_path).step == 1
    # The leftover stands in nobody's way.
    save_checkpoint(accelerator, tmp_path, Position(step=2), keep=2)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("content", [None, "{", '{"unknown": 1}'])
def test_a_folder_without_a_readable_position_is_passed_over_with_a_warning(accelerator, tmp_path, content, caplog):
    save_checkpoint(accelerator, tmp_path, Position(step=1), keep=2)
    broken = tmp_path / FOLDER / "step-00000009"
    broken.mkdir()
    if content is not None:
        (broken / POSITION_FILE).write_text(content)
    with caplog.at_level(logging.WARNING):
        assert load_newest_checkpoint(accelerator, tmp_path).step == 1
    assert f"checkpoint {broken} is not whole and is passed over" in caplog.text


def test_a_checkpoint_of_the_same_step_is_replaced(accelerator, tmp_path):
    save_checkpoint(accelerator, tmp_path, Position(step=3, epoch=0), keep=1)
    save_checkpoint(accelerator, tmp_path, Position(step=3, epoch=7), keep=1)
    assert load_newest_checkpoint(accelerator, tmp_path).epoch == 7


def test_without_checkpoints_nothing_is_restored(accelerator, tmp_path):
    before = weight(accelerator)
    assert load_newest_checkpoint(accelerator, tmp_path) is None
    assert weight(accelerator) == before
    delete_checkpoints(tmp_path)  # nothing to delete is no error
    save_checkpoint(accelerator, tmp_path, Position(step=1), keep=1)
    delete_checkpoints(tmp_path)
    assert whole_checkpoints(tmp_path) == [] and not (tmp_path / FOLDER).exists()
