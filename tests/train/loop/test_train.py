import json
import logging
import signal

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file, save_file

from auss.hub.trained_model import load_trained
from auss.modeling_auss.published_weights.backbone_weights import EFFICIENTNET_PACKAGE
from auss.train.arguments import DataArguments, OptimArguments, RunArguments
from auss.train.composer.composer import compose_data_set
from auss.train.data.avsbench import load_avsbench
from auss.train.data.clips import decode_clip
from auss.train.evaluation.evaluate import evaluate_folder
from auss.train.evaluation.metrics import jaccard
from auss.train.loop import train as train_module
from auss.train.loop.checkpoint import whole_checkpoints
from auss.train.loop.train import train

from ..conftest import make_avss


@pytest.fixture
def run_tiny(s4_root, tiny_preset, tmp_path):
    """Trains the tiny network on two clips. The options belong to any of the three groups, by name."""

    def run(output="run", **options):
        def chosen(group, **defaults):
            fields = group.__dataclass_fields__
            return group(**defaults | {name: value for name, value in options.items() if name in fields})

        folder = str(tmp_path / output)
        return train(
            chosen(DataArguments, data=str(s4_root), batch_size=1, image_size=32, workers=0),
            chosen(OptimArguments, steps=6, learning_rate=1e-3),
            chosen(RunArguments, output=folder, preset=tiny_preset, eval_every=0, checkpoint_every=2, log_every=1),
        )

    return run


def stop_before(monkeypatch, step):
    """Makes training stop, as by Ctrl-C, after `step` steps."""
    whole_step = train_module.train_step

    def stopping_step(training, batch):
        if training.position.step == step:
            raise KeyboardInterrupt
        whole_step(training, batch)

    monkeypatch.setattr(train_module, "train_step", stopping_step)


def send_at(monkeypatch, step, number):
    """Sends a signal to this process during the step that follows `step` finished steps."""
    whole_step = train_module.train_step

    def signalled_step(training, batch):
        if training.position.step == step:
            signal.raise_signal(number)
        whole_step(training, batch)

    monkeypatch.setattr(train_module, "train_step", signalled_step)


def assert_same_run(first, second):
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert (first / "history.json").read_text() == (second / "history.json").read_text()


def test_a_run_leaves_a_model_that_loads_its_processor_and_what_happened(run_tiny, tmp_path, drawn_curves):
    history = run_tiny(eval_every=3)
    output = tmp_path / "run"
    model, processor = load_trained(str(output))
    assert dict(processor.video_processor.size) == {"height": 32, "width": 32}
    newest = load_file(whole_checkpoints(output)[-1] / "model.safetensors")
    assert all(torch.equal(value, newest[name]) for name, value in model.state_dict().items())
    assert (output / "curves.png").stat().st_size > 1000
    assert json.loads((output / "arguments.json").read_text())["steps"] == 6
    assert json.loads((output / "history.json").read_text()) == history
    assert f"| val | own | {history[-1]['validation_M_J']:.3f} |" in (output / "README.md").read_text()
    assert [entry["step"] for entry in history if "losses" in entry] == [1, 2, 3, 4, 5, 6]
    assert [entry["step"] for entry in history if "validation_M_J" in entry] == [3, 6]
    assert all({"loss", "aqdl", "aqml", "class", "dice"} <= entry["losses"].keys() for entry in history[:2])


@pytest.mark.parametrize("stop, options", [(3, {}), (5, {"steps": 7, "accumulation": 2, "checkpoint_every": 1})])
def test_a_stopped_and_resumed_run_ends_in_the_same_bits(run_tiny, tmp_path, monkeypatch, make_config, stop, options):
    """Dropout, augmentation and muting are on, and the run stops in the middle of an epoch between two checkpoints."""
    preset = tmp_path / "dropout.json"
    make_config(dropout=0.3).to_json_file(preset, use_diff=False)
    options = {"preset": str(preset), "mute_probability": 0.3, **options}
    run_tiny("straight", **options)
    with monkeypatch.context() as patch:
        stop_before(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            run_tiny("stopped", **options)
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    run_tiny("stopped", resume=True, **options)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


@pytest.mark.parametrize("options", [{"log_every": 5}, {"workers": 1}, {"batch_size": 1, "accumulation": 3}])
def test_sigterm_saves_and_the_resumed_run_ends_in_the_same_bits(run_tiny, tmp_path, monkeypatch, caplog, options):
    """SIGTERM comes before any checkpoint, within an epoch, a step's batches and an average of the history."""
    options = {"mute_probability": 0.3, "checkpoint_every": 100, **options}
    run_tiny("straight", **options)
    with monkeypatch.context() as patch:
        send_at(patch, 2, signal.SIGTERM)
        with pytest.raises(SystemExit) as stopped:
            run_tiny("stopped", **options)
    assert stopped.value.code == 128 + signal.SIGTERM
    (saved,) = whole_checkpoints(tmp_path / "stopped")
    assert saved.name == "step-00000003"
    assert f"SIGTERM: stopping at step 3, saved in {saved}" in caplog.text
    run_tiny("stopped", resume=True, **options)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


def test_a_step_has_all_its_batches_also_over_the_end_of_an_epoch(run_tiny):
    assert [entry["epoch"] for entry in run_tiny(steps=4, accumulation=3)] == [1, 2, 4, 5]  # an epoch has two batches


def test_sigterm_in_the_last_step_lets_the_run_end(run_tiny, tmp_path, monkeypatch):
    send_at(monkeypatch, 5, signal.SIGTERM)
    run_tiny()
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_workers_and_cached_sounds_do_not_change_the_result(run_tiny, tmp_path):
    run_tiny("plain", steps=3)
    run_tiny("other", steps=3, workers=1, cache_sounds=False, checkpoint_every=2)
    assert_same_run(tmp_path / "plain", tmp_path / "other")


def test_a_finished_run_resumes_to_itself(run_tiny, tmp_path):
    run_tiny()
    before = load_file(tmp_path / "run" / "model.safetensors")
    run_tiny(resume=True)
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_resuming_with_other_arguments_warns_by_name(run_tiny, caplog):
    run_tiny(steps=2)
    with caplog.at_level(logging.WARNING):
        run_tiny(steps=3, resume=True, workers=0)
    assert "resuming with steps=3 where the run began with 2" in caplog.text
    assert "workers" not in caplog.text


def test_resume_without_a_checkpoint_begins_at_the_beginning(run_tiny):
    assert run_tiny(steps=2, resume=True)[0]["step"] == 1


def test_an_output_folder_with_files_is_refused_and_left_alone(run_tiny, tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    (output / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="output must be a new or an empty folder, got '.*run', which has files"):
        run_tiny()
    assert [path.name for path in output.iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="output must be a folder, got '.*file', which is a file"):
        run_tiny("file")


def test_overwrite_starts_anew_and_spares_other_files(run_tiny, tmp_path):
    run_tiny(steps=4, checkpoint_every=1)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    history = run_tiny(steps=2, checkpoint_every=1, overwrite=True)
    assert [entry["step"] for entry in history] == [1, 2]
    assert [path.name for path in whole_checkpoints(tmp_path / "run")] == ["step-00000001", "step-00000002"]
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_files_that_the_saved_code_would_replace_are_told_before_the_training(run_tiny, tmp_path):
    run_tiny(steps=2, checkpoint_every=1)
    (tmp_path / "run" / "loss.py").write_text("mine")
    with pytest.raises(FileExistsError, match="files that auss did not write, .*: loss.py"):
        run_tiny(steps=2, checkpoint_every=1, overwrite=True)
    assert (tmp_path / "run" / "loss.py").read_text() == "mine"
    assert len(whole_checkpoints(tmp_path / "run")) == 2


def test_a_mistyped_option_leaves_the_output_folder_as_it_was(run_tiny, tmp_path):
    with pytest.raises(FileNotFoundError):
        run_tiny(output="new", data=str(tmp_path / "nowhere"))
    assert not (tmp_path / "new").exists()
    run_tiny(steps=2, checkpoint_every=1)
    with pytest.raises(ValueError, match="no preset is called"):
        run_tiny(preset="auss-tiny", overwrite=True)
    assert len(whole_checkpoints(tmp_path / "run")) == 2


def test_training_starts_from_a_trained_model(run_tiny, tmp_path, trained_folder):
    run_tiny(init_from=str(trained_folder), preset=None, image_size=None, learning_rate=0.0, weight_decay=0.0, steps=1)
    start, end = (load_file(folder / "model.safetensors") for folder in (trained_folder, tmp_path / "run"))
    trained = [name for name in start if "running_" not in name and "num_batches" not in name]
    assert all(torch.equal(start[name], end[name]) for name in trained)


def test_training_starts_in_float32_from_weights_of_half_precision(run_tiny, tmp_path, half_folder):
    start = load_file(half_folder / "model.safetensors")
    assert {value.dtype for value in start.values() if value.is_floating_point()} & {torch.bfloat16, torch.float16}
    run_tiny(init_from=str(half_folder), preset=None, image_size=None, steps=2, eval_every=2)
    end = load_file(tmp_path / "run" / "model.safetensors")
    assert {value.dtype for value in end.values() if value.is_floating_point()} == {torch.float32}
    assert not torch.equal(start["class_head.weight"].float(), end["class_head.weight"])


def test_delta_of_eq_22_moves_with_the_steps(run_tiny, monkeypatch):
    from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation

    seen = []
    monkeypatch.setattr(
        AussForAudioVisualSegmentation, "set_training_progress", lambda self, progress: seen.append(progress)
    )
    run_tiny(steps=4)
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_a_loss_that_is_no_number_stops_the_run_with_step_terms_and_clips(run_tiny):
    with pytest.raises(FloatingPointError, match=r"the loss of step [1-5] is (nan|inf) \(.*dice .*\) on clips train_"):
        run_tiny(learning_rate=1e30, warmup=0.0)


def damage(tensors):
    """Sets one value of the last tensor with more than one value to NaN."""
    name = max(name for name, value in tensors.items() if value.numel() > 1 and value.is_floating_point())
    tensors[name].flatten()[0] = torch.nan


@pytest.mark.parametrize("stop", [6, 4])
def test_weights_that_the_last_update_ruined_are_not_saved(run_tiny, tmp_path, monkeypatch, stop):
    """They are saved neither as a model nor as a checkpoint, at the end or before. The loss of the step was still
    finite."""
    whole_step = train_module.train_step

    def ruining_step(training, batch):
        whole_step(training, batch)
        if training.position.step == stop - 1:
            damage(training.network.state_dict())

    monkeypatch.setattr(train_module, "train_step", ruining_step)
    with pytest.raises(FloatingPointError, match=f"of step {stop} left 1 of the weights infinite or no numbers"):
        run_tiny(eval_every=3)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert whole_checkpoints(tmp_path / "run")[-1].name == f"step-{stop - 2:08d}"
    monkeypatch.undo()
    run_tiny(resume=True, eval_every=3)
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("how", ["nan", "missing"])
def test_a_damaged_checkpoint_is_not_resumed_from(run_tiny, tmp_path, file, how):
    run_tiny(steps=2)
    path = whole_checkpoints(tmp_path / "run")[-1] / file
    tensors = load_file(path)
    if how == "nan":
        damage(tensors)
    else:
        del tensors[max(tensors)]
    save_file(tensors, path)
    told = "holds values that are no numbers" if how == "nan" else "lacks 1 of the"
    with pytest.raises(ValueError, match=f"checkpoint .*step-00000002 is damaged: .*{file}.*{told}|{file} {told}"):
        run_tiny(steps=3, resume=True)


def test_a_step_that_cannot_be_is_not_resumed_from(run_tiny, tmp_path):
    run_tiny(steps=2)
    checkpoint = whole_checkpoints(tmp_path / "run")[-1]
    with pytest.raises(ValueError, match="stands at step 2, beyond steps=1: raise steps"):
        run_tiny(steps=1, resume=True)
    state = json.loads((checkpoint / "state.json").read_text())
    state["position"]["step"] = 10**9
    (checkpoint / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="is damaged: state.json says step 1000000000, the folder's name 2"):
        run_tiny(steps=3, resume=True)


def test_avss_trains_at_its_defaults(avss_root, tiny_preset, tmp_path, caplog):
    """Batches of training and of validation have clips of 5 and of 10 frames, 10 sound examples and 71 labels."""
    make_avss(avss_root, ("train", "val"))
    history = train(
        DataArguments(str(avss_root), name="avss", image_size=32, workers=0),
        OptimArguments(steps=2),
        RunArguments(str(tmp_path / "run"), preset=tiny_preset),
    )
    assert "hears 10 sound examples a clip" in caplog.text
    model, processor = load_trained(str(tmp_path / "run"))
    assert (model.config.num_audio_examples, processor.feature_extractor.num_audio_examples) == (10, 10)
    assert model.config.id2label[70] == "class 70"
    results = evaluate_folder(str(tmp_path / "run"), str(avss_root), "avss", "val", workers=0)
    assert history[-1]["validation_M_J"] == pytest.approx(results["M_J"], abs=1e-6)
    assert len(results["classes"]) == 71 and results["frames"] == 20
    table = (tmp_path / "run" / "evaluation" / "avss-val-own.md").read_text()
    assert "| all, plain | 20 |" in table and "masks at 224 x 224" in table


def test_clips_of_several_sizes_train_and_are_validated(run_tiny, s4_root, tmp_path):
    for path in [*s4_root.rglob("*_0_*.png")]:
        with Image.open(path) as picture:
            picture.resize((40, 22), Image.Resampling.NEAREST).save(path)
    history = run_tiny(batch_size=2, steps=2, eval_every=1)
    results = evaluate_folder(str(tmp_path / "run"), str(s4_root), split="val", workers=0)
    assert history[-1]["validation_M_J"] == pytest.approx(results["M_J"], abs=1e-6)
    assert results["sizes"] == {"16 x 24": 1, "22 x 40": 1}


def test_validation_and_evaluation_agree_under_mixed_precision(run_tiny, s4_root, tmp_path, own_accelerator_state):
    """The scores agree in this process, which has trained under autocast, and in a process that has not."""
    last = run_tiny(mixed_precision="bf16", eval_every=6)[-1]
    results = {}
    for precision in ("bf16", "no"):
        assert Accelerator().mixed_precision == precision
        results[precision] = evaluate_folder(
            str(tmp_path / "run"), str(s4_root), split="val", output=str(tmp_path / precision), workers=0
        )
        AcceleratorState._reset_state(reset_partial_state=True)
    assert results["bf16"]["per_clip"] == results["no"]["per_clip"]
    assert (last["validation_M_J"], last["validation_M_F"]) == (results["no"]["M_J"], results["no"]["M_F"])


def test_the_command_says_where_the_model_is(s4_root, tiny_preset, tmp_path, capsys):
    from auss.train.__main__ import main

    options = ["--data", str(s4_root), "--preset", tiny_preset, "--output", str(tmp_path / "run"), "--steps", "1"]
    options += ["--batch-size", "2", "--image-size", "32", "--workers", "0"]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "run") in printed and "validation M_J 0." in printed


@pytest.mark.slow
def test_the_demo_network_learns_to_segment_what_sounds(tmp_path):
    """A real run takes half a minute: ImageNet's backbone weights, composed clips, 60 steps. The loss falls, and the
    masks are better than empty ones, on training clips and on others."""
    data, output = tmp_path / "data", tmp_path / "run"
    compose_data_set(data, s4=(24, 8, 0), size=64)
    history = train(
        DataArguments(str(data), batch_size=8, image_size=64, frames_per_clip=1, augment=False, workers=0),
        OptimArguments(steps=60, learning_rate=1e-3, backbone_rate=0.3, warmup=0.1),
        RunArguments(
            str(output), preset="auss-demo", backbone_weights=EFFICIENTNET_PACKAGE, eval_every=0, log_every=6
        ),
    )
    losses = [entry["losses"]["loss"] for entry in history]
    assert losses[-1] < 0.25 * losses[0], losses
    for split, margin in (("train", 0.35), ("val", 0.08)):
        masks = [decode_clip(row, with_audio=False)["labels"] for row in load_avsbench(data, "s4", split)]
        annotated = [labels[(labels != 255).flatten(1).any(1)] for labels in masks]
        empty = sum(jaccard(torch.zeros(labels.shape), labels) for labels in annotated) / len(annotated)
        results = evaluate_folder(str(output), str(data), split=split, batch_size=8, workers=0)
        assert results["M_J"] > empty + margin, (split, results["M_J"], empty)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s4", "ms3", "avss"])
def test_two_processes_train_and_validate_together(odd_root, in_two_processes, tiny_preset, tmp_path, name):
    """Each split has three clips, so one process validates one clip and the other two. The clips of avss differ in
    length."""
    data = str(odd_root(name))
    options = ["--data", data, "--name", name, "--preset", tiny_preset, "--output", str(tmp_path / "run")]
    options += ["--steps", "4", "--batch-size", "2", "--image-size", "32", "--workers", "0", "--eval-every", "2"]
    assert in_two_processes("train", *options).count("validation M_J") == 1
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    # One process scores the trained model.
    results = evaluate_folder(str(tmp_path / "run"), data, name, "val", workers=0)
    last = next(entry for entry in reversed(history) if "validation_M_J" in entry)
    assert (last["validation_M_J"], last["validation_M_F"]) == pytest.approx(
        (results["M_J"], results["M_F"]), abs=1e-6
    )
