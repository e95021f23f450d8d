"""A model in half precision takes half the space and gives nearly the same results."""

import json

import pytest
import torch
from safetensors.torch import load_file

from auss.hub.half_precision import halved, write_half_precision
from auss.hub.trained_model import load_trained


@pytest.fixture
def trained(tiny_model, tiny_processor, tmp_path):
    tiny_model.save_pretrained(tmp_path / "trained", with_code=False)
    tiny_processor.save_pretrained(tmp_path / "trained", with_code=False)
    return tmp_path / "trained"


def test_the_copy_is_half_as_large_and_gives_the_same(trained, tmp_path):
    folder = write_half_precision(trained, tmp_path / "half")
    stored = load_file(folder / "model.safetensors")
    sizes = [sum(one.nbytes for one in load_file(path / "model.safetensors").values()) for path in (trained, folder)]
    assert sizes[1] < 0.51 * sizes[0]
    model, processor = load_trained(folder)
    original, _ = load_trained(trained)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert processor.video_processor.size["height"] == 32
    for name, value in original.state_dict().items():
        if value.dtype == torch.float32:
            assert stored[name].dtype == torch.float16
            torch.testing.assert_close(model.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"


def test_weights_too_large_for_half_precision_stay_as_they_are():
    assert halved(torch.tensor([1.0, 70_000.0])).dtype == torch.float32
    assert halved(torch.tensor([1.0, 60_000.0])).dtype == torch.float16
    assert halved(torch.tensor([3])).dtype == torch.int64


def test_other_folders_are_refused(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no config.json"):
        write_half_precision(tmp_path, tmp_path / "half")
    with pytest.raises(ValueError, match="output must be a new or an empty folder"):
        write_half_precision(trained, trained)
    (trained / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        write_half_precision(trained, tmp_path / "half")
