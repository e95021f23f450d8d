"""Tests delta of Eq. 22 under Trainer: at each step it equals that of `auss train`, also in resumed and wrapped runs.

Also tests Trainer with all parts that auss has for it, as docs/training.md shows.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainingArguments, pipeline

import auss
from auss import (
    AussConfidenceCallback,
    AussDataCollator,
    AussForAudioVisualSegmentation,
    AussProcessor,
    AussTrainerMetrics,
    load_avsbench,
)
from auss.modeling_auss.losses.query_losses import confidence_threshold

from ..conftest import make_avss


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


def documented_example(trained_folder, root, options: str, name: str = "s4") -> str:
    """
    Returns the example of docs/training.md for a subset of AVSBench, with the model in `trained_folder`, the data set
    at `root` and further training arguments.
    """
    text = (Path(auss.__file__).parent / "docs" / "training.md").read_text(encoding="utf-8")
    for written, here in {
        '"runs/s4"': repr(str(trained_folder)),
        '"DATA"': repr(str(root)),
        "max_steps=1000": f"{options}, use_cpu=True, report_to=[]",
    }.items():
        assert written in text
        text = text.replace(written, here)
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (code,) = (block for block in blocks if "Trainer(" in block and f'"{name}", "train"' in block)
    return code


def test_the_example_of_the_documentation_trains_and_its_checkpoints_open(
    s4_root, trained_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code = documented_example(trained_folder, s4_root, "max_steps=2, save_steps=1")
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


def test_the_example_for_avss_trains_on_clips_of_5_and_10_frames(tmp_path, tiny_preset, monkeypatch):
    """The tiny preset replaces that of the paper. The scores equal those of the same masks, scored one clip at a
    time."""
    monkeypatch.chdir(tmp_path)
    root = make_avss(tmp_path / "avsbench", ("train", "val"))
    code = documented_example("", root, "max_steps=1", "avss").replace('"auss-resnet101"', repr(tiny_preset))
    code = code.replace("AussVideoProcessor()", "AussVideoProcessor(size={'height': 32, 'width': 32})")
    names = {}
    exec(code, names)
    trainer, results = names["trainer"], names["results"]
    assert trainer.state.global_step == 1 and math.isfinite(results["eval_loss"])
    scores = ("eval_m_j", "eval_m_f", "eval_plain_m_j", "eval_plain_m_f")
    trainer.args.per_device_eval_batch_size = 1
    alone = trainer.evaluate()
    assert [results[name] for name in scores] == pytest.approx([alone[name] for name in scores], abs=1e-6)
    assert 0 < results["eval_m_j"] < 1 and 0 < results["eval_plain_m_j"] < 1
    assert results["eval_m_j"] != results["eval_plain_m_j"]


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("visual_frames/train/dog/train_0/train_0_2.png", b"", r"picture file .*/train_0_2\.png is empty"),
        ("gt_masks/train/dog/train_0/train_0_1.png", b"%!PS-Adobe-3.0 EPSF-3.0\n", r"train_0_1\.png is not a picture"),
        ("audio_wav/train/dog/train_0.wav", b"RIFF", r"clip 'train_0': audio file .*/train_0\.wav is not a sound"),
    ],
)
def test_the_example_names_the_clip_and_the_file_of_a_damaged_one(
    s4_root, trained_folder, tmp_path, monkeypatch, file, content, message
):
    monkeypatch.chdir(tmp_path)
    code = documented_example(trained_folder, s4_root, "max_steps=1, save_strategy='no'")
    (s4_root / "Single-source" / "s4_data" / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        exec(code, {})


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [None, 2, 3])
def test_the_example_runs_in_two_processes_accumulates_and_loads_its_best_model(
    odd_root, trained_folder, tmp_path, zero_stage
):
    """The scores of two processes over an odd number of clips equal those of the saved model in one process."""
    options = (
        "max_steps=4, gradient_accumulation_steps=2, eval_strategy='steps', eval_steps=2, save_strategy='steps', "
        "save_steps=2, load_best_model_at_end=True, metric_for_best_model='m_j'"
    )
    if zero_stage is not None:
        pytest.importorskip("deepspeed")
        names = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
        zero = {"stage": zero_stage, "stage3_gather_16bit_weights_on_model_save": True}
        deepspeed = {"zero_optimization": zero, "zero_allow_untested_optimizer": True, **dict.fromkeys(names, "auto")}
        options += f", deepspeed={deepspeed}"
    root = odd_root("s4")
    code = documented_example(trained_folder, root, options)
    code = code.replace("per_device_train_batch_size=4", "per_device_train_batch_size=1")
    code = code.partition("segmenter =")[0]  # only the process that saved the model could open it at once
    report = """
import json
if trainer.is_world_process_zero():
    engine = type(trainer.model_wrapped).__name__
    print("RESULTS", json.dumps({**results, "best": trainer.state.best_model_checkpoint, "engine": engine}))
"""
    (tmp_path / "example.py").write_text(code + report)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "example.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULTS"))
    results = json.loads(line.removeprefix("RESULTS"))
    assert (results["engine"] == "DeepSpeedEngine") == (zero_stage is not None)
    best = AussForAudioVisualSegmentation.from_pretrained(tmp_path / results["best"]).state_dict()
    saved = AussForAudioVisualSegmentation.from_pretrained(tmp_path / "runs" / "fine-tuned").state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in best.items())
    if zero_stage == 3:
        return  # each process scores with its own batch norm statistics, and only those of the first process are saved
    folder = str(tmp_path / "runs" / "fine-tuned")
    alone = Trainer(
        AussForAudioVisualSegmentation.from_pretrained(folder),
        TrainingArguments(
            str(tmp_path),
            batch_eval_metrics=True,
            per_device_eval_batch_size=1,
            remove_unused_columns=False,
            use_cpu=True,
            report_to=[],
        ),
        data_collator=AussDataCollator(AussProcessor.from_pretrained(folder), train=True),
        eval_dataset=load_avsbench(root, "s4", "val"),
        compute_metrics=AussTrainerMetrics(),
    ).evaluate()
    for name in ("eval_m_j", "eval_m_f"):
        assert results[name] == pytest.approx(alone[name], abs=1e-6)
