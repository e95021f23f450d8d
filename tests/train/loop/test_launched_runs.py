"""Tests runs of `auss train` in processes of their own: several together, under FSDP or DeepSpeed, and killed runs."""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.utils import is_deepspeed_available
from PIL import Image
from safetensors.torch import load_file
from transformers import SwinConfig

import auss
from auss import AussForAudioVisualSegmentation
from auss.hub.trained_model import load_trained
from auss.train.__main__ import main
from auss.train.data import collator
from auss.train.data.parquet_writer import prepare_data_set
from auss.train.evaluation.evaluate import evaluate_folder
from auss.train.loop.checkpoint import OPTIMIZER_FILE, whole_checkpoints

from ...processes import children_of
from ..conftest import make_s4
from .unannotated_clip import without_annotation

pytestmark = pytest.mark.slow

CONFIGURATIONS = Path(auss.__file__).parent / "train" / "launch"
# float32 has 7 digits, and the same numbers are summed in another order.
SAME = dict(rel=5e-5, abs=1e-6)
SECONDS = 240


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def start(*command: str, **variables: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(*processes: subprocess.Popen, status: int = 0) -> str:
    """Waits until all processes have ended with `status`, and returns their output."""
    try:
        written = "\n".join(process.communicate(timeout=SECONDS)[0] for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [status] * len(processes), written
    return written


def launch(
    configuration: str, *options: str, program: tuple[str, ...], cpu: str = "true", **variables: str
) -> subprocess.Popen:
    """Starts `accelerate launch` with two processes in all, on CPUs, with a configuration file that auss ships."""
    path = str(CONFIGURATIONS / configuration)
    options = ("--num_processes", "2", "--mixed_precision", "no", *options)
    command = ("-m", "accelerate.commands.launch", "--config_file", path, *options, *program)
    return start(*command, ACCELERATE_USE_CPU=cpu, **variables)


def losses(output: Path) -> list[dict[str, float]]:
    """Returns the loss terms of each step."""
    return [entry["losses"] for entry in json.loads((output / "history.json").read_text()) if "losses" in entry]


def assert_same_losses(first: Path, second: Path, steps: int) -> None:
    ours, theirs = losses(first), losses(second)
    assert len(ours) == len(theirs) == steps
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, **SAME)


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.fixture
def striped_root(tmp_path):
    """Makes a data set with striped masks. Every crop then has sounding and silent pixels, so in a step every clip has
    equally many segments. Then the mean over a step equals the mean of the means over its parts."""

    def make(clips: int) -> Path:
        root = make_s4(tmp_path / f"s4-{clips}", ("train", "val"), clips)
        stripes = np.tile(np.array([0, 0, 255, 255], dtype=np.uint8), (16, 6))
        for path in root.rglob("gt_masks/train/**/*.png"):
            Image.fromarray(stripes).save(path)
        return root

    return make


@pytest.fixture
def options(tmp_path, make_config):
    """Makes options of `auss train` for a tiny network. `overrides` are fields of the network's configuration."""

    def make(root: Path, output: str, *more: str, **overrides) -> tuple[str, ...]:
        preset = tmp_path / f"{output}.json"
        make_config(**overrides).to_json_file(preset, use_diff=False)
        given = {"data": root, "preset": preset, "output": tmp_path / output, "image-size": 32, "workers": 0}
        given |= {"eval-every": 0, "log-every": 1, "learning-rate": 1e-3, "batch-size": 2, "steps": 5}
        return (*(str(part) for name, value in given.items() for part in (f"--{name}", value)), *more)

    return make


MODULE = ("-m", "auss.train")


@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_train_as_one_that_accumulates(striped_root, options, tmp_path, machines):
    """A step has two clips, each in its own batch, so dropout and batch normalisation see the same data. The run has
    two epochs. The two processes run on one machine, or on two machines."""
    root = striped_root(clips=4)
    assert main(options(root, "one", "--batch-size", "1", "--accumulation", "2", dropout=0.3)) == 0
    program = (*MODULE, *options(root, "two", dropout=0.3))
    if machines == 1:
        finish(launch("eight_gpus.yaml", "--main_process_port", free_port(), program=program))
    else:
        where = ("--main_process_ip", "127.0.0.1", "--main_process_port", free_port(), "--machine_rank")
        finish(*(launch("multi_node.yaml", *where, rank, program=program) for rank in "01"))
    assert_same_losses(tmp_path / "one", tmp_path / "two", steps=5)


@pytest.mark.parametrize("annotated", [True, False])
def test_two_processes_train_as_one_with_the_whole_batch(tmp_path, options, monkeypatch, annotated):
    """The clips have unequal numbers of segments, or one of two clips has none. Batch normalisation is off, because
    its statistics differ between processes. The last batch of five clips would hold one clip: both runs leave it
    out."""
    root = make_s4(tmp_path / "s4", ("train",), clips=5 if annotated else 2)
    swin = SwinConfig(
        image_size=32,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[1, 1],
        window_size=2,
        drop_path_rate=0.0,
        out_features=["stage1", "stage2"],
    )
    muting = ("--mute-probability", "0.5")
    program = MODULE
    with monkeypatch.context() as patch:
        if not annotated:
            patch.setattr(collator, "decode_clip", without_annotation(collator.decode_clip))
            program = (str(Path(__file__).with_name("unannotated_clip.py")),)
        assert main(options(root, "one", *muting, backbone_config=swin)) == 0
    program = (*program, *options(root, "two", *muting, backbone_config=swin))
    finish(launch("eight_gpus.yaml", "--main_process_port", free_port(), program=program))
    assert_same_losses(tmp_path / "one", tmp_path / "two", steps=5)


def test_fsdp2_trains_as_ddp_and_what_it_saves_opens_anywhere(striped_root, options, tmp_path):
    """Three steps are saved after the second and the third step. Two processes validate three clips."""
    root = striped_root(clips=3)
    more = ("--steps", "3", "--checkpoint-every", "2", "--eval-every", "2")
    port = ("--main_process_port", free_port())
    finish(launch("eight_gpus.yaml", *port, program=(*MODULE, *options(root, "ddp", *more))))
    script = str(Path(__file__).with_name("fsdp_on_cpus.py"))
    finish(launch("fsdp2.yaml", *port, program=(script, *options(root, "fsdp", *more)), cpu="false"))
    assert_same_losses(tmp_path / "ddp", tmp_path / "fsdp", steps=3)

    output = tmp_path / "fsdp"
    newest = whole_checkpoints(output)[-1]
    weights = AussForAudioVisualSegmentation.from_pretrained(newest).state_dict()
    model, _ = load_trained(output)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    scores = [entry for entry in json.loads((output / "history.json").read_text()) if "validation_M_J" in entry]
    assert [entry["step"] for entry in scores] == [2, 3]
    results = evaluate_folder(str(output), str(root), split="val", workers=0)
    assert (scores[-1]["validation_M_J"], scores[-1]["validation_M_F"]) == pytest.approx(
        (results["M_J"], results["M_F"]), abs=1e-6
    )


def test_a_run_goes_on_under_fsdp2_and_with_another_number_of_processes(striped_root, options, tmp_path):
    """The run goes from one process to two under FSDP2 and back to one. It is compared with a run of two processes."""
    root = striped_root(clips=4)
    more = ("--checkpoint-every", "1", "--resume")
    script = str(Path(__file__).with_name("fsdp_on_cpus.py"))
    port = ("--main_process_port", free_port())
    finish(launch("eight_gpus.yaml", *port, program=(*MODULE, *options(root, "straight", *more))))

    def stop_after(step: int) -> None:
        for checkpoint in whole_checkpoints(tmp_path / "moved"):
            if int(checkpoint.name.removeprefix("step-")) > step:
                (checkpoint / "state.json").unlink()

    swapped = options(root, "moved", *more, "--keep-checkpoints", "9")
    finish(launch("fsdp2.yaml", *port, program=(script, *swapped), cpu="false"))
    stop_after(3)
    finish(launch("eight_gpus.yaml", *port, program=(*MODULE, *swapped)))
    stop_after(1)
    finish(launch("fsdp2.yaml", *port, program=(script, *swapped), cpu="false"))
    assert_same_losses(tmp_path / "straight", tmp_path / "moved", steps=5)


def wait_for(process: subprocess.Popen, output: Path, checkpoints: int) -> None:
    """Waits until the run has saved `checkpoints` checkpoints. The run keeps all of them."""
    end = time.monotonic() + SECONDS
    while len(list((output / "checkpoints").glob("step-*"))) < checkpoints:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.01)


STREAM = ("--streaming", "--shuffle-buffer", "5", "--workers", "2")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_killed_and_resumed_run_ends_in_the_same_bits(striped_root, options, tmp_path, number, streaming):
    """The run is killed in an epoch of twelve batches, with dropout, augmentation, muting and workers. Each of the two
    workers of the stream has two shards."""
    root = striped_root(clips=24)
    more = ("--steps", "40", "--checkpoint-every", "7", "--keep-checkpoints", "9", "--workers", "1")
    more += ("--mute-probability", "0.3")
    if streaming:
        prepare_data_set(root, tmp_path / "shards", shards=4)
        root, more = tmp_path / "shards", (*more, *STREAM)
    assert main(options(root, "straight", *more, dropout=0.3)) == 0
    killed = options(root, "killed", *more, dropout=0.3)
    process = start(*MODULE, *killed)
    wait_for(process, tmp_path / "killed", checkpoints=2)
    process.send_signal(number)
    written = finish(process, status=-9 if number == signal.SIGKILL else 143)
    steps = [int(path.name.removeprefix("step-")) for path in whole_checkpoints(tmp_path / "killed")]
    assert steps[-1] < 40 and not (tmp_path / "killed" / "model.safetensors").exists()
    if number == signal.SIGTERM:
        assert f"SIGTERM: stopping at step {steps[-1]}, saved in" in written
    finish(start(*MODULE, *killed, "--resume"))
    assert_same_weights(tmp_path / "straight", tmp_path / "killed")
    assert losses(tmp_path / "straight") == losses(tmp_path / "killed")


def test_two_killed_processes_of_a_streaming_run_go_on_to_the_same_bits(striped_root, options, tmp_path):
    """All processes are killed at once, as by a failing machine. With eleven clips some clips come twice in an
    epoch."""
    prepare_data_set(striped_root(clips=11), tmp_path / "shards", shards=4)
    more = ("--steps", "30", "--checkpoint-every", "3", "--keep-checkpoints", "99", *STREAM)
    more += ("--mute-probability", "0.3")

    def launched(output: str, *further: str) -> subprocess.Popen:
        given = options(tmp_path / "shards", output, *more, *further, dropout=0.3)
        return launch("eight_gpus.yaml", "--main_process_port", free_port(), program=(*MODULE, *given))

    finish(launched("straight"))
    process = launched("killed")
    wait_for(process, tmp_path / "killed", checkpoints=2)
    for pid in (process.pid, *children_of(process.pid)):
        os.kill(pid, signal.SIGKILL)
    finish(process, status=-signal.SIGKILL)
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    finish(launched("killed", "--resume"))
    assert_same_weights(tmp_path / "straight", tmp_path / "killed")
    assert losses(tmp_path / "straight") == losses(tmp_path / "killed")


def test_sigterm_to_one_of_two_processes_saves_and_stops_both(striped_root, options, tmp_path):
    """The notice to one machine must stop all. The launcher reports the failed processes and ends with its own
    status."""
    root = striped_root(clips=8)
    more = ("--steps", "40", "--checkpoint-every", "3", "--keep-checkpoints", "99")
    finish(launch("eight_gpus.yaml", "--main_process_port", free_port(),
                  program=(*MODULE, *options(root, "straight", *more))))  # fmt: skip
    killed = options(root, "killed", *more)
    process = launch("eight_gpus.yaml", "--main_process_port", free_port(), program=(*MODULE, *killed))
    wait_for(process, tmp_path / "killed", checkpoints=2)
    _, other = children_of(process.pid)
    os.kill(other, signal.SIGTERM)
    written = finish(process, status=1)
    last = whole_checkpoints(tmp_path / "killed")[-1]
    assert f"saved in {last}" in written and "exitcode  : 143" in written
    finish(launch("eight_gpus.yaml", "--main_process_port", free_port(), program=(*MODULE, *killed, "--resume")))
    assert_same_weights(tmp_path / "straight", tmp_path / "killed")


def test_the_configurations_mixed_precision_is_the_runs(striped_root, options, tmp_path):
    path = str(CONFIGURATIONS / "single_gpu.yaml")
    program = (*MODULE, *options(striped_root(clips=2), "run"))
    finish(start("-m", "accelerate.commands.launch", "--config_file", path, *program, ACCELERATE_USE_CPU="true"))
    assert json.loads((tmp_path / "run" / "arguments.json").read_text())["mixed_precision"] == "bf16"
    assert {value.dtype for value in load_file(tmp_path / "run" / "model.safetensors").values()} <= {
        torch.float32,
        torch.int64,
    }


DEEPSPEED = (str(Path(__file__).with_name("deepspeed_on_cpus.py")),)
needs_deepspeed = pytest.mark.skipif(not is_deepspeed_available(), reason="needs deepspeed")


def launch_deepspeed(stage: int, program: tuple[str, ...], *options: str) -> str:
    """Runs the program in two processes under DeepSpeed in a stage of ZeRO, and returns their output."""
    options = ("--main_process_port", free_port(), "--zero_stage", str(stage), *options)
    return finish(launch("deepspeed.yaml", *options, program=program, cpu="false", DS_ACCELERATOR="cpu"))


@needs_deepspeed
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_deepspeed_trains_as_ddp_and_resumes_to_the_same_bits(striped_root, options, tmp_path, stage):
    root = striped_root(clips=4)
    often = ("--accumulation", "2", "--checkpoint-every", "2", "--keep-checkpoints", "9")
    finish(
        launch("eight_gpus.yaml", "--main_process_port", free_port(), program=(*MODULE, *options(root, "ddp", *often)))
    )
    launch_deepspeed(stage, (*DEEPSPEED, *options(root, "whole", *often, "--eval-every", "5")))
    assert_same_losses(tmp_path / "ddp", tmp_path / "whole", steps=5)
    load_trained(tmp_path / "whole")

    checkpoints = whole_checkpoints(tmp_path / "whole")
    assert [path.name for path in checkpoints] == ["step-00000002", "step-00000004", "step-00000005"]
    assert all((path / "deepspeed").is_dir() and not (path / OPTIMIZER_FILE).exists() for path in checkpoints)
    shutil.copytree(checkpoints[1], tmp_path / "resumed" / "checkpoints" / checkpoints[1].name)
    launch_deepspeed(stage, (*DEEPSPEED, *options(root, "resumed", *often, "--resume", "--eval-every", "5")))
    # If the run had begun anew, it would have saved a checkpoint of step 2.
    assert [path.name for path in whole_checkpoints(tmp_path / "resumed")] == ["step-00000004", "step-00000005"]
    assert_same_weights(tmp_path / "whole", tmp_path / "resumed")


@needs_deepspeed
@pytest.mark.parametrize(("stage", "precision"), [(0, "bf16"), (2, "bf16"), (3, "bf16"), (2, "fp16")])
def test_deepspeed_in_half_precision_trains_and_keeps_float32_weights(
    striped_root, options, make_config, tmp_path, stage, precision
):
    """The network has batch norm and a frozen VGGish."""
    audio = make_config().audio_config.to_dict() | {"frozen": True}
    given = options(striped_root(clips=4), "half", "--learning-rate", "1e-5", "--eval-every", "5", audio_config=audio)
    launch_deepspeed(stage, (*DEEPSPEED, *given), "--mixed_precision", precision)
    weights = load_file(tmp_path / "half" / "model.safetensors")
    assert {weight.dtype for weight in weights.values() if weight.is_floating_point()} == {torch.float32}
    # The step is so small that bfloat16 would not show it. The second weights are frozen.
    for name in ("auss.fusion_decoder.mask_head.weight", "auss.audio_encoder.embeddings.0.weight"):
        assert not torch.equal(weights[name], weights[name].bfloat16().float())
    assert all(math.isfinite(value) for entry in losses(tmp_path / "half") for value in entry.values())
    (checkpoint,) = whole_checkpoints(tmp_path / "half")
    assert (checkpoint / "deepspeed").is_dir()
    load_trained(tmp_path / "half")


@needs_deepspeed
def test_deepspeed_trains_from_a_stream(striped_root, options, tmp_path):
    prepare_data_set(striped_root(clips=4), tmp_path / "shards", ["s4"])
    launch_deepspeed(2, (*DEEPSPEED, *options(tmp_path / "shards", "streamed", "--streaming")))
    assert len(losses(tmp_path / "streamed")) == 5
    assert (whole_checkpoints(tmp_path / "streamed")[-1] / "deepspeed").is_dir()
