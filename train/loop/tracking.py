"""Reports a run to TensorBoard, or to any other tracker that Accelerate knows by name."""

import time
from typing import Any

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType
from torch import nn
from torch.utils.data import DataLoader

from ...files.errors import InputError, MissingPackageError
from ...modeling_auss.losses.query_selection import sounding_probabilities
from ...modeling_auss.outputs import AussSegmentationOutput
from ...processing.drawing import clip_block
from ...processing.processing_auss import AussProcessor
from ..evaluation.evaluate import drawable_clip, own_precision
from .loss_terms import means_over_processes

PROJECT = "auss"
SAMPLE_CLIPS = 4
SAMPLE_HEIGHT, SAMPLE_FRAMES = 112, 5  # the height in pixels of a sample's small pictures, and how many stand in a row


def check_trackers(names: list[str] | None) -> None:
    """
    Checks that trackers of these names exist. If a tracker's package is missing, Accelerate alone would skip the
    tracker silently.

    Raises:
        ValueError: Accelerate knows no such tracker.
        ImportError: a tracker's package is not installed.
    """
    known = {str(name) for name in LOGGER_TYPE_TO_CLASS}
    available = {str(name) for name in get_available_trackers()}
    for name in names or ():
        if name not in known:
            raise InputError(f"tracker must be one of {', '.join(sorted(known))}, got {name!r}")
        # A tracker registered with `register_tracker_class` is not one of Accelerate's own and is available.
        if name in LoggerType.list() and name not in available:
            raise MissingPackageError(f"tracker {name!r} needs a package that is not installed: pip install {name}")


def memory_gb(device: torch.device) -> float:
    """Returns the peak memory in 10^9 bytes: that of tensors on an accelerator, or that of the process on a CPU."""
    module = torch.get_device_module(device)
    if hasattr(module, "max_memory_allocated"):
        return module.max_memory_allocated(device) / 1e9
    return psutil.Process().memory_info().rss / 1e9


def count_confident(outputs: AussSegmentationOutput, threshold: float) -> float:
    """Returns the mean number of queries of a frame that AQDL and AQML use: those over `threshold`, delta of Eq.
    22."""
    assert outputs.class_queries_logits is not None  # every output has them
    confident = sounding_probabilities(outputs.class_queries_logits.detach()) > threshold  # (B, F, N)
    return confident.float().sum(-1).mean().item()


def sample_pictures(
    network: nn.Module, processor: AussProcessor, loader: DataLoader, count: int = SAMPLE_CLIPS
) -> dict[str, np.ndarray]:
    """
    Draws the segmentation of some clips, evenly spread over the loader. Returns pictures (H, W, 3) uint8 of frames,
    truth and prediction, by name. The network computes as in `evaluate`.

    Args:
        network: a network without any wrapper. Its mode, training or evaluation, is restored afterwards.
        loader: a loader made by `create_eval_loader`.
    """
    rows: Any = loader.dataset
    count = min(count, len(rows))
    was_training = network.training
    network.eval()
    pictures = {}
    with own_precision(network):
        for index in range(count):
            row = rows[index * len(rows) // count]
            name = f"{row['category']} {row['clip_id']}".strip()
            clip = drawable_clip(network, processor, loader.collate_fn, row, name)
            pictures[name] = np.asarray(clip_block(clip, SAMPLE_HEIGHT, SAMPLE_FRAMES))
    network.train(was_training)
    return pictures


class Tracking:
    """
    A context in which a run reports its progress to its trackers. Every process calls the methods, and only the
    trackers of the main process get the values. Without trackers the methods do nothing.

    Args:
        accelerator: an accelerator made with `log_with`, the names of the trackers.
        arguments: the arguments of the run, which the trackers show beside it.
        step: the step at which the run stands. TensorBoard hides values that an earlier run reported for later steps.
    """

    def __init__(self, accelerator: Accelerator, arguments: dict[str, Any], step: int = 0):
        self.active = bool(accelerator.log_with)
        self._accelerator = accelerator
        # Trackers do not accept lists.
        self._arguments = {key: ", ".join(v) if isinstance(v, list) else v for key, v in arguments.items()}
        self._step = step
        self._begin_means()

    def __enter__(self) -> "Tracking":
        if self.active:
            options = {"tensorboard": {"purge_step": self._step + 1}}
            self._accelerator.init_trackers(PROJECT, self._arguments, options)
        self.restart_clock()
        return self

    def __exit__(self, *_) -> None:
        for tracker in self._accelerator.trackers:
            tracker.finish()

    def restart_clock(self) -> None:
        """Excludes the time since the last batch, for validation or a checkpoint, from the clips per second."""
        self._since = time.perf_counter()

    def add_batch(self, outputs: AussSegmentationOutput, clips: int, delta: float) -> None:
        """Counts a batch of `clips` clips in this process."""
        if self.active:
            self._confident += count_confident(outputs, delta)
            self._batches += 1
            self._clips += clips
            now = time.perf_counter()
            self._seconds += now - self._since
            self._since = now

    def add_gradient_norm(self, norm: Any) -> None:
        """
        Counts the norm of a step's gradients before clipping, a number or a scalar tensor. None is ignored, because
        DeepSpeed does not report the norm in every stage.
        """
        if self.active and norm is not None:
            # Under FSDP each process holds a part of the norm.
            self._norm += float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
            self._steps += 1

    def log(self, step: int, losses: dict[str, float], delta: float, learning_rates: dict[str, float]) -> None:
        """
        Reports the steps since the last call: the given means, and the means of the counted values.

        Args:
            step: the number of steps done.
            losses: the loss and its terms by name, means over all processes.
            delta: delta of Eq. 22.
            learning_rates: the rates by the name of their parameter group.
        """
        if not self.active:
            return
        means = {
            "confident_queries": self._confident / max(1, self._batches),
            "clips_per_second": self._clips / max(1e-9, self._seconds),
        }
        if self._steps:
            means["gradient_norm"] = self._norm / self._steps
        means = means_over_processes(means)
        speed = means.pop("clips_per_second") * self._accelerator.num_processes
        values = {f"train/{name}": value for name, value in {**losses, **means, "delta": delta}.items()}
        values |= {f"learning_rate/{name}": value for name, value in learning_rates.items()}
        values |= {"speed/clips_per_second": speed, "speed/memory_gb": memory_gb(self._accelerator.device)}
        self._accelerator.log(values, step=step)
        self._begin_means()

    def log_validation(
        self,
        step: int,
        scores: dict[str, float],
        network: nn.Module,
        processor: AussProcessor,
        loader: DataLoader,
    ) -> None:
        """Reports the scores by name, such as M_J, and shows some clips. The network must have all of its weights."""
        if not self.active:
            return
        self._accelerator.log({f"validation/{name}": value for name, value in scores.items()}, step=step)
        if self._accelerator.is_main_process:
            for name, picture in sample_pictures(network, processor, loader).items():
                for tracker in self._accelerator.trackers:
                    log_picture(tracker, f"samples/{name}", picture, step)

    def _begin_means(self) -> None:
        self._confident, self._batches = 0.0, 0
        self._norm, self._steps = 0.0, 0
        self._clips, self._seconds = 0, 0.0


def log_picture(tracker: Any, name: str, picture: np.ndarray, step: int) -> None:
    """Shows a picture (H, W, 3) uint8 in a tracker. It does nothing if the tracker takes no pictures."""
    if not hasattr(tracker, "log_images"):
        return
    if tracker.name == "tensorboard":
        tracker.log_images({name: picture[None]}, step=step, dataformats="NHWC")
    else:  # Aim and ClearML take one picture under a name, the other trackers take a list
        tracker.log_images({name: picture if tracker.name in ("aim", "clearml") else [picture]}, step=step)


__all__ = ["Tracking", "check_trackers", "count_confident", "memory_gb", "sample_pictures"]
