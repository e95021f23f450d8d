"""The two graphs that segment videos: one makes audio queries of the sound, the other masks of frames and queries.

`auss export` writes them beside the graph of the whole network. They share its weights.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from ...configuration.configuration_auss import AussConfig
from ...hub.exported_model import FRAMES, MANIFEST, PARTS_FIELD, PARTS_VERSION, SOUND, part_file
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ...modeling_auss.resized_maps import ResizedMaps
from ...modeling_auss.semantic_inference import semantic_scores
from .export_comparison import TRACED_SIZES

if TYPE_CHECKING:
    from transformers.exporters.base import ExportedModel

# Only these become int8. ONNX Runtime computes int8 convolutions far more slowly, and they change the masks.
INT8_OPERATORS = ["MatMul", "Gemm"]
LEAST_SHARED_BYTES = 1024  # smaller weights are written into each graph

Maps = TypeVar("Maps", bound=ResizedMaps)


class SoundNetwork(nn.Module):
    """VGGish and A2U: the audio queries of B stretches of sound."""

    def __init__(self, model: AussForAudioVisualSegmentation):
        super().__init__()
        self.model = model

    def forward(self, input_features: torch.Tensor, input_features_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            input_features: (B, t, 96, 64) log-mel, t at most T.
            input_features_mask: (B, t) int64, 1 for sound and 0 for padding.

        Returns:
            `audio_queries`: A, (B, N, e). With `config.frame_conditioned_queries` also `example_embeddings`,
            (B, T, e): what the sound example of a frame adds to the queries of that frame.
        """
        network = self.model.auss
        features, valid = network.audio_features(input_features, input_features_mask)
        outputs = {"audio_queries": network.audio_query_generator(features, valid)}
        if network.frame_conditioner is not None:
            outputs["example_embeddings"] = network.frame_conditioner.projection(features)
        return outputs


def in_views(maps: Maps, num_views: Any) -> Maps:
    """Repeats each frame's maps. Unlike `ResizedMaps.repeated` it can be traced for any number of views."""
    return replace(maps, maps=maps.maps.unsqueeze(1).expand(-1, num_views, -1, -1, -1).flatten(0, 1))


class FrameNetwork(nn.Module):
    """The image branch, the fusion and the heads: the masks of M frames, each with V audio queries."""

    def __init__(self, model: AussForAudioVisualSegmentation):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor, frame_queries: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            pixel_values: (M, 3, H, W) normalised frames. Each is encoded once.
            frame_queries: (M, V, N, e), for each frame the queries of V sounds.

        Returns:
            `logits` (M, V, K, h, w), `class_queries_logits` (M, V, N, K + 1) and `fused_queries` (M, V, N, e).
        """
        shape, network = frame_queries.shape[:2], self.model.auss
        embeddings, mask_features = network.image_embedding_extractor(pixel_values)
        embeddings = [in_views(embedding, shape[1]) for embedding in embeddings]
        mask_features = in_views(mask_features, shape[1])
        fused = network.fusion_decoder(frame_queries.flatten(0, 1), embeddings, mask_features)[-1]
        class_logits, mask_embeddings = self.model.heads(fused)
        outputs = {
            "logits": semantic_scores(class_logits, mask_embeddings, mask_features),
            "class_queries_logits": class_logits,
            "fused_queries": fused,
        }
        return {name: value.unflatten(0, shape) for name, value in outputs.items()}


def int8_quantizer():
    """The dynamic quantiser of ONNX Runtime, for matrix products only."""
    from transformers.exporters.quantizers.quantizer_onnxruntime import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer

    # reduce_range: on a CPU without VNNI, products of two 8-bit numbers overflow. Weights of 7 bits score the same.
    return OnnxRuntimeQuantizer(
        OnnxRuntimeDynamicConfig(op_types_to_quantize=INT8_OPERATORS, per_channel=True, reduce_range=True)
    )


def trace(
    network: nn.Module, inputs: dict[str, Any], axes: Mapping[str, Mapping] | None, file_format: str
) -> "ExportedModel":
    """
    Traces a network with the exporters of Transformers.

    Args:
        network: a network in evaluation mode, in float32, on the CPU.
        inputs: example inputs by the names of the arguments of `forward`.
        axes: for each input the axes that may vary, as `torch.export` takes them. None makes all axes constants.
        file_format: "onnx", "int8" or "torch-export".
    """
    from transformers.exporters.configs import DynamoConfig, OnnxConfig

    exported: Any = network  # the annotations of Transformers ask for a PreTrainedModel; any module will do
    shapes: Any = axes
    if file_format == "torch-export":
        from transformers.exporters.exporter_dynamo import DynamoExporter

        return DynamoExporter().export(exported, inputs, DynamoConfig(dynamic_shapes=shapes))
    from transformers.exporters.exporter_onnx import OnnxExporter

    quantizer = int8_quantizer() if file_format == "int8" else None
    return OnnxExporter().export(exported, inputs, OnnxConfig(dynamic_shapes=shapes, quantizer=quantizer))


def sound_axes(config: AussConfig) -> dict[int, Any]:
    """The axes of the sound that may vary: any number of clips, and examples up to the configured T."""
    axes: dict[int, Any] = {0: torch.export.Dim("clips")}
    if config.num_audio_examples > 1:
        axes[1] = torch.export.Dim("examples", max=config.num_audio_examples)
    return axes


def export_parts(
    model: AussForAudioVisualSegmentation, file_format: str, size: tuple[int, int]
) -> dict[str, "ExportedModel"]:
    """
    Exports `SoundNetwork` and `FrameNetwork` of a model, for any number of clips, examples, frames and views.

    Args:
        model: the model in evaluation mode, in float32, on the CPU.
        file_format: "onnx", "int8" or "torch-export".
        size: the (height, width) of the frames, in pixels.
    """
    config, generator = model.config, torch.Generator().manual_seed(0)
    audio, (first, second) = config.audio_config, TRACED_SIZES

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    features = noise(first, config.num_audio_examples, audio.num_frames, audio.num_mel_bins)
    sound = {
        "input_features": features,
        "input_features_mask": torch.ones(features.shape[:2], dtype=torch.long),
    }
    picture = {
        "pixel_values": noise(first, 3, *size),
        "frame_queries": noise(first, second, config.num_queries, config.hidden_size),
    }
    frames = torch.export.Dim("frames")
    picture_axes = {"pixel_values": {0: frames}, "frame_queries": {0: frames, 1: torch.export.Dim("views")}}
    return {
        SOUND: trace(SoundNetwork(model).eval(), sound, dict.fromkeys(sound, sound_axes(config)), file_format),
        FRAMES: trace(FrameNetwork(model).eval(), picture, picture_axes, file_format),
    }


def fingerprint(tensor: Any) -> tuple:
    """What two equal tensors of `onnx_ir` have in common."""
    return str(tensor.dtype), tuple(tensor.shape.numpy()), hashlib.sha256(tensor.tobytes()).digest()


def save_onnx_part(program: Any, path: Path, whole: Path) -> None:
    """Saves a graph of `onnx_ir`. Weights that the file of the whole network holds are read from there."""
    import onnx_ir

    stored: dict[tuple, Any] = {}
    for value in onnx_ir.load(whole).graph.initializers.values():
        if isinstance(value.const_value, onnx_ir.ExternalTensor):
            stored[fingerprint(value.const_value)] = value.const_value
    for value in program.graph.initializers.values():
        if value.const_value is None or value.const_value.nbytes < LEAST_SHARED_BYTES:
            continue
        known = stored.get(fingerprint(value.const_value))
        if known is not None:
            value.const_value = onnx_ir.ExternalTensor(
                known.location,
                known.offset,
                known.length,
                known.dtype,
                shape=known.shape,
                name=value.name,
                base_dir=path.parent,
            )
    onnx_ir.save(program, path)


def save_torch_part(program: torch.export.ExportedProgram, path: Path) -> None:
    """Saves a torch.export graph without its weights. `model.pt2` of the whole network holds them, too."""
    weights = program.state_dict
    for name, value in list(weights.items()):
        # One number stands for all numbers of a weight, and is stored once.
        empty = torch.zeros((), dtype=value.dtype).expand(value.shape)
        weights[name] = nn.Parameter(empty, requires_grad=False) if isinstance(value, nn.Parameter) else empty
    torch.export.save(program, path)


def save_parts(parts: dict[str, "ExportedModel"], folder: Path, file_format: str, size: tuple[int, int]) -> None:
    """Saves the graphs of `export_parts` into the folder that holds the exported whole network. Adds them to its
    description `export.json`."""
    for name, part in parts.items():
        path = folder / part_file(name, file_format)
        if file_format == "torch-export":
            save_torch_part(part.program, path)
        else:
            save_onnx_part(part.program, path, folder / "model.onnx")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest[PARTS_FIELD] = {"version": PARTS_VERSION, "format": file_format, "size": list(size)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


__all__ = ["FrameNetwork", "SoundNetwork", "export_parts", "save_parts", "sound_axes", "trace"]
