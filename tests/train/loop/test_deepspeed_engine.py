"""Tests the parts that need no DeepSpeed. Whole runs with DeepSpeed are in `test_launched_runs.py`."""

from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DeepSpeedPlugin

from auss.train.loop.deepspeed_engine import FOLDER, check_engine_files, configure, engine_files, load_engine

MODEL, OPTIMIZER = "mp_rank_00_model_states.pt", "zero_pp_rank_1_mp_rank_00_optim_states.pt"


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / FOLDER).mkdir()
    for name in (OPTIMIZER, MODEL):
        torch.save({"any": torch.zeros(100)}, tmp_path / FOLDER / name)
    return tmp_path


@pytest.fixture
def configured():
    """Makes DeepSpeed's configuration from its own settings and the arguments of `auss train`."""

    def make(stated: dict, precision: str = "no") -> dict:
        plugin = DeepSpeedPlugin(hf_ds_config={"train_micro_batch_size_per_gpu": 7, **stated})
        accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin), mixed_precision=precision)
        configure(accelerator, clips=4, accumulation=2, max_gradient_norm=0.5)
        return plugin.deepspeed_config

    return make


def test_the_run_s_own_arguments_replace_those_of_deepspeed_s_configuration(configured):
    config = configured({"gradient_accumulation_steps": 1, "zero_optimization": {"stage": 1}})
    assert config["train_micro_batch_size_per_gpu"] == 4 and config["train_batch_size"] == "auto"
    assert config["gradient_accumulation_steps"] == 2
    assert config["gradient_clipping"] == 0.5
    assert config["zero_optimization"]["stage"] == 1
    assert "torch_autocast" not in config


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_half_precision_is_autocast(configured, precision, dtype):
    config = configured({precision: {"enabled": True}, "zero_optimization": {"stage": 2}}, precision)
    assert config["torch_autocast"]["enabled"] and config["torch_autocast"]["dtype"] == dtype
    assert not config["bf16"]["enabled"] and not config["fp16"]["enabled"]


def test_whole_engine_files_pass(checkpoint):
    assert engine_files(checkpoint) == [MODEL, OPTIMIZER]
    check_engine_files(checkpoint, [MODEL, OPTIMIZER])


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER])
@pytest.mark.parametrize("left", [None, 0, -100])
def test_an_engine_file_that_is_missing_or_cut_off_is_told(checkpoint, name, left):
    path = checkpoint / FOLDER / name
    whole = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(whole[:left])
    with pytest.raises(ValueError, match=f"missing or cut off in deepspeed/: {name}"):
        check_engine_files(checkpoint, [MODEL, OPTIMIZER])


def test_an_engine_that_finds_nothing_does_not_begin_anew(checkpoint):
    engine = SimpleNamespace(load_checkpoint=lambda *_, **__: (None, None))
    with pytest.raises(ValueError, match="finds no checkpoint of its own"):
        load_engine(engine, checkpoint)
