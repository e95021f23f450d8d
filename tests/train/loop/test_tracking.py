"""Tests the values that a run reports to trackers: TensorBoard's own files, and any tracker by name."""

import json
import shutil
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from safetensors.torch import load_file

from auss.train.arguments import DataArguments, OptimArguments, RunArguments
from auss.train.data.loaders import create_eval_loader
from auss.train.loop import tracking
from auss.train.loop.preparation import create_processor
from auss.train.loop.tracking import Tracking, check_trackers, count_confident, log_picture, memory_gb, sample_pictures
from auss.train.loop.train import train


@pytest.fixture
def told(monkeypatch):
    """Returns the values that a run reports to a tracker of the name "recorder"."""
    record = SimpleNamespace(values=[], arguments=None, pictures=[], finished=False)

    class Recorder(GeneralTracker):
        name = "recorder"
        requires_logging_directory = False
        tracker = None

        def __init__(self, project, **_):
            super().__init__()
            record.project = project

        def store_init_configuration(self, values):
            record.arguments = values

        def log(self, values, step=None, **_):
            record.values.append((step, values))

        def log_images(self, values, step=None, **_):
            record.pictures.append((step, values))

        def finish(self):
            record.finished = True

    # `register_tracker_class` does the same, but not only for this test.
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "recorder", Recorder)
    return record


@pytest.fixture
def tiny_run(s4_root, tiny_preset, tmp_path):
    """Trains the tiny network for four steps. The options belong to any of the three groups, by name."""

    def run(output="run", **options):
        groups = []
        for group, defaults in (
            (DataArguments, {"data": str(s4_root), "batch_size": 1, "image_size": 32, "workers": 0}),
            (OptimArguments, {"steps": 4, "learning_rate": 1e-3}),
            (RunArguments, {"output": str(tmp_path / output), "preset": tiny_preset, "eval_every": 0, "log_every": 1}),
        ):
            chosen = {name: value for name, value in options.items() if name in group.__dataclass_fields__}
            groups.append(group(**defaults | chosen))
        return train(*groups)

    return run


def outputs(*sounding, num_queries=4):
    """Makes the output for a clip: frame i has `sounding[i]` queries that surely sound."""
    logits = torch.zeros(1, len(sounding), num_queries, 3)  # silent, sounding and no object have a third each
    for frame, count in enumerate(sounding):
        logits[0, frame, :count, 1] = 9.0
    return SimpleNamespace(class_queries_logits=logits)


def test_confident_queries_are_those_that_aqdl_takes():
    assert count_confident(outputs(3, 0, 1), 0.55) == pytest.approx(4 / 3)
    assert count_confident(outputs(3, 0, 1), 0.3) == 4.0  # a third is more than this threshold


def test_confident_queries_sound_of_any_label():
    logits = torch.zeros(1, 1, 2, 5)
    logits[0, 0, 0, 1:4] = 3.0  # each label alone is unlikely
    assert count_confident(SimpleNamespace(class_queries_logits=logits), 0.9) == 1.0


def test_what_is_counted_and_what_is_told(told, monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 100.0, 102.0])
    monkeypatch.setattr(tracking.time, "perf_counter", lambda: next(clock))
    with Tracking(
        Accelerator(log_with="recorder"), {"steps": 9, "tracker": ["recorder", "x"], "preset": None}
    ) as watch:
        watch.add_batch(outputs(2), 8, 0.55)
        watch.add_gradient_norm(torch.tensor(2.0))
        watch.add_batch(outputs(4), 8, 0.55)
        watch.add_gradient_norm(torch.tensor(4.0))
        watch.log(2, {"loss": 1.5, "aqml": 0.25}, 0.55, {"backbone": 1e-5, "network": 1e-4})
        watch.restart_clock()  # validation took 97 seconds
        watch.add_batch(outputs(0), 8, 0.55)
        watch.log(3, {"loss": 1.0, "aqml": 0.0}, 0.6, {"backbone": 0.0, "network": 0.0})
    assert told.project == "auss" and told.arguments == {"steps": 9, "tracker": "recorder, x", "preset": None}
    (step, first), (_, second) = told.values
    assert step == 2 and first.pop("speed/memory_gb") > 0.01
    assert first == {
        **{"train/loss": 1.5, "train/aqml": 0.25, "train/delta": 0.55, "train/confident_queries": 3.0},
        **{"train/gradient_norm": 3.0, "speed/clips_per_second": pytest.approx(16 / 3)},
        **{"learning_rate/backbone": 1e-5, "learning_rate/network": 1e-4},
    }
    assert (second["train/confident_queries"], second["speed/clips_per_second"]) == (0.0, 4.0)
    assert told.finished


def test_without_trackers_nothing_is_done():
    with Tracking(Accelerator(), {}) as watch:
        assert not watch.active
        watch.add_batch(None, 8, 0.55)
        watch.add_gradient_norm(None)
        watch.log(1, {}, 0.55, {})
        watch.log_validation(1, {}, None, None, None)


def test_trackers_are_known_and_installed(monkeypatch, told):
    check_trackers(None)
    check_trackers(["tensorboard", "recorder"])
    with pytest.raises(ValueError, match="tracker must be one of aim, .*tensorboard.*, got 'tensorbord'"):
        check_trackers(["tensorbord"])
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: [])
    with pytest.raises(ImportError, match="tracker 'tensorboard' needs a package that is not installed"):
        check_trackers(["tensorboard"])


def test_samples_show_clips_evenly_spread_and_leave_the_network_as_it_was(s4_root, tiny_model):
    from auss.train.data.avsbench import load_avsbench
    from auss.train.data.rows import SeededRows

    processor = create_processor(tiny_model.config, 32)
    rows = SeededRows(load_avsbench(s4_root, "s4", "val"))
    loader = create_eval_loader(rows, processor, 2, 1, 0)
    tiny_model.train()
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    pictures = sample_pictures(tiny_model, processor, loader)
    assert list(pictures) == ["dog val_0", "bell val_1"]
    assert list(sample_pictures(tiny_model, processor, loader, count=1)) == ["dog val_0"]
    for picture in pictures.values():
        # The picture has a title above three rows of 112 pixels, with five frames each.
        assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.shape[0] > 3 * 112
        assert picture.shape[1] > 5 * 112 * 24 / 16
    assert tiny_model.training
    assert all(torch.equal(value, before[name]) for name, value in tiny_model.state_dict().items())


def test_pictures_in_the_form_that_a_tracker_takes():
    picture = np.zeros((2, 3, 3), np.uint8)
    for name, shape in (("aim", (2, 3, 3)), ("wandb", (1, 2, 3, 3))):
        log_images = Mock()
        log_picture(SimpleNamespace(name=name, log_images=log_images), "samples/a", picture, 7)
        ((values,), options) = log_images.call_args
        assert options == {"step": 7} and np.shape(values["samples/a"]) == shape
    log_picture(SimpleNamespace(name="mlflow"), "samples/a", picture, 7)


def test_memory_of_this_process_is_some():
    assert 0.05 < memory_gb(torch.device("cpu")) < 1000


def test_a_run_in_tensorboard(tiny_run, tmp_path):
    """TensorBoard's files hold the values of the history, and show each sample clip at each validation."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = tiny_run(tracker=["tensorboard"], log_every=2, eval_every=2, max_gradient_norm=0.0)
    events = EventAccumulator(str(tmp_path / "run" / "logs" / "auss"))
    events.Reload()
    scalars = {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    logged = [entry for entry in history if "losses" in entry]
    for name in ("loss", "aqdl", "aqml", "class", "dice", "auxiliary"):
        expected = [(entry["step"], pytest.approx(entry["losses"][name], rel=1e-5)) for entry in logged]
        assert scalars[f"train/{name}"] == expected
    scored = [entry for entry in history if "validation_M_J" in entry]
    assert scalars["validation/M_J"] == [(one["step"], pytest.approx(one["validation_M_J"])) for one in scored]
    assert [step for step, _ in scalars["validation/M_F"]] == [2, 4]
    assert scalars["train/delta"][0] == (2, pytest.approx(0.55 + 0.1 / 17 * int(18 * 1 / 4)))
    network, backbone = ([rate for _, rate in scalars[f"learning_rate/{name}"]] for name in ("network", "backbone"))
    assert backbone == pytest.approx([0.1 * rate for rate in network]) and network[0] > 0
    for name in ("train/confident_queries", "train/gradient_norm", "speed/clips_per_second", "speed/memory_gb"):
        assert [step for step, _ in scalars[name]] == [2, 4]
    assert all(value > 0 for name in ("train/gradient_norm", "speed/memory_gb") for _, value in scalars[name])
    assert events.Tags()["images"] == ["samples/dog val_0", "samples/bell val_1"]
    assert [picture.step for picture in events.Images("samples/dog val_0")] == [2, 4]


def test_trackers_do_not_change_the_run(tiny_run, tmp_path, told):
    histories = [tiny_run(name, tracker=tracker) for name, tracker in (("plain", None), ("told", ["recorder"]))]
    assert histories[0] == histories[1] and told.arguments["steps"] == 4
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "told"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_an_unknown_tracker_is_told_before_anything_is_made(tiny_run, tmp_path):
    with pytest.raises(ValueError, match="tracker must be one of"):
        tiny_run(tracker=["nobody"])
    assert not (tmp_path / "run").exists()


def test_a_failing_run_closes_its_trackers(tiny_run, told):
    with pytest.raises(FloatingPointError, match=r"the loss of step [1-3] is (nan|inf)"):
        tiny_run(learning_rate=1e30, warmup=0.0, tracker=["recorder"])
    assert told.finished


def test_a_resumed_run_replaces_what_was_told_of_its_steps(tiny_run, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tiny_run(tracker=["tensorboard"], checkpoint_every=2)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000004")  # as if the run had stopped after step 3
    history = tiny_run(tracker=["tensorboard"], checkpoint_every=2, resume=True)
    events = EventAccumulator(str(tmp_path / "run" / "logs" / "auss"))
    events.Reload()
    told = [(one.step, one.value) for one in events.Scalars("train/loss")]
    assert told == [(entry["step"], pytest.approx(entry["losses"]["loss"], rel=1e-5)) for entry in history]


@pytest.mark.slow
def test_the_main_process_of_two_tells(odd_root, in_two_processes, tiny_preset, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = [
        "--data",
        str(odd_root("s4")),
        "--preset",
        tiny_preset,
        "--output",
        str(tmp_path / "run"),
        "--steps",
        "3",
    ]
    options += ["--batch-size", "2", "--image-size", "32", "--workers", "0", "--log-every", "1", "--tracker"]
    in_two_processes("train", *options, "tensorboard")
    assert len(list((tmp_path / "run" / "logs" / "auss").glob("events*"))) == 1
    events = EventAccumulator(str(tmp_path / "run" / "logs" / "auss"))
    events.Reload()
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    expected = [(one["step"], pytest.approx(one["losses"]["loss"], rel=1e-5)) for one in history if "losses" in one]
    assert [(one.step, one.value) for one in events.Scalars("train/loss")] == expected
    assert all(one.value > 0 for one in events.Scalars("speed/clips_per_second"))
    assert len(events.Tags()["images"]) == 3
