"""The files that `auss segment` writes beside the marked video: masks in one file, objects, and timelines."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...files.errors import InputError
from ...files.file_names import printable
from ...files.whole_files import WholeFile
from ..arguments import TIMELINE_SUFFIXES
from ..clip_batches import FrameMask
from .mask_files import MaskWriter, is_mask_file, mask_writer, write_objects
from .read_results import read_mask
from .separate_objects import DEFAULT_MIN_AREA
from .sounding_times import SoundingTimes


def check_new_files(paths: Sequence[Path], overwrite: bool) -> None:
    """Raises ValueError if two outputs have the same path, and OSError if one is a folder, or exists and may not be
    replaced."""
    places = [os.path.abspath(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{printable(path)} is given for two outputs: choose different names")
        if path.is_dir():
            raise IsADirectoryError(f"{printable(path)} is a folder: choose the name of a file")
        if os.path.lexists(path) and not overwrite:
            raise FileExistsError(f"{printable(path)} exists: choose another name, or allow it with --overwrite")


class RunOutputs:
    """Watches the masks of a run, sums them up, and writes the wanted files at the end.

    Args:
        video: the name of the video.
        masks: the file of masks to write, .json or .npz, or None.
        timelines: the files of the timeline to write: .json, or a picture.
        separate: whether each separate object gets a mask.
        overwrite: whether existing files may be replaced.

    Raises:
        ValueError, FileExistsError, IsADirectoryError: as `check_new_files`.
        ValueError: the ending of a file is another one.
    """

    def __init__(
        self,
        video: str,
        masks: Path | None = None,
        timelines: Sequence[Path] = (),
        separate: bool = False,
        overwrite: bool = False,
    ):
        for path in timelines:
            if path.suffix.lower() not in TIMELINE_SUFFIXES:
                raise InputError(f"--timeline must end in {', '.join(TIMELINE_SUFFIXES)}, got {printable(path)!r}")
        self.video, self.timelines, self.separate, self.overwrite = video, timelines, separate, overwrite
        self.masks = masks if masks is not None and is_mask_file(masks) else None
        check_new_files([*([self.masks] if self.masks is not None else []), *timelines], overwrite)
        self._writer: MaskWriter | None = None
        if self.masks is not None:
            self._writer = mask_writer(self.masks, video, separate)
        self.times = SoundingTimes()
        self.count = 0  # masks seen

    def watch(
        self, masks: Iterator[FrameMask], names: dict[int, str], folder: Path | None = None
    ) -> Iterator[FrameMask]:
        """Yields masks unchanged, and adds each to the outputs.

        Args:
            masks: the masks of the video, in order.
            names: the name of each class id.
            folder: the folder for the pictures of the masks. Those of the objects are saved there, if they are wanted.
        """
        for mask in masks:
            frame = read_mask(mask, names)
            self.times.add(frame, mask.audible)
            if self._writer is not None:
                self._writer.add(frame)
            if folder is not None and self.separate:
                write_objects(frame, folder, len(names), DEFAULT_MIN_AREA)
            self.count += 1
            yield mask

    def finish(self, end: float) -> dict[str, Any]:
        """Writes the files, and returns the summary of the video, which ends at `end` seconds."""
        summary = self.times.summary(end or None)
        with contextlib.ExitStack() as stack:
            if self._writer is not None and self.masks is not None:
                self._writer.finish(stack.enter_context(WholeFile(self.masks, self.overwrite)).partial_path)
            for path in self.timelines:
                partial = stack.enter_context(WholeFile(path, self.overwrite)).partial_path
                if path.suffix.lower() == ".json":
                    content = json.dumps({"video": self.video, **summary}, indent=2)
                    partial.write_text(content + "\n", encoding="utf-8")
                else:
                    from .timeline import plot_timeline  # Matplotlib takes long to import, and few runs need it

                    figure = plot_timeline(summary, title=self.video)
                    figure.savefig(partial, format=path.suffix[1:].lower(), dpi=110)
        return summary


__all__ = ["RunOutputs"]
