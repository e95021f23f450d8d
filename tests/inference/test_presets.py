"""The figures of `auss presets` equal a plain count over the layers of a network that really runs."""

import math
import re

import pytest
import torch

from auss import cli
from auss.configuration.configuration_auss import AussConfig
from auss.inference.presets import describe, forward_flops
from auss.modeling_auss.attention import Attention, MaskedAttention
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.modeling_auss.resized_maps import MaskProjection


def counted_flops(model, num_frames: int, size: int) -> int:
    """Twice the multiplications of all convolutions, linear layers, attention and masks, counted in a forward pass."""
    total = 0

    def convolution(module, inputs, output):
        nonlocal total
        if not isinstance(module, MaskProjection):  # it computes nothing, its product is counted below
            total += 2 * output.numel() * module.weight[0].numel()

    def linear(module, inputs, output):
        nonlocal total
        total += 2 * output.numel() * module.in_features

    def attention(module, inputs, output):
        nonlocal total
        queries, keys = inputs[:2]
        positions = math.prod(inputs[2]) if isinstance(module, MaskedAttention) else keys.shape[1]
        total += 2 * 2 * queries.numel() * positions

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(convolution)
        elif isinstance(module, torch.nn.Linear):
            module.register_forward_hook(linear)
        elif isinstance(module, Attention):
            module.register_forward_hook(attention)
    inputs = dict(pixel_values=torch.randn(1, num_frames, 3, size, size), input_features=torch.randn(1, 5, 96, 64))
    with torch.no_grad():
        model(**inputs, output_masks_queries_logits=True)
    # Counted here: the product by W_1 of Eq. 1; h of Eq. 12 on the queries of three blocks and of the last masks; the
    # last masks at stride 4, before they are enlarged; the masks for attention, at strides 8, 4 and 8. For the masks
    # at stride 4, enlarging and reducing f_4 leaves a depthwise 3x3 convolution.
    config = model.config
    channels = config.hidden_size
    total += 2 * config.num_queries * 5 * channels
    total += 2 * num_frames * config.num_queries * channels**2 * 4
    small = (size // 4) ** 2
    attended = sum((size // stride) ** 2 for stride in (8, 4, 8))
    total += 2 * num_frames * config.num_queries * channels * (small + attended)
    total += 2 * num_frames * channels * 9 * small
    return total


@pytest.mark.parametrize("num_frames", [1, 3])
def test_flops_are_those_of_a_plain_count(make_config, num_frames):
    torch.manual_seed(0)
    config = make_config()
    with torch.device("meta"):
        measured = forward_flops(AussForAudioVisualSegmentation(config).eval(), num_frames, 32)
    assert measured == counted_flops(AussForAudioVisualSegmentation(config).eval(), num_frames, 32)


def test_description_adds_up(make_config, tmp_path):
    path = tmp_path / "tiny.json"
    make_config().to_json_file(path, use_diff=False)
    row = describe(str(path), size=32)
    model = AussForAudioVisualSegmentation(make_config())
    assert row["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert row["audio_parameters"] == sum(weight.numel() for weight in model.auss.audio_encoder.parameters())
    three = 3 * row["gflops_frame"] + row["gflops_sound"]
    assert three * 1e9 == pytest.approx(counted_flops(model.eval(), 3, 32))


@pytest.mark.slow
def test_command_lists_every_preset_or_those_asked_for(capsys):
    assert cli.main(["presets", "auss-demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and re.match(r"auss-demo +4\.9 M +3\.0 M +1\.0 M ", lines[1])
    assert cli.main(["presets", "--size", "64"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == AussConfig.preset_names()


def test_bad_size_and_name_are_refused(capsys):
    assert cli.main(["presets", "--size", "8"]) == cli.USAGE_ERROR
    assert "--size must be at least 16" in capsys.readouterr().err
    assert cli.main(["presets", "auss-none"]) == cli.USAGE_ERROR
    printed = capsys.readouterr()
    assert "no preset is called 'auss-none'" in printed.err and not printed.out
