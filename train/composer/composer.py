"""`auss compose` makes a data set in AVSBench's layout from cut-outs and sounds of the user, or from the composer's
own.

The mask of a cut-out is known. Every clip also shows silent objects, so only the sound tells what to segment. The same
arguments give the same bytes, for every number of workers.
"""

import argparse
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
from ...files.stopping import end_with_parent, leave_signals_to_parent, signals_blocked
from ..arguments import check_share
from ..command_arguments import DEFAULT_NOISE_SHARE
from ..data.avsbench import SPLITS
from ..recorded_results import is_made_by
from .avsbench_writer import COMPOSED_FILE, FOLDERS, SOURCE, write_clip, write_tables
from .composed_clips import SUBSETS, Shares, compose_clip
from .object_library import ObjectLibrary

LEAST_SIZE, LEAST_CATEGORIES = 64, 3
CHUNK = 8  # the clips that a worker takes at a time
SCRATCH = ".composing-"  # earlier releases left such folders in OUT when they were killed

_worker: dict = {}  # the values that each process of the pool keeps between clips


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
    """Tells whether a file in the folder says that this command made the folder."""
    return is_made_by(SOURCE, out / COMPOSED_FILE)


def check_composition_folder(out: Path, overwrite: bool) -> None:
    """Refuse a folder with files. A set that this command made may be replaced if `overwrite` is set."""
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


def prepare_worker(root: Path, folders: tuple[Path | None, ...], seed: int, size: int, shares: Shares) -> None:
    _worker.update(root=root, library=ObjectLibrary(*folders), seed=seed, size=size, shares=shares)


def make_clip(task: tuple[str, str, int]) -> tuple[dict, str]:
    """Compose and write one clip in a process that `prepare_worker` has prepared. Returns its notes and its
    category."""
    clip = compose_clip(_worker["library"], _worker["seed"], *task, _worker["size"], _worker["shares"])
    write_clip(_worker["root"], clip)
    return clip.notes, clip.category


def prepare_pool_worker(*settings) -> None:
    """Call `prepare_worker` in a process of the pool. The process ends when the process that started it ends."""
    leave_signals_to_parent()
    end_with_parent()
    prepare_worker(*settings)


def end_workers(pool: ProcessPoolExecutor) -> None:
    """Ends the processes of a pool without waiting for their current clips."""
    # From Python 3.14 on pool.kill_workers() does this
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def make_clips(tasks: list[tuple], workers: int, settings: tuple) -> Generator[tuple[dict, str]]:
    """Call `make_clip` for every task, in order, in as many processes as are worth starting."""
    workers = min(workers, len(tasks) // (2 * CHUNK))
    if workers < 2:
        prepare_worker(*settings)
        yield from map(make_clip, tasks)
        return
    # On Linux the workers are forked. A fresh interpreter would import torch first, which takes longer than composing
    # a few hundred clips. The workers themselves run no code that uses threads.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_pool_worker, initargs=settings) as pool:
        try:
            with signals_blocked():  # this call starts the workers
                made = pool.map(make_clip, tasks, chunksize=CHUNK)
            yield from made
        except BrokenProcessPool as error:
            raise OSError("a process that makes clips was ended from outside, as where memory is short") from error
        except BaseException:  # this also happens when the caller stops asking for clips
            end_workers(pool)
            raise


def compose_data_set(
    out: str | Path,
    s4: tuple[int, int, int] = (0, 0, 0),
    ms3: tuple[int, int, int] = (0, 0, 0),
    *,
    objects: str | Path | None = None,
    backgrounds: str | Path | None = None,
    noises: str | Path | None = None,
    noise_share: float = DEFAULT_NOISE_SHARE,
    steady_share: float = 0.0,
    seed: int = 0,
    size: int = 224,
    workers: int = 1,
    overwrite: bool = False,
) -> int:
    """Compose a data set in the layout of AVSBench-object and return how many clips it has.

    A clip depends on the seed, its subset, its split, its number, and on the objects and backgrounds. It does not
    depend on the number of clips. `out` gets everything at the end, so a composition that is stopped leaves `out`
    unchanged.

    Args:
        out: a new or an empty folder.
        s4, ms3: the numbers of clips for train, val and test.
        objects: a folder with `<category>/*.png` and `<category>/*.wav|ogg|flac` (or `<category>.png` and `.wav`). The
            pictures are RGBA cut-outs. None selects ten drawn categories with synthesised sounds. A category without
            sound is shown but never heard. A category without picture is left out.
        backgrounds: a folder of pictures, searched with its subfolders. None selects drawn backgrounds.
        noises: a folder of sounds from outside of the picture, such as speech, or None. They are mixed into some clips
            and never belong in a mask.
        noise_share: the share of the clips, 0 to 1, with such a sound. In 15 % of these MS3 clips no object sounds.
        steady_share: the share of the MS3 clips, 0 to 1, in which one object sounds all the time, as in S4.
        seed: 0 or more.
        size: the side of a frame in pixels, 64 or more.
        workers: the number of processes. With more than one, guard the calling script by `if __name__ == "__main__"`.
        overwrite: True replaces a set that was composed into `out` before.

    Raises ValueError, before anything is written, for an argument outside these ranges, a folder that is missing or
    offers too little, files that cannot be used (the error names all of them), or an `out` with other files. Raises
    FileExistsError if another process is composing into `out`, and OSError if the disk is full.
    """
    out = Path(out)
    folders = tuple(None if folder is None else Path(folder) for folder in (objects, backgrounds, noises))
    check_counts("s4", s4)
    check_counts("ms3", ms3)
    for name, value, least in (("seed", seed, 0), ("size", size, LEAST_SIZE), ("workers", workers, 1)):
        if value < least:
            raise InputError(f"{name} must be {least} or more, got {value}")
    for name, value in (("noise_share", noise_share), ("steady_share", steady_share)):
        check_share(name, value)
    check_composition_folder(out, overwrite)
    library = ObjectLibrary(*folders)
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
        settings = (folder.new, folders, seed, size, Shares(steady_share, noise_share))
        with closing(make_clips(tasks, workers, settings)) as clips:  # no worker may write after an error here
            for clip, category in tqdm(clips, "compose", len(tasks), unit="clip"):
                notes.append(clip)
                categories[clip["name"]] = category
        about = {"seed": seed, "size": size, "categories": list(library.categories)}
        write_tables(folder.new, notes, categories, about)
        # Check again: another program may have written into the folder meanwhile
        check_composition_folder(out, overwrite)
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
        noises=arguments.noises,
        noise_share=arguments.noise_share,
        steady_share=arguments.steady_share,
        seed=arguments.seed,
        size=arguments.size,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )
    print(f"{count} clips of {arguments.size} x {arguments.size} pixels are in {arguments.out}")
    return 0


__all__ = ["compose_data_set", "run"]
