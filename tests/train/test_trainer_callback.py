"""Delta of Eq. 22 under Trainer: the same at each step as `auss train` has it, resumed and wrapped too."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from auss import AussConfidenceCallback
from auss.modeling_auss.query_losses import confidence_threshold


@pytest.fixture
def clips(make_inputs):
    inputs = make_inputs(batch=6, frames=1)
    labels = torch.randint(2, (6, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    return [{name: value[index] for name, value in {**inputs, "labels": labels}.items()} for index in range(6)]


@pytest.fixture
def make_trainer(tiny_model, clips, tmp_path):
    def make(model=tiny_model, **options):
        arguments = TrainingArguments(
            str(tmp_path), report_to=[], disable_tqdm=True, per_device_train_batch_size=1, use_cpu=True, **options
        )
        return Trainer(model, arguments, train_dataset=clips, callbacks=[AussConfidenceCallback()])

    return make


def record_thresholds(model, monkeypatch):
    seen = []
    query_losses = model.loss.query_losses
    monkeypatch.setattr(
        model.loss, "query_losses", lambda *inputs: (seen.append(inputs[-1]), query_losses(*inputs))[1]
    )
    return seen


def test_delta_moves_with_the_optimiser_steps(make_trainer, tiny_model, monkeypatch):
    seen = record_thresholds(tiny_model, monkeypatch)
    make_trainer(max_steps=36, save_strategy="no").train()
    assert seen == [confidence_threshold(step / 36) for step in range(36)]
    assert seen[0] == 0.55 and seen[-1] > 0.64


def test_accumulated_batches_share_a_delta(make_trainer, tiny_model, monkeypatch):
    seen = record_thresholds(tiny_model, monkeypatch)
    make_trainer(max_steps=3, gradient_accumulation_steps=2, save_strategy="no").train()
    assert seen == [confidence_threshold(step / 3) for step in (0, 0, 1, 1, 2, 2)]


def test_a_resumed_run_goes_on_where_it_was(make_trainer, tiny_model, monkeypatch, tmp_path):
    make_trainer(max_steps=4, save_steps=2).train()
    seen = record_thresholds(tiny_model, monkeypatch)
    make_trainer(max_steps=4, save_steps=2).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert seen == [confidence_threshold(0.5), confidence_threshold(0.75)]


def test_the_model_is_found_inside_a_wrapper_and_others_are_refused(make_trainer, tiny_model):
    class Wrapper(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, **inputs):
            return self.module(**inputs)

    make_trainer(Wrapper(tiny_model), max_steps=3, save_strategy="no", remove_unused_columns=False).train()
    assert tiny_model.confidence_threshold == confidence_threshold(2 / 3)
    with pytest.raises(ValueError, match="needs an AussForAudioVisualSegmentation, got Linear"):
        make_trainer(torch.nn.Linear(2, 2), max_steps=1, save_strategy="no").train()
