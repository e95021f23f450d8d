"""The network on a device, beside float64 on the CPU: `AUSS_TEST_DEVICE=cuda pytest tests/test_device.py`.

Without the variable the device is the CPU, so these tests always run; `make gpu` runs them on the GPU.
"""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from auss.inference.pipeline import TASK, AudioVisualSegmentationPipeline
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation

DEVICE = torch.device(os.environ.get("AUSS_TEST_DEVICE", "cpu"))
# The names of the loss terms of a network that uses all of them.
ALL_TERMS = {"mask_cross_entropy_weight": 1.0, "aqml_weight": 2.0, "aqdl_weight": 2.0}


@pytest.fixture(autouse=True)
def exact_convolutions(monkeypatch):
    """Torch computes convolutions in TF32 on CUDA unless told otherwise, which leaves three digits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def networks(make_config):
    """The same network twice: in float64 on the CPU, and in float32 on the device."""
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(**ALL_TERMS, frame_conditioned_queries=True)).eval()
    with torch.no_grad():  # masks that differ, so that an error would show, and confident queries
        model.auss.fusion_decoder.mask_head.weight.mul_(10)
        model.class_head.bias[1] += 2.0
    oracle = AussForAudioVisualSegmentation(model.config).double().eval()
    oracle.load_state_dict(model.state_dict())
    return oracle, model.to(DEVICE)


@pytest.fixture
def clip(make_inputs):
    labels = torch.randint(0, 2, (2, 3, 32, 32), generator=torch.Generator().manual_seed(2))
    labels[1, 1] = 255
    return make_inputs(), labels


def on_device(inputs):
    return {name: value.to(DEVICE) for name, value in inputs.items()}


def in_float64(inputs):
    return {name: value.double() for name, value in inputs.items()}


def test_masks_are_those_of_float64_on_the_cpu(networks, clip):
    oracle, model = networks
    inputs, _ = clip
    with torch.no_grad():
        expected, found = oracle(**in_float64(inputs)), model(**on_device(inputs))
    assert found.logits.device.type == DEVICE.type
    for name in ("logits", "class_queries_logits", "fused_queries", "audio_queries"):
        torch.testing.assert_close(found[name].cpu().double(), expected[name], rtol=1e-3, atol=1e-3)


def test_losses_and_gradients_are_those_of_float64_on_the_cpu(networks, clip):
    oracle, model = networks
    inputs, labels = clip
    expected, found = oracle(**in_float64(inputs), labels=labels), model(**on_device(inputs), labels=labels.to(DEVICE))
    assert set(found.loss_dict) == set(expected.loss_dict) and expected.loss_dict["aqml"] > 0
    for name, value in expected.loss_dict.items():
        assert found.loss_dict[name].item() == pytest.approx(value.item(), rel=1e-3, abs=1e-5), name
    expected.loss.backward(), found.loss.backward()
    gradients = dict(model.named_parameters())
    for name, parameter in oracle.named_parameters():
        if parameter.grad is None:
            assert gradients[name].grad is None, name
            continue
        difference = (gradients[name].grad.cpu().double() - parameter.grad).norm()
        assert difference <= 1e-2 * parameter.grad.norm() + 1e-5, name


def test_half_precision_trains(networks, clip):
    _, model = networks
    inputs, labels = clip
    with torch.autocast(DEVICE.type, torch.bfloat16):
        loss = model.train()(**on_device(inputs), labels=labels.to(DEVICE)).loss
    loss.backward()
    plain = model(**on_device(inputs), labels=labels.to(DEVICE)).loss
    assert loss.item() == pytest.approx(plain.item(), rel=0.2)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_log_mels_of_tensors_on_the_device_are_those_of_the_cpu(tiny_processor):
    waveform = torch.randn(16_000 * 5, generator=torch.Generator().manual_seed(0)) * 0.1
    expected = tiny_processor(audio=waveform.numpy(), sampling_rate=16_000, return_tensors="pt")["input_features"]
    found = tiny_processor(audio=waveform.to(DEVICE), sampling_rate=16_000, return_tensors="pt")["input_features"]
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-5)


def test_the_pipeline_runs_on_the_device(networks, tiny_processor):
    oracle, model = networks
    generator = np.random.default_rng(0)
    frames = [Image.fromarray(generator.integers(0, 255, (40, 48, 3), np.uint8)) for _ in range(5)]
    clip = {
        "frames": frames,
        "audio": generator.normal(0, 0.1, 16_000 * 5).astype(np.float32),
        "sampling_rate": 16_000,
    }
    on_cpu = AudioVisualSegmentationPipeline(model=oracle.float(), processor=tiny_processor, task=TASK, device="cpu")
    on_it = AudioVisualSegmentationPipeline(model=model, processor=tiny_processor, task=TASK, device=DEVICE)
    for expected, found in zip(on_cpu(clip, fps=1), on_it(clip, fps=1), strict=True):
        assert [segment["label"] for segment in found] == [segment["label"] for segment in expected]
        for mine, theirs in zip(found, expected, strict=True):
            assert (np.asarray(mine["mask"]) == np.asarray(theirs["mask"])).mean() > 0.99


@pytest.mark.slow
def test_the_network_compiles_in_one_graph(networks, clip):
    _, model = networks
    inputs, _ = clip
    torch._dynamo.reset()
    with torch.no_grad():
        plain = model(**on_device(inputs)).logits
        compiled = torch.compile(model, fullgraph=True)(**on_device(inputs)).logits
    torch.testing.assert_close(compiled, plain, rtol=0, atol=1e-3)
