"""Compares latency, size and masks of exported networks with the model in PyTorch, on the CPU.

    python benchmarks/benchmark_export.py --model auss-demo/model --data auss-demo/data [--clips 50]
    python benchmarks/benchmark_export.py --preset auss-fast-resnet50

The first command also scores the masks of test clips. The second command uses random weights, so it measures only
latency and size. All variants take turns, so that a busy machine slows all of them. The results are Markdown tables.
The benchmark needs `pip install '.[export]'`, run in the repository.
"""

import argparse
import contextlib
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tqdm import tqdm
from transformers.exporters.configs import OnnxConfig
from transformers.exporters.exporter_onnx import OnnxExporter
from transformers.exporters.quantizers.quantizer_onnxruntime import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer

from auss.configuration.configuration_auss import AussConfig
from auss.hub.trained_model import load_trained
from auss.inference.export import any_clips_and_frames, export_network, quiet
from auss.inference.exporting.export_comparison import TOLERANCE, TRACED_SIZES, example_inputs
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.train.data.avsbench import load_avsbench
from auss.train.data.loaders import create_eval_loader
from auss.train.data.rows import SeededRows
from auss.train.evaluation.metrics import jaccard

INPUTS = ("pixel_values", "input_features", "input_features_mask")
EAGER, CONVOLUTIONS = "PyTorch, eager", "int8, convolutions too"
NAMES = {"torch-export": "torch.export", "onnx": "ONNX", "int8": "int8 ONNX (`--format int8`)"}


def export_with_int8_convolutions(model, size: tuple[int, int]):
    """Exports with ONNX Runtime's default, which also quantises convolutions. `--format int8` does not."""
    quantizer = OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig())
    config = OnnxConfig(dynamic_shapes=any_clips_and_frames(model.config), quantizer=quantizer)
    return OnnxExporter().export(model, example_inputs(model.config, size, *TRACED_SIZES), config)


def make_variants(model, size: tuple[int, int], threads: int) -> dict[str, tuple]:
    """Returns name -> (function that is called with the inputs, size of its files in bytes)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    variants = {EAGER: (model, sum(value.nbytes for value in model.state_dict().values()))}
    with quiet():
        graphs = {name: export_network(model, file_format, size) for file_format, name in NAMES.items()}
        graphs[CONVOLUTIONS] = export_with_int8_convolutions(model, size)
    for name, graph in graphs.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            graph.save_pretrained(folder)
            files = sum(file.stat().st_size for file in Path(folder).glob("model.*"))
        graph.to("cpu", **({} if graph.export_format == "dynamo" else {"session_options": options}))
        variants[name] = (graph, files)
    return variants


@torch.no_grad()
def latencies(variants: dict[str, tuple], inputs: dict[str, torch.Tensor], repeats: int) -> dict[str, list[float]]:
    """Returns the milliseconds of each call. The first call of each variant is not counted."""
    times = {name: [] for name in variants}
    for repeat in tqdm(range(repeats + 1), "latency"):
        for name, (network, _) in variants.items():
            began = time.perf_counter()
            network(**inputs)
            if repeat:
                times[name].append(1000 * (time.perf_counter() - began))
    return times


def latency_table(variants: dict[str, tuple], times: dict[str, list[float]]) -> str:
    lines = ["| | ms, median | ms, least | MB |", "| --- | ---: | ---: | ---: |"]
    for name, (_, size) in variants.items():
        median, least = statistics.median(times[name]), min(times[name])
        lines.append(f"| {name} | {median:.1f} | {least:.1f} | {size / 1e6:.1f} |")
    return "\n".join(lines)


@torch.no_grad()
def mask_table(variants: dict[str, tuple], processor, batches: list[dict]) -> str:
    """Returns M_J of each variant, and the differences of its scores and masks from the model in PyTorch."""
    scores = {name: [] for name in variants}
    largest, changed = {name: [] for name in variants}, {name: [] for name in variants}
    for batch in tqdm(batches, "masks", unit="clip"):
        size = tuple(batch["labels"].shape[-2:])
        for name, (network, _) in variants.items():
            outputs = network(**{key: batch[key] for key in INPUTS})
            clip = processor.post_process_audio_visual_segmentation(outputs, [size])[0]
            if name == EAGER:
                logits, segmentation = outputs.logits, clip["segmentation"]
            scores[name].append(jaccard(clip["scores"], batch["labels"][0] > 0))
            largest[name] += (outputs.logits - logits).abs().amax((0, 2, 3, 4)).tolist()
            changed[name].append(float((clip["segmentation"] != segmentation).float().mean()))
    lines = [
        f"| | M_J | largest change of a score | frames with a change above {TOLERANCE} | pixels whose label changes |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in variants:
        above = sum(value > TOLERANCE for value in largest[name])
        lines.append(
            f"| {name} | {np.mean(scores[name]):.4f} | {max(largest[name]):.1e} | {above} of {len(largest[name])} "
            f"| {np.mean(changed[name]):.3%} |"
        )
    return "\n".join(lines)


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
        cpu = {key.strip(): value.strip() for key, value in fields.items()}.get("model name", cpu)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "onnx", "onnxruntime"))
    return f"{cpu}; Python {platform.python_version()}, {packages}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="a trained model's folder")
    source.add_argument("--preset", help="a shipped configuration, with random weights")
    parser.add_argument("--data", help="a data set of AVSBench's S4 layout, for the masks of --model")
    parser.add_argument("--clips", type=int, default=50, help="test clips, evenly picked (50)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(224, 224), metavar=("H", "W"), help="with --preset (224)"
    )
    parser.add_argument("--frames", type=int, default=5, help="frames of the clip whose latency is measured (5)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch and of ONNX Runtime (1)")
    parser.add_argument("--repeats", type=int, default=9, help="counted calls of each variant (9)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.preset:
        model, size = AussForAudioVisualSegmentation(AussConfig.from_preset(arguments.preset)).eval(), arguments.size
    else:
        model, processor = load_trained(arguments.model)
        size = tuple(processor.video_processor.size[side] for side in ("height", "width"))
    variants = make_variants(model, tuple(size), arguments.threads)
    times = latencies(variants, example_inputs(model.config, size, 1, arguments.frames), arguments.repeats)
    print(
        f"{machine()}; threads: {arguments.threads}; one clip of {arguments.frames} frames of {size[0]} x {size[1]}\n"
    )
    print(latency_table(variants, times))
    if arguments.data and arguments.model:
        rows = load_avsbench(arguments.data, "s4", "test")
        chosen = np.linspace(0, len(rows) - 1, min(arguments.clips, len(rows))).astype(int)
        loader = create_eval_loader(SeededRows(rows.select(chosen)), processor, 2, batch_size=1, workers=0)
        print(f"\n{len(chosen)} test clips\n")
        print(mask_table(variants, processor, list(loader)))


if __name__ == "__main__":
    main()
