"""`auss train` and `accelerate launch -m auss.train` run the paper's training (Sec. 4.2) as one Accelerate loop."""

import argparse
import json
import math
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets
import torch
from accelerate import Accelerator, PartialState, skip_first_batches
from accelerate.data_loader import DataLoaderShard
from accelerate.logging import get_logger
from accelerate.utils import (
    DistributedType,
    broadcast,
    set_seed,
)
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ...files.errors import InputError
from ...files.new_contents import NewContents
from ...files.whole_files import WholeFile, write_whole
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ...processing.drawing import training_curves
from ...processing.processing_auss import AussProcessor
from ..arguments import (
    DataArguments,
    OptimArguments,
    RunArguments,
    as_dict,
    from_namespace,
)
from ..data.loaders import create_stream_loader, create_train_loader, create_validation_loader, load_rows, open_stream
from ..data.rows import SeededRows, StreamedRows, augmentation_seed
from ..evaluation.evaluate import evaluate
from ..recorded_results import HISTORY_FILE
from ..termination import TERMINATED, Termination, ignore_sigterm
from .checkpoint import Position, gather_weights, load_newest_checkpoint, save_checkpoint
from .deepspeed_engine import configure as configure_deepspeed
from .deepspeed_engine import is_deepspeed
from .loss_terms import check_finite_weights, finite_terms, means_over_processes, query_statistics
from .output_folder import check_run_folder, claim_output, prepare_output, save_model
from .preparation import create_accelerator, create_model, record_categories
from .remembered_sounds import remember_sounds
from .schedule import create_optimizer, create_scheduler
from .tracking import Tracking, check_trackers

logger = get_logger(__name__)

CURVES_FILE = "curves.png"
LOGS_FOLDER = "logs"


@dataclass
class Training:
    """Everything that a run holds. The accelerator has prepared all parts but `eval_loader`, whose batches `evaluate`
    distributes."""

    accelerator: Accelerator
    model: nn.Module
    processor: AussProcessor
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    rows: SeededRows | StreamedRows
    train_loader: DataLoaderShard
    eval_loader: DataLoader | None
    data: DataArguments
    optim: OptimArguments
    run: RunArguments
    # The claim on the output folder, through which the model is saved; only the first process has it
    folder: NewContents | None
    position: Position = field(default_factory=Position)
    termination: Termination = field(default_factory=Termination)
    # The scores of the last validation, for the progress bar.
    scores: dict[str, str] = field(default_factory=dict)
    # The statistics of the queries in the last batch before an entry of the history.
    queries: dict[str, list[float]] = field(default_factory=dict)
    tracking: Tracking = field(init=False)

    @property
    def network(self) -> AussForAudioVisualSegmentation:
        """The model without the wrappers of the accelerator."""
        return self.accelerator.unwrap_model(self.model)


def epoch_batches(training: Training) -> DataLoader:
    """Returns the remaining batches of the current epoch. Seed and epoch decide their order."""
    position = training.position
    training.rows.set_epoch(position.epoch)
    training.train_loader.set_epoch(position.epoch)
    if isinstance(training.rows, StreamedRows):
        training.rows.skip_batches(position.batch)
    return skip_first_batches(training.train_loader, position.batch) if position.batch else training.train_loader


def clip_gradients(training: Training) -> None:
    """Scales the gradients down to their largest norm, and counts the norm before scaling."""
    limit = training.optim.max_gradient_norm or math.inf  # an infinite limit does not change the gradients
    if limit < math.inf or training.tracking.active:
        norm = training.accelerator.clip_grad_norm_(training.model.parameters(), limit)
        training.tracking.add_gradient_norm(norm)


def train_step(training: Training, batch: dict) -> None:
    """Does forward, loss and backward and, when enough batches are accumulated, the step of the optimiser."""
    accelerator, position = training.accelerator, training.position
    # Dropout draws from the global generator. Seed it from the position of the run, so that the draws depend on
    # nothing else.
    place = position.batch * accelerator.num_processes + accelerator.process_index
    torch.manual_seed(augmentation_seed(training.run.seed, position.epoch, place))
    training.network.set_training_progress(position.step / training.optim.steps)
    clip_ids, _ = batch.pop("clip_id"), batch.pop("category")
    with accelerator.accumulate(training.model):
        outputs = training.model(**batch)
        terms = finite_terms(outputs, position.step, clip_ids)
        accelerator.backward(outputs.loss)
        if accelerator.sync_gradients:
            clip_gradients(training)
        training.optimizer.step()
        training.scheduler.step()
        training.optimizer.zero_grad()
    for name, value in terms.items():
        position.term_sums[name] = position.term_sums.get(name, 0.0) + value
    position.term_count += 1
    if "frame_mask" in batch:  # AQDL and AQML do not see padding
        for name in ("class_queries_logits", "fused_queries"):
            outputs[name] = outputs[name][batch["frame_mask"].bool()]
    if (position.step + 1) % training.run.log_every == 0:
        training.queries = query_statistics(outputs, training.network.confidence_threshold)
    training.tracking.add_batch(outputs, len(clip_ids), training.network.confidence_threshold)


def train_one_epoch(training: Training, bar: tqdm) -> None:
    """Trains to the end of the epoch or of the run. Logs, validates and saves in between."""
    position = training.position
    training.model.train()
    for batch in epoch_batches(training):
        train_step(training, batch)
        position.batch += 1
        if training.accelerator.sync_gradients:
            position.step += 1
            bar.update()
            after_step(training, bar)
            if position.step == training.optim.steps:
                return
    position.epoch += 1
    position.batch = 0


def after_step(training: Training, bar: tqdm) -> None:
    """
    Does what is due after a step: adds an entry to the history, validates, saves a checkpoint.

    Raises:
        FloatingPointError: the weights are to be scored or saved and are not finite.
        SystemExit: a process got SIGTERM. The status is `TERMINATED`, and the checkpoint is saved before.
    """
    run, step = training.run, training.position.step
    last = step == training.optim.steps
    stops = training.termination.reached_any(training.accelerator) and not last
    scores = training.eval_loader is not None and (last or step % run.eval_every == 0)
    saves = last or stops or step % run.checkpoint_every == 0
    if last or step % run.log_every == 0:
        log_terms(training, bar)
    if scores or saves:
        check_finite_weights(training.model, step)
    if scores:
        assert training.eval_loader is not None
        validate(training, training.eval_loader)
    if saves:
        path = save(training)
        if stops:
            logger.warning("SIGTERM: stopping at step %d, saved in %s; --resume goes on from there", step, path)
            raise SystemExit(TERMINATED)
    training.tracking.restart_clock()


def save(training: Training) -> Path:
    """Saves a checkpoint, with the values collected so far for the next entry of the history."""
    training.position.term_sums = means_over_processes(training.position.term_sums)
    return save_checkpoint(
        training.accelerator,
        training.model,
        training.optimizer,
        training.scheduler,
        Path(training.run.output),
        training.position,
        training.run.keep_checkpoints,
    )


def log_terms(training: Training, bar: tqdm) -> None:
    """Adds the mean of each loss term since the last entry, over all processes, to the history."""
    position = training.position
    sums = means_over_processes(position.term_sums)
    losses = {name: total / position.term_count for name, total in sums.items()}
    position.history.append(
        {
            "step": position.step,
            "epoch": position.epoch,
            "learning_rate": max(training.scheduler.get_last_lr()),
            "losses": losses,
            "queries": training.queries,
        }
    )
    position.term_sums, position.term_count = {}, 0
    groups = zip(training.optimizer.param_groups, training.scheduler.get_last_lr(), strict=True)
    # Parameters with and without weight decay have the same rate within backbone and rest, so their names are merged.
    rates = {group["name"].partition(",")[0]: float(rate) for group, rate in groups}
    training.tracking.log(position.step, losses, training.network.confidence_threshold, rates)
    bar.set_postfix({**training.scores, "loss": f"{losses['loss']:.3f}"})


def whole_network(training: Training) -> AussForAudioVisualSegmentation:
    """
    Returns the network with all of its weights in this process: the network itself, or a copy if FSDP or DeepSpeed
    share the weights. Processes may validate different numbers of clips, so they must not depend on each other's
    weight shards.
    """
    network = training.network
    # Each process has its own batch norm statistics. Those of the first process are saved, so they are scored too.
    broadcast(list(network.buffers()))
    if training.accelerator.distributed_type not in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return network
    copy = AussForAudioVisualSegmentation(network.config).to(training.accelerator.device)
    copy.load_state_dict(gather_weights(training.accelerator, training.model, everywhere=True))
    return copy


def validate(training: Training, loader: DataLoader) -> None:
    """Scores the validation split, adds M_J and M_F to the history and draws the curves."""
    network = whole_network(training)
    num_labels = network.config.num_labels
    results = evaluate(training.accelerator, network, loader, training.processor, num_labels, "validation")
    scores = {"validation_M_J": results["M_J"], "validation_M_F": results["M_F"]}
    training.position.history.append({"step": training.position.step, **scores})
    training.scores = {"M_J": f"{results['M_J']:.3f}"}
    shown = {name: results[name] for name in ("M_J", "M_F")}
    training.tracking.log_validation(training.position.step, shown, network, training.processor, loader)
    if training.accelerator.is_main_process:
        save_history(training)


def save_history(training: Training) -> None:
    output = Path(training.run.output)
    write_whole(output / HISTORY_FILE, json.dumps(training.position.history, indent=1) + "\n")
    with WholeFile(output / CURVES_FILE, overwrite=True, exclusive=False) as file:
        training_curves(training.position.history, file.partial_path)


def start(data: DataArguments, optim: OptimArguments, run: RunArguments, held: ExitStack) -> Training:
    """Makes a run from the arguments, ready to begin or to resume from the newest checkpoint. The claim on the output
    folder is closed by `held`."""
    check_trackers(run.tracker)
    accelerator = create_accelerator(data, optim, run, Path(run.output) / LOGS_FOLDER)
    if is_deepspeed(accelerator):
        clips = data.batch_size // accelerator.num_processes
        configure_deepspeed(accelerator, clips, optim.accumulation, optim.max_gradient_norm)
    # If the run sets none, the setting of `accelerate launch` applies
    run = replace(run, mixed_precision=accelerator.mixed_precision)
    check_run_folder(run)
    set_seed(run.seed)
    model, processor = create_model(data, run, optim.backbone_rate)
    remember_sounds(model.auss.audio_encoder, accelerator.device)
    num_labels = model.config.num_labels
    if data.streaming:
        rows = open_stream(data, run.seed)
        train_loader = create_stream_loader(rows, processor, data, num_labels, run.seed, accelerator.device)
    else:
        rows = load_rows(data, processor, "train", run.seed)
        record_categories(model.config, rows)
        train_loader = create_train_loader(rows, processor, data, num_labels, run.seed)
    eval_loader = create_validation_loader(data, run, processor, num_labels)
    optimizer = create_optimizer(model, optim.learning_rate, optim.backbone_rate, optim.weight_decay)
    scheduler = create_scheduler(optimizer, optim.steps, optim.warmup, optim.power)
    # Claim the folder only after preset, weights and data have been checked. So a mistyped option does not change an
    # earlier run.
    claim = claim_output(accelerator, run)
    if claim is not None:
        held.enter_context(claim)
        prepare_output(data, optim, run)
    accelerator.wait_for_everyone()
    for loader in (train_loader, eval_loader):
        if loader is not None:
            loader.worker_init_fn = ignore_sigterm
    model, optimizer, scheduler, train_loader = accelerator.prepare(model, optimizer, scheduler, train_loader)
    training = Training(
        accelerator, model, processor, optimizer, scheduler, rows, train_loader, eval_loader, data, optim, run, claim
    )
    if run.resume:
        training.position = (
            load_newest_checkpoint(accelerator, model, optimizer, scheduler, Path(run.output)) or Position()
        )
        logger.info("resuming at step %d", training.position.step)
        if training.position.step > optim.steps:
            raise InputError(
                f"the checkpoint in {run.output} stands at step {training.position.step}, beyond steps={optim.steps}: "
                "raise steps, or begin a run in another folder"
            )
    training.tracking = Tracking(accelerator, as_dict((data, optim, run)), training.position.step)
    return training


def train(data: DataArguments, optim: OptimArguments, run: RunArguments) -> list[dict]:
    """
    Trains a model and saves it, with its processor, arguments, history and curves, in `run.output`.

    Returns:
        The history, whose entries `processing.drawing.history_series` takes.

    Raises:
        ValueError: the arguments contradict each other, the output folder has files, or `load_avsbench` refuses the
            data.
        FileExistsError: another run is training into the output folder.
        FloatingPointError: the loss became infinite or not a number.
        SystemExit: SIGTERM came. The run is saved, and `resume` continues it. If SIGTERM came in the last step, the
            run is complete.
    """
    datasets.disable_progress_bars()
    with ExitStack() as held:
        training = start(data, optim, run, held)
        history = train_to_the_end(training)
    training.termination.redeliver()
    return history


def train_to_the_end(training: Training) -> list[dict]:
    """Trains a prepared run to its end, and saves history, curves and model."""
    optim = training.optim
    accelerator, position = training.accelerator, training.position
    bar = tqdm(
        total=optim.steps,
        initial=position.step,
        desc="training",
        unit="step",
        disable=not accelerator.is_main_process,
    )
    with bar, training.termination, training.tracking:
        while position.step < optim.steps:
            train_one_epoch(training, bar)
    accelerator.wait_for_everyone()
    weights = gather_weights(accelerator, training.model)
    if training.folder is not None:
        # Save the model last, because the model card that is saved with it describes the other files.
        save_history(training)
        save_model(training.network, weights, training.processor, training.folder)
    accelerator.wait_for_everyone()
    return position.history


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    data, optim, run_arguments = from_namespace(arguments)
    history = train(data, optim, run_arguments)
    if PartialState().is_main_process:
        output = Path(run_arguments.output)
        print(f"model   {output}")
        print(f"curves  {output / CURVES_FILE}")
        scores = [entry for entry in history if "validation_M_J" in entry]
        if scores:
            print(f"validation M_J {scores[-1]['validation_M_J']:.3f}, M_F {scores[-1]['validation_M_F']:.3f}")
    return 0


__all__ = ["Training", "run", "train"]
