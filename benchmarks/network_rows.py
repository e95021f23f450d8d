"""Compares the network with its image backbone alone. No network with this backbone can take less time."""

from functools import partial
from types import SimpleNamespace

import torch
from timing import Measured, in_turns, median_seconds, peak_gigabytes
from torch.utils.flop_counter import FlopCounterMode
from transformers import ResNetConfig, SwinConfig

from auss import AussConfig, AussForAudioVisualSegmentation
from auss.processing.post_processing_auss import post_process_audio_visual_segmentation
from auss.train.evaluation.segmented_clips import frame_logits

SIZE = 224
FRAMES = 5
# The backbones of the presets, with all stages.
WHOLE_BACKBONES = {
    "auss-fast-resnet50": partial(ResNetConfig, depths=[3, 4, 6, 3]),
    "auss-resnet101": partial(ResNetConfig, depths=[3, 4, 23, 3]),
    "auss-swin-base": partial(SwinConfig, embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]),
}


def network(preset: str, classes: int = 8, **changes) -> AussForAudioVisualSegmentation:
    """
    Builds a network with random weights in evaluation mode.

    Args:
        preset: the name of the preset.
        classes: the number of queries that have a class and therefore a mask. The other queries are "no object", like
            most queries of a trained network.
        changes: configuration fields that replace those of the preset.
    """
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(AussConfig.from_preset(preset, **changes)).eval()

    def choose(module, arguments, logits: torch.Tensor) -> torch.Tensor:
        no_object = logits.new_zeros(logits.shape[-2:])
        no_object[:classes, -1], no_object[classes:, -1] = -100.0, 100.0
        return logits + no_object

    model.class_head.register_forward_hook(choose)
    return model


def inputs(frames: int = FRAMES, size: int = SIZE, batch: int = 1, examples: int = 5) -> dict[str, torch.Tensor]:
    """Returns noise with the shapes of clips."""
    return {
        "pixel_values": torch.randn(batch, frames, 3, size, size),
        "input_features": torch.randn(batch, examples, 96, 64),
    }


def masks(model: AussForAudioVisualSegmentation, clip: dict[str, torch.Tensor]) -> list[dict]:
    """
    Does all the work that a user waits for.

    This is VGGish, the network on a few frames at a time, and masks at the size of the frames.
    """
    num_clips, num_frames, _, *size = clip["pixel_values"].shape
    outputs = SimpleNamespace(logits=frame_logits(model, clip).unflatten(0, (num_clips, num_frames)))
    return post_process_audio_visual_segmentation(outputs, [tuple(size)] * num_clips)


def flops(model: torch.nn.Module, **arguments) -> int:
    """Returns the floating-point operations of all products and convolutions of a call, including attention."""
    # torch does not count fused attention on a CPU, so use eager attention. torch's counter also fails if a layer gets
    # a parameter with a gradient as an input. The fusion blocks get the query positions, so turn gradients off.
    model.requires_grad_(False).set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**arguments)
    return counter.get_total_flops()


def forward(preset: str, classes: int = 8) -> Measured:
    """Compares inference on a clip of five frames with the backbone alone on these frames."""
    model, clip = network(preset, classes), inputs()
    backbone, frames = model.auss.image_embedding_extractor.backbone, clip["pixel_values"].flatten(0, 1)
    with torch.inference_mode():
        ours, limit = in_turns(lambda: masks(model, clip), lambda: backbone(frames))
    work = flops(model, **clip) / flops(backbone, pixel_values=frames)
    queries = model.config.num_queries
    with_class = f"{min(classes, queries)} of {queries} queries have a class"
    return Measured(ours, limit, f"{with_class}; {work:.2f} x the FLOPs of the backbone")


def beside_mask2former(preset: str) -> Measured:
    """
    Compares inference on a clip of five frames with the forward pass of Transformers' Mask2Former.

    Mask2Former has the same backbone and the same number of queries, and no audio input. It uses all stages of the
    backbone. The paper's presets leave out the last stage.
    """
    # Import here, because the memory of imported libraries would count in the memory rows.
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor

    model, clip = network(preset), inputs()
    backbone_config = WHOLE_BACKBONES[preset](out_features=["stage1", "stage2", "stage3", "stage4"])
    peer_config = Mask2FormerConfig(backbone_config=backbone_config, num_queries=model.config.num_queries)
    peer, frames = Mask2FormerForUniversalSegmentation(peer_config).eval(), clip["pixel_values"].flatten(0, 1)

    def peer_masks() -> list[torch.Tensor]:
        sizes = [(SIZE, SIZE)] * len(frames)
        return Mask2FormerImageProcessor().post_process_semantic_segmentation(peer(frames), target_sizes=sizes)

    with torch.inference_mode():
        ours, limit = in_turns(lambda: masks(model, clip), lambda: peer(frames))
        to_masks = median_seconds(peer_masks, repeats=3)
    queries = model.config.num_queries
    return Measured(ours, limit, f"{queries} queries; Mask2Former with its masks takes {to_masks:.3g} s")


def training_parts(preset: str, frozen_sound: bool):
    """Returns a training step (forward, losses, backward), and forward and backward of the backbone alone."""
    model = network(preset).train()
    if frozen_sound:
        model.auss.audio_encoder.requires_grad_(False)
    clip = inputs() | {"labels": (torch.rand(1, FRAMES, SIZE, SIZE) > 0.8).long()}
    backbone = model.auss.image_embedding_extractor.backbone
    frames = clip["pixel_values"].flatten(0, 1)

    def step() -> None:
        model.zero_grad()
        model(**clip).loss.backward()

    def backbone_step() -> None:
        model.zero_grad()
        maps = backbone(frames).feature_maps
        torch.autograd.backward(maps, [torch.ones_like(each) for each in maps])

    return step, backbone_step


def training_step(preset: str, frozen_sound: bool) -> Measured:
    """Compares a training step without the optimiser with forward and backward of the backbone alone."""
    return Measured(*in_turns(*training_parts(preset, frozen_sound)))


def training_memory(preset: str, frozen_sound: bool) -> Measured:
    """Measures the peak memory of the whole process during training steps, in GB."""
    before = peak_gigabytes()
    step, _ = training_parts(preset, frozen_sound)
    for _ in range(3):
        step()
    return Measured(peak_gigabytes(), note=f"{before:.2f} GB of it are Python and libraries")


def further_frame(preset: str) -> Measured:
    """
    Measures the additional time per frame when a window gets 20 more frames. All frames share the sound.

    The limit is the additional time per frame of the backbone.
    """
    model, few, many = network(preset), inputs(5), inputs(25)
    backbone = model.auss.image_embedding_extractor.backbone
    with torch.inference_mode():
        ours_few, limit_few = in_turns(lambda: masks(model, few), lambda: backbone(few["pixel_values"].flatten(0, 1)))
        ours_many, limit_many = in_turns(
            lambda: masks(model, many), lambda: backbone(many["pixel_values"].flatten(0, 1))
        )
    return Measured((ours_many - ours_few) / 20, (limit_many - limit_few) / 20)


def compiled_forward(preset: str) -> Measured:
    """Compares the network under `torch.compile`, without a graph break, with the network in eager mode."""
    model, clip = network(preset), inputs()
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        expected, found = model(**clip).logits, compiled(**clip).logits
        difference = (expected - found).abs().max().item()
        ours, limit = in_turns(lambda: compiled(**clip), lambda: model(**clip))
    return Measured(ours, limit, f"the logits differ by at most {difference:.0e}")


def scaled(preset: str, queries: int | None = None, examples: int = 5, **shape: int) -> Measured:
    """Measures the seconds of one forward pass with masks. The note has the peak memory."""
    changes: dict = {} if queries is None else {"num_queries": queries}
    if examples != 5:
        changes["num_audio_examples"] = examples
    model, clip = network(preset, **changes), inputs(examples=examples, **shape)
    with torch.inference_mode():
        ours = median_seconds(lambda: masks(model, clip), repeats=3)
    return Measured(ours, note=f"{peak_gigabytes():.2f}")


SCALINGS = {
    "N": [{"queries": number} for number in (100, 300, 500, 700)],
    "H = W": [{"size": size} for size in (224, 448, 672, 1024)],
    "F": [{"frames": frames} for frames in (1, 5, 25, 125)],
    "T": [{"examples": examples} for examples in (5, 10)],
    "B": [{"batch": batch} for batch in (1, 2, 4)],
}
SCALED_PRESET = "auss-fast-resnet50"


def scaling_measurements() -> dict[tuple[str, int], partial]:
    """Returns (the quantity that grows, its value) -> measurement."""
    return {
        (name, *values.values()): partial(scaled, SCALED_PRESET, **values)
        for name, cases in SCALINGS.items()
        for values in cases
    }
