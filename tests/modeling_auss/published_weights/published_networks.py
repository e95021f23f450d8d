"""Networks of each library with random values, saved in their publishers' formats, and the maps that they compute."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor
from transformers import AutoBackbone, PreTrainedConfig

from auss.configuration.configuration_auss import AussConfig

Maps = list[torch.Tensor]


@torch.no_grad()
def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Gives norms, biases and tables random values. Many of them start as 0 or 1, which would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if name.endswith(("running_var", "gamma", "layer_scale", "layer_scale_parameter", "lambda1")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim <= 1:
            centre = 1.0 if name.endswith("weight") else 0.0
            tensor.normal_(centre, 0.2, generator=generator)
        elif name.endswith(("table", "token", "pos_embed", "embeddings")):
            tensor.normal_(0, 0.5, generator=generator)
    return network.eval()


def transformers_network(cls: type, config: PreTrainedConfig) -> nn.Module:
    torch.manual_seed(1)
    return randomise(cls(config))


def timm_network(name: str, **arguments) -> nn.Module:
    torch.manual_seed(1)
    return randomise(timm.create_model(name, pretrained=False, **arguments))


def torchvision_network(name: str) -> nn.Module:
    torch.manual_seed(1)
    return randomise(torchvision.models.get_model(name, weights=None))


def save_timm_folder(network: nn.Module, name: str, folder: Path) -> Path:
    """Saves what timm pushes to the Hub: a config.json with the architecture, and model.safetensors."""
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": name, "num_classes": 1000, "pretrained_cfg": {}}))
    return folder


def save_sorted(network: nn.Module, folder: Path) -> Path:
    """Saves a single `.safetensors` file, in which the names are in alphabetical order."""
    path = folder / "weights.safetensors"
    save_file({name: tensor for name, tensor in sorted(network.state_dict().items())}, path)
    return path


def save_pth(network: nn.Module, folder: Path) -> Path:
    """Saves a single PyTorch file without batch counters, like the files of older torchvision versions."""
    state = {name: tensor for name, tensor in network.state_dict().items() if "num_batches_tracked" not in name}
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


def save_older_swin(network: nn.Module, folder: Path) -> Path:
    """
    Saves the files of an older Swin repository on the Hub, such as `microsoft/swin-base-patch4-window7-224-in22k`.

    The file is `pytorch_model.bin`. It has tables of indices, and names that Transformers has changed since then.
    """
    older = {
        "attention.q_proj": "attention.self.query",
        "attention.k_proj": "attention.self.key",
        "attention.v_proj": "attention.self.value",
        "attention.relative_position_bias.relative": "attention.self.relative",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    network.config.save_pretrained(folder)
    state = {}
    for name, tensor in network.state_dict().items():
        for today, before in older.items():
            name = name.replace(today, before)
        state[name] = tensor
        if name.endswith("relative_position_bias_table"):
            state[name.replace("bias_table", "index")] = torch.zeros(16, 16, dtype=torch.long)
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def save_official_swin(network: nn.Module, folder: Path) -> Path:
    """
    Saves a file in the format of Swin's authors.

    It is `{"model": ...}` with tables of indices, and patches are merged at the end of a stage.
    """
    state = {}
    for name, tensor in network.state_dict().items():
        parts = name.split(".")
        if parts[0] == "layers" and parts[2] == "downsample":
            parts[1] = str(int(parts[1]) - 1)
        state[".".join(parts).replace("head.fc.", "head.")] = tensor
    blocks = {name.rpartition(".attn.qkv.weight")[0] for name in state if name.endswith(".attn.qkv.weight")}
    for block in blocks:
        state[f"{block}.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.long)
        state[f"{block}.attn_mask"] = torch.zeros(4, 49, 49)
    torch.save({"model": state, "epoch": 299}, folder / "swin.pth")
    return folder / "swin.pth"


def save_official_pvt(network: nn.Module, folder: Path) -> Path:
    """Saves a file in the format of PVT's authors, who count stages from one and do not nest them."""
    state = {}
    for name, tensor in network.state_dict().items():
        parts = name.split(".")
        if parts[0] == "stages":
            stage, part = int(parts[1]) + 1, parts[2]
            start = {"downsample": f"patch_embed{stage}", "norm": f"norm{stage}"}.get(part, f"block{stage}")
            parts = [start, *parts[3:]]
        official = ".".join(parts).replace("patch_embed.", "patch_embed1.").replace(".dwconv.", ".dwconv.dwconv.")
        state[official] = tensor
    torch.save(state, folder / "pvt_v2.pth")
    return folder / "pvt_v2.pth"


def timm_maps(network: nn.Module, indices: Sequence[int]) -> Callable[[torch.Tensor], Maps]:
    return lambda frames: network.forward_intermediates(frames, indices=list(indices), intermediates_only=True)


def torchvision_maps(network: nn.Module, nodes: Sequence[str]) -> Callable[[torch.Tensor], Maps]:
    extractor = create_feature_extractor(network, list(nodes)).eval()
    # torchvision's Swin keeps channels last.
    channels_last = isinstance(network, torchvision.models.SwinTransformer)

    def maps(frames: torch.Tensor) -> Maps:
        return [x.permute(0, 3, 1, 2) if channels_last else x for x in extractor(frames).values()]

    return maps


def backbone_maps(folder: Path, config: PreTrainedConfig, out_features: list[str]) -> Callable[[torch.Tensor], Maps]:
    """Returns the maps of Transformers' own backbone, which Transformers loads from a folder."""
    cls = type(AutoBackbone.from_config(copy.deepcopy(config)))
    backbone = cls.from_pretrained(folder, out_features=out_features).eval()
    return lambda frames: list(backbone(frames).feature_maps)


def normalised(maps: Callable[[torch.Tensor], Maps], epsilon: float) -> Callable[[torch.Tensor], Maps]:
    """Normalises the channels of each pixel without weights, as the untrained norms of output maps do."""

    def normalise(x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 2, 3, 1)
        return nn.functional.layer_norm(x, x.shape[-1:], eps=epsilon).permute(0, 3, 1, 2)

    return lambda frames: [normalise(x) for x in maps(frames)]


def preset_backbone(name: str) -> PreTrainedConfig:
    return AussConfig.from_preset(name).backbone_config
