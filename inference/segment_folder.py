"""`auss segment-folder`, also `accelerate launch -m auss.inference`: a folder of videos, shared among processes.

A video's results appear whole or not at all, so that a run can be stopped at any moment and begun again.
"""

import argparse
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
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..processing.processing_auss import AussProcessor
from .arguments import ERROR_SUFFIX, MARKED_FILE, MASKS_FOLDER, mask_options
from .media.video_reader import VideoReader
from .parameters import window_and_stride
from .segment import load_model, reader_masks, write_marked, write_mask
from .sound_windows import window_seconds

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m2t .m2ts .m2v .m4v .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut "
    ".ogm .ogv .qt .rm .rmvb .tod .trp .ts .vob .webm .wmv .wtv".split()
)
MOST_ENDINGS = 8  # of files that are passed over, that are named
RECORD_FILE = "record.json"
# A process that has finished its share waits for the others, which may have hours to go.
LONGEST_WAIT = timedelta(days=30)


@dataclass(frozen=True)
class FolderJob:
    """What is done with each video of `source`: its results get a folder of the same relative name in `output`."""

    source: Path
    output: Path
    write: frozenset[str]  # "video", "masks" or both
    overwrite: bool
    options: dict[str, Any]  # as `reader_masks` takes them
    weights: str  # the digest of the model's
    audio_track: int | None = None  # as `VideoReader` takes it

    def folder(self, name: str) -> Path:
        """The folder of a video's results. The name keeps its ending, so that a.mov and a.mp4 have each their own."""
        return self.output / name

    def error_file(self, name: str) -> Path:
        """Where the report of a failure goes: the video's name and an ending, shortened where that is too long."""
        folder = self.folder(name)
        return folder.with_name(fitting_name(folder.name, ERROR_SUFFIX))

    def record(self, name: str) -> dict[str, Any]:
        """What a video's results depend on; the batch size is none of it."""
        options = {key: value for key, value in self.options.items() if key != "batch_size"}
        if self.audio_track is not None:
            options["audio_track"] = self.audio_track
        size = (self.source / name).stat().st_size
        return {"video": name, "bytes": size, "weights": self.weights, "write": sorted(self.write), **options}


def file_size(path: Path) -> int:
    """The bytes of a file; 0 of one that is not there, or not to be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def list_videos(source: Path, output: Path) -> list[str]:
    """The names of the videos in a folder and the folders in it, relative to it, the largest file first, so that the
    shares of the processes come out even. Hidden files, and what lies in `output`, are no part of it. What has a
    video's ending and turns out to be none, such as a dangling link, is listed, so that somebody hears of it. Files of
    other endings are counted in a warning.

    Raises:
        NotADirectoryError: there is no such folder.
        ValueError: there is no video in it, or it lies in `output`.
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
    Whether a video's results are there, made from the same file by the same weights with the same options.

    Raises:
        FileExistsError: others are there; those that `segment-folder` made may be overwritten if the job says so.
        OSError: the video is not there, or may not be looked at.
    """
    folder = job.folder(name)
    if not os.path.lexists(folder):
        return False
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
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
    """The videos to do, and the number of those that are done. Results that may not be replaced are refused here, and
    a video that cannot be looked at is left to fail by itself."""
    videos = list_videos(job.source, job.output)
    for folder in {job.folder(name).parent for name in videos}:
        tidy(folder)  # of what killed runs left, also beside videos that are done
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
    """`plan_work` as the main process finds it, for all, since others might already see the first one's results."""
    outcome: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [plan_work(job)]
        except (OSError, InputError) as error:
            outcome = [error]  # for all: the others would wait for ever
    broadcast_object_list(outcome)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def remove_older_partial(folder: Path) -> None:
    """Removes what releases before this one left of a video when they were killed."""
    partial = folder.with_name(fitting_name(f".{folder.name}", ".partial"))
    with locked(partial) as free:
        if free and partial.is_dir() and set(os.listdir(partial)) <= {MARKED_FILE, MASKS_FOLDER, RECORD_FILE}:
            remove(partial)


def write_results(
    job: FolderJob, name: str, results: Path, model: AussForAudioVisualSegmentation, processor: AussProcessor
) -> None:
    """Writes a video's results into a folder that is there. Raises as `segment_one`."""
    record, num_labels = job.record(name), model.config.num_labels
    masks_folder = results / MASKS_FOLDER if "masks" in job.write else None
    if masks_folder is not None:
        masks_folder.mkdir()
    reader = VideoReader(job.source / name, job.audio_track)
    if not reader.info.has_audio:
        logger.warning("%s has no sound track: it is taken as silent, so nothing in it sounds", printable(name))
    masks = reader_masks(reader, model, processor, **job.options)
    if "video" in job.write:
        write_marked(reader, masks, num_labels, results / MARKED_FILE, masks_folder, show_progress=False)
    else:
        assert masks_folder is not None  # since one of the two is written
        for mask in masks:
            write_mask(mask, masks_folder, num_labels)
    reader.check()
    if job.record(name) != record:
        raise InputError(f"video {job.source / name} was written to while it was read: it is tried again next time")
    (results / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def segment_one(job: FolderJob, name: str, model: AussForAudioVisualSegmentation, processor: AussProcessor) -> None:
    """Segments one video. Its folder appears when everything is in it; after an error there is none.

    Raises:
        BusyError: another run is at work on the same video.
        FileNotFoundError, ValueError: as `segment_video`; DamagedVideoError also where some of it could be read.
    """
    folder = job.folder(name)
    with NewContents(folder.parent, folder.name) as parent:
        remove_older_partial(folder)
        results = parent.new / folder.name
        results.mkdir()
        if is_done(job, name):  # by another run, since this one planned its work
            return
        write_results(job, name, results, model, processor)
        parent.install()
    job.error_file(name).unlink(missing_ok=True)


def report_failure(job: FolderJob, name: str, error: Exception) -> None:
    """Writes the error file of a video. Where even that cannot be written, the summary alone tells of it."""
    path = job.error_file(name)
    try:
        write_whole(path, "".join(traceback.format_exception(error)))
    except OSError as failure:
        logger.warning("%s cannot be written: %s", printable(path), failure)


def segment_share(
    job: FolderJob, names: list[str], model: AussForAudioVisualSegmentation, processor: AussProcessor, show: bool
) -> tuple[list[tuple[str, str]], list[str]]:
    """Segments videos one after the other. What goes wrong with one is logged and written to its error file.

    Returns:
        (name, message) of each that failed; and the names of those that another run was at work on.
    """
    failures, busy = [], []
    for name in tqdm(names, desc="segmenting", unit="video", disable=not show):
        try:
            segment_one(job, name, model, processor)
        except BusyError:
            busy.append(name)
        except Exception as error:  # whatever is wrong with one video, a night's work on the others is to go on
            message = printable(" ".join(str(error).split())) or type(error).__name__
            logger.warning("%s failed: %s", printable(name), message)
            failures.append((name, message))
            report_failure(job, name, error)
    return failures, busy


def run(arguments: argparse.Namespace) -> int:
    """Runs the command. Every process returns 1 where any video failed."""
    # On a machine without accelerators it would overlook that torchrun has started several processes.
    on_cpu = not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)])
    model, processor = load_model(arguments.model, str(accelerator.device))
    options = mask_options(arguments)
    # Also what depends on the model is refused once, not for every video.
    options["window"], options["stride"] = window_and_stride(window_seconds(model), arguments.window, arguments.stride)
    write = frozenset(arguments.write)
    job = FolderJob(
        arguments.folder,
        arguments.output,
        write,
        arguments.overwrite,
        options,
        weights_digest(arguments.model),
        arguments.audio_track,
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
    # A launcher ends the other processes as soon as one of them has failed: not before the summary is out.
    accelerator.wait_for_everyone()
    return 1 if failures else 0


__all__ = ["FolderJob", "list_videos", "run", "segment_one"]
