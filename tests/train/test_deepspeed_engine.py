"""What needs no DeepSpeed; with it whole runs are in `test_launched_runs.py`."""

import pytest
import torch
from accelerate.utils import DeepSpeedPlugin

from auss.train.deepspeed_engine import FOLDER, check_engine_files, configure


@pytest.fixture
def checkpoint(tmp_path):
    """As two processes of DeepSpeed write it."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    torch.save({"module": torch.zeros(100)}, folder / "mp_rank_00_model_states.pt")
    for process in range(2):
        torch.save({"exp_avg": torch.zeros(100)}, folder / f"zero_pp_rank_{process}_mp_rank_00_optim_states.pt")
    return tmp_path


def test_the_run_s_own_arguments_replace_those_of_deepspeed_s_configuration(tmp_path):
    stated = {"train_micro_batch_size_per_gpu": 7, "gradient_accumulation_steps": 1, "zero_optimization": {"stage": 1}}
    plugin = DeepSpeedPlugin(hf_ds_config=stated)
    configure(plugin, clips=4, accumulation=2, max_gradient_norm=0.5)
    assert plugin.deepspeed_config["train_micro_batch_size_per_gpu"] == 4
    assert plugin.deepspeed_config["gradient_accumulation_steps"] == 2
    assert plugin.deepspeed_config["gradient_clipping"] == 0.5
    assert plugin.deepspeed_config["zero_optimization"]["stage"] == 1


def test_whole_engine_files_pass(checkpoint):
    check_engine_files(checkpoint, 2)


def test_a_missing_share_of_the_optimiser_is_told(checkpoint):
    (checkpoint / FOLDER / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(ValueError, match="the optimiser of 1 of 2 processes"):
        check_engine_files(checkpoint, 2)


def test_a_file_that_is_cut_off_is_told(checkpoint):
    path = checkpoint / FOLDER / "mp_rank_00_model_states.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut off: mp_rank_00_model_states.pt"):
        check_engine_files(checkpoint, 2)
