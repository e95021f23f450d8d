"""`auss evaluate`: M_J and M_F by the AVSBench protocol, overall and per category, and the best and worst clips."""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate import Accelerator, PartialState
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import broadcast, gather_object
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ...configuration.configuration_auss import IGNORED_LABEL
from ...files.errors import InputError
from ...files.file_names import printable
from ...files.model_files import weights_digest
from ...files.new_contents import NewContents
from ...hub.model_card import renew_card
from ...hub.trained_model import load_trained
from ...processing.drawing import contact_sheet
from ...processing.processing_auss import AussProcessor
from ...processing.video_frames import frames_per_pass
from ..command_arguments import SOUNDS
from ..data.avsbench import load_avsbench
from ..data.clips import decode_clip
from ..data.collator import resize_labels
from ..data.loaders import check_labels_fit, create_eval_loader
from ..data.rows import SeededRows
from ..recorded_results import EVALUATION_FOLDER
from .metric_modules import MeanFScore, MeanJaccard, SemanticScores
from .metrics import OFFICIAL_SIZE, class_means, clip_means, official_class_means, official_padding
from .score_tables import format_markdown, format_text, result_files
from .swapped_sounds import SwappedSounds

SHEET_CLIPS = 5
LONGEST_TITLE = 150  # characters above a clip in a sheet


def kept_frames(batch: dict) -> torch.Tensor:
    """Which frames of a collated batch are real, (B, F) bool, on the batch's device."""
    pixel_values = batch["pixel_values"]
    shape = pixel_values.shape[:2]
    return batch.get("frame_mask", torch.ones(shape, device=pixel_values.device)).bool()


def clip_labels(batch: dict) -> list[torch.Tensor]:
    """The labels (F, h, w) of each clip of a collated batch, without padding, on the CPU."""
    return [labels.cpu()[kept] for labels, kept in zip(batch["labels"], kept_frames(batch).cpu(), strict=True)]


def frame_logits(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """
    The network's `logits` (M, K, h, w) for the M frames of a batch that are not padding, from the arguments of its
    `forward`. Frames that are too many for one pass on a CPU come in several, and their sound is encoded once.
    """
    kept = kept_frames(inputs)
    places = kept.nonzero()  # the clip and the frame of each
    step = frames_per_pass(inputs["pixel_values"], len(places))
    if step == len(places):
        return model(**inputs).logits[kept]
    sound = {name: value for name, value in inputs.items() if name != "pixel_values"}
    _, queries = model.auss.frame_queries(kept.shape[1], **sound)
    logits: torch.Tensor | None = None
    for few in torch.arange(len(places), device=places.device).split(step):
        clips, frames = places[few].unbind(1)
        one_frame_clips = inputs["pixel_values"][clips, frames].unsqueeze(1)
        found = model(pixel_values=one_frame_clips, frame_queries=queries[clips, frames].unsqueeze(1)).logits[:, 0]
        # Made once: small results of every pass, kept among the maps that come and go, would scatter the heap.
        logits = found.new_empty(len(places), *found.shape[1:]) if logits is None else logits
        logits[few] = found
    assert logits is not None  # every clip has a frame
    return logits


@torch.no_grad()
def segment_clips(model: nn.Module, processor: AussProcessor, batch: dict) -> list[dict[str, torch.Tensor]]:
    """
    For each clip of a collated batch, without padding, `segmentation` and `scores`, (F, h, w) at the size of its
    labels; and, of more than two labels, `official_segmentation`, (F, 224, 224).
    """
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "clip_id", "category")}
    counts = kept_frames(batch).sum(1).tolist()
    clips = []
    for logits, labels in zip(frame_logits(model, inputs).split(counts), batch["labels"], strict=True):
        outputs = SimpleNamespace(logits=logits.unsqueeze(0))
        (clip,) = processor.post_process_audio_visual_segmentation(outputs, [tuple(labels.shape[-2:])])
        if logits.shape[1] > 2:
            (official,) = processor.post_process_audio_visual_segmentation(outputs, [OFFICIAL_SIZE])
            clip["official_segmentation"] = official["segmentation"]
        clips.append(clip)
    return clips


def binary_labels(labels: torch.Tensor) -> torch.Tensor:
    """Class ids to 1 where anything sounds, 0 where nothing does, and 255 as before."""
    return torch.where(labels == IGNORED_LABEL, labels, (labels > 0).to(labels.dtype))


def class_metrics(num_labels: int) -> dict[str, SemanticScores]:
    """The metrics of AVSBench-semantic: of masks of their own size, and of those that the official code scores."""
    if num_labels == 2:
        return {}
    return {name: SemanticScores(keep_in_memory=True, num_labels=num_labels) for name in ("classes", "official")}


def score_batches(
    network: nn.Module, processor: AussProcessor, batches: Iterable[dict], num_labels: int
) -> list[dict]:
    """
    Scores this process's clips, each at the size of its own masks.

    Returns:
        For each clip `batch`, its batch's number; `clip_id`, `category`; `frames`, how many are annotated, and
        `padding`, how many the official code of AVSS would add; `size`, (height, width) of its masks; `J` and `F` of
        sounding against silent; and, of more than two labels, `classes`, the rows of `class_scores`, and `official`,
        those of masks of 224 x 224. The figures are None where no frame is annotated.

    Raises:
        ValueError: the model gives scores that are no numbers.
    """
    binary = {"J": MeanJaccard(keep_in_memory=True), "F": MeanFScore(keep_in_memory=True)}
    semantic = class_metrics(num_labels)
    records = []
    for number, batch in enumerate(batches):
        clips = segment_clips(network, processor, batch)
        labels = clip_labels(batch)
        try:
            for metric in binary.values():
                references = [binary_labels(one) for one in labels]
                metric.add_batch(predictions=[clip["scores"] for clip in clips], references=references)
            for name, metric in semantic.items():
                official = name == "official"
                segmentations = [clip["official_segmentation" if official else "segmentation"] for clip in clips]
                references = [resize_labels(one, OFFICIAL_SIZE) for one in labels] if official else labels
                metric.add_batch(predictions=segmentations, references=references)
        except InputError as error:
            raise InputError(f"scoring clips {', '.join(batch['clip_id'])}: {error}") from error
        for clip_id, category, frames in zip(batch["clip_id"], batch["category"], labels, strict=True):
            annotated = int((frames != IGNORED_LABEL).any(dim=(1, 2)).sum())
            record = {"batch": number, "clip_id": clip_id, "category": category, "frames": annotated}
            records.append({**record, "padding": official_padding(len(frames)), "size": tuple(frames.shape[-2:])})
    for name, metric in {**binary, **semantic}.items():
        for record, figure in zip(records, metric.compute(per_clip=True)[metric.key], strict=True):
            record[name] = figure
    return records


def summarise_records(records: list[dict], num_labels: int) -> dict:
    """What `evaluate` returns, from the records of `score_batches` of all clips with an annotated frame."""
    per_clip = [{name: record[name] for name in ("clip_id", "category", "J", "F")} for record in records]
    sizes = Counter("{} x {}".format(*record["size"]) for record in records)
    if num_labels == 2:
        return {**clip_means(per_clip), "sizes": dict(sizes), "per_clip": per_clip}
    plain = class_means([record["classes"] for record in records])
    padding = sum(record["padding"] for record in records)
    return {
        **official_class_means([record["official"] for record in records], padding, num_labels),
        "frames": sum(record["frames"] for record in records),
        "padded_frames": padding,
        "official_size": "{} x {}".format(*OFFICIAL_SIZE),
        "plain": plain,
        "sizes": dict(sizes),
        "per_clip": per_clip,
    }


@contextmanager
def own_precision(network: nn.Module) -> Iterator[None]:
    """Takes the autocast away for a while that `Accelerator.prepare`, with mixed precision, wraps around `forward`."""
    # The instance's `forward` is the wrapped one, and hides that of the class.
    wrapped = network.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            network.forward = wrapped


def evaluate(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader,
    processor: AussProcessor,
    num_labels: int = 2,
    description: str = "evaluating",
) -> dict:
    """
    Scores a split. Every process calls this, and all get the same results, however many they are.

    The network computes in the precision of its weights, whatever mixed precision it trains with: validation and
    `auss evaluate` give the same figures.

    Args:
        accelerator: shares the clips out; it may have prepared `model`.
        model: on the accelerator's device. It is left in the mode, training or evaluation, in which it came.
        loader: as `create_eval_loader` makes it. The processes share its batches among them: the accelerator must not
            have prepared it.
        processor: brings the model's output to the labels' size.
        num_labels: more than 2 takes the AVSS protocol for M_J and M_F.
        description: stands before the progress bar.

    Returns:
        What `clip_means` returns or, of more labels, `official_class_means`, with `frames`, the number of annotated
        ones, `padded_frames`, those added to them, `official_size`, at which masks are scored, and `plain`, what
        `class_means` returns of masks of their own size; and in either case `sizes`, how many clips have masks of each
        size, "height x width", and `per_clip`, a list of {"clip_id", "category", "J", "F"}, the J and F of sounding
        against silent at that size.

    Raises:
        ValueError: no clip has an annotated frame, or the model gives scores that are no numbers.
    """
    # `accelerator.prepare` would repeat clips so that every process has equally many. Since here they may differ, the
    # network runs without the wrapper in which the processes wait for each other, and which before each forward gives
    # all of them the first one's running statistics.
    loader = prepare_data_loader(loader, accelerator.device, put_on_device=True, even_batches=False)
    network = accelerator.unwrap_model(model, keep_torch_compile=False)
    with torch.no_grad():
        for buffer in network.buffers():
            buffer.copy_(broadcast(buffer))
    was_training = model.training
    model.eval()
    bar = tqdm(loader, description, unit="batch", leave=False, disable=not accelerator.is_main_process)
    with own_precision(network):
        records = gather_object(score_batches(network, processor, bar, num_labels))
    model.train(was_training)
    # Process p of P had the batches p, p + P, ...: sorted like this the clips stand in the data set's order.
    records = sorted((record for record in records if record["frames"]), key=lambda record: record["batch"])
    return summarise_records(records, num_labels)


def drawable_clip(model: nn.Module, processor: AussProcessor, collator, row: dict, title: str) -> dict:
    """A row's clip and what the model makes of it, as `contact_sheet` takes it; the arguments are `draw_clips`'s."""
    device = next(model.parameters()).device
    batch = collator([row])
    moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
    frames = decode_clip(row, num_labels=collator.num_labels, with_audio=False)["frames"]
    return {
        "title": title,
        "frames": frames.permute(0, 2, 3, 1).numpy(),
        "labels": batch["labels"][0].numpy(),
        "scores": segment_clips(model, processor, moved)[0]["scores"].cpu().numpy(),
    }


def draw_clips(
    model: nn.Module,
    processor: AussProcessor,
    collator,
    rows: Dataset,
    records: list[dict],
    path: Path,
) -> Path:
    """
    A contact sheet of the clips that `records`, entries of `per_clip`, name, in their order.

    Args:
        model: in evaluation mode, on the processor's device or any other.
        collator: what made the evaluated batches.
        rows: the evaluated rows.
        path: the picture to write.
    """
    wanted = {(record["category"], record["clip_id"]): record for record in records}
    blocks = {}
    for row in rows:
        key = (str(row["category"]), str(row["clip_id"]))
        if key in wanted:
            record = wanted[key]
            title = f"{record['category']} {record['clip_id']}  J {record['J']:.3f}  F {record['F']:.3f}".strip()
            title = printable(title)[:LONGEST_TITLE]
            blocks[key] = drawable_clip(model, processor, collator, row, title)
    return contact_sheet([blocks[key] for key in wanted], path)


def save_results(
    results: dict,
    origin: dict[str, str],
    model: nn.Module,
    processor: AussProcessor,
    collator,
    rows: Dataset,
    files: dict[str, Path],
) -> None:
    """
    Writes the files of `result_files`.

    Args:
        results: what `evaluate` returned.
        origin: "model", "data", "name", "split", "sound" and "weights", for the title and the JSON file.
        model, processor, collator, rows: as `draw_clips` takes them.
    """
    title = "{name} {split}, sound {sound}: {model}".format(**origin)
    ranked = sorted(results["per_clip"], key=lambda record: record["J"], reverse=True)
    # All of them appear together; the figures come last, since they are what others read.
    with NewContents(files["json"].parent, files["json"].stem) as folder:
        new = {kind: folder.new / path.name for kind, path in files.items()}
        new["json"].write_text(json.dumps({**origin, **results}, indent=2) + "\n", encoding="utf-8")
        new["markdown"].write_text(format_markdown(results, title), encoding="utf-8")
        draw_clips(model, processor, collator, rows, ranked[:SHEET_CLIPS], new["best"])
        draw_clips(model, processor, collator, rows, ranked[::-1][:SHEET_CLIPS], new["worst"])
        folder.install(last=[files["json"].name])


def evaluate_folder(
    model_folder: str,
    data: str,
    name: str = "s4",
    split: str = "test",
    sound: str = "own",
    output: str | None = None,
    batch_size: int = 4,
    workers: int | None = None,
    overwrite: bool = False,
) -> dict:
    """
    Evaluates a trained model and saves, under `output`, `{name}-{split}-{sound}.json`, the table as `.md`, and contact
    sheets of the best and the worst clips as `-best.png` and `-worst.png`.

    Args:
        model_folder: what `auss train` wrote, model and processor.
        data, name, split: as `load_avsbench` takes them.
        sound: "own"; "muted", digital silence; or "swapped", that of a clip of another category.
        output: a folder; default `evaluation` in the model's.
        batch_size: clips at once.
        workers: processes that decode clips; None decides by the machine, as `worker_count` does.
        overwrite: replace the files of an earlier evaluation.

    Returns:
        What `evaluate` returns, with the `name` of each class, and `files`, the paths written: "json", "markdown",
        "best", "worst".

    Raises:
        ValueError: an unknown `sound`, a model of another number of labels than the data, or files that are there
            already and `overwrite` is not given.
        FileNotFoundError, ValueError: as `load_trained` and `load_avsbench`.
    """
    if sound not in SOUNDS:
        raise InputError(f"sound must be one of {', '.join(SOUNDS)}, got {sound!r}")
    folder = Path(output) if output else Path(model_folder) / EVALUATION_FOLDER
    files = result_files(folder, f"{name}-{split}-{sound}", overwrite)
    model, processor = load_trained(model_folder)
    dataset = load_avsbench(data, name, split)
    check_labels_fit(model, name, data, str(model_folder))
    config = model.config
    rows = SeededRows(dataset)
    if sound == "swapped":
        rows = SwappedSounds(rows, dataset)
    loader = create_eval_loader(rows, processor, config.num_labels, batch_size, workers, muted=sound == "muted")
    # Not prepared: after training in this process, or under `accelerate launch --mixed_precision`, the accelerator has
    # mixed precision, in which the contact sheets would be drawn.
    accelerator = Accelerator()
    model = model.to(accelerator.device).eval()
    results = evaluate(accelerator, model, loader, processor, config.num_labels, f"{name} {split}, sound {sound}")
    for figures in (results, results.get("plain", {})):
        for index, values in figures.get("classes", {}).items():
            values["name"] = config.id2label[index]
    if accelerator.is_main_process:
        origin = {"model": str(model_folder), "data": str(data), "name": name, "split": split, "sound": sound}
        origin["weights"] = weights_digest(model_folder)
        save_results(results, origin, model, processor, loader.collate_fn, rows, files)
        renew_card(model_folder)
    accelerator.wait_for_everyone()
    return {**results, "files": {kind: str(path) for kind, path in files.items()}}


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    results = evaluate_folder(
        arguments.model,
        arguments.data,
        arguments.name,
        arguments.split,
        arguments.sound,
        arguments.output,
        arguments.batch_size,
        arguments.workers,
        arguments.overwrite,
    )
    if PartialState().is_main_process:
        print(format_text(results))
        for kind, path in results["files"].items():
            print(f"{kind:8}  {path}")
    return 0


__all__ = ["SOUNDS", "evaluate", "evaluate_folder", "segment_clips", "run"]
