"""Delta of Eq. 22 under Trainer: the same at each step as `auss train` has it, resumed and wrapped too.

And Trainer with everything that auss has for it, as docs/training.md shows it.
"""

import re
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainingArguments, pipeline

import auss
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


def test_the_example_of_the_documentation_trains_and_its_checkpoints_open(
    s4_root, trained_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    text = (Path(auss.__file__).parent / "docs" / "training.md").read_text(encoding="utf-8")
    for written, here in {
        '"runs/s4"': repr(str(trained_folder)),
        '"DATA"': repr(str(s4_root)),
        "max_steps=1000": "max_steps=2, save_steps=1, use_cpu=True, report_to=[]",
    }.items():
        assert written in text
        text = text.replace(written, here)
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {}
    exec(code, names)
    trainer = names["trainer"]
    assert trainer.state.global_step == 2
    assert trainer.model.confidence_threshold == confidence_threshold(0.5)
    assert {"eval_loss", "eval_m_j", "eval_m_f"} <= names["results"].keys()
    clip = {"frames": torch.zeros(2, 32, 32, 3, dtype=torch.uint8).numpy(), "audio": 0.5 * torch.randn(32_000).numpy()}
    for segmenter in (
        names["segmenter"],
        pipeline("audio-visual-segmentation", model=str(tmp_path / "runs" / "fine-tuned" / "checkpoint-2")),
    ):
        trained = trainer.model.state_dict()
        assert all(torch.equal(value, trained[name]) for name, value in segmenter.model.state_dict().items())
        frames = segmenter({**clip, "sampling_rate": 16_000})
        assert [frame[0]["mask"].size for frame in frames] == [(32, 32), (32, 32)]
