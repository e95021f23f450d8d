"""`auss compose`: an AVSBench-layout data set out of cut-outs and sounds, or out of the composer's own.

Where a picture is a cut-out, its mask is known; and since every clip also shows objects that are silent, only the
sound tells what to segment. The same arguments give the same bytes, whatever the number of workers.
"""

import argparse
import json
import sys
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from ...files.errors import InputError
from ...files.new_contents import NewContents, entries
from ...files.stopping import end_with_parent, leave_signals_to_parent
from ..data.avsbench import SPLITS
from .avsbench_writer import COMPOSED_FILE, FOLDERS, SOURCE, write_clip, write_tables
from .composed_clips import SUBSETS, compose_clip
from .object_library import ObjectLibrary

LEAST_SIZE, LEAST_CATEGORIES = 64, 3
CHUNK = 8  # clips a worker takes at a time
SCRATCH = ".composing-"  # what releases before this one left in OUT when they were killed

_worker: dict = {}  # what each process of the pool keeps between clips


def check_counts(name: str, counts: tuple[int, int, int]) -> None:
    if len(counts) != len(SPLITS) or min(counts) < 0:
        raise InputError(f"{name} must be three counts of 0 or more (train, val, test), got {list(counts)}")


def check_library(library: ObjectLibrary) -> None:
    if len(library.categories) < LEAST_CATEGORIES or not library.sounding:
        raise InputError(
            f"objects must hold {LEAST_CATEGORIES} or more categories with pictures, one of them with a sound, "
            f"so that something can be silent; {library.objects} has {len(library.categories)} with pictures "
            f"({', '.join(library.categories) or 'none'}), {len(library.sounding)} of them with sounds"
        )


def is_composed(out: Path) -> bool:
    """Whether a folder says of itself that this command made it."""
    notes = out / COMPOSED_FILE
    try:
        about = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else None
    except ValueError:  # someone else's file of that name
        return False
    return isinstance(about, dict) and about.get("source") == SOURCE


def check_composition_folder(out: Path, overwrite: bool) -> None:
    """Refuse to write where something is, except over a set that this command made, and then only when asked."""
    if out.exists() and not out.is_dir():
        raise InputError(f"out must be a new or an empty folder, and {out} is a file; nothing was written")
    if all(path.name.startswith(SCRATCH) for path in entries(out)):
        return
    if not overwrite:
        raise InputError(f"out must be a new or an empty folder, and {out} is not empty; nothing was written "
                         "(--overwrite replaces a set that was composed before)")  # fmt: skip
    if not is_composed(out):
        raise InputError(f"overwrite replaces only what `auss compose` made, and {out} has no {COMPOSED_FILE} that "
                         "says so; nothing was written")  # fmt: skip


def prepare_worker(root: Path, objects: Path | None, backgrounds: Path | None, seed: int, size: int) -> None:
    _worker.update(root=root, library=ObjectLibrary(objects, backgrounds), seed=seed, size=size)


def make_clip(task: tuple[str, str, int]) -> tuple[dict, str]:
    """Compose and write one clip in a process that `prepare_worker` has prepared: its notes and its category."""
    clip = compose_clip(_worker["library"], _worker["seed"], *task, _worker["size"])
    write_clip(_worker["root"], clip)
    return clip.notes, clip.category


def prepare_pool_worker(*settings) -> None:
    """As `prepare_worker`, in a process of its own, which ends with the one that started it."""
    leave_signals_to_parent()
    end_with_parent()
    prepare_worker(*settings)


def end_workers(pool: ProcessPoolExecutor) -> None:
    """Ends a pool's processes without waiting for the clips that they are at."""
    processes = list((getattr(pool, "_processes", None) or {}).values())  # from Python 3.14 on: pool.kill_workers()
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def make_clips(tasks: list[tuple], workers: int, settings: tuple) -> Generator[tuple[dict, str]]:
    """`make_clip` of every task, in order, in as many processes as are worth starting."""
    workers = min(workers, len(tasks) // (2 * CHUNK))
    if workers < 2:
        prepare_worker(*settings)
        yield from map(make_clip, tasks)
        return
    # Forked where that is the system's habit: a fresh interpreter would import torch first, which takes longer than
    # a few hundred clips. The workers themselves run nothing that has threads.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_pool_worker, initargs=settings) as pool:
        try:
            yield from pool.map(make_clip, tasks, chunksize=CHUNK)
        except BrokenProcessPool as error:
            raise OSError("a process that makes clips was ended from outside, as where memory is short") from error
        except BaseException:  # also where the caller stops asking for clips
            end_workers(pool)
            raise


def compose_data_set(
    out: str | Path,
    s4: tuple[int, int, int] = (0, 0, 0),
    ms3: tuple[int, int, int] = (0, 0, 0),
    *,
    objects: str | Path | None = None,
    backgrounds: str | Path | None = None,
    seed: int = 0,
    size: int = 224,
    workers: int = 1,
    overwrite: bool = False,
) -> int:
    """Compose a data set in the layout of AVSBench-object and return how many clips it has.

    A clip depends on the seed, its subset, its split and its number, and on the objects and backgrounds; not on how
    many clips are asked for. `out` gets everything at the end: a composition that is stopped leaves it as it was.

    Args:
        out: a new or an empty folder.
        s4, ms3: counts of clips for train, val and test.
        objects: folder with `<category>/*.png` and `<category>/*.wav|ogg|flac` (or `<category>.png` and `.wav`), the
            pictures RGBA cut-outs; None for ten drawn categories with synthesised sounds. A category without sound
            is shown but never heard; one without picture is left out.
        backgrounds: folder of pictures, searched deeply; None for drawn ones.
        seed: 0 or more.
        size: side of a frame in pixels, 64 or more.
        workers: processes; more than one needs the caller's script to be guarded by `if __name__ == "__main__"`.
        overwrite: replace a set that was composed into `out` before.

    Raises ValueError, before anything is written, for an argument outside these ranges, a folder that is missing or
    offers too little, files that cannot be used (all are named), or an `out` with something else in it;
    FileExistsError where another process is composing into `out`; OSError where the disk is full.
    """
    out = Path(out)
    objects, backgrounds = (None if folder is None else Path(folder) for folder in (objects, backgrounds))
    check_counts("s4", s4)
    check_counts("ms3", ms3)
    for name, value, least in (("seed", seed, 0), ("size", size, LEAST_SIZE), ("workers", workers, 1)):
        if value < least:
            raise InputError(f"{name} must be {least} or more, got {value}")
    check_composition_folder(out, overwrite)
    library = ObjectLibrary(objects, backgrounds)
    check_library(library)
    library.check()
    for message in library.messages:
        tqdm.write(message)

    counts = {"s4": s4, "ms3": ms3}
    tasks = [
        (subset, split, number)
        for subset in SUBSETS
        for split, count in zip(SPLITS, counts[subset], strict=True)
        for number in range(count)
    ]
    with NewContents(out) as folder:
        notes, categories = [], {}
        settings = (folder.new, objects, backgrounds, seed, size)
        with closing(make_clips(tasks, workers, settings)) as clips:  # so that no worker writes after an error here
            for clip, category in tqdm(clips, "compose", len(tasks), unit="clip"):
                notes.append(clip)
                categories[clip["name"]] = category
        about = {"seed": seed, "size": size, "categories": list(library.categories)}
        write_tables(folder.new, notes, categories, about)
        check_composition_folder(out, overwrite)  # again: somebody else may have written into it meanwhile
        folder.install(old=[*FOLDERS.values(), COMPOSED_FILE], last=[COMPOSED_FILE])
    return len(tasks)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    count = compose_data_set(
        arguments.out,
        tuple(arguments.s4),
        tuple(arguments.ms3),
        objects=arguments.objects,
        backgrounds=arguments.backgrounds,
        seed=arguments.seed,
        size=arguments.size,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )
    print(f"{count} clips of {arguments.size} x {arguments.size} pixels are in {arguments.out}")
    return 0


__all__ = ["compose_data_set", "run"]
