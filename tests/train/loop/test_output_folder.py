import json
import logging
import os

import pytest
from accelerate import Accelerator

from auss.hub.trained_model import load_trained
from auss.train.arguments import DataArguments, OptimArguments, RunArguments
from auss.train.loop.output_folder import ARGUMENTS_FILE, check_run_folder, claim_output, prepare_output, save_model


@pytest.fixture
def output(tmp_path):
    return tmp_path / "runs" / "s4"


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def prepare(output, steps=1, **options):
    Accelerator()  # the loggers of `prepare_output` need an accelerator
    prepare_output(DataArguments("d"), OptimArguments(steps=steps), RunArguments(str(output), **options))


def test_a_new_and_an_empty_folder_are_taken_as_they_are(output):
    check_run_folder(RunArguments(str(output)))
    assert not output.exists()
    output.mkdir(parents=True)
    check_run_folder(RunArguments(str(output)))


def test_a_file_and_a_folder_with_files_are_refused(output):
    output.mkdir(parents=True)
    (output / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="output must be a new or an empty folder, got '.*s4', which has files"):
        check_run_folder(RunArguments(str(output)))
    with pytest.raises(ValueError, match="output must be a folder, got '.*thesis.txt', which is a file"):
        check_run_folder(RunArguments(str(output / "thesis.txt"), overwrite=True))
    for option in ("resume", "overwrite"):
        check_run_folder(RunArguments(str(output), **{option: True}))
    (output / "loss.py").write_text("mine")
    with pytest.raises(FileExistsError, match="files that auss did not write, .*: loss.py"):
        check_run_folder(RunArguments(str(output), resume=True))


def test_the_arguments_are_written_and_an_overwritten_runs_checkpoints_deleted(output):
    prepare(output, steps=3)
    assert json.loads((output / ARGUMENTS_FILE).read_text())["steps"] == 3
    (output / "checkpoints" / "step-00000001").mkdir(parents=True)
    prepare(output, steps=4, resume=True)
    assert (output / "checkpoints").exists()
    prepare(output, steps=5, overwrite=True)
    assert not (output / "checkpoints").exists()
    assert json.loads((output / ARGUMENTS_FILE).read_text())["steps"] == 5


def test_a_second_run_is_kept_out_and_a_killed_ones_claim_is_not_a_file_of_the_users(output):
    run = RunArguments(str(output))
    with claim_output(Accelerator(), run) as claim:
        assert claim is not None and claim.new.is_dir()
        check_run_folder(run)
        with pytest.raises(FileExistsError, match="s4 is being made by another run"):
            claim_output(Accelerator(), run)
    assert not output.exists()


def test_a_model_that_cannot_be_saved_leaves_the_earlier_one(output, tiny_model, tiny_processor, monkeypatch):
    def save():
        with claim_output(Accelerator(), RunArguments(str(output))) as claim:
            save_model(tiny_model, tiny_model.state_dict(), tiny_processor, claim)

    save()
    (output / "model-00001-of-00002.safetensors").touch()  # belongs to an earlier model in several files
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    assert {path.name for path in before} >= {"model.safetensors", "config.json", "README.md", "processor_config.json"}
    assert {path.stat().st_mode & 0o777 for path in before} == {0o666 & ~umask()}

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tiny_model, "save_pretrained", no_space)
        with pytest.raises(OSError, match="No space"):
            save()
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before
    save()
    assert not (output / "model-00001-of-00002.safetensors").exists()
    load_trained(output)


def test_resuming_with_other_arguments_warns_by_name(output, caplog):
    prepare(output, steps=3)
    with caplog.at_level(logging.WARNING):
        prepare(output, steps=4, resume=True, log_every=7)
    assert "resuming with steps=4 where the run began with 3" in caplog.text and "log_every" not in caplog.text
