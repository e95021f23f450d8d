"""`auss evaluate` measures M_J and M_F by the AVSBench protocol, overall and per category, and draws some clips."""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
from ...hub.exported_model import is_export
from ...hub.model_card import renew_card
from ...hub.model_source import is_local
from ...hub.model_source import model_folder as source_folder
from ...hub.trained_model import load_model
from ...processing.drawing import contact_sheet
from ...processing.processing_auss import AussProcessor
from ..command_arguments import SOUNDS
from ..data.avsbench import load_avsbench
from ..data.clips import decode_clip
from ..data.collator import resize_labels
from ..data.loaders import check_labels_fit, create_eval_loader
from ..data.rows import SeededRows
from ..recorded_results import EVALUATION_FOLDER, data_name
from .metric_modules import MeanFScore, MeanJaccard, SemanticScores
from .metrics import OFFICIAL_SIZE, class_means, clip_means, official_class_means, official_padding
from .score_tables import format_markdown, format_text, result_files
from .segmented_clips import clip_labels, segment_clips
from .swapped_sounds import SwappedSounds

SHEET_CLIPS = 5
LONGEST_TITLE = 150  # characters of a title above a clip in a contact sheet


def binary_labels(labels: torch.Tensor) -> torch.Tensor:
    """Maps class ids to 1 if anything sounds and to 0 if nothing sounds. 255 stays 255."""
    return torch.where(labels == IGNORED_LABEL, labels, (labels > 0).to(labels.dtype))


def class_metrics(num_labels: int) -> dict[str, SemanticScores]:
    """Returns the metrics of AVSBench-semantic: for masks at their own size, and for masks as the official code scores
    them."""
    if num_labels == 2:
        return {}
    return {name: SemanticScores(keep_in_memory=True, num_labels=num_labels) for name in ("classes", "official")}


def score_batches(
    network: nn.Module, processor: AussProcessor, batches: Iterable[dict], num_labels: int
) -> list[dict]:
    """
    Scores the clips of this process, each at the size of its own masks.

    Returns:
        A dict for each clip: `batch`, the number of its batch; `clip_id` and `category`; `frames`, the number of
        annotated frames; `padding`, the number of frames that the official code of AVSS would add; `size`, (height,
        width) of its masks; `J` and `F` of sounding against silent. With more than two labels the dict also has
        `classes`, the rows of `class_scores`, and `official`, the same rows for masks of 224 x 224. The scores are
        None if no frame is annotated.

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
    """Summarises the records of `score_batches` of all clips with an annotated frame to the result of `evaluate`."""
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
    """Removes for a block the autocast that `Accelerator.prepare` with mixed precision wraps around `forward`."""
    # `prepare` sets the wrapped `forward` on the instance, which hides the `forward` of the class.
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
    Scores a split. Every process calls this, and all get the same results, whatever their number is.

    The network computes in the precision of its weights, even if it trains with mixed precision. So validation and
    `auss evaluate` give the same scores.

    Args:
        accelerator: distributes the clips over the processes. It may have prepared `model`.
        model: a model on the accelerator's device. Its mode, training or evaluation, is restored afterwards.
        loader: a loader made by `create_eval_loader`. The processes share its batches among them, so the accelerator
            must not have prepared it.
        processor: resizes the model's output to the size of the labels.
        num_labels: more than 2 labels select the AVSS protocol for M_J and M_F.
        description: the text before the progress bar.

    Returns:
        The result of `clip_means` for two labels. For more labels, the result of `official_class_means` with four
        further entries: `frames`, the number of annotated frames; `padded_frames`, the number of added frames;
        `official_size`, the size at which masks are scored; and `plain`, the result of `class_means` for masks at
        their own size. In both cases there are also `sizes`, the number of clips for each mask size "height x width",
        and `per_clip`, a list of {"clip_id", "category", "J", "F"} with J and F of sounding against silent at that
        size.

    Raises:
        ValueError: no clip has an annotated frame, or a score of the model is not a number.
    """
    # `accelerator.prepare` would repeat clips to give every process equally many. Here the processes may have
    # different numbers of clips, so the network runs without its wrapper: in the wrapper the processes wait for each
    # other, and before each forward all of them get the running statistics of the first process.
    loader = prepare_data_loader(loader, accelerator.device, put_on_device=True, even_batches=False)
    network = accelerator.unwrap_model(model, keep_torch_compile=False)
    with torch.no_grad():
        for buffer in network.buffers():
            buffer.copy_(broadcast(buffer))
    was_training = model.training
    model.eval()
    bar = tqdm(loader, description, unit="batch", leave=False, disable=not accelerator.is_main_process)
    try:
        with own_precision(network):
            records = gather_object(score_batches(network, processor, bar, num_labels))
    finally:
        model.train(was_training)
    # Process p of P had the batches p, p + P, .... Sorting by batch restores the order of the data set.
    records = sorted((record for record in records if record["frames"]), key=lambda record: record["batch"])
    return summarise_records(records, num_labels)


def drawable_clip(model: nn.Module, processor: AussProcessor, collator, row: dict, title: str) -> dict:
    """Returns the clip of a row with its segmentation for `contact_sheet`. The arguments are those of `draw_clips`."""
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))  # an export has none
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
    Draws a contact sheet of the clips that `records`, entries of `per_clip`, name. The clips stand in the order of
    `records`.

    Args:
        model: a model in evaluation mode, on any device.
        collator: the collator that made the evaluated batches.
        rows: the evaluated rows.
        path: the path of the picture file.
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
        results: the result of `evaluate`.
        origin: "model", "data", "name", "split", "sound" and "weights", for the title and the JSON file.
        model, processor, collator, rows: the arguments of `draw_clips`.
    """
    title = "{name} {split}, sound {sound}: {model}".format(**origin)
    ranked = sorted(results["per_clip"], key=lambda record: record["J"], reverse=True)
    # All files appear together. The JSON file comes last, because other programs read it.
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
    threads: int | None = None,
    trust_remote_code: bool = False,
) -> dict:
    """
    Evaluates a trained model and saves, under `output`, `{name}-{split}-{sound}.json`, the table as `.md`, and contact
    sheets of the best and the worst clips as `-best.png` and `-worst.png`.

    Args:
        model_folder: the folder that `auss train` or `auss export` wrote, with model and processor, or OWNER/NAME of
            the Hub.
        data, name, split: as `load_avsbench` takes them.
        sound: "own"; "muted", digital silence; or "swapped", the sound of a clip of another category.
        output: the folder for the files. The default is `evaluation` in the model's folder, whose card is then
            renewed. With another folder, nothing in the model's folder changes.
        batch_size: the number of clips in a batch.
        workers: the number of processes that decode clips. None selects a number for the machine, as `worker_count`
            does.
        overwrite: True replaces the files of an earlier evaluation.
        threads, trust_remote_code: as `load_model` takes them.

    Returns:
        The result of `evaluate`, with the `name` of each class, and `files`, the written paths: "json", "markdown",
        "best", "worst".

    Raises:
        ValueError: `sound` is unknown, the model has another number of labels than the data, or files exist already
            and `overwrite` is not given.
        FileNotFoundError, ValueError: `load_model` or `load_avsbench` raises the error.
    """
    if sound not in SOUNDS:
        raise InputError(f"sound must be one of {', '.join(SOUNDS)}, got {sound!r}")
    if not output and not is_local(model_folder):
        raise InputError(f"--output must be given for a model of the Hub, {model_folder}: it has no folder here")
    folder = Path(output) if output else Path(model_folder) / EVALUATION_FOLDER
    files = result_files(folder, f"{name}-{split}-{sound}", overwrite)
    # The Hub is asked once, so the digest is that of the weights that are loaded.
    source = source_folder(model_folder)
    exported = is_export(source)
    model, processor = load_model(source, "cpu", threads, trust_remote_code)
    dataset = load_avsbench(data, name, split)
    check_labels_fit(model, name, data, str(model_folder))
    config = model.config
    rows = SeededRows(dataset)
    if sound == "swapped":
        rows = SwappedSounds(rows, dataset)
    loader = create_eval_loader(rows, processor, config.num_labels, batch_size, workers, muted=sound == "muted")
    # The accelerator must not prepare the model. After training in this process, or under `accelerate launch
    # --mixed_precision`, the accelerator has mixed precision, and the contact sheets would be drawn with it.
    accelerator = Accelerator(cpu=exported)  # an exported network runs on the CPU
    model = model.to(accelerator.device).eval()
    results = evaluate(accelerator, model, loader, processor, config.num_labels, f"{name} {split}, sound {sound}")
    for figures in (results, results.get("plain", {})):
        for index, values in figures.get("classes", {}).items():
            values["name"] = config.id2label[index]
    if accelerator.is_main_process:
        origin = {"model": str(model_folder), "data": str(data), "name": name, "split": split, "sound": sound}
        origin["weights"] = weights_digest(source)
        origin["data_name"] = data_name(name, data)
        save_results(results, origin, model, processor, loader.collate_fn, rows, files)
        card_reads_it = folder.resolve() == (Path(model_folder) / EVALUATION_FOLDER).resolve()
        if card_reads_it and not exported:  # an export has no card
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
        arguments.threads,
        arguments.trust_remote_code,
    )
    if PartialState().is_main_process:
        print(format_text(results))
        for kind, path in results["files"].items():
            print(f"{kind:8}  {path}")
    return 0


__all__ = ["SOUNDS", "evaluate", "evaluate_folder", "segment_clips", "run"]
