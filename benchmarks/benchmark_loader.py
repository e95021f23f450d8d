"""Compares the speed of the training loader with a plain loop of PIL and librosa, and with the training step.

    python benchmarks/benchmark_loader.py --data DATA [--name s4] [--size 224] [--workers 1 2] [--preset ...]

A worker has one thread. So the clips per second of processor time are the clips that one worker gives on its own core.
A busy machine affects this column least, so the number of workers that a training step needs is computed from it. All
routes take turns over the same number of clips. The result is a Markdown table.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from auss.configuration.configuration_auss import AussConfig
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.pictures import PICTURE_FORMATS
from auss.train.arguments import DataArguments
from auss.train.data.avsbench import load_avsbench
from auss.train.data.collator import precompute_input_features
from auss.train.data.loaders import create_stream_loader, create_train_loader
from auss.train.data.parquet_shards import stream_shards
from auss.train.data.parquet_writer import prepare_data_set
from auss.train.data.rows import SeededRows, StreamedRows
from auss.train.loop.preparation import create_processor

SEED = 0
SHUFFLE_BUFFER = 16  # there are only a few clips, so filling a larger buffer would be wasted time


@dataclass
class Cost:
    """
    The cost of a route, as medians over the turns.

    Args:
        per_second: clips per second.
        per_processor_second: clips per second of processor time of all processes together.
    """

    per_second: float
    per_processor_second: float


def plain_clip(row: dict, size: int, mean: np.ndarray, std: np.ndarray) -> dict[str, torch.Tensor]:
    """
    Prepares a clip for the network with the simplest code.

    Returns:
        Pixels (F, 3, H, W), log-mel (T, 96, 64) and labels (F, H, W).
    """
    frames = [Image.open(frame["path"], formats=PICTURE_FORMATS).convert("RGB")
              .resize((size, size), Image.Resampling.BILINEAR) for frame in row["frames"]]  # fmt: skip
    pixels = (np.stack([np.asarray(frame, dtype=np.float32) for frame in frames]) / 255 - mean) / std
    masks = [Image.open(mask["path"], formats=PICTURE_FORMATS).convert("L")
             .resize((size, size), Image.Resampling.NEAREST) for mask in row["masks"]]  # fmt: skip
    labels = np.full((len(frames), size, size), 255, dtype=np.int64)
    labels[row["annotated_frames"]] = np.stack([np.asarray(mask) >= 128 for mask in masks])
    waveform, rate = librosa.load(row["audio"]["path"], sr=16_000)
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=rate, n_fft=512, win_length=400, hop_length=160, power=1.0, n_mels=64, fmin=125, fmax=7500,
        htk=True, center=False,
    )  # fmt: skip
    log_mel = np.log(mel.T + 0.01)
    examples = log_mel[: len(log_mel) // 96 * 96].reshape(-1, 96, 64)
    return {
        "pixel_values": torch.from_numpy(pixels).permute(0, 3, 1, 2).float(),
        "input_features": torch.from_numpy(examples),
        "labels": torch.from_numpy(labels),
    }


def plain_batches(rows: SeededRows, size: int, batch_size: int, processor) -> Iterable[dict[str, torch.Tensor]]:
    """Yields the batches of the plain loop, without augmentation."""
    mean, std = (np.asarray(getattr(processor.video_processor, name)) for name in ("image_mean", "image_std"))
    for start in range(0, len(rows) - batch_size + 1, batch_size):
        clips = [plain_clip(rows[start + index], size, mean, std) for index in range(batch_size)]
        yield {name: torch.stack([clip[name] for clip in clips]) for name in clips[0]}


def processor_seconds() -> float:
    """Returns the processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def turn(batches: Callable[[], Iterable[dict]]) -> tuple[float, float]:
    """Returns the clips per second and the clips per second of processor time of one pass."""
    wall, processor = time.perf_counter(), processor_seconds()
    clips = sum(len(batch["labels"]) for batch in batches())
    return clips / (time.perf_counter() - wall), clips / (processor_seconds() - processor)


def make_routes(arguments: argparse.Namespace, processor, folder: Path) -> dict[tuple[str, int], Callable]:
    """Returns (route, number of workers) -> function that starts one pass over the clips."""
    dataset = load_avsbench(arguments.data, arguments.name, "train")
    clips = min(arguments.clips, len(dataset))
    rows = SeededRows(dataset.select(range(clips)), SEED)
    cached = SeededRows(rows.dataset, SEED, precompute_input_features(rows, processor.feature_extractor))
    prepare_data_set(arguments.data, folder, [arguments.name])

    def options(**changes) -> DataArguments:
        return DataArguments(arguments.data, batch_size=arguments.batch_size, **{"workers": 0, **changes})

    def files(rows: SeededRows, data: DataArguments):
        return create_train_loader(rows, processor, data, 2, SEED)

    def streamed(data: DataArguments):
        stream, total = stream_shards(folder, arguments.name, "train")
        # Take as many shards as hold about this number of clips. Then every clip that is read is used, as in an epoch.
        parts = min(max(1, total // clips), stream.num_shards)
        share = StreamedRows(stream.shard(parts, 0), total // parts, data.batch_size, SEED, SHUFFLE_BUFFER)
        return create_stream_loader(share, processor, data, 2, SEED)

    plain = options(augment=False)
    routes = {
        ("PIL and librosa, a plain loop", 0): partial(
            plain_batches, rows, arguments.size, arguments.batch_size, processor
        ),
        ("files, without augmentation", 0): partial(files, rows, plain),
        ("Parquet stream, without augmentation", 0): partial(streamed, plain),
        ("files", 0): partial(files, rows, options()),
        ("files, sounds cached", 0): partial(files, cached, options()),
        ("Parquet stream", 0): partial(streamed, options()),
    }
    for workers in arguments.workers:
        routes["files, sounds cached", workers] = partial(files, cached, options(workers=workers))
        routes["Parquet stream", workers] = partial(streamed, options(workers=workers))
    return routes


def measure_routes(routes: dict[tuple[str, int], Callable], repeats: int) -> dict[tuple[str, int], Cost]:
    """Measures all routes in turns. Before that, each route loads one batch to warm up."""
    for batches in routes.values():
        next(iter(batches()))
    turns = {key: [] for key in routes}
    for _ in tqdm(range(repeats), desc="turns", leave=False):
        for key, batches in routes.items():
            turns[key].append(turn(batches))
    return {
        key: Cost(statistics.median(wall for wall, _ in taken), statistics.median(busy for _, busy in taken))
        for key, taken in turns.items()
    }


def step_rate(preset: str, batch: dict, repeats: int) -> tuple[float, str]:
    """
    Measures a training step: forward, losses, backward and AdamW.

    Returns:
        On a GPU, the clips per second in bfloat16. On a CPU, the clips per second of processor time of one thread.
        The second value names the device.
    """
    device = torch.device("cpu")
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator() or device
    torch.manual_seed(SEED)
    model = AussForAudioVisualSegmentation(AussConfig.from_preset(preset)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    inputs = {name: value.to(device) for name, value in batch.items() if torch.is_tensor(value)}

    clock = time.process_time if device.type == "cpu" else time.perf_counter

    def step() -> float:
        began = clock()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
            loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the GPU
        if device.type != "cpu":
            torch.accelerator.synchronize()
        return clock() - began

    step()
    rate = len(inputs["labels"]) / statistics.median(step() for _ in range(repeats))
    return rate, "one core" if device.type == "cpu" else device.type


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a data set in AVSBench's layout")
    parser.add_argument("--name", choices=["s4", "ms3"], default="s4")
    parser.add_argument("--size", type=int, default=224, help="pixels of the network's square input")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--clips", type=int, default=128, help="clips of a pass")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="numbers of workers to try too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--preset", default="auss-fast-resnet50", help="whose training step to measure")
    parser.add_argument("--step-clips", type=int, default=2, help="clips of that step; a GPU wants 8 or more")
    arguments = parser.parse_args()
    processor = create_processor(AussConfig.from_preset(arguments.preset), arguments.size)
    torch.set_num_threads(1)  # a worker has one thread too
    with tempfile.TemporaryDirectory() as folder:
        routes = make_routes(arguments, processor, Path(folder))
        costs = measure_routes(routes, arguments.repeats)
        batch = next(iter(routes["files", 0]()))
    print("| route | workers | clips/s | clips/s of processor time |\n| --- | ---: | ---: | ---: |")
    for (what, workers), cost in costs.items():
        print(f"| {what} | {workers} | {cost.per_second:.1f} | {cost.per_processor_second:.1f} |")
    few = {name: value[: arguments.step_clips] for name, value in batch.items()}
    rate, where = step_rate(arguments.preset, few, arguments.repeats)
    print(f"\nA training step of `{arguments.preset}` on {where}: {rate:.2f} clips/s.")
    for what in ("files, sounds cached", "Parquet stream"):
        print(f"Workers that keep it fed, {what}: {rate / costs[what, 0].per_processor_second:.3f}")


if __name__ == "__main__":
    main()
