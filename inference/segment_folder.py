"""`auss segment-folder`, also `accelerate launch -m auss.inference`: processes share the videos of a folder.

The results of a video appear only when they are complete. So a run can be stopped at any moment and started again.
"""

import argparse
import contextlib
import json
import logging
import os
import traceback
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list, gather_object
from tqdm import tqdm

from ..files.claims import BusyError, locked, remove, tidy
from ..files.errors import InputError
from ..files.file_names import fitting_name, printable
from ..files.model_files import weights_digest
from ..files.new_contents import NewContents
from ..files.whole_files import write_whole
from ..hub.exported_model import AnyAuss, is_export
from ..hub.model_source import model_folder
from ..hub.shipped_model import chosen_model
from ..hub.trained_model import load_model
from ..processing.processing_auss import AussProcessor
from .arguments import ERROR_SUFFIX, MARKED_FILE, MASKS_FOLDER, mask_options
from .media.video_reader import VideoReader
from .parameters import window_and_stride
from .segment import reader_masks, write_marked, write_mask
from .sound_windows import window_seconds

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m2t .m2ts .m2v .m4v .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut "
    ".ogm .ogv .qt .rm .rmvb .tod .trp .ts .vob .webm .wmv .wtv".split()
)
MOST_ENDINGS = 8  # a warning names at most so many endings of files that are left out
RECORD_FILE = "record.json"
# A process that has finished its share waits for the other processes. They may need hours longer.
LONGEST_WAIT = timedelta(days=30)


@dataclass(frozen=True)
class FolderJob:
    """The settings of a run. The results of each video in `source` get a folder of the same name in `output`."""

    source: Path
    output: Path
    write: frozenset[str]  # "video", "masks" or both
    overwrite: bool
    options: dict[str, Any]  # as `reader_masks` takes them
    weights: str  # the digest of the model's weights
    audio_track: int | None = None  # as `VideoReader` takes it
    shard: tuple[int, int] = (1, 1)  # (I, N): the run does share I of N of the videos, I from 1 to N

    def folder(self, name: str) -> Path:
        """The folder for the results of a video. Its name keeps the ending, so a.mov and a.mp4 get two folders."""
        return self.output / name

    def error_file(self, name: str) -> Path:
        """The path of the report of a failure: the name of the video and an ending, shortened if it is too long."""
        folder = self.folder(name)
        return folder.with_name(fitting_name(folder.name, ERROR_SUFFIX))

    def record(self, name: str) -> dict[str, Any]:
        """Everything that the results of a video depend on. They do not depend on the batch size."""
        options = {key: value for key, value in self.options.items() if key != "batch_size"}
        if self.audio_track is not None:
            options["audio_track"] = self.audio_track
        size = (self.source / name).stat().st_size
        return {"video": name, "bytes": size, "weights": self.weights, "write": sorted(self.write), **options}


def file_size(path: Path) -> int:
    """The size of a file in bytes; 0 if the file does not exist or may not be accessed."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def list_videos(source: Path, output: Path) -> list[str]:
    """Lists the videos in a folder and its subfolders, as names relative to the folder. The largest files come first,
    so that the shares of the processes are about equal.

    Hidden files and everything in `output` are left out. An entry with the ending of a video is listed even if it is
    no video, such as a dangling link, so that its failure is reported. A warning counts files with other endings.

    Raises:
        NotADirectoryError: there is no such folder.
        ValueError: the folder holds no video, or it lies in `output`.
    """
    if not source.is_dir():
        raise NotADirectoryError(f"folder must be a folder of videos, got {printable(source)}")
    inside = Path(os.path.realpath(output))
    if Path(os.path.realpath(source)).is_relative_to(inside):
        raise InputError(
            "output must be another folder than the videos' and not hold it, got "
            f"{printable(output)} for {printable(source)}"
        )

    def report(error: OSError) -> None:
        logger.warning("%s cannot be read and is passed over: %s", printable(error.filename), error.strerror)

    found, others = [], Counter[str]()
    for folder, folders, files in os.walk(source, onerror=report):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and Path(os.path.realpath(os.path.join(folder, name))) != inside
        ]
        for name in files:
            path = Path(folder, name)
            if name.startswith(".") or Path(os.path.realpath(path)).is_relative_to(inside):
                continue
            if path.suffix.lower() in VIDEO_SUFFIXES:
                found.append(path)
            else:
                others[path.suffix.lower()] += 1
    if not found:
        endings = ", ".join(sorted(VIDEO_SUFFIXES))
        raise InputError(f"folder {printable(source)} has no video: no file in it ends in {endings}")
    if others:
        kinds = [f"{printable(ending) or 'no ending'} ({count})" for ending, count in others.most_common(MOST_ENDINGS)]
        more = [", ..."] * (len(others) > MOST_ENDINGS)
        logger.warning("files without a video's ending are passed over: %s", ", ".join(kinds) + "".join(more))
    found.sort(key=lambda path: (-file_size(path), path))
    return [path.relative_to(source).as_posix() for path in found]


def is_done(job: FolderJob, name: str) -> bool:
    """
    Whether the results of a video exist and were made from the same file, with the same weights and options.

    Raises:
        FileExistsError: the folder holds other results. With `overwrite`, other results of `segment-folder` are no
            error, because they will be replaced.
        OSError: the video does not exist or may not be accessed.
    """
    folder = job.folder(name)
    if not os.path.lexists(folder):
        return False
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise FileExistsError(
            f"{printable(folder)} exists and holds no results of this command: choose another folder"
        )
    expected = job.record(name)
    if record == expected:
        return True
    if not job.overwrite:
        other = sorted(key for key in {*record, *expected} if record.get(key) != expected.get(key))
        raise FileExistsError(
            f"{printable(folder)} was made with other {', '.join(other)}: choose another folder, or allow it with "
            "--overwrite"
        )
    return False


def plan_work(job: FolderJob) -> tuple[list[str], int]:
    """Returns the videos to do, and the number of videos that are done. Only the videos of the job's share count.
    Results that may not be replaced are refused here. A video that cannot be accessed stays in the list and fails
    later."""
    # The share is one of all videos and not of those to do, so it stays the same while other jobs do theirs.
    share, shares = job.shard
    videos = list_videos(job.source, job.output)[share - 1 :: shares]
    for folder in {job.folder(name).parent for name in videos}:
        tidy(folder)  # removes what killed runs left, also beside videos that are done
    to_do = []
    for name in videos:
        try:
            if is_done(job, name):
                continue
        except FileExistsError:
            raise
        except OSError as error:
            logger.debug("%s: %s", name, error)
        to_do.append(name)
    return to_do, len(videos) - len(to_do)


def agreed_plan(job: FolderJob, accelerator: Accelerator) -> tuple[list[str], int]:
    """Gives all processes the `plan_work` of the main process. Another process might already see new results."""
    outcome: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [plan_work(job)]
        except (OSError, InputError) as error:
            outcome = [error]  # sent to all processes, which would otherwise wait for ever
    broadcast_object_list(outcome)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def remove_older_partial(folder: Path) -> None:
    """Removes the partial results that a killed run of an earlier release left of a video."""
    partial = folder.with_name(fitting_name(f".{folder.name}", ".partial"))
    with locked(partial) as free:
        if free and partial.is_dir() and set(os.listdir(partial)) <= {MARKED_FILE, MASKS_FOLDER, RECORD_FILE}:
            remove(partial)


def write_results(job: FolderJob, name: str, results: Path, model: AnyAuss, processor: AussProcessor) -> None:
    """Writes the results of a video into an existing folder. Raises the same errors as `segment_one`."""
    record, num_labels = job.record(name), model.config.num_labels
    masks_folder = results / MASKS_FOLDER if "masks" in job.write else None
    if masks_folder is not None:
        masks_folder.mkdir()
    reader = VideoReader(job.source / name, job.audio_track)
    if not reader.info.has_audio:
        logger.warning("%s has no sound track: it is taken as silent, so nothing in it sounds", printable(name))
    with contextlib.closing(reader_masks(reader, model, processor, **job.options)) as masks:
        if "video" in job.write:
            write_marked(reader, masks, num_labels, results / MARKED_FILE, masks_folder, show_progress=False)
        else:
            assert masks_folder is not None  # `write` holds at least one of the two
            for mask in masks:
                write_mask(mask, masks_folder, num_labels)
    reader.check()
    if job.record(name) != record:
        raise InputError(f"video {job.source / name} was written to while it was read: it is tried again next time")
    (results / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def segment_one(job: FolderJob, name: str, model: AnyAuss, processor: AussProcessor) -> None:
    """Segments one video. The folder of its results appears when it is complete. After an error there is no folder.

    Raises:
        BusyError: another run is working on the same video.
        FileNotFoundError, ValueError: as `segment_video`.
        DamagedVideoError: the video could not be read completely. No results are kept, even if a part was readable.
    """
    folder = job.folder(name)
    with NewContents(folder.parent, folder.name) as parent:
        remove_older_partial(folder)
        results = parent.new / folder.name
        results.mkdir()
        if is_done(job, name):  # another run has made the results since this run planned its work
            return
        write_results(job, name, results, model, processor)
        parent.install()
    job.error_file(name).unlink(missing_ok=True)


def report_failure(job: FolderJob, name: str, error: Exception) -> None:
    """Writes the error file of a video. If that fails, too, only the summary reports the error."""
    path = job.error_file(name)
    try:
        write_whole(path, "".join(traceback.format_exception(error)))
    except OSError as failure:
        logger.warning("%s cannot be written: %s", printable(path), failure)


def segment_share(
    job: FolderJob, names: list[str], model: AnyAuss, processor: AussProcessor, show: bool
) -> tuple[list[tuple[str, str]], list[str]]:
    """Segments videos one after the other. An error of one video is logged and written to its error file.

    Returns:
        (name, message) of each video that failed; and the names of the videos that another run was working on.
    """
    failures, busy = [], []
    for name in tqdm(names, desc="segmenting", unit="video", disable=not show):
        try:
            segment_one(job, name, model, processor)
        except BusyError:
            busy.append(name)
        except Exception as error:  # an error of one video must not stop the work on the others
            message = printable(" ".join(str(error).split())) or type(error).__name__
            logger.warning("%s failed: %s", printable(name), message)
            failures.append((name, message))
            report_failure(job, name, error)
    return failures, busy


def run(arguments: argparse.Namespace) -> int:
    """Runs the command. Every process returns 1 if any video failed."""
    # On a machine without accelerators, `Accelerator()` without `cpu` overlooks the other processes of torchrun.
    on_cpu = not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)])
    # The Hub is asked once, so the digest is that of the weights that are loaded.
    source = model_folder(chosen_model(arguments.model, quiet=not accelerator.is_main_process))
    # An exported network runs on the CPU, also where there is a GPU.
    device = "auto" if is_export(source) else str(accelerator.device)
    model, processor = load_model(source, device, arguments.threads, arguments.trust_remote_code)
    options = mask_options(arguments)
    # Arguments that depend on the model are checked once here, and not for every video.
    options["window"], options["stride"] = window_and_stride(window_seconds(model), arguments.window, arguments.stride)
    write = frozenset(arguments.write)
    job = FolderJob(
        arguments.folder,
        arguments.output,
        write,
        arguments.overwrite,
        options,
        weights_digest(source),
        arguments.audio_track,
        arguments.shard,
    )
    to_do, skipped = agreed_plan(job, accelerator)
    share = to_do[accelerator.process_index :: accelerator.num_processes]
    outcome = segment_share(job, share, model, processor, accelerator.is_main_process)
    failures, busy = map(gather_object, outcome)
    if accelerator.is_main_process:
        done = len(to_do) - len(failures) - len(busy)
        print(f"{printable(job.output)}: {done} made, {skipped} there already, {len(failures)} failed")
        for name, message in sorted(failures):
            print(f"failed  {printable(name)}: {message}")
        if busy:
            print(f"{len(busy)} more are being made by another run")
    # A launcher ends all processes as soon as one has failed. So all wait until the summary has been printed.
    accelerator.wait_for_everyone()
    return 1 if failures else 0


__all__ = ["FolderJob", "list_videos", "run", "segment_one"]
