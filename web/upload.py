"""Segments an upload: the marked video, the masks in a zip file, the times as JSON, and what was found in words."""

import contextlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..configuration.configuration_auss import AussConfig
from ..files.file_names import fitting_name, printable
from ..hub.exported_model import AnyAuss
from ..inference.clip_batches import FrameMask
from ..inference.media.containers.decoding import DamagedVideoError
from ..inference.media.video_reader import VideoReader
from ..inference.results.read_results import read_mask
from ..inference.results.run_report import report_lines
from ..inference.results.sounding_times import SoundingTimes
from ..inference.segment import reader_masks, write_marked, write_mask
from ..processing.drawing import lay_over, mark_layer
from ..processing.processing_auss import AussProcessor
from .jobs import Job
from .settings import Limits

PACKAGE = __name__.partition(".")[0]
Model = tuple[AnyAuss, AussProcessor]


@dataclass(frozen=True)
class MaskFacts:
    """What the list of times says about a mask."""

    file: str  # its name in the zip file
    frame: int  # the number of the frame, from 0
    time: float  # seconds from the first frame
    share: float  # of the picture that sounds, 0 to 1
    score: float  # the highest score in the picture, 0 to 1


@dataclass(frozen=True)
class UploadResult:
    """The files that the page shows and offers, all in the folder of the job."""

    video: Path
    archive: Path
    times: Path
    mask_folder: Path
    masks: list[MaskFacts]
    seconds: float
    summary: dict[str, Any]  # as `summarise` returns it
    config: AussConfig  # of the model that made the masks
    warnings: list[str]


class Warnings(logging.Handler):
    """Collects what auss logs for one visitor, in a `with` statement.

    The thread that enters the statement works for this visitor, and so do the threads that `inference` starts from it,
    because they have its context variables. All other threads work for other visitors.
    """

    _in_use: ContextVar["Warnings | None"] = ContextVar("_in_use", default=None)

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self._in_use.get() is self:  # a handler is called in the thread that logs
            self.lines.append(record.getMessage())

    def __enter__(self) -> "Warnings":
        self._before = self._in_use.set(self)
        logging.getLogger(PACKAGE).addHandler(self)
        return self

    def __exit__(self, *_) -> None:
        logging.getLogger(PACKAGE).removeHandler(self)
        self._in_use.reset(self._before)


def visible_text(message: object, video: Path) -> str:
    """A message for the page: on one line, and without the folder in which the server keeps the video."""
    text = str(message)
    for folder in (str(video.parent), printable(video.parent)):
        text = text.replace(f"{folder}{os.sep}", "")
    return printable(" ".join(text.split()))


def open_upload(video: Path, limits: Limits, audio_track: int | None = None) -> VideoReader:
    """
    Opens an upload if it keeps to the limits.

    Raises:
        FileNotFoundError, ValueError: as `VideoReader`; or the file, the picture or the length is over a limit.
    """
    limits.check_size(video)
    reader = VideoReader(video, audio_track)
    limits.check_picture(reader.info.width, reader.info.height)
    limits.check_length(reader.length)
    return reader


def noted_masks(
    masks: Iterator[FrameMask],
    folder: Path,
    names: dict[int, str],
    facts: list[MaskFacts],
    sounding: SoundingTimes,
    job: Job,
) -> Iterator[FrameMask]:
    """Saves each mask, notes its facts and adds it to `sounding` on its way to the video. Stops with the job."""
    job.check()
    for mask in masks:
        job.check()
        path = write_mask(mask, folder, len(names))
        sounding.add(read_mask(mask, names), mask.audible)
        share, score = float((mask.segmentation > 0).mean()), float(mask.scores.max())
        facts.append(MaskFacts(path.name, mask.index, round(mask.time, 3), round(share, 4), round(score, 3)))
        yield mask


def segment_upload(
    video: Path,
    job: Job,
    model: Model,
    options: dict[str, Any],
    limits: Limits,
    on_progress: Callable[[float, float], None],
    model_name: str = "",
    audio_track: int | None = None,
) -> UploadResult:
    """Segments a video into the folder of a job.

    Args:
        video: the upload.
        job: its folder is made. After an error or a cancellation the folder is removed again.
        model: the model and its processor.
        options: for `reader_masks`.
        limits: what the video may be.
        on_progress: called with the seconds that are done and all seconds, for every frame.
        model_name: for the list of times.
        audio_track: as `VideoReader` takes it.

    Raises:
        FileNotFoundError, ValueError: as `open_upload` and `reader_masks`.
        CancelledError: the job was stopped.
    """
    try:
        with Warnings() as warnings:
            reader = open_upload(video, limits, audio_track)
            if not reader.info.has_audio:
                warnings.lines.append("the video has no sound, so nothing in it sounds")
            return _segmented(video, reader, job, model, options, on_progress, model_name, warnings)
    except BaseException:
        shutil.rmtree(job.folder, ignore_errors=True)
        raise


def _segmented(
    video: Path,
    reader: VideoReader,
    job: Job,
    model: Model,
    options: dict[str, Any],
    on_progress: Callable[[float, float], None],
    model_name: str,
    warnings: Warnings,
) -> UploadResult:
    """Does the work of `segment_upload` for a video that has been opened."""
    network, processor = model
    num_labels, seconds = network.config.num_labels, reader.length
    mask_folder = job.folder / "masks"
    mask_folder.mkdir(parents=True)
    video_path, archive, times = (
        job.folder / fitting_name(video.stem, ending) for ending in ("_marked.mp4", "_masks.zip", "_times.json")
    )
    facts: list[MaskFacts] = []
    sounding = SoundingTimes()

    def on_frame(time: float) -> None:
        job.check()
        on_progress(min(time, seconds), seconds)

    with contextlib.closing(reader_masks(reader, network, processor, **options)) as masks:
        write_marked(
            reader,
            noted_masks(masks, mask_folder, network.config.id2label, facts, sounding, job),
            num_labels,
            video_path,
            show_progress=False,
            on_frame=on_frame,
        )
    try:
        reader.check()
    except DamagedVideoError as error:
        warnings.lines.append(f"{error}. The results hold what could be read.")
    summary = sounding.summary(seconds or None)
    listed = {
        "video": video.name,
        "model": model_name,
        "seconds": round(seconds, 3),
        "width": reader.info.width,
        "height": reader.info.height,
        "masks_per_second": options.get("fps"),
        "threshold": options.get("threshold"),
        "summary": summary,
        "masks": [asdict(one) for one in facts],
    }
    times.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_archive(archive, [times, *(mask_folder / one.file for one in facts)], job)
    lines = [visible_text(line, video) for line in dict.fromkeys(warnings.lines)]
    return UploadResult(video_path, archive, times, mask_folder, facts, seconds, summary, network.config, lines)


def write_archive(archive: Path, files: list[Path], job: Job) -> None:
    """Packs the masks and the list of times. PNG files are compressed already, so they are only stored."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for path in files:
            job.check()
            packed.write(path, path.name)


def shown_mask(result: UploadResult, number: int) -> Path:
    """The picture of a mask for the page. Masks of more than two labels are coloured as the video is."""
    path = result.mask_folder / result.masks[number].file
    if result.config.num_labels <= 2:
        return path
    coloured = result.mask_folder.parent / f"shown_{path.name}"
    if not coloured.exists():
        labels = np.asarray(Image.open(path, formats=["PNG"]))
        black = np.zeros((*labels.shape, 3), np.uint8)
        Image.fromarray(lay_over(black, mark_layer(labels, alpha=1.0, contour=0))).save(coloured)
    return coloured


def found_lines(result: UploadResult, known: Sequence[str] = ()) -> list[str]:
    """Says what was found in the words of `auss segment`; if nothing was, also what the highest score is.

    Args:
        result: of an upload.
        known: as `report_lines` takes it.
    """
    if not result.masks:
        return ["the video has no frame that could be read"]
    first, *more = report_lines(result.summary, result.config, known)
    if result.summary["heard_seconds"] and not result.summary["sounding_seconds"]:
        first += f" in {len(result.masks)} masks: the highest score is {max(one.score for one in result.masks):.2f}"
    return [first, *more]


__all__ = ["MaskFacts", "UploadResult", "found_lines", "open_upload", "segment_upload", "shown_mask"]
