"""The GPU measurements: seconds and peak memory of the presets, synchronisations, kernels, loader and step."""

import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from network_rows import FRAMES, SIZE, WHOLE_BACKBONES, inputs, masks, network
from torch.profiler import ProfilerActivity, profile
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from auss import AussConfig

# The variants of the network, of the compiled network and of a training step. A CPU without instructions for bfloat16
# is many times slower in bfloat16 than in float32, so the CPU runs float32 only.
PLAIN_VARIANTS = {"cuda": ("float32", "bfloat16"), "cpu": ("float32",)}
COMPILED_VARIANTS = {"cuda": ("bfloat16, compiled", "bfloat16, CUDA graphs"), "cpu": ("float32, compiled",)}
STEP_VARIANTS = {"cuda": ("float32", "bfloat16 autocast"), "cpu": ("float32",)}
STEPS_PROFILED = 3
KERNELS_SHOWN = 12


@dataclass(frozen=True)
class Setting:
    """
    Args:
        device: the device of all measurements.
        size: height and width of the frames, in pixels.
        clips: the number of clips in a batch of the throughput rows. A clip has five frames.
        repeats: the number of timed calls. The result is their median.
    """

    device: torch.device
    size: int = SIZE
    clips: int = 8
    repeats: int = 10

    @property
    def kind(self) -> str:
        """The kind of variants that are measured: "cuda" on a CUDA device and "cpu" on every other device."""
        return "cuda" if self.device.type == "cuda" else "cpu"

    @classmethod
    def quick(cls, device: torch.device) -> "Setting":
        """Returns the smallest setting that still runs every line."""
        return cls(device, size=64, clips=1, repeats=2)


@dataclass(frozen=True)
class Cost:
    """
    Args:
        seconds: the median time of one call.
        peak_gb: the peak memory of the tensors on the device, in 10^9 bytes. None on a CPU, where torch does not count
            it.
    """

    seconds: float
    peak_gb: float | None


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished all its work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def measure(work: Callable[[], object], setting: Setting) -> Cost:
    """Measures time and peak memory of a call, after three calls to warm up."""
    device = setting.device
    for _ in range(3):
        work()
    synchronize(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(setting.repeats):
        began = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    return Cost(statistics.median(seconds), peak)


def clips_on(setting: Setting, clips: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Returns a batch of noise on the device."""
    return {name: value.to(setting.device, dtype) for name, value in inputs(size=setting.size, batch=clips).items()}


def network_on(setting: Setting, preset: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """Builds the preset's network on the device, where it takes less time to draw random weights."""
    with setting.device:
        return network(preset).to(dtype)


def forward_cost(preset: str, variant: str, setting: Setting, clips: int) -> Cost:
    """Measures inference, from clips to masks, in one of `PLAIN_VARIANTS` or `COMPILED_VARIANTS`."""
    dtype = torch.bfloat16 if "bfloat16" in variant else torch.float32
    model, batch = network_on(setting, preset, dtype), clips_on(setting, clips, dtype)
    if "compiled" in variant or "graphs" in variant:
        torch._dynamo.reset()
        mode = "reduce-overhead" if "graphs" in variant else None
        model = torch.compile(model, fullgraph=True, mode=mode)
    with torch.inference_mode():
        return measure(lambda: masks(model, batch), setting)


def backbone_cost(preset: str, dtype: torch.dtype, setting: Setting, clips: int) -> Cost:
    """Measures the preset's image backbone alone on the frames of the clips."""
    model = network_on(setting, preset, dtype)
    backbone = model.auss.image_embedding_extractor.backbone
    frames = clips_on(setting, clips, dtype)["pixel_values"].flatten(0, 1)
    with torch.inference_mode():
        return measure(lambda: backbone(frames), setting)


def mask2former_cost(preset: str, dtype: torch.dtype, setting: Setting, clips: int) -> Cost | None:
    """
    Measures Mask2Former's forward pass with the same backbone and the same number of queries.

    None if the benchmark has no Transformers backbone for the preset.
    """
    if preset not in WHOLE_BACKBONES:
        return None
    backbone_config = WHOLE_BACKBONES[preset](out_features=["stage1", "stage2", "stage3", "stage4"])
    queries = AussConfig.from_preset(preset).num_queries
    config = Mask2FormerConfig(backbone_config=backbone_config, num_queries=queries)
    # Build it on the CPU and then move it. On the device its constructor mixes in tensors of the CPU.
    model = Mask2FormerForUniversalSegmentation(config).eval().to(setting.device, dtype)
    frames = clips_on(setting, clips, dtype)["pixel_values"].flatten(0, 1)
    with torch.inference_mode():
        return measure(lambda: model(frames), setting)


def training_step(preset: str, variant: str, setting: Setting) -> Callable[[], None]:
    """Returns a training step on `setting.clips` clips: forward, losses, backward and AdamW's update."""
    model = network_on(setting, preset).train()
    # A training run on a GPU also uses the fused optimiser, in which one kernel updates all parameters.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=setting.device.type == "cuda")
    labels = torch.rand(setting.clips, FRAMES, setting.size, setting.size) > 0.8
    batch = clips_on(setting, setting.clips) | {"labels": labels.long().to(setting.device)}

    def step() -> None:
        with torch.autocast(setting.device.type, torch.bfloat16, enabled="bfloat16" in variant):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def step_cost(preset: str, variant: str, setting: Setting) -> Cost:
    """Measures a training step in one of `STEP_VARIANTS`."""
    return measure(training_step(preset, variant, setting), setting)


def synchronisations(work: Callable[[], object]) -> Counter[str]:
    """Returns the lines of Python at which one call waits for a CUDA device, and how often it waits at each line."""
    work()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [warning for warning in caught if "synchronizing" in str(warning.message)]
    return Counter(f"{'/'.join(Path(wait.filename).parts[-2:])}:{wait.lineno}" for wait in waits)


def kernels(work: Callable[[], object], device: torch.device) -> list[tuple[str, float, int]]:
    """
    Finds the kernels that take most time. On a CPU, it finds operators in place of kernels.

    Returns:
        (name, share of the device's time, number of calls) of each.
    """
    work()
    synchronize(device)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiler:
        for _ in range(STEPS_PROFILED):
            work()
        synchronize(device)
    attribute = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    rows = profiler.key_averages()
    if device.type == "cuda":
        rows = [row for row in rows if row.device_type == torch.autograd.DeviceType.CUDA]
    total = sum(getattr(row, attribute) for row in rows)
    ranked = sorted(rows, key=lambda row: getattr(row, attribute), reverse=True)[:KERNELS_SHOWN]
    return [(row.key, getattr(row, attribute) / total, row.count // STEPS_PROFILED) for row in ranked]


def loader_seconds(folder: Path, preset: str, setting: Setting, workers: int, clips: int) -> float:
    """Returns the seconds that the training loader takes per batch, on a composed data set of `clips` clips."""
    from auss.train.arguments import DataArguments
    from auss.train.data.avsbench import load_avsbench
    from auss.train.data.loaders import create_train_loader
    from auss.train.data.rows import SeededRows
    from auss.train.loop.preparation import create_processor

    processor = create_processor(AussConfig.from_preset(preset), setting.size)
    rows = SeededRows(load_avsbench(folder, "s4", "train").select(range(clips)), 0)
    data = DataArguments(str(folder), batch_size=setting.clips, workers=workers)
    loader = create_train_loader(rows, processor, data, 2, 0)
    batches = iter(loader)
    next(batches)  # starts the workers
    began = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - began) / count


def forward_columns(setting: Setting, preset: str, clips: int) -> dict[str, Callable[[], Cost | None]]:
    """Returns column -> measurement for one preset: the network, its backbone alone, and Mask2Former."""
    columns: dict[str, Callable[[], Cost | None]] = {}
    for variant in PLAIN_VARIANTS[setting.kind]:
        dtype = getattr(torch, variant)
        columns[variant] = partial(forward_cost, preset, variant, setting, clips)
        columns[f"backbone, {variant}"] = partial(backbone_cost, preset, dtype, setting, clips)
        columns[f"Mask2Former, {variant}"] = partial(mask2former_cost, preset, dtype, setting, clips)
    return columns


def compiled_columns(setting: Setting, preset: str, clips: int) -> dict[str, Callable[[], Cost | None]]:
    """Returns column -> measurement of the compiled network for one preset."""
    return {
        variant: partial(forward_cost, preset, variant, setting, clips) for variant in COMPILED_VARIANTS[setting.kind]
    }


__all__ = [
    "STEP_VARIANTS",
    "Cost",
    "Setting",
    "compiled_columns",
    "forward_columns",
    "kernels",
    "loader_seconds",
    "measure",
    "step_cost",
    "synchronisations",
    "training_step",
]
