"""`auss import` on small videos, from labels to what training reads, and docs/own_data.md."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import auss
from auss import cli
from auss.files.errors import InputError
from auss.inference.importing.importer import import_data_set, unused_name
from auss.inference.media.video_reader import VideoReader
from auss.train.data.avsbench import load_avsbench
from auss.train.data.clips import decode_clip
from auss.train.data.parquet_shards import stream_shards

from ...small_videos import number_of, write_video
from ...test_readme import blocks, command_lines
from .conftest import SIZE, save_mask, square
from .exports import (
    brush_result,
    coco_file,
    coco_string,
    cvat_file,
    cvat_meta,
    cvat_single_masks,
    label_studio_task,
)

PAGE = (Path(auss.__file__).parent / "docs" / "own_data.md").read_text(encoding="utf-8")
NAMES = ("cat", "cow", "dog", "hen")


@pytest.fixture
def masks(tmp_path) -> Path:
    """Masks of two frames of each video."""
    for name in NAMES:
        save_mask(tmp_path / "masks" / name / "000013.png", square(5))
        save_mask(tmp_path / "masks" / name / "000030.png", np.zeros(SIZE, bool))
    return tmp_path / "masks"


def write_labels(folder: Path) -> list[Path]:
    """The same mask of frame 13 of each video, in a format for each: COCO, Label Studio, CVAT, a picture."""
    folder.mkdir(exist_ok=True)
    cat, cow, dog = folder / "cat.json", folder / "cow.json", folder / "dog.xml"
    image = {"id": 1, "file_name": "cat_000013.png", "height": SIZE[0], "width": SIZE[1]}
    cat.write_text(coco_file([image], [{"image_id": 1, "segmentation": coco_string(square(5))}], labels=("cat",)))
    task = label_studio_task(1, "/data/upload/1/1a2b3c4d-cow_000013.png", [brush_result(square(5), "cow")])
    cow.write_text(json.dumps([task]))
    dog.write_text(cvat_file(cvat_meta(SIZE, source="dog.mp4"), cvat_single_masks("dog", {13: square(5)})))
    save_mask(folder / "pictures" / "hen_000013.png", square(5))
    return [cat, cow, dog, folder / "pictures"]


def rows_of(out: Path) -> dict[str, dict]:
    return {row["clip_id"]: row for split in ("train", "val", "test") for row in load_avsbench(out, "s4", split)}


def test_all_formats_give_the_same_clips(videos, tmp_path):
    result = import_data_set(videos, write_labels(tmp_path / "labels"), tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert sorted(rows) == [f"{name}_0000" for name in NAMES] and result.warnings == []
    for name, row in rows.items():
        clip = decode_clip(row)
        frames = clip["frames"].permute(0, 2, 3, 1).numpy()
        assert [number_of(frame) for frame in frames] == [0, 13, 20, 30, 40] and row["annotated_frames"] == [1]
        assert (clip["labels"][1].numpy() == square(5)).all() and (clip["labels"][0] == 255).all()
        assert len(clip["waveform"]) == 5 * clip["sampling_rate"] and clip["waveform"].abs().max() > 0.05
        assert row["category"] == ("" if name == "hen_0000" else name.removesuffix("_0000"))
    assert sorted((facts.split, facts.clips) for facts in result.splits) == [("test", 1), ("train", 2), ("val", 1)]
    stream, count = stream_shards(tmp_path / "out", "s4", "train")
    assert count == len(list(stream)) == 2


def test_the_command_writes_a_sheet_a_card_and_where_each_clip_is_from(videos, masks, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["import", str(videos), str(masks), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "train      2 videos      2 clips      4 labelled frames" in printed and "contact_sheet.png" in printed
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "contact_sheet.png", "import.json", "s4"]
    record = json.loads((out / "import.json").read_text())
    dog = next(clip for clip in record["clips"] if clip["video"] == "dog.mp4")
    assert dog["labelled"].keys() == {"1", "3"} and "000013.png" in dog["labelled"]["1"]
    assert dog["marked"] == {"1": round(400 / (48 * 64), 4), "3": 0.0}
    sheet = np.asarray(Image.open(out / "contact_sheet.png").convert("RGB")).astype(int)
    assert sheet.shape[0] > 300
    red = (sheet[..., 0] > 180) & (sheet[..., 1] < 90) & (sheet[..., 2] < 110)
    assert red.any()  # the outline of a mask
    assert "Written by `auss import`" in (out / "README.md").read_text()


def test_no_video_is_in_two_splits_and_copies_stay_together(videos, masks, tmp_path):
    (videos / "pig.mp4").write_bytes((videos / "dog.mp4").read_bytes())
    for number in ("000013", "000055"):
        save_mask(masks / "pig" / f"{number}.png", square(5))
    result = import_data_set(videos, [masks], tmp_path / "out")
    splits = {(clip["video"], clip["split"]) for clip in result.clips}
    assert len(splits) == 5 and len(result.clips) == 6  # two clips of pig.mp4
    assert dict(splits)["pig.mp4"] == dict(splits)["dog.mp4"]
    assert any("same video" in text for text in result.warnings)


def test_pictures_taken_every_second_and_labels_that_are_chosen(videos, tmp_path):
    """`ffmpeg -vf fps=1` numbers from 1: picture 3 is at two seconds."""
    images = [{"id": n, "file_name": f"{name}_0003.png", "height": 48, "width": 64} for n, name in enumerate(NAMES)]
    both = [{"image_id": n, "segmentation": coco_string(square(5)), "category_id": 1 + n % 2} for n in range(4)]
    (tmp_path / "a.json").write_text(coco_file(images, both, labels=("speech", "guitar")))
    options = {"label_fps": 1.0, "first_number": 1, "sounding": ["guitar"]}
    import_data_set(videos, [tmp_path / "a.json"], tmp_path / "out", **options)
    rows = rows_of(tmp_path / "out")
    assert {row["annotated_frames"][0] for row in rows.values()} == {2}
    marked = {name: bool(decode_clip(row)["labels"][2].any()) for name, row in rows.items()}
    assert marked == {"cat_0000": False, "cow_0000": True, "dog_0000": False, "hen_0000": True}
    with pytest.raises(InputError, match="labels guitar, speech, got drum"):
        import_data_set(videos, [tmp_path / "a.json"], tmp_path / "other", sounding=["drum"])


def test_everything_that_cannot_be_used_is_named_and_nothing_is_written(videos, masks, tmp_path, capsys):
    save_mask(masks / "dog" / "000900.png", square(5))
    save_mask(masks / "cat" / "000020.png", square(5, size=(64, 48)))
    write_video(videos / "mute.mp4", seconds=2.0, size=SIZE, sound=False)
    save_mask(masks / "mute" / "000003.png", square(5))
    (videos / "bad.mp4").write_bytes(b"no video")
    save_mask(masks / "bad" / "000003.png", square(5))
    out = tmp_path / "out"
    assert cli.main(["import", str(videos), str(masks), "-o", str(out)]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("auss import: 4 labels or videos cannot be used; nothing was written")
    for part in (
        "dog/000900.png",
        "before frame 900",
        "cat/000020.png",
        "48 x 64",
        "mute.mp4: it has no sound",
        "bad.mp4",
    ):
        assert part in message
    assert not out.exists()
    assert cli.main(["import", str(videos), str(masks), "-o", str(out), "--skip-bad"]) == 0
    record = json.loads((out / "import.json").read_text())
    assert {clip["video"] for clip in record["clips"]} == {f"{name}.mp4" for name in NAMES}
    assert sum(text.startswith("left out: ") for text in record["warnings"]) == 4


def test_a_label_of_no_video_and_a_video_without_labels(videos, masks, tmp_path):
    save_mask(masks / "wolf" / "000001.png", square(5))
    with pytest.raises(InputError, match=r"wolf/000001.png.*names none of the 4 videos"):
        import_data_set(videos, [masks], tmp_path / "out")
    for path in [*(masks / "wolf").iterdir(), *(masks / "hen").iterdir()]:
        path.unlink()
    result = import_data_set(videos, [masks], tmp_path / "out")
    assert result.warnings == ["1 videos have no label and are left out, such as hen.mp4"]


def test_suspicious_masks_and_sounds_are_told(videos, masks, tmp_path):
    silent = write_video(videos / "quiet.mp4", seconds=2.0, size=SIZE, waveform=np.zeros((1, 96_000), np.float32))
    assert VideoReader(silent).info.has_audio
    save_mask(masks / "quiet" / "3.png", square(5))
    save_mask(masks / "dog" / "41.png", np.ones(SIZE, bool))
    save_mask(masks / "cow" / "000013.png", np.zeros(SIZE, bool))
    save_mask(masks / "hen" / "14.png", square(5))
    warnings = "\n".join(import_data_set(videos, [masks], tmp_path / "out").warnings)
    for part in (
        "quiet.mp4: it is silent",
        "dog/41.png: the mask covers nearly",
        "cow.mp4: all of its masks are empty",
    ):
        assert part in warnings
    assert "hen.mp4: 1 labelled frames are not used" in warnings


def test_only_an_import_is_replaced(videos, masks, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="not empty"):
            import_data_set(videos, [masks], out, overwrite=overwrite)
    (out / "mine.txt").unlink()
    import_data_set(videos, [masks], out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        import_data_set(videos, [masks], out)
    import_data_set(videos, [masks], out, split=(100, 0, 0), overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in (out / "s4").iterdir()] == ["train-00000-of-00001.parquet"]


def test_names_from_labels_lead_nowhere(videos, tmp_path):
    """A name of a label file is only compared with the names of the videos. Nothing is opened or written by it."""
    secret = tmp_path / "secret.png"
    save_mask(secret, square(5))
    names = [
        str(secret),
        "../../secret.png",
        "file:///etc/passwd",
        "http://127.0.0.1:9/a.png",
        "a\x00b.png",
        "\x1b[2J",
    ]
    images = [{"id": n, "file_name": name, "height": 48, "width": 64} for n, name in enumerate(names)]
    annotations = [{"image_id": n, "segmentation": coco_string(square(5))} for n in range(len(names))]
    (tmp_path / "a.json").write_text(coco_file(images, annotations))
    with pytest.raises(InputError, match="6 labels or videos") as caught:
        import_data_set(videos, [tmp_path / "a.json"], tmp_path / "out")
    assert "\x1b" not in str(caught.value) and "\x00" not in str(caught.value)
    # a label that looks like a path becomes part of no path either
    escaping = coco_file(
        [{**images[0], "id": n, "file_name": f"../{name}_000013.png"} for n, name in enumerate(NAMES)],
        [{"image_id": n, "segmentation": coco_string(square(5))} for n in range(4)],
        labels=("../../../escaped",),
    )
    (tmp_path / "a.json").write_text(escaping)
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    import_data_set(videos, [tmp_path / "a.json"], tmp_path / "out")
    assert {path for path in tmp_path.rglob("*") if "out" not in path.relative_to(tmp_path).parts} == before
    assert {row["category"] for row in rows_of(tmp_path / "out").values()} == {"../../../escaped"}


def test_a_link_in_the_output_is_not_written_through(videos, masks, tmp_path):
    (tmp_path / "target").mkdir()
    out = tmp_path / "out"
    import_data_set(videos, [masks], out)
    precious = tmp_path / "precious.png"
    precious.write_bytes(b"precious")
    (out / "contact_sheet.png").unlink()
    (out / "contact_sheet.png").symlink_to(precious)
    import_data_set(videos, [masks], out, overwrite=True)
    assert precious.read_bytes() == b"precious" and not (out / "contact_sheet.png").is_symlink()


def page_folder(tmp_path: Path, videos: Path) -> Path:
    """A folder with everything that the commands of the page name."""
    folder = tmp_path / "page"
    folder.mkdir()
    videos.rename(folder / "VIDEOS")
    (folder / "VIDEOS" / "cow.mp4").unlink()  # two videos are enough
    (folder / "VIDEOS" / "hen.mp4").unlink()
    for name in NAMES:
        save_mask(folder / "MASKS" / name / "13.png", square(5))
        save_mask(folder / "MASKS" / f"{name}_mask_20_2s.png", square(5))
    cat, cow, dog, _ = write_labels(folder / "labels")
    cat.rename(folder / "instances.json")
    (folder / "CVAT").mkdir()
    for name in NAMES:
        text = cvat_file(cvat_meta(SIZE, source=f"{name}.mp4"), cvat_single_masks("dog", {13: square(5)}))
        (folder / "CVAT" / f"{name}.xml").write_text(text)
    tasks = [
        label_studio_task(n, f"/data/upload/1/1a2b3c4d-{name}_0002.png", [brush_result(square(5), label)])
        for n, (name, label) in enumerate(zip(NAMES, ("guitar", "drum", "guitar", "speech"), strict=True))
    ]
    (folder / "project.json").write_text(json.dumps(tasks))
    return folder


def test_the_commands_of_the_page_run(videos, tmp_path, monkeypatch):
    folder = page_folder(tmp_path, videos)
    monkeypatch.chdir(folder)
    commands = [shlex.split(line) for line in command_lines(PAGE) if line.startswith("auss ")]
    assert {command[1] for command in commands} == {"import", "train", "evaluate", "segment"}
    for number, (_, called, *options) in enumerate(commands):
        cli.build_parser(called).parse_args([called, *options])
        if called == "import":
            output = f"out{number}"
            again = [output if option == "DATA" else option for option in options]
            assert cli.main(["import", *again, "--skip-bad", "--split", "100", "0", "0"]) == 0
            assert len(load_avsbench(output, "s4", "train")) >= 1 and (folder / output / "contact_sheet.png").is_file()


def test_the_python_of_the_page_runs(videos, masks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import_data_set(videos, [masks], "DATA")
    (code,) = blocks("python", PAGE)
    names: dict = {}
    exec(code, names)
    assert len(names["clips"]) == 2


@pytest.mark.slow
def test_a_set_is_trained_evaluated_and_segmented(videos, masks, tmp_path, model_folder, make_config):
    data, run = tmp_path / "out", tmp_path / "run"
    assert cli.main(["import", str(videos), str(masks), "-o", str(data)]) == 0
    words = [
        "--init-from",
        str(model_folder),
        "--steps",
        "2",
        "--batch-size",
        "2",
        "--eval-every",
        "2",
        "--workers",
        "0",
    ]
    assert cli.main(["train", "--data", str(data), "--output", str(run), *words]) == 0
    assert cli.main(["evaluate", "--model", str(run), "--data", str(data), "--workers", "0"]) == 0
    assert cli.main(["segment", str(videos / "dog.mp4"), "-o", str(tmp_path / "a.mp4"), "--model", str(run)]) == 0
    assert json.loads((run / "evaluation" / "s4-test-own.json").read_text())["per_clip"][0]["J"] is not None


def test_clips_of_long_names_that_differ_only_in_other_characters_have_names_of_files():
    taken: set[str] = set()
    names = [unused_name(f"{'a' * 200}/{'b' * 200}{mark}.mp4", 0, taken) for mark in "!?+"]
    assert len(set(names)) == 3 == len(taken) and all(len(f"{name}.parquet".encode()) <= 255 for name in names)
